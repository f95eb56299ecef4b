// The page to try a graph: one conversation, the graph's drawing, and the run going through it.

import { draw } from "./drawing.js";
import { follow } from "./events.js";

const at = (id) => document.getElementById(id);
const page = { graph: null, channel: null, thread: null, abort: null };

at("key").value = sessionStorage.getItem("key") ?? "";
at("key").addEventListener("change", () => { sessionStorage.setItem("key", at("key").value); start(); });
at("graph").addEventListener("change", () => show(at("graph").value));
at("fresh").addEventListener("click", fresh);
at("stop").addEventListener("click", () => page.abort?.abort());
at("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
at("say").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && page.channel) { event.preventDefault(); at("form").requestSubmit(); }
});
start();

async function ask(url, options = {}) {
  const headers = { ...options.headers };
  if (at("key").value) headers.authorization = `Bearer ${at("key").value}`;
  if (options.body) headers["content-type"] = "application/json";
  const response = await fetch(url, { ...options, headers });
  if (response.status === 401) { at("key-field").hidden = false; at("key").focus(); }
  return response;
}

async function json(url) {
  const response = await ask(url);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error?.message ?? response.statusText);
  return body;
}

async function start() {
  say("state", "");
  try {
    const { data } = await json("/graphs");
    at("graph").replaceChildren(...data.map(({ name }) => new Option(name, name)));
    const first = data.find(({ serve }) => serve?.as === "chat") ?? data[0];
    if (first) at("graph").value = first.name;
    if (first) await show(first.name);
    else say("state", "There is no graph yet: PUT one to /graphs/{name}.");
  } catch (error) { say("state", error.message); }
}

async function show(name) {
  page.graph = await json(`/graphs/${encodeURIComponent(name)}`);
  const { spec, mermaid } = page.graph;
  const channels = spec.input ?? Object.keys(spec.channels);
  const holds = (channel) => spec.channels[channel]?.reducer === "messages";
  page.channel = holds("messages") && channels.includes("messages") ? "messages" : channels.find(holds);
  say("title", spec.name);
  say("description", spec.description ?? "");
  say("mermaid", mermaid);
  at("drawing").replaceChildren(draw(spec));
  say("say-label", page.channel ? "Message" : `Input, as JSON: ${channels.join(", ")}`);
  at("say").value = page.channel ? "" : JSON.stringify(Object.fromEntries(channels.map((channel) => [channel, sample(spec.channels[channel])])));
  say("curl", curl(spec));
  fresh();
}

function curl(spec) {
  const chat = spec.serve?.as === "chat";
  const path = chat ? spec.serve.path : `/graphs/${spec.name}/runs`;
  const body = chat ? { message: "Hello", stream: true } : { input: input(page.channel ? "Hello" : at("say").value), mode: "stream" };
  return `curl -N ${location.origin}${path} --json '${JSON.stringify(body)}'`;
}

function input(text) {
  return page.channel ? { [page.channel]: [{ type: "human", content: text }] } : safely(text);
}

function sample({ schema, default: given }) {
  return given ?? schema?.default ?? schema?.enum?.[0] ?? { integer: 0, number: 0, boolean: false, array: [], object: {} }[schema?.type] ?? "";
}

function safely(text) {
  try { return JSON.parse(text); } catch { return {}; }
}

function fresh() {
  page.abort?.abort();
  page.thread = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  at("log").replaceChildren();
  say("state", "");
}

async function send() {
  const text = at("say").value;
  if (!page.channel) { try { JSON.parse(text); } catch (error) { return say("state", `no JSON: ${error.message}`); } }
  turn("person", text);
  if (page.channel) at("say").value = "";
  page.abort = new AbortController();
  busy(true);
  const run = { turns: new Map(), said: false };
  try {
    const body = JSON.stringify({ input: input(text), mode: "stream", thread_id: page.thread });
    const { signal } = page.abort;
    const response = await ask(`/graphs/${encodeURIComponent(page.graph.name)}/runs`, { method: "POST", body, signal });
    if (!response.ok) throw new Error((await response.json()).error.message);
    await follow(ask, response, (name, data) => heard(run, name, data), signal);
  } catch (error) {
    if (error.name === "AbortError") say("state", "Stopped listening; the run goes on.");
    else turn("error", error.message);
  } finally { busy(false); }
}

function heard(run, name, data) {
  switch (name) {
    case "node_started": mark(data.node, "running"); say("state", `${data.node} …`); break;
    case "node_finished": mark(data.node, "done"); break;
    case "token": {
      const it = run.turns.get(data.task_id) ?? turn("graph", "", data.node);
      run.turns.set(data.task_id, it);
      it.lastChild.data += data.text;
      run.said = true;
      at("log").scrollTop = at("log").scrollHeight;
      break;
    }
    case "attempt_reset": if (run.turns.has(data.task_id)) run.turns.get(data.task_id).lastChild.data = ""; break;
    case "interrupt": turn("graph", JSON.stringify(data.interrupts, null, 2), "asks"); break;
    case "error": turn("error", data.error?.message ?? JSON.stringify(data)); break;
    case "final": {
      if (!run.said && data.output) turn("graph", textOf(data.message) ?? JSON.stringify(data.output, null, 2));
      const { input_tokens = 0, output_tokens = 0 } = data.usage ?? {};
      say("state", `${data.status}, ${input_tokens} tokens in, ${output_tokens} out`);
    }
  }
}

function textOf(message) {
  if (typeof message?.content === "string") return message.content;
  return message?.content?.map?.((block) => block.text ?? "").join("") || undefined;
}

function turn(who, text, label) {
  const made = document.createElement("div");
  made.className = `turn ${who}`;
  const small = document.createElement("small");
  small.textContent = label ?? { person: "You", error: "Error", graph: "" }[who];
  made.append(small, document.createTextNode(text));
  at("log").append(made);
  at("log").scrollTop = at("log").scrollHeight;
  return made;
}

function busy(is) {
  at("send").disabled = is;
  at("stop").disabled = !is;
  if (is) { for (const node of at("drawing").querySelectorAll("[data-node]")) node.removeAttribute("class"); say("state", "…"); }
  else at("say").focus();
}

function mark(node, how) {
  for (const box of at("drawing").querySelectorAll("[data-node]")) if (box.dataset.node === node) box.setAttribute("class", how);
}

function say(id, text) { at(id).textContent = text; }
