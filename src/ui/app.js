// The page: which conversation is shown, what is being answered, which panels are open.
import {$, el, icon, tool, id, save, say, toast} from "./dom.js";
import * as api from "./api.js";
import * as store from "./store.js";
import * as settings from "./settings.js";
import * as live from "./live.js";
import {message} from "./view.js";

let chats = [], chat = null;           // all of them, newest first; the one shown (not in `chats` before its first message)
let model = null, ready = false;
let views = new Map();                 // node id -> view, of the messages that are shown
const running = new Map();             // chat id -> {node, abort}
const gauges = live.panel($("gauges"));

// ---- the conversation that is shown ----
const fresh = () => ({id: id(), title: "", used: Date.now(), nodes: [], pick: {}});
const busy = n => [...running.values()].some(r => r.node === n);

function draw() {
  const list = store.path(chat);
  views = new Map(list.map(entry => [entry.node.id, message(entry, actions, settings.probabilities())]));
  log.replaceChildren(...[...views.values()].map(v => v.root));
  if (!list.length) log.append(el("div.empty", null, icon("strata"), el("p", null, "What would you like to talk about?")));
  $("title").textContent = chat.title || "New conversation";
  document.title = chat.title || "strata";
  buttons();
  toEnd();
}
function buttons() {
  const on = running.has(chat.id), focused = document.activeElement;
  $("send").hidden = on;
  $("stop").hidden = !on;
  if (focused === $("stop") || focused === $("send")) (on ? $("stop") : $("ask")).focus();
}
function open(c) {
  chat = c;
  draw();
  drawList();
}

let following = true;                  // the end is in sight: stay there
const log = $("log");
function toEnd() { log.scrollTop = log.scrollHeight; }
log.onscroll = () => { $("to-end").hidden = following = log.scrollHeight - log.scrollTop - log.clientHeight < 60; };
$("to-end").onclick = toEnd;

// ---- the list ----
async function keep(c) {
  c.used = Date.now();
  if (!chats.includes(c)) chats.unshift(c);
  chats.sort((a, b) => b.used - a.used);
  drawList();
  try {
    await store.put(c);
  } catch (e) {
    toast(`Not stored: ${e.message}`);
  }
}
function rename(c, row) {
  const input = el("input", {value: c.title, "aria-label": "Name of the conversation"});
  input.onblur = () => {
    c.title = input.value.trim() || c.title;
    if (c === chat) $("title").textContent = c.title;
    keep(c);
  };
  input.onkeydown = e => {
    if (e.key !== "Enter" && e.key !== "Escape") return;
    if (e.key === "Escape") input.value = c.title;
    e.stopPropagation();
    input.blur();
    $("list").querySelector(`[data-id="${c.id}"]`).focus();
  };
  row.replaceChildren(input);
  input.select();
}
function forget(c) {
  running.get(c.id)?.abort.abort();
  chats = chats.filter(x => x !== c);
  store.remove(c.id);
  if (c === chat) open(chats[0] || fresh()); else drawList();
  $("new").focus();
  toast(`"${c.title}" is deleted.`, "Undo", () => { keep(c); open(c); });
}
function drawList() {
  $("list").replaceChildren(...chats.map(c => {
    const on = c === chat, row = el("li", {"data-on": on});
    row.append(
      el("button.chat", {"data-id": c.id, "aria-current": on && "true", onclick: () => { open(c); drawer(null); }}, c.title),
      tool("edit", `Rename "${c.title}"`, () => rename(c, row)),
      tool("down", `Export "${c.title}" as Markdown`, () =>
        save(`${c.title.replace(/[^\p{L}\p{N} ]/gu, "")}.md`, "text/markdown", store.asMarkdown(c))),
      tool("trash", `Delete "${c.title}"`, () => forget(c)));
    return row;
  }));
}
$("new").onclick = () => { open(fresh()); drawer(null); $("ask").focus(); };
$("export").onclick = () => save("strata-conversations.json", "application/json", JSON.stringify({chats}, null, 1));

// ---- answers ----
function messages(up) {                // what the model is shown: the path to node `up`
  const list = [], by = new Map(chat.nodes.map(n => [n.id, n]));
  for (let n = by.get(up); n; n = by.get(n.up)) list.unshift({role: n.role, content: n.text});
  return settings.system() ? [{role: "system", content: settings.system()}, ...list] : list;
}

