// The page in Chromium.  MODEL_URL: a real model; HOSTILE_URL: says hostile.md, asks for a key; SLOW_URL: 25 tokens a second; BARE_URL: --no-ui.
import { chromium } from "playwright-core";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const { MODEL_URL, HOSTILE_URL, SLOW_URL, BARE_URL, CHROMIUM, SHOTS } = process.env;
const KEY = "page-test-key";
const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const browser = await chromium.launch({ executablePath: CHROMIUM, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
const tests = [];
const test = (name, options, run) => tests.push({ name, options, run });

// ---- what a reader does ----
// page.waitForFunction() makes a function of a string, which the page's policy refuses.
async function until(page, condition, arg) {
  for (let i = 0; i < 150; i++, await page.waitForTimeout(100))
    if (await page.evaluate(condition, arg).catch(() => false)) return;
  throw new Error(`waited 15 s in vain: ${condition}`);
}
const ready = (page) => until(page, () => !/Connecting/.test(document.getElementById("model").textContent) || !document.getElementById("key").hidden);
const idle = (page) => page.waitForSelector("#send:not([hidden])", { timeout: 60000 });
async function open(page, url) {
  await page.goto(url);
  await ready(page);
  if (url === HOSTILE_URL) {
    await page.fill("#key-value", KEY);
    await page.press("#key-value", "Enter");
    await until(page, () => document.getElementById("model").textContent !== "Connecting");
  }
}
async function say(page, text) {
  await page.fill("#ask", text);
  await page.press("#ask", "Enter");
  await page.waitForSelector(".message.assistant");
}
async function talk(page, text) {
  await say(page, text);
  await idle(page);
}
async function set(page, name, value) {
  if (await page.isHidden("#settings")) await page.click("#open-settings");
  await page.fill(`#f-${name}`, String(value));
}
const answers = (page) => page.locator(".message.assistant .text");
const shot = (page, name) => SHOTS && page.screenshot({ path: `${SHOTS}/${name}.png` });
const width = (page) => page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);

// ---- chat ----
test("an answer comes in pieces and is there when it ends", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  await set(page, "max_tokens", 24);
  await set(page, "temperature", 0);
  await talk(page, "Hello! How are you?");
  assert.equal(await page.textContent(".message.user .text"), "Hello! How are you?");
  assert.ok((await answers(page).textContent()).length > 10);
  assert.match(await page.textContent(".message.assistant .stats"), /^\d+ tokens · .*first after [\d.]+ s/);
  const api = await page.evaluate(async () => (await fetch("v1/chat/completions", { method: "POST", body: JSON.stringify(
    { messages: [{ role: "user", content: "Hello! How are you?" }], max_tokens: 24, temperature: 0 }) })).json());
  assert.equal((await answers(page).innerText()).replace(/\s+/g, " ").trim(), api.choices[0].message.content.replace(/\s+/g, " ").trim());
});

test("stop ends the answer in the middle and keeps what was said", DESKTOP, async (page) => {
  await open(page, SLOW_URL);
  await say(page, "Go on");
  await until(page, () => document.querySelector(".assistant .text").textContent.includes("Sentence 2"));
  await page.click("#stop");
  await idle(page);
  const text = await answers(page).textContent();
  assert.ok(text.includes("Sentence 2") && !text.includes("Sentence 15"), text);
  assert.match(await page.textContent(".message.assistant .stats"), /^\d+ tokens · [\d.]+ a second · first after [\d.]+ s · stopped$/);
  await page.waitForTimeout(300);
  assert.equal(await answers(page).textContent(), text);
  await until(page, async () => / 0$/m.test((await (await fetch("metrics")).text()).match(/^strata_requests_running .*$/m)[0]));
});

test("a second answer is a version beside the first, and stopping one begins the other", DESKTOP, async (page) => {
  await open(page, SLOW_URL);
  await say(page, "Once");
  await until(page, () => document.querySelector(".assistant .text").textContent.includes("Sentence"));
  await page.press("#ask", "Escape");
  await idle(page);
  const first = await answers(page).textContent();
  await page.click('.assistant [aria-label="Answer again"]');
  await until(page, () => document.querySelector(".assistant .text").textContent.includes("Sentence 2"));
  await page.click("#stop");
  await idle(page);
  assert.match(await page.textContent(".assistant .versions"), /2 \/ 2/);
  await page.click('.assistant [aria-label="Version before"]');
  assert.equal(await answers(page).textContent(), first);
});

