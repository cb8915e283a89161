// Checks of /api with ollama-js.
import { Ollama } from "ollama";
import { apiKey, assert, fails, nothingRuns, run, test, toolTest, toolsUrl, url, weather } from "./harness.mjs";

const headers = { Authorization: `Bearer ${apiKey}` };
const client = new Ollama({ host: url, headers }), tools = new Ollama({ host: toolsUrl, headers });
const model = (await client.list()).models[0].name;
const messages = [{ role: "user", content: "Say something nice." }];
const options = { num_predict: 16, temperature: 0 };

test("models are listed", async () => {
  const m = (await client.list()).models[0];
  assert.ok(m.name && m.details.format === "gguf" && !Number.isNaN(Date.parse(m.modified_at)));
  assert.ok((await client.version()).version);
  assert.equal((await client.ps()).models[0].name, m.name);
  const about = await client.show({ model: m.name });
  assert.ok(about.capabilities.includes("completion") && about.model_info["general.architecture"]);
});

test("chat, whole and streamed, says the same", async () => {
  const whole = await client.chat({ model, messages, options });
  assert.equal(whole.message.role, "assistant");
  assert.ok(whole.done && whole.eval_count > 0 && whole.prompt_eval_count > 0 && whole.total_duration > 0);
  let text = "", last;
  for await (const part of await client.chat({ model, messages, options, stream: true })) {
    text += part.message.content;
    last = part;
  }
  assert.equal(text, whole.message.content);
  assert.ok(last.done);
  assert.equal(last.eval_count, whole.eval_count);
});

test("generate, whole and streamed, says the same", async () => {
  const whole = await client.generate({ model, prompt: "Once upon a time", raw: true, options });
  let text = "";
  for await (const part of await client.generate({ model, prompt: "Once upon a time", raw: true, options, stream: true })) text += part.response;
  assert.equal(text, whole.response);
  assert.ok((await client.generate({ model, prompt: "hi", system: "Be brief.", options })).done);
});

test("nothing said loads the model", async () => {
  assert.equal((await client.generate({ model, prompt: "" })).done_reason, "load");
});

test("embed and embeddings give the same vector", async () => {
  const list = await client.embed({ model, input: ["Once upon a time", "The sky is blue"] });
  assert.equal(list.embeddings.length, 2);
  assert.ok(list.prompt_eval_count > 0 && list.total_duration > 0);
  assert.deepEqual((await client.embeddings({ model, prompt: "The sky is blue" })).embedding, list.embeddings[1]);
  assert.equal((await client.embed({ model, input: "word ".repeat(20000) })).embeddings.length, 1); // cut
  await fails(client.embed({ model, input: "word ".repeat(20000), truncate: false }), (e) => assert.match(e.message, /maximum context length/));
});

toolTest("tools are called with objects", async () => {
  const tool = { type: "function", function: { name: "get_weather", description: "The weather of a city", parameters: weather } };
  const whole = await tools.chat({ model, messages, tools: [tool] });
  assert.deepEqual(whole.message.tool_calls[0].function, { name: "get_weather", arguments: { city: "Ulm" } });
  const calls = [];
  for await (const part of await tools.chat({ model, messages, tools: [tool], stream: true })) calls.push(...(part.message.tool_calls ?? []));
  assert.deepEqual(calls[0].function, { name: "get_weather", arguments: { city: "Ulm" } });
  await tools.chat({ model, messages: [...messages, whole.message, { role: "tool", content: "warm", tool_name: "get_weather" }], tools: [tool] });
});

test("a format is kept to", async () => {
  const format = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"] };
  assert.equal(typeof JSON.parse((await client.chat({ model, messages, format, options: { num_predict: 50 } })).message.content).ok, "boolean");
});

test("errors carry a message", async () => {
  await fails(client.chat({ model, messages, options: { temperature: 9 } }), (e) => {
    assert.equal(e.status_code, 400);
    assert.match(e.message, /temperature/);
  });
  await fails(client.chat({ model, messages: [{ role: "user", content: "a", images: ["AAAA"] }] }), (e) => assert.match(e.message, /images/));
});

test("leaving a stream cancels it", async () => {
  const stream = await client.chat({ model, messages, options: { num_predict: 100000 }, stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream) stream.abort();
  }, { name: "AbortError" });
  await nothingRuns();
});

await run("ollama");
