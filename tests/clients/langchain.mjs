// Checks with @langchain/openai: ChatOpenAI with a base URL, over chat completions and over responses.
import { HumanMessage, SystemMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAI as Completion, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";
import { apiKey, assert, fails, nothingRuns, run, test, toolTest, toolsUrl, url } from "./harness.mjs";

const make = (base, more) => new ChatOpenAI({ model: "any", apiKey, temperature: 0, maxTokens: 16, maxRetries: 0, configuration: { baseURL: `${base}/v1` }, ...more });
const messages = [new SystemMessage("Be brief."), new HumanMessage("Say something nice.")];
const get_weather = tool(async ({ city }) => `warm in ${city}`, { name: "get_weather", description: "The weather of a city", schema: z.object({ city: z.string() }) });
const textOf = (m) => (typeof m.content === "string" ? m.content : m.content.map((c) => c.text ?? "").join(""));

test("texts and questions become vectors", async () => {
  const e = new OpenAIEmbeddings({ model: "any", apiKey, maxRetries: 0, configuration: { baseURL: `${url}/v1` } });
  const docs = await e.embedDocuments(["The sky is blue", "Once upon a time"]), q = await e.embedQuery("The sky is blue");
  assert.equal(docs.length, 2);
  assert.deepEqual(docs[0], q);
});

for (const useResponsesApi of [false, true]) {
  const over = useResponsesApi ? "responses" : "chat completions";
  const chat = make(url, { useResponsesApi, streamUsage: true });

  test(`${over}: whole and streamed says the same`, async () => {
    const whole = await chat.invoke(messages);
    assert.ok(whole.usage_metadata.input_tokens > 0 && whole.usage_metadata.output_tokens > 0);
    let sum;
    for await (const part of await chat.stream(messages)) sum = sum ? sum.concat(part) : part;
    assert.equal(textOf(sum), textOf(whole));
    assert.equal(sum.usage_metadata.output_tokens, whole.usage_metadata.output_tokens);
  });

  toolTest(`${over}: a tool is called, whole and streamed, and its result understood`, async () => {
    const bound = make(toolsUrl, { useResponsesApi, maxTokens: 500 }).bindTools([get_weather]);
    const whole = await bound.invoke(messages);
    assert.equal(whole.tool_calls[0].name, "get_weather");
    assert.deepEqual(whole.tool_calls[0].args, { city: "Ulm" });
    let sum;
    for await (const part of await bound.stream(messages)) sum = sum ? sum.concat(part) : part;
    assert.deepEqual(sum.tool_calls[0].args, { city: "Ulm" });
    const answer = await bound.invoke([...messages, whole, new ToolMessage({ content: "warm", tool_call_id: whole.tool_calls[0].id })]);
    assert.ok(answer.tool_calls.length);
  });

  test(`${over}: leaving a stream cancels it`, async () => {
    const long = make(url, { useResponsesApi, maxTokens: 100000 });
    for await (const _ of await long.stream(messages)) break;
    await nothingRuns();
  });
}

for (const method of ["jsonSchema", "functionCalling"])
  test(`structured output by ${method}`, async () => {
    const chat = make(url, { maxTokens: 200 }).withStructuredOutput(z.object({ name: z.string().max(12), ok: z.boolean() }), { name: "answer", method });
    const r = await chat.invoke(messages);
    assert.ok(typeof r.name === "string" && typeof r.ok === "boolean");
  });

test("logprobs", async () => {
  const m = await make(url, { logprobs: true, topLogprobs: 2 }).invoke(messages);
  assert.equal(m.response_metadata.logprobs.content[0].top_logprobs.length, 2);
});

test("completions", async () => {
  const c = new Completion({ model: "any", apiKey, maxTokens: 8, maxRetries: 0, configuration: { baseURL: `${url}/v1` } });
  assert.equal(typeof (await c.invoke("Once upon a time")), "string");
});

test("errors carry their status", async () => {
  await fails(make(url, { temperature: 9 }).invoke(messages), (e) => {
    assert.equal(e.status, 400);
    assert.match(e.message, /temperature/);
  });
});

await run("@langchain/openai");