test("an edited message is sent again, the old branch stays", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  await set(page, "max_tokens", 8);
  await talk(page, "My first question");
  await talk(page, "And a second one");
  await page.hover(".message.user >> nth=0");
  await page.click('.message.user >> nth=0 >> [aria-label="Edit and send again"]');
  await page.fill('[aria-label="Edit the message"]', "A better question");
  await page.click(".edit .primary");
  await idle(page);
  assert.equal(await page.locator(".message").count(), 2);
  assert.equal(await page.textContent(".message.user .text"), "A better question");
  await page.hover(".message.user");
  await page.click('.message.user [aria-label="Version before"]');
  assert.equal(await page.locator(".message").count(), 4);
  assert.equal(await page.textContent(".message.user .text"), "My first question");
});

test("settings go with the request, empty ones do not", DESKTOP, async (page) => {
  let body = null;
  await page.route("**/v1/chat/completions", (route) => { body = route.request().postDataJSON(); route.continue(); });
  await open(page, MODEL_URL);
  for (const [name, value] of [["system", "Be brief."], ["temperature", 0.3], ["top_p", 0.9], ["top_k", 7], ["min_p", 0.05], ["max_tokens", 5], ["seed", 11], ["stop", "END\n\\n\\n"]])
    await set(page, name, value);
  await talk(page, "Hi");
  assert.deepEqual(body.messages, [{ role: "system", content: "Be brief." }, { role: "user", content: "Hi" }]);
  const { temperature, top_p, top_k, min_p, max_tokens, seed, stop } = body;
  assert.deepEqual({ temperature, top_p, top_k, min_p, max_tokens, seed, stop },
    { temperature: 0.3, top_p: 0.9, top_k: 7, min_p: 0.05, max_tokens: 5, seed: 11, stop: ["END", "\n\n"] });
  await page.fill("#f-temperature", "9");
  assert.equal(await page.getAttribute("#f-temperature", "aria-invalid"), "true");
  await page.click("text=Back to the server's values");
  await talk(page, "Again, with max tokens unset");
  assert.ok(!("temperature" in body) && !("max_tokens" in body) && body.messages[0].role === "user");
});

test("probabilities of tokens are shown on hover and by arrow keys", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  await set(page, "max_tokens", 12);
  await set(page, "temperature", 0);
  await page.check("#f-probabilities");
  await talk(page, "Hello!");
  const token = page.locator(".token");
  assert.ok((await token.count()) >= 5);
  await token.nth(1).hover();
  assert.match(await page.innerText("#tip .chosen"), /[\d.]+ %/);
  assert.ok((await page.locator("#tip .row").count()) >= 5);
  await shot(page, "probabilities");
  await token.nth(0).focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => [...document.querySelectorAll(".token")].indexOf(document.activeElement)), 1);
  await page.click('.assistant [aria-label="Probabilities of the tokens"]');
  assert.equal(await token.count(), 0);
});

test("an error of the server stands at the message, and can be tried again", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  await set(page, "max_tokens", 5);
  await page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 429, json: { error: { message: "Too much at once." } } }), { times: 1 });
  await talk(page, "Hi");
  assert.equal(await page.textContent(".assistant .fault"), "Too much at once.");
  await page.click('.assistant [aria-label="Answer again"]');
  await until(page, () => document.querySelector(".assistant .text").textContent.length > 2);
  await idle(page);
  assert.equal(await page.isHidden(".assistant .fault"), true);
});