// Speaks what has become whole sentences, and the rest at the end.
function speaker() {
  let said = 0;
  return (text, end) => {
    const rest = text.slice(said), stop = end ? rest.length : Math.max(...[". ", "! ", "? ", "\n"].map(s => rest.lastIndexOf(s))) + 1;
    if (stop > (end ? 0 : 40)) { say(rest.slice(0, stop)); said += stop; }
  };
}

// Tokens may end within a character: their bytes go through one decoder.
function scorer(n) {
  const utf8 = new TextDecoder();
  const text = t => t.bytes ? utf8.decode(new Uint8Array(t.bytes), {stream: true}) : t.token;
  return content => (n.tokens ||= []).push(...content.map(t => [text(t), t.logprob, (t.top_logprobs || []).map(a => [a.token, a.logprob])]));
}

async function answer(n) {       // n: a node of `chat` that is to be filled
  const c = chat, abort = new AbortController(), since = performance.now(), speak = speaker(), score = scorer(n);
  let frame = 0, stored = 0;
  const show = () => {
    frame = 0;
    if (c !== chat) return;
    views.get(n.id)?.draw();
    if (following) toEnd();
    speak(n.text, false);
  };
  const run = {node: n, abort};
  running.set(c.id, run);
  Object.assign(n, {finish: "", error: "", first: 0, last: 0, made: 0});
  draw();
  say("The model answers.");
  try {
    const stream = {model: model?.id, stream: true, stream_options: {include_usage: true}};
    await api.chat({...stream, ...settings.parameters(), messages: messages(n.up)}, abort.signal, event => {
      const choice = event.choices[0], now = performance.now() - since;
      if (event.usage) n.made = event.usage.completion_tokens;
      if (!choice) return;
      if (choice.logprobs?.content) score(choice.logprobs.content);
      if (choice.finish_reason) n.finish = choice.finish_reason;
      if (choice.delta.content || choice.delta.reasoning_content) { n.first ||= now; n.last = now; n.made++; }
      n.text += choice.delta.content || "";
      if (choice.delta.reasoning_content) n.think = (n.think || "") + choice.delta.reasoning_content;
      frame ||= requestAnimationFrame(show);
      if (now - stored > 2000) { stored = now; store.put(c).catch(() => {}); }
    });
  } catch (e) {
    if (e.name === "AbortError") n.finish = "stopped";
    else n.error = e.message;
    if (e.status === 401) askKey();
  }
  cancelAnimationFrame(frame);
  if (running.get(c.id) === run) running.delete(c.id); // else another answer has begun in its place
  show();
  if (c === chat) {
    buttons();
    speak(n.text, true);
    if (n.finish === "stopped") say("Stopped.");
  }
  if (chats.includes(c)) keep(c);    // unless it was deleted meanwhile
}

function add(role, text, up) {
  const n = {id: id(), up, role, text};
  chat.nodes.push(n);
  chat.pick[up] = n.id;
  return n;
}
function ask(text, up) {
  const n = add("user", text, up);
  if (!chat.title) chat.title = text.trim().split("\n")[0].slice(0, 60);
  keep(chat);
  reply(n.id);
}
function reply(up) {
  stop();
  answer(add("assistant", "", up));
}
const stop = () => running.get(chat.id)?.abort.abort();

const actions = {
  busy,
  edit(n, text) {
    if (n.role === "user") { stop(); ask(text, n.up); return; }
    add("assistant", text, n.up);
    keep(chat);
    draw();
  },
  again(n) { reply(n.up); },
  pick(n) {
    chat.pick[n.up] = n.id;
    keep(chat);
    const top = log.scrollTop;
    draw();
    log.scrollTop = top;
    $(`m-${n.id}`).querySelector(".versions button:enabled")?.focus();
  },
};

// ---- the message field ----
const field = $("ask");
function fit() { field.style.height = "auto"; field.style.height = `${Math.min(field.scrollHeight, innerHeight * 0.4)}px`; }
field.oninput = fit;
$("composer").onsubmit = e => {
  e.preventDefault();
  const text = field.value;
  if (!text.trim() || running.has(chat.id)) return;
  if (!ready) { toast("The server is not ready yet."); return; }
  field.value = "";
  fit();
  const list = store.path(chat);
  ask(text, list.at(-1)?.node.id || "");
};
field.onkeydown = e => {
  const sends = e.key === "Enter" && !e.shiftKey && !e.isComposing && !matchMedia("(pointer: coarse)").matches;
  if (sends) { e.preventDefault(); $("composer").requestSubmit(); }
};
$("stop").onclick = stop;

