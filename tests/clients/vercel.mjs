// Checks with Vercel's ai and @ai-sdk/openai-compatible, which validates every chunk.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { apiKey, assert, fails, nothingRuns, run, test, toolTest, toolsUrl, url } from "./harness.mjs";

const provider = (base) => createOpenAICompatible({ name: "strata", baseURL: `${base}/v1`, apiKey, includeUsage: true });
const model = provider(url)("any"), tools = provider(toolsUrl)("any");
const prompt = "Say something nice.";
const settings = { model, prompt, maxOutputTokens: 16, temperature: 0, maxRetries: 0 };
const get_weather = tool({ description: "The weather of a city", inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `warm in ${city}` });

test("text, whole and streamed, says the same", async () => {
  const whole = await generateText({ ...settings, system: "Be brief." });
  assert.ok(["stop", "length"].includes(whole.finishReason));
  assert.ok(whole.usage.inputTokens > 0 && whole.usage.outputTokens > 0);
  const stream = streamText({ ...settings, system: "Be brief.", onError: ({ error }) => { throw error; } });
  let text = "";
  for await (const part of stream.textStream) text += part;
  assert.equal(text, whole.text);
  assert.equal(await stream.finishReason, whole.finishReason);
  assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
});

toolTest("a tool is run and its result sent back", async () => {
  const r = await generateText({ ...settings, model: tools, maxOutputTokens: 500, tools: { get_weather }, stopWhen: stepCountIs(2) });
  assert.equal(r.steps.length, 2);
  assert.deepEqual(r.steps[0].toolCalls[0].input, { city: "Ulm" });
  assert.equal(r.steps[0].toolResults[0].output, "warm in Ulm");
  assert.equal(r.steps[0].finishReason, "tool-calls");
});

toolTest("a tool's input is streamed", async () => {
  const stream = streamText({ ...settings, model: tools, maxOutputTokens: 500, tools: { get_weather }, onError: ({ error }) => { throw error; } });
  let deltas = "", call, errors = [];
  for await (const part of stream.fullStream) {
    if (part.type === "tool-input-delta") deltas += part.delta;
    if (part.type === "tool-call") call = part;
    if (part.type === "error") errors.push(part.error);
  }
  assert.deepEqual(errors, []);
  assert.deepEqual(JSON.parse(deltas), { city: "Ulm" });
  assert.equal(call.toolName, "get_weather");
  assert.deepEqual(call.input, { city: "Ulm" });
});

test("objects keep to their schema", async () => {
  const strict = createOpenAICompatible({ name: "strata", baseURL: `${url}/v1`, apiKey, supportsStructuredOutputs: true })("any");
  const { object } = await generateObject({ ...settings, model: strict, maxOutputTokens: 200, schema: z.object({ name: z.string().max(12), ok: z.boolean() }) });
  assert.ok(typeof object.name === "string" && typeof object.ok === "boolean");
});

test("errors carry status and message", async () => {
  await fails(generateText({ ...settings, temperature: 9 }), (e) => {
    assert.equal(e.statusCode, 400);
    assert.match(e.message, /temperature/);
  });
  const bad = createOpenAICompatible({ name: "strata", baseURL: `${url}/v1`, apiKey: "wrong" })("any");
  if (process.env.API_KEY) await fails(generateText({ ...settings, model: bad }), (e) => assert.equal(e.statusCode, 401));
});

test("leaving a stream cancels it", async () => {
  const leave = new AbortController();
  const stream = streamText({ ...settings, maxOutputTokens: 100000, abortSignal: leave.signal, onError: () => {} });
  for await (const part of stream.fullStream) if (part.type === "text-delta") leave.abort();
  await nothingRuns();
});

await run("ai + @ai-sdk/openai-compatible");