// ---- safety ----
test("markup in an answer is text", DESKTOP, async (page, errors, outside) => {
  await open(page, HOSTILE_URL);
  await talk(page, "<img src=x onerror=\"window.pwned='user'\"> <script>window.pwned='user'</script>");
  await page.waitForTimeout(300);
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  const found = await page.evaluate(() => {
    const log = document.getElementById("log"), all = [...log.querySelectorAll("*")];
    return {
      tags: all.filter((e) => /^(script|style|iframe|img|object|embed|form|link|meta)$/i.test(e.tagName)).length,
      handlers: all.filter((e) => e.getAttributeNames().some((n) => n.startsWith("on"))).length,
      links: [...log.querySelectorAll("a")].map((a) => [a.getAttribute("href"), a.rel, a.target]),
      text: log.textContent,
    };
  });
  assert.equal(found.tags, 0);
  assert.equal(found.handlers, 0);
  assert.deepEqual(found.links.map((l) => l[0]), ["https://example.org/a_(b)?c=d&e=f", "https://example.org/bare", "https://example.org/x.png"]);
  for (const [, rel, target] of found.links) assert.ok(rel.includes("noopener") && target === "_blank");
  for (const shown of ["<script>window.pwned = \"script\"</script>", "[bad link](javascript:window.pwned='link')", "<style>body { display: none }</style>"])
    assert.ok(found.text.includes(shown), shown);
  for (const p of await page.locator("#log .md > *").all()) await p.hover({ force: true });
  assert.equal(await page.evaluate(() => window.pwned), undefined);
});

test("markdown becomes elements", DESKTOP, async (page) => {
  await open(page, HOSTILE_URL);
  await talk(page, "Show me");
  const count = (selector) => page.locator(`.assistant .md ${selector}`).count();
  assert.equal(await page.textContent(".md h3"), "A heading with <b>a tag</b>");
  assert.equal(await count("ol > li"), 2);
  assert.equal(await count("ol ul > li"), 2);
  assert.equal(await page.textContent(".md strong"), "bold and italic text");
  assert.equal(await page.textContent(".md strong em"), "and italic");
  assert.equal(await page.textContent(".md del"), "gone");
  assert.equal(await count("blockquote"), 1);
  assert.equal(await count("td"), 2);
  assert.equal(await count(".code pre"), 1);
  assert.match(await page.textContent(".md .code pre"), /^<\/code><\/pre><script>/);
  const text = await answers(page).innerText();
  for (const kept of ["snake_case_word 2 * 3 * 4", "**never closed and [not a link]("]) assert.ok(text.includes(kept), kept);
});

test("a hundred thousand characters of unclosed markup do not stop the page", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  const ms = await page.evaluate(async () => {
    const { render } = await import(new URL("ui/markdown.js", document.baseURI));
    const slow = {};
    for (const unit of ["*a ", "**a", "_a ", "~~a", "`a``", "[a](", "![", "[[", "> ", ">", "- ", "1. ", "| a ", "```", "# ", "<a ", "http://", "\\", "* _ ` [", "a\n\n", " \n", "   -"]) {
      const since = performance.now();
      render(document.createElement("div"), unit.repeat(100000 / unit.length));
      slow[unit] = performance.now() - since;
    }
    return slow;
  });
  for (const [unit, t] of Object.entries(ms)) assert.ok(t < 3000, `${JSON.stringify(unit)}: ${t.toFixed(0)} ms`);
});

test("whatever the text, only harmless elements come of it", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  const bad = await page.evaluate(async () => {
    const { render } = await import(new URL("ui/markdown.js", document.baseURI));
    const parts = ["*", "**", "_", "`", "```", "~~", "[", "]", "(", ")", "!", "<", ">", "\"", "'", "\\", "\n", "\n\n", " ", "    ", "- ", "1. ", "# ", "> ", "|", "|-|-|", "---", "a", "onerror=", "<script>",
      "javascript:alert(1)", "http://x.y/", "https://a@b/", "[a](https://x.y)", "[a](javascript:x)", "data:text/html,", "\u0000", "\u202e", "\ud800", "&lt;"];
    const allowed = new Set("P BR H3 H4 H5 H6 HR UL OL LI BLOCKQUOTE STRONG EM DEL CODE PRE A DIV BUTTON TABLE THEAD TBODY TR TH TD svg path".split(" "));
    const names = new Set("href title target rel class tabindex type aria-label aria-hidden viewBox d start".split(" "));
    const found = [];
    let seed = 7;
    const draw = (n) => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0, (seed >>> 8) % n);
    for (let i = 0; i < 3000; i++) {
      const text = Array.from({ length: 1 + draw(40) }, () => parts[draw(parts.length)]).join(""), box = document.createElement("div"), grown = document.createElement("div");
      render(box, text);
      for (let n = 0; n <= text.length; n += 7) render(grown, text.slice(0, n));
      render(grown, text);
      const wrong = [...box.querySelectorAll("*")].some((e) => !allowed.has(e.tagName) || e.getAttributeNames().some((n) => !names.has(n)) || (e.tagName === "A" && (!/^https?:/.test(e.href) || e.querySelector("a"))));
      if (wrong || grown.innerHTML !== box.innerHTML) found.push(text); // and growing makes the same as all at once
    }
    return found.slice(0, 5);
  });
  assert.deepEqual(bad, []);
});

