// What is asked for with each message.  A field left empty is not sent: the server's default holds, and stands in the field.
import {el} from "./dom.js";
import * as store from "./store.js";

const NUMBERS = [ // name, label, largest (0: none, and no slider), smallest, help
  ["temperature", "Temperature", 2, 0, "0 always takes the likeliest token"],
  ["top_p", "Top p", 1, 0, "the likeliest tokens that make up this share"],
  ["min_p", "Min p", 1, 0, "at least this share of the likeliest one"],
  ["top_k", "Top k", 0, 0, "only the k likeliest tokens; 0 is off"],
  ["max_tokens", "Max tokens", 0, 1, "the longest answer"],
  ["seed", "Seed", 0, -1, "the same seed, the same answer; -1 draws one"],
];
const values = store.settings();
function set(name, value) {
  if (value === "" || value === false) delete values[name];
  else values[name] = value;
  store.keep(values);
}
export const probabilities = () => !!values.probabilities;
export const system = () => values.system || "";
export const panel = name => name === undefined ? values.panel || "" : set("panel", name);


// The parameters of a request.
export function parameters() {
  const p = Object.fromEntries(NUMBERS.filter(([name]) => typeof values[name] === "number").map(([name]) => [name, values[name]]));
  const stop = (values.stop || "").split("\n").filter(Boolean).map(s => s.replaceAll("\\n", "\n"));
  if (stop.length) p.stop = stop;
  if (values.probabilities) Object.assign(p, {logprobs: true, top_logprobs: 5});
  return p;
}

const field = (name, help, ...parts) => el("div.field", null, ...parts, el("p.hint", {id: `h-${name}`}, help));
const ids = name => ({id: `f-${name}`, "aria-describedby": `h-${name}`});

function number([name, label, max, min, help], standard) {
  const limits = {min, max: max || null, step: max ? "any" : 1};
  const input = el("input", {...ids(name), ...limits, type: "number", inputmode: "decimal", placeholder: standard});
  const slide = max && el("input", {...limits, type: "range", step: max / 100, "aria-label": `${label}, slider`});
  const show = () => { if (slide) slide.value = values[name] ?? standard ?? min; };
  input.value = values[name] ?? "";
  show();
  input.oninput = () => {
    const good = input.validity.valid;
    input.setAttribute("aria-invalid", !good);
    if (good) set(name, input.value && Number(input.value));
    show();
  };
  if (slide) slide.oninput = () => { input.value = slide.value; input.oninput(); };
  return field(name, help, el("div.line", null, el("label", {for: input.id}, label), input), slide || null);
}
function text(name, label, help, rows) {
  const area = el("textarea", {...ids(name), rows});
  area.value = values[name] || "";
  area.oninput = () => set(name, area.value);
  return field(name, help, el("label", {for: area.id}, label), area);
}
function check(name, label, help, changed) {
  const box = el("input", {...ids(name), type: "checkbox"});
  box.checked = !!values[name];
  box.onchange = () => { set(name, box.checked); changed(); };
  return field(name, help, el("label.check", null, box, label));
}
// standard: the server's own values, by name.
export function build(form, standard, changed) {
  form.onsubmit = e => e.preventDefault();
  form.replaceChildren(
    text("system", "System prompt", "said to the model before everything else", 3),
    ...NUMBERS.map(n => number(n, n[0] === "max_tokens" && standard[n[0]] < 0 ? "no limit" : standard[n[0]])),
    text("stop", "Stop at", "one text a line; \\n stands for a new line", 2),
    check("probabilities", "Token probabilities", "asked for with each answer, shown when a token is pointed at", changed),
    el("button.quiet", {onclick: () => {
      for (const name of Object.keys(values)) if (name !== "panel") set(name, "");
      build(form, standard, changed);
      changed();
    }}, "Back to the server's values"));
}
