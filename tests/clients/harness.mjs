// What every client's file needs: where the servers are, a list of tests, and a line for each.
//
//   BASE_URL    a server with any model (or the null engine): nothing may depend on what is said, only on how
//   TOOLS_URL   a server whose every answer calls get_weather; absent: those tests are skipped
import assert from "node:assert/strict";

export { assert };
export const url = process.env.BASE_URL, toolsUrl = process.env.TOOLS_URL, apiKey = process.env.API_KEY ?? "none";
export const weather = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tests = [];
export const test = (name, fn) => tests.push([name, fn]);
export const toolTest = (name, fn) => toolsUrl && test(name, fn);

const metric = async (name) => {
  const text = await (await fetch(new URL("/metrics", url))).text();
  return Number(text.match(new RegExp(`^${name} (\\d+)`, "m"))[1]);
};
// The server has noticed that a client left: nothing runs any more.
export const nothingRuns = async () => {
  for (let i = 0; i < 200 && (await metric("strata_requests_running")) > 0; i++) await new Promise((r) => setTimeout(r, 25));
  assert.equal(await metric("strata_requests_running"), 0);
};
export const fails = async (promise, check) => {
  const e = await promise.then(() => assert.fail("was accepted"), (e) => e);
  if (e.code === "ERR_ASSERTION") throw e;
  check(e);
};

export async function run(client) {
  let failed = 0;
  for (const [name, fn] of tests) {
    try {
      await fn();
      console.log(`ok   ${name}`);
    } catch (e) {
      failed++;
      console.log(`FAIL ${name}\n     ${e.stack?.split("\n").slice(0, 8).join("\n     ")}`);
    }
  }
  console.log(`${client} ${tests.length - failed} of ${tests.length}`);
  process.exit(failed ? 1 : 0);
}