test("a key is asked for, a wrong one refused, a right one taken", DESKTOP, async (page, errors) => {
  await page.goto(HOSTILE_URL);
  await page.waitForSelector("#key:not([hidden])");
  assert.equal(await page.evaluate(() => document.activeElement.id), "key-value");
  await page.fill("#key-value", "wrong");
  await page.press("#key-value", "Enter");
  await page.waitForSelector("#key:not([hidden])");
  await page.fill("#key-value", KEY);
  await page.press("#key-value", "Enter");
  await until(page, () => document.getElementById("model").textContent !== "Connecting");
  assert.equal(await page.evaluate((k) => JSON.stringify(localStorage).includes(k), KEY), false);
  await talk(page, "Hi");
  assert.equal(await page.isHidden("#key"), true);
  errors.length = 0; // the browser reports each 401
});

// ---- the server panel ----
test("the server panel lives", DESKTOP, async (page) => {
  await open(page, SLOW_URL);
  await page.click("#open-live");
  await page.waitForSelector("#gauges section");
  await say(page, "Go on");
  await until(page, () => Number(document.querySelector("#gauges .big").textContent) > 5);
  const text = await page.innerText("#gauges");
  assert.match(text, /1 running of/);
  assert.match(text, /pages of 16 tokens/);
  assert.ok((await page.locator("#gauges .bar rect.used").first().getAttribute("width")) > 0);
  await page.click("#stop");
  await idle(page);
  await until(page, () => /0 running of/.test(document.getElementById("gauges").innerText));
  assert.ok(!/Weights/.test(await page.innerText("#gauges"))); // the null engine reports none
});

test("the panel of a real model shows its weights", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  await page.click("#open-live");
  await page.waitForSelector("#gauges .legend");
  assert.match(await page.innerText("#gauges"), /on the device\s+26\.\d MB/);
});

test("the panel shows tiers of weights, and nothing that was not reported", DESKTOP, async (page) => {
  let streamed = 1e9;
  await page.route("**/metrics", (route) => route.fulfill({ contentType: "text/plain", body: `# HELP x y
strata_weights_bytes{tier="device"} 6000000000
strata_weights_bytes{tier="outside"} 3000000000
strata_streamed_bytes_total ${streamed += 4e9}
` }));
  await open(page, SLOW_URL);
  await page.click("#open-live");
  await until(page, () => /now\s+[\d.]+ GB\/s/.test(document.getElementById("gauges").innerText));
  const text = await page.innerText("#gauges"), wide = (cls) => page.getAttribute(`#gauges rect.${cls}`, "width").then(Number);
  assert.match(text, /on the device\s+6\.00 GB\s+in RAM or on disk\s+3\.00 GB/);
  assert.ok(Math.abs((await wide("used")) - 2 * (await wide("cached"))) < 1);
  assert.ok(!/Speed|Queue|KV cache|undefined|NaN/.test(text), text);
  await shot(page, "tiers");
});

// ---- conversations ----
test("a reload keeps conversations; they can be renamed, exported, deleted and brought back", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  await set(page, "max_tokens", 6);
  await talk(page, "First conversation");
  await page.click("#new");
  await talk(page, "Second conversation");
  const said = await answers(page).textContent();
  await page.reload();
  await ready(page);
  assert.equal(await page.locator("#list .chat").count(), 2);
  assert.equal(await answers(page).textContent(), said);
  assert.equal(await page.inputValue("#f-max_tokens"), "6");
  await page.click('[aria-label="Rename \\"Second conversation\\""]');
  await page.keyboard.type("Renamed");
  await page.keyboard.press("Enter");
  assert.equal(await page.textContent("#title"), "Renamed");
  const [file] = await Promise.all([page.waitForEvent("download"), page.click('[aria-label="Export \\"Renamed\\" as Markdown"]')]);
  assert.equal(file.suggestedFilename(), "Renamed.md");
  assert.match(await readFile(await file.path(), "utf8"), /^# Renamed\n\n## You\n\nSecond conversation\n\n## Model\n\n/);
  const [whole] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  assert.equal(JSON.parse(await readFile(await whole.path(), "utf8")).chats.length, 2);
  await page.click('[aria-label="Delete \\"Renamed\\""]');
  assert.equal(await page.locator("#list .chat").count(), 1);
  await page.click("#toast button");
  assert.equal(await page.locator("#list .chat").count(), 2);
  await page.waitForTimeout(300); // until it is written
  await page.reload();
  await ready(page);
  assert.equal(await page.locator("#list .chat").count(), 2);
});

