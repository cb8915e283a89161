// The server panel: what /metrics and /v1/models say, as pictures.  What the server does not report is not shown.
import {el, svg} from "./dom.js";

const POINTS = 60;
function scaled(n, units) {
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${i ? n.toFixed(n < 10 ? 2 : 1) : n} ${units[i]}`;
}
const bytes = n => scaled(Math.round(n), ["B", "kB", "MB", "GB", "TB"]);
const count = n => n < 1e6 ? Number(n).toLocaleString("en") : scaled(n, ["", "k", "M", "G", "T"]).trim();

const section = (title, ...children) => el("section.gauge", null, el("h3", null, title), ...children);
const facts = rows => el("dl", null, ...rows.filter(r => r[1] || r[1] === 0).flatMap(([k, v]) => [el("dt", null, k), el("dd", null, v)]));
const picture = (cls, height, label, ...shapes) =>
  svg("svg", {class: cls, viewBox: `0 0 300 ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label}, ...shapes);

// parts: [[name, value, class, value as text], ...]
function share(label, parts) {
  const sum = parts.reduce((s, p) => s + p[1], 0) || 1;
  let x = 0;
  const shapes = parts.map(([, v, cls]) => {
    const width = 300 * v / sum;
    x += width;
    return svg("rect", {x: x - width, width, height: 14, class: cls});
  });
  return [picture("bar", 14, `${label}: ${parts.map(p => `${p[0]} ${p[3]}`).join(", ")}`, ...shapes),
    el("ul.legend", null, ...parts.map(([name, , cls, text]) => el("li", null, el(`i.${cls}`), name, el("b", null, text))))];
}
function curve(values) {
  const top = Math.max(1, ...values), x = i => 300 * (i + POINTS - values.length) / (POINTS - 1);
  const line = values.map((v, i) => `${x(i).toFixed(1)},${(42 - 38 * v / top).toFixed(1)}`).join(" ");
  return picture("curve", 44, `highest of the last minute: ${top.toFixed(0)}`,
    svg("polygon", {points: `${x(0)},44 ${line} 300,44`}), svg("polyline", {points: line}));
}
export function panel(root) {
  const speeds = [];
  let last = null, model = null;

  // Per second since the last look; a new engine counts from 0 again.
  function rate(m, now, name) {
    return last && now > last.now && m[name] > last.m[name] ? 1000 * (m[name] - last.m[name]) / (now - last.now) : 0;
  }
  function about() {
    const i = model?.meta || {};
    return model && section("Model", facts([["name", model.id], ["parameters", i.n_params && count(i.n_params)], ["format", i.ftype],
      ["size", i.size && bytes(i.size)], ["context", i.n_ctx && `${count(i.n_ctx)} tokens`], ["device", i.device]]));
  }
  function weights(m, now) {
    const device = m['weights_bytes{tier="device"}'], outside = m['weights_bytes{tier="outside"}'];
    const parts = [["on the device", device, "used"], ["in RAM or on disk", outside, "cached"]].filter(p => p[1] > 0);
    for (const p of parts) p.push(bytes(p[1]));
    return parts.length > 0 && section("Weights", ...share("Weights", parts), outside > 0 &&
      facts([["streamed", bytes(m.streamed_bytes_total)], ["now", `${bytes(rate(m, now, "streamed_bytes_total"))}/s`]]));
  }
  function pages(m) {
    const kv = name => [name, m[`kv_blocks_${name}`], name, count(m[`kv_blocks_${name}`])];
    return section("KV cache", ...share("KV cache", ["used", "cached", "free"].map(kv)),
      el("p.hint", null, `${count(m.kv_blocks)} pages of ${m.kv_block_tokens} tokens`));
  }
  function totals(m) {
    const hits = m.prefix_cache_hit_tokens_total, asked = hits + m.prefix_cache_miss_tokens_total;
    return section("Since the start", facts([["tokens made", m.generated_tokens_total], ["prompt tokens", m.prompt_tokens_total],
      ["from the prefix cache", asked > 0 && `${(100 * hits / asked).toFixed(0)} %`],
      ["a step takes", m.steps_total > 0 && `${(1000 * m.step_seconds_total / m.steps_total).toFixed(1)} ms`],
      ["requests done", m.requests_done_total], ["failed", m.requests_failed_total || ""],
      ["engine restarts", m.engine_restarts_total || ""]]));
  }
  function sections(m, now) {
    const speed = speeds.at(-1), queue = `${m.requests_running} running of ${m.max_sequences}, ${m.requests_waiting} waiting`;
    return ["generated_tokens_total" in m &&
        section("Speed", el("b.big", null, speed.toFixed(speed < 10 ? 1 : 0)), "tokens a second", curve(speeds)),
      "requests_running" in m && section("Queue", el("p.hint", null, queue)),
      m.kv_blocks > 0 && pages(m), weights(m, now), totals(m), about()];
  }
  return {
    about(m) { model = m; },
    fail(text) { root.replaceChildren(...[about(), el("p.hint", null, text)].filter(Boolean)); },
    show(m, now) {
      speeds.push(rate(m, now, "generated_tokens_total"));
      if (speeds.length > POINTS) speeds.shift();
      root.replaceChildren(...sections(m, now).filter(Boolean));
      last = {m, now};
    },
  };
}
