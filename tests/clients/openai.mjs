// Checks of the server with the openai package: models, chat, completions, responses.
import OpenAI from "openai";
import { apiKey, assert, nothingRuns, run, test, toolTest, toolsUrl, url, weather } from "./harness.mjs";

const baseURL = `${url}/v1`;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "Say something nice." }];
const model = process.env.MODEL ?? (await client.models.list()).data[0].id;
const toolClient = new OpenAI({ baseURL: `${toolsUrl}/v1`, apiKey, maxRetries: 0 });
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather of a city", parameters: weather } }];
const rejects = async (promise, type, status, param) => {
  const e = await promise.then(() => assert.fail("was accepted"), (e) => e);
  assert.ok(e instanceof type, `${e}`);
  assert.equal(e.status, status);
  if (param !== undefined) assert.equal(e.param, param);
  assert.equal(typeof e.message, "string");
  return e;
};

test("models are listed and found by id", async () => {
  const list = await client.models.list();
  assert.equal(list.object, "list");
  assert.ok(list.data.length >= 1 && list.data[0].object === "model" && Number.isInteger(list.data[0].created));
  assert.equal((await client.models.retrieve(list.data[0].id)).id, list.data[0].id);
  await rejects(client.models.retrieve("no/such/model"), OpenAI.NotFoundError, 404);
});

test("a chat answer is whole", async () => {
  const r = await client.chat.completions.create({ model, messages, max_tokens: 12 });
  assert.match(r.id, /^chatcmpl-/);
  assert.equal(r.object, "chat.completion");
  assert.equal(r.choices[0].message.role, "assistant");
  assert.equal(typeof r.choices[0].message.content, "string");
  assert.ok(["stop", "length"].includes(r.choices[0].finish_reason));
  assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens);
  assert.equal(typeof r.usage.prompt_tokens_details.cached_tokens, "number");
  assert.ok(r._request_id);
});

test("a chat stream says the same as a whole answer", async () => {
  const ask = { model, messages, max_tokens: 24, temperature: 0, seed: 1 };
  const whole = await client.chat.completions.create(ask);
  const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
  let text = "", finish = null, usage = null, roles = 0, ids = new Set();
  for await (const chunk of stream) {
    ids.add(chunk.id);
    assert.equal(chunk.object, "chat.completion.chunk");
    for (const c of chunk.choices) {
      text += c.delta.content ?? "";
      roles += c.delta.role === "assistant";
      finish = c.finish_reason ?? finish;
    }
    if (chunk.usage) { usage = chunk.usage; assert.deepEqual(chunk.choices, []); }
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(finish, whole.choices[0].finish_reason);
  assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [whole.usage.prompt_tokens, whole.usage.completion_tokens]);
  assert.equal(roles, 1);
  assert.equal(ids.size, 1);
});

test("the stream helper puts the message together", async () => {
  const stream = client.chat.completions.stream({ model, messages, max_tokens: 10 });
  let deltas = "";
  stream.on("content", (d) => (deltas += d));
  const message = (await stream.finalChatCompletion()).choices[0].message;
  assert.equal(message.role, "assistant");
  assert.equal(message.content, deltas);
});

test("several choices, streamed and whole", async () => {
  const r = await client.chat.completions.create({ model, messages, n: 3, max_tokens: 6 });
  assert.deepEqual(r.choices.map((c) => c.index), [0, 1, 2]);
  const seen = new Map();
  for await (const chunk of await client.chat.completions.create({ model, messages, n: 2, max_tokens: 6, stream: true }))
    for (const c of chunk.choices) if (c.finish_reason) seen.set(c.index, c.finish_reason);
  assert.deepEqual([...seen.keys()].sort(), [0, 1]);
});

test("logprobs of chat", async () => {
  const r = await client.chat.completions.create({ model, messages, max_tokens: 5, logprobs: true, top_logprobs: 3, temperature: 0 });
  const list = r.choices[0].logprobs.content;
  assert.equal(list.length, r.usage.completion_tokens);
  for (const t of list) {
    assert.ok(t.logprob <= 0 && t.top_logprobs.length === 3 && Array.isArray(t.bytes));
    assert.ok(t.top_logprobs[0].logprob >= t.top_logprobs[2].logprob);
  }
  await rejects(client.chat.completions.create({ model, messages, top_logprobs: 3 }), OpenAI.BadRequestError, 400, "top_logprobs");
});