test("an answer goes on while another conversation is looked at", DESKTOP, async (page) => {
  await open(page, SLOW_URL);
  await say(page, "Go on");
  await page.click("#new");
  assert.equal(await page.locator(".message").count(), 0);
  await page.waitForTimeout(1500);
  await page.click("#list .chat");
  const text = await answers(page).textContent();
  assert.ok(text.includes("Sentence 2"), text);
  await until(page, (n) => document.querySelector(".assistant .text").textContent.length > n, text.length);
  await page.press("#ask", "Escape");
  await idle(page);
});

// ---- people ----
test("the keyboard alone is enough", DESKTOP, async (page) => {
  await open(page, SLOW_URL);
  assert.equal(await page.evaluate(() => document.activeElement.id), "ask");
  await page.keyboard.type("Line one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("line two");
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector(".assistant .text")?.textContent.includes("Sentence"));
  assert.equal(await page.textContent(".message.user .text"), "Line one\nline two");
  await page.keyboard.press("Escape");
  await idle(page);
  const seen = new Set();
  for (let i = 0; i < 40; i++) {
    await page.keyboard.press("Tab");
    seen.add(await page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-label") || document.activeElement.textContent));
  }
  for (const name of ["new", "export", "theme", "open-live", "open-settings", "log", "Copy the message", "Edit and send again", "Answer again", "ask", "send", "Line one"])
    assert.ok(seen.has(name), `${name} among ${[...seen].join(", ")}`);
  await page.focus("#open-settings");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.getElementById("settings").contains(document.activeElement)), true);
});

test("everything has a name, the answer is spoken", DESKTOP, async (page) => {
  await open(page, MODEL_URL);
  await set(page, "max_tokens", 30);
  await set(page, "temperature", 0);
  await talk(page, "Hello!");
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, textarea, a, aside, nav, [tabindex='0']")]
    .filter((e) => e.offsetParent && !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML.slice(0, 120)));
  assert.deepEqual(nameless, []);
  const spoken = await page.textContent("#say");
  assert.ok(spoken.includes("The model answers."));
  assert.ok(spoken.includes((await answers(page).textContent()).trim().split(/[.!?]/)[0]), spoken);
  assert.equal(await page.getAttribute("#say", "aria-live"), "polite");
});

test("a phone shows everything without scrolling sideways", PHONE, async (page) => {
  await open(page, HOSTILE_URL);
  await page.fill("#ask", "Show me");
  await page.tap("#send");
  await page.waitForSelector(".message.assistant");
  await idle(page);
  assert.equal(await width(page), 0);
  assert.equal(await page.evaluate(() => document.getElementById("log").scrollWidth - document.getElementById("log").clientWidth), 0);
  for (const name of ["chats", "settings", "live"]) {
    await page.tap(`#open-${name}`);
    await page.waitForSelector(`#${name}:not([hidden])`);
    assert.equal(await width(page), 0);
    assert.equal(await page.evaluate((n) => document.getElementById(n).contains(document.activeElement), name), true);
    assert.equal(await page.evaluate(() => document.querySelector("main").inert), true);
    await page.keyboard.press("Escape");
    assert.equal(await page.isHidden(`#${name}`), true);
    assert.equal(await page.evaluate(() => document.activeElement.id), `open-${name}`);
  }
  const small = await page.evaluate(() => [...document.querySelectorAll("button")].filter((e) => e.offsetParent && (e.offsetWidth < 32 || e.offsetHeight < 32)).map((e) => e.outerHTML.slice(0, 90)));
  assert.deepEqual(small, []);
});

