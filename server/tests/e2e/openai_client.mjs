// What a program written for OpenAI's API does, with the published package: `openai_client.mjs PACKAGE URL`.
// Each check prints its name when it has passed; an assertion that fails ends the program.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [, , folder, url] = process.argv;
const OpenAI = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const messages = [{ role: "user", content: "Hello there" }];
const SAID = "You said: Hello there";

const checks = {
  async lists_graphs_as_models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.deepEqual(ids, ["chat"]);
    await assert.rejects(client.models.retrieve("nope"), (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
  },
  async answers() {
    const whole = await client.chat.completions.create({ model: "chat", messages });
    assert.equal(whole.choices[0].message.content, SAID);
    assert.equal(whole.choices[0].finish_reason, "stop");
    assert.ok(whole.usage.total_tokens > 0);
  },
  async streams() {
    const stream = await client.chat.completions.create({ model: "chat", messages, stream: true, stream_options: { include_usage: true } });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.completion_tokens > 0);
    assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), SAID);
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  },
  async accumulates() {
    const runner = client.chat.completions.stream({ model: "chat", messages });
    assert.equal(await runner.finalContent(), SAID);
  },
  async fails_in_words() {
    const broken = [{ role: "user", content: "a b c d {{truncate=2}}" }];
    const stream = await client.chat.completions.create({ model: "chat", messages: broken, stream: true });
    await assert.rejects(
      (async () => { for await (const _ of stream); })(),
      (error) => error instanceof OpenAI.APIError && error.code === "stream_cut",
    );
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log(name);
}
