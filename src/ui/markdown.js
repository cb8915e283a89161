// Markdown as models write it, into DOM nodes.  Nothing of the text becomes HTML: a tag is shown as it was written, links are made
// for http and https alone, images are links.  The time is in proportion to the text: nesting is limited, a search that failed is
// remembered, patterns have bounds.
import {el, copyButton} from "./dom.js";

const DEEP = 8;
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: {1,4}(?! )|$| +)/;

const cells = line => line.trim().replace(/^\||\|$/g, "").split("|").map(c => c.trim());
const isRuler = line => line !== undefined && line.includes("-") && line.includes("|") && cells(line).every(c => /^:?-+:?$/.test(c));
const isBlock = line => FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
const indent = line => line.length - line.trimStart().length;

// ---- blocks: each is one node ----
function fence(lines, i) {
  const [, mark, name] = FENCE.exec(lines[i]), body = [];
  let j = i + 1;
  for (; j < lines.length; j++) {
    const t = lines[j].trim();
    if (t.length >= mark.length && t[0] === mark[0] && [...t].every(c => c === mark[0])) break;
    body.push(lines[j]);
  }
  return {to: j + 1, make: () => el("div.code", null,
    el("div.head", null, name.trim().slice(0, 30) || "text", copyButton("Copy the code", () => body.join("\n"))),
    el("pre", {tabindex: 0}, el("code", null, body.join("\n"))))};
}
function quote(lines, i, depth) {
  let j = i;
  while (j < lines.length && QUOTE.test(lines[j])) j++;
  return {to: j, make: () => el("blockquote", null, ...build(lines.slice(i, j).map(l => l.replace(QUOTE, "")), depth + 1))};
}

function list(lines, i, depth) {
  const first = ITEM.exec(lines[i]), at = first[1].length, ordered = /\d/.test(first[2]), items = [];
  let j = i;
  for (; j < lines.length; j++) {
    const line = lines[j], m = ITEM.exec(line);
    if (m && m[1].length <= at + 1 && m[1].length >= at && !RULE.test(line)) {
      if (/\d/.test(m[2]) !== ordered) break;
      items.push({wide: m[0].length, lines: [line.slice(m[0].length)]});
      continue;
    }
    const item = items[items.length - 1];
    const next = line.trim() ? j : [j + 1, j + 2].find(k => k < lines.length && lines[k].trim());
    if (!line.trim() && next && (indent(lines[next]) > at || ITEM.test(lines[next]))) item.lines.push("");
    else if (line.trim() && indent(line) > at) item.lines.push(line.slice(Math.min(indent(line), item.wide)));
    else if (line.trim() && lines[j - 1].trim() && !isBlock(line)) item.lines.push(line); // a lazy continuation
    else break;
  }
  return {to: j, make: () => el(ordered ? "ol" : "ul", ordered ? {start: parseInt(first[2], 10)} : null, ...items.map(item => {
    const made = build(item.lines, depth + 1), p = made[0];
    if (p && p.tagName === "P") made.splice(0, 1, ...p.childNodes); // a line of its own needs no paragraph
    return el("li", null, ...made);
  }))};
}

function table(lines, i) {
  const head = cells(lines[i]);
  const row = (tag, list) => el("tr", null, ...head.map((_, k) => inline(el(tag), list[k] || "")));
  let j = i + 2;
  const rows = [];
  while (j < lines.length && lines[j].includes("|") && lines[j].trim()) rows.push(cells(lines[j++]));
  return {to: j, make: () => el("div.scroll", {tabindex: 0},
    el("table", null, el("thead", null, row("th", head)), el("tbody", null, ...rows.map(r => row("td", r)))))};
}

function heading(lines, i) {
  const [, mark, text = ""] = HEADING.exec(lines[i]);
  return {to: i + 1, make: () => inline(el(`h${Math.min(6, mark.length + 2)}`), text)};
}

function paragraph(lines, i) {
  let j = i + 1;
  while (j < lines.length && lines[j].trim() && !isBlock(lines[j]) && !isRuler(lines[j + 1])) j++;
  return {to: j, make: () => inline(el("p"), lines.slice(i, j).join("\n").trim())};
}

function block(lines, i, depth) {
  const line = lines[i], nest = depth < DEEP;
  if (FENCE.test(line)) return fence(lines, i);
  if (HEADING.test(line)) return heading(lines, i);
  if (RULE.test(line)) return {to: i + 1, make: () => el("hr")};
  if (nest && QUOTE.test(line)) return quote(lines, i, depth);
  if (nest && ITEM.test(line)) return list(lines, i, depth);
  if (line.includes("|") && isRuler(lines[i + 1])) return table(lines, i);
  return paragraph(lines, i);
}

function split(lines, depth) {
  const out = [];
  for (let i = 0; i < lines.length;) {
    if (!lines[i].trim()) { i++; continue; }
    const b = block(lines, i, depth);
    out.push({source: lines.slice(i, b.to).join("\n"), make: b.make});
    i = b.to;
  }
  return out;
}
const build = (lines, depth) => split(lines, depth).map(b => b.make());

