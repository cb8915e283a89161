// What stays in this browser: conversations in IndexedDB, settings in localStorage.
//
// A conversation is a tree, so that no edit and no second answer throws anything away:
//   {id, title, used, nodes: [{id, up, role, text, ...}], pick: {up: id of the child that is shown}}
// `up` is the id of the message before, "" for the first.  Flat: some browsers cannot copy a tree as deep as a conversation.
let db = null;
const memory = new Map();        // when there is no database
export const lasting = () => !!db;

const request = r => new Promise((ok, bad) => { r.onsuccess = () => ok(r.result); r.onerror = () => bad(r.error); });
const chats = mode => db.transaction("chats", mode).objectStore("chats");
export async function open() {
  try {
    const r = indexedDB.open("strata", 1);
    r.onupgradeneeded = () => r.result.createObjectStore("chats", {keyPath: "id"});
    db = await request(r);
  } catch { /* lasting() tells */ }
}
export const all = async () => (db ? await request(chats("readonly").getAll()) : [...memory.values()]).sort((a, b) => b.used - a.used);
export const put = async chat => db ? request(chats("readwrite").put(chat)) : memory.set(chat.id, chat);
export const remove = async id => db ? request(chats("readwrite").delete(id)) : memory.delete(id);

// The messages that are shown: [{node, among}], among: all children of the same parent.
export function path(chat) {
  const by = new Map(), list = [];
  for (const n of chat.nodes) by.has(n.up) ? by.get(n.up).push(n) : by.set(n.up, [n]);
  for (let among, up = ""; (among = by.get(up)); up = list.at(-1).node.id)
    list.push({among, node: among.find(n => n.id === chat.pick[up]) || among.at(-1)});
  return list;
}
const part = ({node}) => `\n## ${node.role === "user" ? "You" : "Model"}\n\n${node.text}\n`;
export const asMarkdown = chat => `# ${chat.title}\n${path(chat).map(part).join("")}`;

export function settings() {
  try { return JSON.parse(localStorage.getItem("strata.settings")) || {}; } catch { return {}; }
}
export function keep(s) {
  try { localStorage.setItem("strata.settings", JSON.stringify(s)); } catch { /* they last as long as the page */ }
}