test("completions, with lists, echo and scores", async () => {
  const r = await client.completions.create({ model, prompt: ["Once upon", "a time"], max_tokens: 4 });
  assert.equal(r.object, "text_completion");
  assert.deepEqual(r.choices.map((c) => c.index), [0, 1]);
  const e = await client.completions.create({ model, prompt: "The sky is blue", max_tokens: 0, echo: true, logprobs: 1 });
  assert.equal(e.choices[0].text, "The sky is blue");
  const lp = e.choices[0].logprobs;
  assert.equal(lp.token_logprobs[0], null);
  assert.equal(lp.tokens.length, e.usage.prompt_tokens);
  assert.equal(lp.token_logprobs.length, lp.text_offset.length);
  const ids = await client.completions.create({ model, prompt: [5, 6, 7], max_tokens: 1 });
  assert.equal(ids.usage.prompt_tokens, 3);
  let text = "";
  for await (const chunk of await client.completions.create({ model, prompt: "Once", max_tokens: 5, stream: true })) text += chunk.choices[0].text;
  assert.equal(typeof text, "string");
});

test("embeddings: texts, lists and ids, floats and base64 give the same vectors", async () => {
  const one = await client.embeddings.create({ model, input: "The sky is blue" }); // the client asks for base64 and decodes it
  const v = one.data[0].embedding;
  assert.equal(one.object, "list");
  assert.ok(one.usage.prompt_tokens > 0 && one.usage.total_tokens === one.usage.prompt_tokens);
  assert.ok(Math.abs(v.reduce((s, x) => s + x * x, 0) - 1) < 1e-4);
  const list = await client.embeddings.create({ model, input: ["Once upon a time", "The sky is blue"], encoding_format: "float" });
  assert.deepEqual(list.data.map((d) => d.index), [0, 1]);
  assert.deepEqual(list.data[1].embedding.map(Math.fround), [...v].map(Math.fround));
  assert.notDeepEqual(list.data[0].embedding, list.data[1].embedding);
  assert.equal((await client.embeddings.create({ model, input: [5, 6, 7] })).usage.prompt_tokens, 3);
  assert.equal((await client.embeddings.create({ model, input: [[5, 6, 7], [8]], dimensions: 8 })).data[1].embedding.length, 8);
  const many = await client.embeddings.create({ model, input: Array.from({ length: 400 }, (_, i) => `text ${i}`) });
  assert.deepEqual(many.data.map((d) => d.index), many.data.map((_, i) => i));
  await rejects(client.embeddings.create({ model, input: "a", dimensions: v.length + 1 }), OpenAI.BadRequestError, 400, "dimensions");
  const e = await rejects(client.embeddings.create({ model, input: ["a", "word ".repeat(400000)] }), OpenAI.BadRequestError, 400, "input[1]");
  assert.equal(e.code, "context_length_exceeded");
});

test("stop strings do not appear", async () => {
  const r = await client.chat.completions.create({ model, messages, max_tokens: 40, temperature: 0 });
  const word = r.choices[0].message.content.trim().split(/\s+/)[2];
  if (!word) return;
  const s = await client.chat.completions.create({ model, messages, max_tokens: 40, temperature: 0, stop: [word] });
  assert.ok(!s.choices[0].message.content.includes(word));
  assert.equal(s.choices[0].finish_reason, "stop");
});

