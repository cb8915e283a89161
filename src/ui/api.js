// The server: JSON, the stream of an answer, its gauges.  Paths are relative: a prefix before the page is one before the API.
const base = new URL("./", document.baseURI);
const KEY = "strata.key";
let key = "";
try { key = sessionStorage.getItem(KEY) || localStorage.getItem(KEY) || ""; } catch { /* no storage */ }

export function setKey(value, keep) {
  key = value;
  try {
    localStorage.removeItem(KEY);
    (keep ? localStorage : sessionStorage).setItem(KEY, value);
  } catch { /* it lasts as long as the page */ }
}

export class ApiError extends Error {
  constructor(status, message) { super(message); this.status = status; } // status 0: no answer at all
}

async function call(path, init = {}) {
  const headers = {...init.headers};
  if (key) headers.Authorization = `Bearer ${key}`;
  let r;
  try {
    r = await fetch(new URL(path, base), {...init, headers, cache: "no-store", credentials: "omit"});
  } catch (e) {
    throw e.name === "AbortError" ? e : new ApiError(0, "The server does not answer.");
  }
  if (r.ok) return r;
  let message = `${r.status} ${r.statusText}`;
  try { message = (await r.json()).error.message || message; } catch { /* not JSON: the status must do */ }
  throw new ApiError(r.status, message);
}

export const json = async path => (await call(path)).json();

// Calls onChunk for each event; returns when the server has said [DONE].
export async function chat(body, signal, onChunk) {
  const r = await call("v1/chat/completions",
        {method: "POST", signal, headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
  const reader = r.body.getReader(), utf8 = new TextDecoder();
  let rest = "", whole = false;
  try {
    for (;;) {
      const {value, done} = await reader.read();
      if (done) break;
      const lines = (rest + utf8.decode(value, {stream: true})).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue; // empty lines, ": ping"
        const data = line.slice(5).trim();
        if (data === "[DONE]") { whole = true; continue; }
        const event = JSON.parse(data);
        if (event.error) throw new ApiError(200, event.error.message);
        onChunk(event);
      }
    }
  } catch (e) {
    throw e.name === "AbortError" || e instanceof ApiError ? e : new ApiError(0, "The connection broke in the middle of the answer.");
  }
  if (!whole) throw new ApiError(0, "The connection ended in the middle of the answer.");
}

// Prometheus text: name{labels} value.
export async function metrics() {
  const all = {};
  for (const line of (await (await call("metrics")).text()).split("\n")) {
    const at = line.lastIndexOf(" ");
    if (at > 0 && line[0] !== "#") all[line.slice(0, at).replace(/^strata_/, "")] = Number(line.slice(at + 1));
  }
  return all;
}