// ---- within a line ----
const NEXT = /[\\`*_~[!\n]|https?:\/\//g;
const LINK = /!?\[((?:[^[\]\\\n]|\\.){0,500})\]\([ ]{0,4}<?([^\s()<>]{0,2000}(?:\([^\s()<>]{0,200}\)[^\s()<>]{0,200})?)>?(?:[ ]{1,4}"[^"\n]{0,200}")?[ ]{0,4}\)/y;
const URI = /https?:\/\/[^\s<>"`]{1,2000}/y;
const word = c => c !== undefined && /[\p{L}\p{N}_]/u.test(c);
const blank = c => c === undefined || /\s/.test(c);
const at = (re, text, i) => { re.lastIndex = i; return re.exec(text); };

export function safeUrl(text) {
  try {
    const u = new URL(text);
    return u.protocol === "http:" || u.protocol === "https:" ? u.href : null;
  } catch {
    return null;
  }
}
const anchor = (href, ...text) => el("a", {href, title: href, target: "_blank", rel: "noopener noreferrer nofollow"}, ...text);

// Where the emphasis that opens at i with mark ends; -1: nowhere.
function closing(text, i, mark, failed) {
  if (failed.has(mark)) return -1;
  for (let j = text.indexOf(mark, i + mark.length + 1); j >= 0; j = text.indexOf(mark, j + 1)) {
    if (mark.length === 1 && text[j + 1] === mark) { j++; continue; }
    while (mark.length === 2 && text[j + 2] === mark[0]) j++;
    if (!blank(text[j - 1]) && text[j - 1] !== "\\" && !(mark[0] === "_" && word(text[j + mark.length]))) return j;
  }
  failed.add(mark);
  return -1;
}

// Each returns where it ended, or 0 when there is nothing of its kind at i.
function emphasis(parent, text, i, depth, failed) {
  const c = text[i], mark = text[i + 1] === c ? c + c : c;
  if ((c === "~" && mark.length < 2) || depth >= DEEP || blank(text[i + mark.length]) || (c === "_" && word(text[i - 1]))) return 0;
  const j = closing(text, i, mark, failed);
  if (j < 0) return 0;
  parent.append(inline(el(c === "~" ? "del" : mark.length === 2 ? "strong" : "em"), text.slice(i + mark.length, j), depth + 1));
  return j + mark.length;
}
function codeSpan(parent, text, i, failed) {
  let n = 1;
  while (text[i + n] === "`") n++;
  if (failed.has(n)) return 0;
  for (let j = i + n; (j = text.indexOf("`", j)) >= 0;) {
    let m = 1;
    while (text[j + m] === "`") m++;
    if (m === n) {
      const t = text.slice(i + n, j).replace(/\n/g, " ");
      parent.append(el("code", null, t.trim() || t));
      return j + n;
    }
    j += m;
  }
  failed.add(n);
  return 0;
}
function link(parent, text, i, depth) {
  const m = at(LINK, text, i), href = m && safeUrl(m[2]);
  if (!href || depth >= DEEP) return 0;
  parent.append(m[0][0] === "!" ? anchor(href, m[1] || "image") : inline(anchor(href), m[1] || href, DEEP));
  return i + m[0].length;
}
function uri(parent, text, i) {
  const m = at(URI, text, i);
  if (!m) return 0;
  let t = m[0].replace(/[.,;:!?'*_~\]}]+$/, "");
  if (t.endsWith(")") && !t.includes("(")) t = t.replace(/\)[.,;:!?]*$/, "");
  const href = safeUrl(t);
  if (!href) return 0;
  parent.append(anchor(href, t));
  return i + t.length;
}

// One construct at i, whose first character is c.
function construct(parent, text, i, c, depth, failed) {
  const inLink = parent.tagName === "A";
  switch (c) {
  case "\\":
    if (text[i + 1] === "\n") return i + 1;
    if (!text[i + 1] || !/[!-/:-@[-`{-~]/.test(text[i + 1])) return 0;
    parent.append(text[i + 1]);
    return i + 2;
  case "\n": parent.append(el("br")); return i + 1;
  case "`": return codeSpan(parent, text, i, failed);
  case "*": case "_": case "~": return emphasis(parent, text, i, depth, failed);
  case "[": return inLink ? 0 : link(parent, text, i, depth);
  case "!": return inLink || text[i + 1] !== "[" ? 0 : link(parent, text, i, depth);
  default: return inLink ? 0 : uri(parent, text, i);
  }
}

function inline(parent, text, depth = 0) {
  const failed = new Set();
  let from = 0;
  for (let m, look = 0; (m = at(NEXT, text, look));) {
    const i = m.index, last = parent.lastChild;
    const end = construct(parent, text, i, m[0][0], depth, failed);
    if (end) {
      if (i > from) parent.insertBefore(document.createTextNode(text.slice(from, i)), last ? last.nextSibling : parent.firstChild);
      from = look = end;
    } else {
      look = i + m[0].length;
      while (text[look] === m[0] && "*_~`".includes(m[0])) look++; // the rest of a run opens nothing either
    }
  }
  parent.append(text.slice(from));
  return parent;
}

// Shows text in target.  Called again with a longer text, it makes only the blocks that changed.
export function render(target, text) {
  const list = split(text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n"), 0), old = target.sources || [];
  let same = 0;
  while (same < old.length && same < list.length && old[same] === list[same].source) same++;
  while (target.childNodes.length > same) target.lastChild.remove();
  for (const b of list.slice(same)) target.append(b.make());
  target.sources = list.map(b => b.source);
}