test("errors have their classes and name the parameter", async () => {
  const chat = (more) => client.chat.completions.create({ model, messages, ...more });
  await rejects(chat({ temperature: 9 }), OpenAI.BadRequestError, 400, "temperature");
  await rejects(chat({ max_tokens: -1 }), OpenAI.BadRequestError, 400, "max_tokens");
  await rejects(chat({ n: 0 }), OpenAI.BadRequestError, 400, "n");
  await rejects(chat({ messages: [] }), OpenAI.BadRequestError, 400, "messages");
  await rejects(chat({ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:," } }] }] }), OpenAI.BadRequestError, 400);
  const e = await rejects(chat({ messages: [{ role: "user", content: "word ".repeat(400000) }] }), OpenAI.BadRequestError, 400);
  assert.equal(e.code, "context_length_exceeded");
  assert.match(e.message, /maximum context length is \d+ tokens/);
  await rejects(client.get("/nowhere"), OpenAI.NotFoundError, 404);
  if (process.env.API_KEY)
    await rejects(new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError, 401);
});

test("null and unknown parameters are ignored", async () => {
  await client.chat.completions.create({ model, messages, max_tokens: 1, temperature: null, stop: null, user: "u", metadata: { a: "b" },
    store: false, service_tier: "auto", something_new: [1, 2] });
});

test("leaving a stream cancels it", async () => {
  const stream = await client.chat.completions.create({ model, messages, max_tokens: 100000, stream: true });
  for await (const _ of stream) break;
  const aborted = new AbortController();
  const whole = client.chat.completions.create({ model, messages, max_tokens: 100000 }, { signal: aborted.signal }).catch((e) => e);
  setTimeout(() => aborted.abort(), 50);
  await whole;
  await nothingRuns();
});

toolTest("tools are called, whole and streamed", async () => {
  const r = await toolClient.chat.completions.create({ model, messages, tools });
  assert.equal(r.choices[0].finish_reason, "tool_calls");
  const call = r.choices[0].message.tool_calls[0];
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Ulm" });
  const stream = toolClient.chat.completions.stream({ model, messages, tools });
  let deltas = "";
  stream.on("tool_calls.function.arguments.delta", (e) => (deltas += e.arguments_delta));
  const m = (await stream.finalChatCompletion()).choices[0].message;
  assert.equal(m.tool_calls[0].function.name, "get_weather");
  assert.deepEqual(JSON.parse(m.tool_calls[0].function.arguments), { city: "Ulm" });
  assert.deepEqual(JSON.parse(deltas), { city: "Ulm" });
  await toolClient.chat.completions.create({ model, tools, messages: [...messages, r.choices[0].message, { role: "tool", tool_call_id: call.id, content: "warm" }] });
});

toolTest("the tool runner runs a tool", async () => {
  let asked = null;
  const runner = toolClient.chat.completions.runTools({ model, messages, tools: [{ type: "function", function: { name: "get_weather", parse: JSON.parse, parameters: weather,
    function: (a) => ((asked = a), "warm") } }] }, { maxChatCompletions: 2 });
  await runner.done().catch(() => {});
  assert.deepEqual(asked, { city: "Ulm" });
});

test("responses, whole and streamed, say the same", async () => {
  const ask = { model, input: "Say something nice.", instructions: "Be brief.", max_output_tokens: 16, temperature: 0 };
  const whole = await client.responses.create(ask);
  assert.match(whole.id, /^resp_/);
  assert.ok(["completed", "incomplete"].includes(whole.status));
  let text = "", last, n = 0;
  for await (const e of await client.responses.create({ ...ask, stream: true })) {
    assert.equal(e.sequence_number, n++);
    if (e.type === "response.output_text.delta") text += e.delta;
    last = e;
  }
  assert.equal(text, whole.output_text);
  assert.equal(last.type, `response.${whole.status}`);
  assert.equal(last.response.usage.output_tokens, whole.usage.output_tokens);
  const final = await client.responses.stream(ask).finalResponse();
  assert.equal(final.output[0].content[0].text, text);
});

toolTest("responses call tools", async () => {
  const ask = { model, input: "The weather?", tools: [{ type: "function", ...tools[0].function, strict: false }] };
  const whole = await toolClient.responses.create(ask);
  const call = whole.output.find((i) => i.type === "function_call");
  assert.deepEqual(JSON.parse(call.arguments), { city: "Ulm" });
  const final = await toolClient.responses.stream(ask).finalResponse();
  assert.deepEqual(JSON.parse(final.output.find((i) => i.type === "function_call").arguments), { city: "Ulm" });
  await toolClient.responses.create({ ...ask, input: [{ role: "user", content: "The weather?" }, ...whole.output, { type: "function_call_output", call_id: call.call_id, output: "warm" }] });
});

test("answers keep to a schema, and calls are made when they must be", async () => {
  const schema = { type: "object", properties: { name: { type: "string", maxLength: 12 }, age: { type: "integer" } }, required: ["name", "age"], additionalProperties: false };
  const r = await client.chat.completions.create({ model, messages, max_tokens: 200,
    response_format: { type: "json_schema", json_schema: { name: "person", strict: true, schema } } });
  const person = JSON.parse(r.choices[0].message.content);
  assert.ok(typeof person.name === "string" && Number.isInteger(person.age) && Object.keys(person).length === 2);
  const city = { ...weather, properties: { city: { type: "string", maxLength: 12 } } };
  const short = [{ type: "function", function: { name: "get_weather", parameters: city } }];
  for (const tool_choice of ["required", { type: "function", function: { name: "get_weather" } }]) {
    const c = await client.chat.completions.create({ model, messages, max_tokens: 200, tools: short, tool_choice, parallel_tool_calls: false });
    assert.equal(c.choices[0].finish_reason, "tool_calls");
    assert.equal(typeof JSON.parse(c.choices[0].message.tool_calls[0].function.arguments).city, "string");
  }
  await rejects(client.chat.completions.create({ model, messages, tool_choice: "required" }), OpenAI.BadRequestError, 400, "tool_choice");
  await rejects(client.chat.completions.create({ model, messages, response_format: { type: "json_schema", json_schema: { name: "x", schema: { not: {} } } } }),
    OpenAI.BadRequestError, 400, "response_format");
});

test("thirty requests at once", async () => {
  const all = await Promise.all(Array.from({ length: 30 }, (_, i) =>
    client.chat.completions.create({ model, messages: [{ role: "user", content: `Number ${i}` }], max_tokens: 8 })));
  assert.equal(new Set(all.map((r) => r.id)).size, 30);
});

await run("openai");
