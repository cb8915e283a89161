// A message on the page: its text, what can be done with it, and the probabilities of its tokens.
import {$, el, tool, copyButton, say} from "./dom.js";
import {render} from "./markdown.js";

// ---- tokens: [text, logprob, [[other, logprob], ...]] ----
const percent = logprob => `${(100 * Math.exp(logprob)).toFixed(1)} %`;
const visible = t => t.replaceAll("\n", "⏎").replace(/^ +| +$/g, s => "␣".repeat(s.length)) || "·";

function showTip(span, [text, logprob, others]) {
  const tip = $("tip"), list = others.some(o => o[0] === text) ? others : [[text, logprob], ...others], r = span.getBoundingClientRect();
  tip.replaceChildren(...list.map(([t, p]) => {
    const bar = el("i");
    bar.style.width = `${100 * Math.exp(p)}%`;
    return el(t === text ? "div.row.chosen" : "div.row", null, el("code", null, visible(t)), percent(p), bar);
  }));
  tip.hidden = false;
  tip.style.left = `${Math.max(8, Math.min(r.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${r.bottom + tip.offsetHeight + 8 < innerHeight ? r.bottom + 6 : Math.max(8, r.top - tip.offsetHeight - 6)}px`;
}
const hideTip = () => { $("tip").hidden = true; };
addEventListener("scroll", hideTip, true);

// One tab stop for all of them, arrow keys between them.
function tokens(box, list) {
  box.replaceChildren(...list.map(([text, logprob], i) => {
    const s = el("span.token", {tabindex: i ? -1 : 0, role: "img", "aria-label": `${text}, ${percent(logprob)}`}, text);
    s.style.setProperty("--doubt", Math.round(100 * (1 - Math.exp(logprob))));
    return s;
  }));
  const index = e => [...box.children].indexOf(e.target);
  const show = e => { if (index(e) >= 0) showTip(e.target, list[index(e)]); };
  box.onpointerover = show;
  box.onpointerleave = box.onfocusout = hideTip;
  box.onfocusin = e => {
    show(e);
    if (index(e) >= 0) say(list[index(e)][2].map(o => `${visible(o[0])} ${percent(o[1])}`).join(", "));
  };
  box.onkeydown = e => {
    const to = box.children[index(e) + ({ArrowRight: 1, ArrowLeft: -1}[e.key] || NaN)];
    if (!to) return;
    e.preventDefault();
    e.target.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  };
}

// ---- one message ----
function stats(n) {
  const made = n.made || 0;
  return [made && `${made} token${made === 1 ? "" : "s"}`,
    n.last - n.first > 200 && `${((made - 1) / (n.last - n.first) * 1000).toFixed(1)} a second`,
        n.first && `first after ${(n.first / 1000).toFixed(2)} s`, n.finish === "length" && "ended at its length",
        n.finish === "stopped" && "stopped"].filter(Boolean).join(" · ");
}

function editor(n, done, cancel) {
  const area = el("textarea", {"aria-label": "Edit the message", rows: Math.min(14, n.text.split("\n").length + 1)});
  const form = el("form.edit", null, area, el("div", null, el("button.quiet", {onclick: cancel}, "Cancel"),
        el("button.primary", {onclick: () => done(area.value)}, n.role === "user" ? "Send" : "Save")));
  area.value = n.text;
  form.onsubmit = e => e.preventDefault();
  form.onkeydown = e => {
    if (e.key === "Escape") { e.stopPropagation(); cancel(); }
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) done(area.value);
  };
  return form;
}

// entry: {node, among}; on: {edit(node, text), again(node), pick(node), busy(node)}; probabilities: shown from the start
export function message({node: n, among}, on, probabilities) {
  const mine = n.role === "user", thought = el("div.md"), think = el("details.think", null, el("summary", null, "Thoughts"), thought);
  const body = el(mine ? "div.text.plain" : "div.text.md", {dir: "auto"}), fault = el("p.fault", {role: "alert"}), acts = el("div.acts");
  const root = el(`article.message.${n.role}`, {"aria-label": mine ? "You" : "Model", id: `m-${n.id}`}, think, body, fault, acts);
  let scored = probabilities;

  function edit() {
    const back = () => { form.replaceWith(body); acts.hidden = false; root.querySelector("[data-edit]")?.focus(); };
    const form = editor(n, text => { back(); if (text.trim() && text !== n.text) on.edit(n, text); }, back);
    body.replaceWith(form);
    acts.hidden = true;
    form[0].focus();
  }
  function versions() {
    const at = among.indexOf(n);
    const go = (name, label, to) => { const b = tool(name, label, () => on.pick(to)); b.disabled = !to; return b; };
    return el("span.versions.stats", {role: "group", "aria-label": "Versions"}, go("left", "Version before", among[at - 1]),
      `${at + 1} / ${among.length}`, go("right", "Next version", among[at + 1]));
  }
  function drawText(busy) {
    const asTokens = scored && n.tokens?.length && !busy;
    if (body.classList.toggle("tokens", !!asTokens)) body.sources = null;
    else if (!mine && !body.sources) body.replaceChildren();
    if (mine) body.textContent = n.text;
    else if (asTokens) tokens(body, n.tokens);
    else render(body, n.text);
    body.hidden = !busy && !n.text;
    if (n.think) render(thought, n.think);
    think.hidden = !n.think;
  }
  function draw() {
    const busy = on.busy(n);
    root.classList.toggle("busy", busy);
    drawText(busy);
    fault.textContent = n.error || "";
    fault.hidden = !n.error;
    acts.replaceChildren();
    if (!busy) {
      const change = tool("edit", mine ? "Edit and send again" : "Edit this answer", edit);
      const toggle = tool("prob", "Probabilities of the tokens", () => {
        scored = !scored;
        draw();
        acts.querySelector("[aria-pressed]").focus();
      });
      change.dataset.edit = "";
      toggle.setAttribute("aria-pressed", scored);
      acts.append(...[among.length > 1 && versions(), n.text && copyButton("Copy the message", () => n.text), change,
        !mine && tool("again", "Answer again", () => on.again(n)), n.tokens?.length && toggle].filter(Boolean));
    }
    if (!mine) acts.append(el("span.stats", null, stats(n)));
  }
  draw();
  return {root, draw, edit};
}
