// The pictures of README.md, from the demo model: SHOTS/page-desktop.png, SHOTS/page-phone.png.
import { chromium } from "playwright-core";

const { MODEL_URL, HOSTILE_URL, CHROMIUM, SHOTS } = process.env;
const browser = await chromium.launch({ executablePath: CHROMIUM, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });

async function talk(page, text) {
  await page.fill("#ask", text);
  await page.evaluate(() => document.getElementById("composer").requestSubmit());
  await page.waitForSelector("#send:not([hidden])", { timeout: 60000 });
}
async function begin(options, settings) {
  const page = await (await browser.newContext(options)).newPage();
  await page.addInitScript((s) => localStorage.setItem("strata.settings", JSON.stringify(s)), settings);
  await page.goto(MODEL_URL);
  await page.waitForTimeout(500);
  return page;
}

for (const scheme of ["light", "dark"]) {
  const desktop = await begin({ viewport: { width: 1280, height: 800 }, colorScheme: scheme }, { temperature: 0, max_tokens: 80, panel: "live", probabilities: true });
  for (const text of ["Name three animals of the forest.", "Why does it rain?", "Hello! How are you today?"]) {
    await desktop.click("#new");
    await talk(desktop, text);
    await desktop.waitForTimeout(1000);
  }
  for (const text of ["Tell me about the sea.", "What do you like to eat?"]) await talk(desktop, text);
  for (const n of [0, 1]) await desktop.click(`.assistant >> nth=${n} >> [aria-pressed="true"]`, { force: true });
  await desktop.locator(".token").nth(5).hover();
  await desktop.evaluate(() => { // three other clients, so that there is something to see
    for (const prompt of ["Once", "The", "A"])
      fetch("v1/completions", { method: "POST", body: JSON.stringify({ prompt, max_tokens: 700, ignore_eos: true }) });
  });
  for (let i = 0; i < 50 && !/3 running/.test(await desktop.innerText("#gauges")); i++) await desktop.waitForTimeout(50);
  await desktop.screenshot({ path: `${SHOTS}/page-desktop-${scheme}.png` });

  const phone = await begin({ viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true, colorScheme: scheme }, { temperature: 0, max_tokens: 60 });
  await talk(phone, "Hello! How are you today?");
  await talk(phone, "Tell me about the sea.");
  await phone.waitForTimeout(300);
  await phone.screenshot({ path: `${SHOTS}/page-phone-${scheme}.png` });
  await phone.tap("#open-chats");
  await phone.waitForTimeout(200);
  await phone.screenshot({ path: `${SHOTS}/page-phone-drawer-${scheme}.png` });

  const rich = await (await browser.newContext({ viewport: { width: 1000, height: 1100 }, colorScheme: scheme })).newPage();
  await rich.goto(HOSTILE_URL);
  await rich.fill("#key-value", "page-test-key");
  await rich.screenshot({ path: `${SHOTS}/page-key-${scheme}.png` });
  await rich.press("#key-value", "Enter");
  await rich.waitForTimeout(500);
  await talk(rich, "Show me");
  await rich.screenshot({ path: `${SHOTS}/page-rich-${scheme}.png` });
}
await browser.close();