test("between phone and desktop nothing scrolls sideways either", DESKTOP, async (page) => {
  await open(page, HOSTILE_URL);
  await talk(page, "Show me");
  for (const w of [320, 480, 768, 1024, 1100, 1600]) {
    await page.setViewportSize({ width: w, height: 700 });
    assert.equal(await width(page), 0, `at ${w}`);
  }
  await page.setViewportSize({ width: 900, height: 700 });
  await page.click("#open-settings");
  assert.equal(await page.isVisible("#shade"), true);
  await shot(page, "tablet");
  await page.click("#shade", { position: { x: 500, y: 300 } });
  assert.equal(await page.isHidden("#settings"), true);
});

test("the page works under a prefix", DESKTOP, async (page) => {
  await open(page, SLOW_URL + "openai/");
  await say(page, "Go on");
  await until(page, () => document.querySelector(".assistant .text").textContent.includes("Sentence"));
  await page.click("#stop");
  await idle(page);
});

// WCAG: at least 4.5 : 1 for text.
const contrasts = (page) => page.evaluate(() => {
  const channel = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const rgb = (s) => s.match(/[\d.]+/g).map(Number);
  const light = (s) => { const [r, g, b] = rgb(s); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (rgb(c)[3] !== 0) return c; } return "rgb(255,255,255)"; };
  return [...document.querySelectorAll("body *")].filter((e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) && !e.closest(".sr") && getComputedStyle(e).opacity === "1")
    .map((e) => { const a = light(getComputedStyle(e).color), b = light(behind(e)); return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)]; }).filter((x) => x[0] < 4.5);
});

for (const scheme of ["light", "dark"])
  test(`the ${scheme} scheme is followed, readable, and can be overruled`, { ...DESKTOP, colorScheme: scheme }, async (page) => {
    await open(page, HOSTILE_URL);
    await talk(page, "Show me");
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const own = await paper(), dark = (c) => Number(c.match(/\d+/)[0]) < 60;
    assert.equal(dark(own), scheme === "dark");
    for (const panel of ["settings", "live"]) {
      await page.click(`#open-${panel}`);
      await page.waitForTimeout(200);
      assert.deepEqual(await contrasts(page), []);
    }
    for (let i = 0; i < (scheme === "dark" ? 1 : 2); i++) await page.click("#theme");
    assert.equal(dark(await paper()), scheme !== "dark");
    await page.reload();
    assert.equal(dark(await paper()), scheme !== "dark");
  });

test("the page finds the server again", DESKTOP, async (page, errors) => {
  await page.route("**/v1/models", (route) => route.abort(), { times: 1 });
  await page.goto(MODEL_URL);
  await page.waitForSelector("#notice:not([hidden])");
  assert.match(await page.textContent("#notice"), /does not answer/);
  await page.waitForSelector("#notice", { state: "hidden", timeout: 10000 });
  errors.length = 0;
});

test("--no-ui leaves the API alone", DESKTOP, async () => {
  for (const [path, status] of [["", 404], ["ui/app.js", 404], ["v1/models", 200]])
    assert.equal((await fetch(BARE_URL + path)).status, status);
});

// ---- run ----
let failed = 0;
const only = process.argv[2];
for (const { name, options, run } of tests.filter((t) => !only || t.name.includes(only))) {
  const context = await browser.newContext({ ...options, acceptDownloads: true });
  const page = await context.newPage(), errors = [], outside = [];
  page.setDefaultTimeout(15000);
  page.on("pageerror", (e) => errors.push(e.message));
  page.on("console", (m) => m.type() === "error" && !/status of (401|429)/.test(m.text()) && errors.push(m.text()));
  page.on("request", (r) => !/^(http:\/\/127\.0\.0\.1:|data:|blob:)/.test(r.url()) && outside.push(r.url()));
  try {
    await run(page, errors, outside);
    assert.deepEqual(errors, []);  // among them: what the policy refused
    assert.deepEqual(outside, []); // nothing is asked of anyone else
    console.log(`ok    ${name}`);
  } catch (e) {
    failed++;
    console.log(`FAIL  ${name}\n${e.stack}\n${errors.join("\n")}`);
    await shot(page, `failed-${failed}`);
  }
  await context.close();
}
await browser.close();
console.log(`${tests.length} tests, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
