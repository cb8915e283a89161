// Checks of /v1/messages with @anthropic-ai/sdk.
import Anthropic from "@anthropic-ai/sdk";
import { apiKey, assert, fails, nothingRuns, run, test, toolTest, toolsUrl, url, weather } from "./harness.mjs";

const client = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
const tools = new Anthropic({ baseURL: toolsUrl, apiKey, maxRetries: 0 });
const ask = { model: "any", max_tokens: 16, messages: [{ role: "user", content: "Say something nice." }] };
const tool = { name: "get_weather", description: "The weather of a city", input_schema: weather };

test("a message is whole", async () => {
  const m = await client.messages.create({ ...ask, system: "Be brief." });
  assert.match(m.id, /^msg_/);
  assert.equal(m.role, "assistant");
  assert.equal(m.content[0].type, "text");
  assert.ok(["end_turn", "max_tokens"].includes(m.stop_reason));
  assert.ok(m.usage.input_tokens > 0 && m.usage.output_tokens > 0);
});

test("a stream says the same as a whole message", async () => {
  const same = { ...ask, temperature: 0, system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } }] };
  const whole = await client.messages.create(same);
  const types = [];
  let text = "";
  for await (const e of await client.messages.create({ ...same, stream: true })) {
    types.push(e.type);
    if (e.type === "content_block_delta") text += e.delta.text;
  }
  assert.equal(text, whole.content[0].text);
  assert.deepEqual(types.filter((t, i) => t !== types[i - 1]),
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]);
});

test("the stream helper puts the message together", async () => {
  let text = "";
  const stream = client.messages.stream(ask).on("text", (t) => (text += t));
  const m = await stream.finalMessage();
  assert.equal(m.content[0].text, text);
  assert.ok(m.usage.output_tokens > 0);
});

test("stop sequences", async () => {
  const word = (await client.messages.create({ ...ask, temperature: 0, max_tokens: 40 })).content[0].text.trim().split(/\s+/)[2];
  if (!word) return;
  const m = await client.messages.create({ ...ask, temperature: 0, max_tokens: 40, stop_sequences: [word] });
  assert.equal(m.stop_reason, "stop_sequence");
  assert.equal(m.stop_sequence, word);
  assert.ok(!m.content[0].text.includes(word));
});

test("tokens are counted as they are used", async () => {
  const { input_tokens } = await client.messages.countTokens({ model: "any", messages: ask.messages });
  const m = await client.messages.create({ ...ask, max_tokens: 1 });
  assert.equal(input_tokens, m.usage.input_tokens + m.usage.cache_read_input_tokens);
});

toolTest("a tool is used, and its result understood", async () => {
  const m = await tools.messages.create({ ...ask, max_tokens: 500, tools: [tool] });
  assert.equal(m.stop_reason, "tool_use");
  const use = m.content.find((b) => b.type === "tool_use");
  assert.equal(use.name, "get_weather");
  assert.deepEqual(use.input, { city: "Ulm" });
  await tools.messages.create({ ...ask, tools: [tool], messages: [...ask.messages, { role: "assistant", content: m.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "warm" }] }] });
});

toolTest("a tool's input is streamed", async () => {
  const inputs = [];
  const stream = tools.messages.stream({ ...ask, max_tokens: 500, tools: [tool] }).on("inputJson", (part) => inputs.push(part));
  const m = await stream.finalMessage();
  assert.deepEqual(m.content.find((b) => b.type === "tool_use").input, { city: "Ulm" });
  assert.deepEqual(JSON.parse(inputs.join("")), { city: "Ulm" });
  assert.ok(inputs.length > 2);
});

test("a tool that must be used is used", async () => {
  const short = { ...tool, input_schema: { ...weather, properties: { city: { type: "string", maxLength: 12 } } } };
  for (const tool_choice of [{ type: "any", disable_parallel_tool_use: true }, { type: "tool", name: "get_weather" }]) {
    const m = await client.messages.create({ ...ask, max_tokens: 200, tools: [short], tool_choice });
    assert.equal(m.stop_reason, "tool_use");
    assert.equal(typeof m.content[0].input.city, "string");
  }
});

test("errors have their classes", async () => {
  await fails(client.messages.create({ ...ask, temperature: 9 }), (e) => {
    assert.ok(e instanceof Anthropic.BadRequestError);
    assert.equal(e.error.error.type, "invalid_request_error");
    assert.match(e.message, /temperature/);
  });
  await fails(client.messages.create({ ...ask, messages: [{ role: "user", content: [{ type: "image", source: { type: "base64", media_type: "image/png", data: "" } }] }] }),
    (e) => assert.ok(e instanceof Anthropic.BadRequestError));
  if (process.env.API_KEY)
    await fails(new Anthropic({ baseURL: url, apiKey: "wrong", maxRetries: 0 }).messages.create(ask), (e) => assert.ok(e instanceof Anthropic.AuthenticationError));
});

test("leaving a stream cancels it", async () => {
  const stream = client.messages.stream({ ...ask, max_tokens: 100000 });
  stream.on("error", () => {}).on("abort", () => {});
  await new Promise((r) => stream.once("text", r));
  stream.abort();
  await nothingRuns();
});

await run("@anthropic-ai/sdk");
