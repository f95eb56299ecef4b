// What a program written for the AI SDK does with its provider for servers like OpenAI's: `ai_sdk_client.mjs PACKAGES URL`.
// Each check prints its name when it has passed; an assertion that fails ends the program.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , folder, url] = process.argv;
const load = (name) => import(pathToFileURL(createRequire(`${folder}/`).resolve(name)));
const { APICallError, Output, generateText, jsonSchema, streamText, tool } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");

const millstream = createOpenAICompatible({ name: "millstream", baseURL: `${url}/v1`, apiKey: "none", includeUsage: true });
const model = millstream("chat");
const messages = [{ role: "user", content: "Hello there" }];
const SAID = "You said: Hello there";
const BROKEN = [{ role: "user", content: "a b c d {{truncate=2}}" }];
const ONCE = `
version: 1
name: once
state: {messages: {type: messages}}
nodes:
  say: {kind: model, model: default, messages: state.messages, retry: {max_attempts: 1}}
edges: [START -> say, say -> END]
`;

const refused = (status, code, param) => (error) =>
  APICallError.isInstance(error) && error.statusCode === status && error.data.error.code === code && error.data.error.param === param && !error.isRetryable;

const checks = {
  async answers() {
    const said = await generateText({ model, instructions: "Be kind.", messages, temperature: 0.5 });
    assert.equal(said.text, SAID);
    assert.equal(said.finishReason, "stop");
    assert.ok(said.usage.inputTokens > 0);
    assert.equal(said.usage.totalTokens, said.usage.inputTokens + said.usage.outputTokens);
    assert.equal(said.response.modelId, "chat");
    assert.match(said.response.id, /^chatcmpl-/);
  },
  async streams() {
    const slowly = [{ role: "user", content: "Hello there {{interval=50}}" }];
    const stream = streamText({ model, messages: slowly });
    const parts = [];
    for await (const part of stream.textStream) parts.push(part);
    assert.ok(parts.length > 2, `it came at once: ${parts}`);
    assert.equal(parts.join(""), SAID);
    assert.equal(await stream.finishReason, "stop");
    assert.ok((await stream.usage).outputTokens > 0);
  },
  async takes_a_conversation_with_tools() {
    const output = { type: "text", value: "1" };
    const conversation = [
      { role: "user", content: "What is it?" },
      { role: "assistant", content: [{ type: "tool-call", toolCallId: "c", toolName: "f", input: { n: 1 } }] },
      { role: "tool", content: [{ type: "tool-result", toolCallId: "c", toolName: "f", output }] },
      { role: "user", content: [{ type: "text", text: "Say it" }] },
    ];
    assert.equal((await generateText({ model, messages: conversation })).text, "You said: Say it");
  },
  async says_that_it_was_cut() {
    const said = await generateText({ model, messages, maxOutputTokens: 2 });
    assert.deepEqual([said.text, said.finishReason], ["You said:", "length"]);
  },
  async refuses() {
    const f = tool({ inputSchema: jsonSchema({ type: "object", properties: {} }) });
    const output = Output.object({ schema: jsonSchema({ type: "object", properties: { a: { type: "string" } } }) });
    await assert.rejects(generateText({ model: millstream("nope"), messages }), refused(404, "model_not_found", "model"));
    await assert.rejects(generateText({ model, messages, tools: { f } }), refused(400, "invalid_value", "tools"));
    await assert.rejects(generateText({ model, messages, output }), refused(400, "invalid_value", "response_format"));
  },
  async fails_in_words() {
    const once = millstream("once");
    await assert.rejects(
      generateText({ model: once, messages: BROKEN, maxRetries: 0 }),
      (error) => APICallError.isInstance(error) && error.statusCode === 500 && error.data.error.code === "node_failed",
    );
    for (const [asked, code] of [[once, "node_failed"], [model, "stream_cut"]]) {
      let said = "";
      const errors = [];
      const stream = streamText({ model: asked, messages: BROKEN, onError: ({ error }) => errors.push(error) });
      for await (const part of stream.textStream) said += part;
      assert.equal(said, "You said: ");
      assert.deepEqual(errors.map((error) => error.data.code), [code]);
    }
  },
  async gives_up() {
    const gone = new AbortController();
    const slowly = [{ role: "user", content: "a b c d e f g h i j {{interval=500}}" }];
    const stream = streamText({ model, messages: slowly, abortSignal: gone.signal });
    const kinds = [];
    for await (const part of stream.fullStream) {
      kinds.push(part.type);
      if (part.type === "text-delta") gone.abort();
    }
    assert.equal(kinds.at(-1), "abort", kinds);
  },
};

const put = await fetch(`${url}/graphs/once`, { method: "PUT", body: ONCE });
assert.ok(put.ok, await put.text());
for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log(name);
}
