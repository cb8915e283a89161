// Making elements.  Text goes in as text nodes: there is no innerHTML in this page, and its policy forbids it.
export const $ = id => document.getElementById(id);
const there = x => x !== null && x !== undefined && x !== false;

function fill(e, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") e.addEventListener(name.slice(2), value);
    else if (there(value)) e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.filter(there));
  return e;
}
// el("p.hint", {id: "a", onclick: f}, "text", node, ...)
export function el(what, attributes, ...children) {
  const [tag, ...classes] = what.split("."), e = document.createElement(tag);
  if (classes.length) e.className = classes.join(" ");
  if (tag === "button") e.type = "button";
  return fill(e, attributes, children);
}
export const svg = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const ICONS = { // 24 x 24, strokes
  menu: "M4 7h16M4 12h16M4 17h16", plus: "M12 5v14M5 12h14", send: "M12 19V5M6 11l6-6 6 6", stop: "M7.5 7.5h9v9h-9z",
  edit: "M4 20l1-4L16.5 4.5a2.1 2.1 0 0 1 3 3L8 19z", again: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9.2M20 4.5v4.7h-4.7",
  copy: "M9 9h11v11H9zM6 15H4V4h11v2", done: "M5 13l4.5 4.5L19 7.5", trash: "M4.5 7h15M9.5 7V4.5h5V7M6.5 7l.8 12.5h9.4L17.5 7",
  down: "M12 4v11M7 10.5l5 5 5-5M5 20h14", end: "M12 5v14M6 13l6 6 6-6", left: "M14.5 6l-6 6 6 6", right: "M9.5 6l6 6-6 6",
  close: "M6 6l12 12M18 6L6 18", tune: "M4 8h8.5M17.5 8H20M4 16h2.5M11.5 16H20M15 5.5v5M9 13.5v5", live: "M3 13h4l3-7 4 12 3-5h4",
  prob: "M5 20v-9M12 20V4M19 20v-5", strata: "M12 3l9 4.5-9 4.5-9-4.5zM3 12l9 4.5 9-4.5M3 16.5l9 4.5 9-4.5",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  light: "M12 8a4 4 0 1 0 .1 0zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  dark: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
};
export const icon = name => svg("svg", {class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true"}, svg("path", {d: ICONS[name]}));
export const tool = (name, label, onclick) => el("button.tool", {"aria-label": label, title: label, onclick}, icon(name));

// Spoken by a screen reader.
export function say(text) {
  $("say").append(el("p", null, text));
  while ($("say").childElementCount > 4) $("say").firstChild.remove();
}

let timer = 0;
export function toast(text, action, run) {
  const t = $("toast"), hide = () => { t.hidden = true; };
  t.replaceChildren(text);
  if (action) t.append(el("button", {onclick: () => { hide(); run(); }}, action));
  t.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(hide, action ? 8000 : 3000);
}

// navigator.clipboard is there only over https and on this machine; the old way works over plain http, too.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea.sr"), before = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}
export const copyButton = (label, text) => tool("copy", label, async () =>
  toast(await copy(text()) ? "Copied" : "This browser does not allow copying"));

export function save(name, type, text) {
  const href = URL.createObjectURL(new Blob([text], {type}));
  el("a", {href, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}
export const id = () => [...crypto.getRandomValues(new Uint8Array(10))].map(b => b.toString(16).padStart(2, "0")).join("");