// ---- panels: columns where there is room, drawers over the page elsewhere ----
const DRAWERS = ["chats", "settings", "live"];
const wide = matchMedia("(min-width: 1100px)"), room = matchMedia("(min-width: 760px)");
let opened = null;                     // the drawer that lies over the page
const isColumn = name => name === "chats" ? room.matches : wide.matches;
function lay() {
  for (const name of DRAWERS) {
    const column = isColumn(name), shown = column ? name === "chats" || settings.panel() === name : opened === name;
    $(name).classList.toggle("over", !column);
    $(name).hidden = !shown;
    $(`open-${name}`).ariaExpanded = shown;
  }
  $("shade").hidden = !opened;
  document.querySelector("main").inert = !!opened;
  poll();
}
function drawer(name) {                // opens it, or closes it when it is open; null: closes what lies over the page
  const back = !name && opened && $(`open-${opened}`);
  if (name && isColumn(name)) settings.panel(settings.panel() === name ? "" : name);
  else opened = opened === name ? null : name;
  lay();
  if (name) (!$(name).hidden ? $(name).querySelector("[data-close]") : $(`open-${name}`)).focus();
  if (back) back.focus();
}
for (const name of DRAWERS) {
  $(`open-${name}`).onclick = () => drawer(name);
  $(name).querySelector("[data-close]").onclick = () => drawer(opened ? null : name);
}
$("shade").onclick = () => drawer(null);
for (const m of [wide, room]) m.addEventListener("change", () => { opened = null; lay(); });
addEventListener("keydown", e => {
  if (e.key !== "Escape") return;
  if (opened) drawer(null);
  else if (running.has(chat.id)) stop();
});

// ---- light and dark ----
const THEMES = ["auto", "light", "dark"], root = document.documentElement;
function theme(now) {
  if (now === "auto") delete root.dataset.theme;
  else root.dataset.theme = now;
  try { localStorage.setItem("strata.theme", now); } catch { /* it lasts as long as the page */ }
  $("theme").ariaLabel = $("theme").title = `Colours: ${now === "auto" ? "as the system" : now}`;
  $("theme").replaceChildren(icon(now));
  $("theme").onclick = () => theme(THEMES[(THEMES.indexOf(now) + 1) % 3]);
}

// ---- the server ----
const notice = text => { $("notice").textContent = text; $("notice").hidden = !text; };
function askKey() {
  ready = false;
  notice("");
  $("key").hidden = false;
  $("key-value").focus();
}
$("key").onsubmit = e => {
  e.preventDefault();
  api.setKey($("key-value").value.trim(), $("key-keep").checked);
  $("key-value").value = "";
  $("key").hidden = true;
  connect();
};
async function connect() {
  try {
    model = (await api.json("v1/models")).data[0];
    const props = await api.json("props").catch(() => ({}));
    settings.build($("fields"), props.default_generation_settings?.params || {}, draw);
  } catch (e) {
    if (e.status === 401) { askKey(); return; }
    notice(e.status === 503 ? "The model is being loaded." : e.message);
    setTimeout(connect, e.status === 503 ? 1000 : 3000);
    return;
  }
  $("model").textContent = [model.id, model.meta?.device].filter(Boolean).join(" · ");
  gauges.about(model);
  notice("");
  ready = true;
}
let polling = 0;
async function poll() {
  clearTimeout(polling);
  if ($("live").hidden) return;
  if (!document.hidden && $("key").hidden) {
    try { gauges.show(await api.metrics(), performance.now()); } catch (e) { gauges.fail(e.message); }
  }
  clearTimeout(polling);             // another poll may have begun meanwhile
  polling = setTimeout(poll, 1000);
}

for (const e of document.querySelectorAll("[data-icon]")) e.prepend(icon(e.dataset.icon));
theme(root.dataset.theme || "auto");
settings.build($("fields"), {}, draw);
await store.open();
if (!store.lasting()) toast("This browser stores nothing: the history ends with the page.");
chats = await store.all();
open(chats[0] || fresh());
lay();
field.focus();
connect();
