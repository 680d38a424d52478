"use strict";
(() => {
const $ = id => document.getElementById(id);
const DATA = JSON.parse($("data").textContent);
const NS = "http://www.w3.org/2000/svg";
const HOSTS = DATA.hosts, ROWS = DATA.rows, STEPS = DATA.steps, FAULTS = DATA.faults;

function el(name, attributes, ...children) {
  const node = document.createElementNS(NS, name);
  for (const key in attributes) if (attributes[key] != null) node.setAttribute(key, attributes[key]);
  for (const child of children) if (child != null) node.append(child);
  return node;
}
function html(name, properties, ...children) {
  const node = document.createElement(name);
  for (const key in properties) {
    if (key.startsWith("aria-") || key === "class" || key === "scope") node.setAttribute(key, properties[key]);
    else node[key] = properties[key];
  }
  for (const child of children) if (child != null) node.append(child);
  return node;
}
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const plural = (n, noun) => n.toLocaleString("en") + " " + noun + (n === 1 ? "" : "s");
function seconds(x) {
  const a = Math.abs(x);
  if (a >= 0.9995) return (a >= 100 ? x.toFixed(0) : a >= 10 ? x.toFixed(1) : x.toFixed(2)) + " s";
  if (a >= 0.00095) return +(x * 1e3).toPrecision(3) + " ms";
  return a ? +(x * 1e6).toPrecision(3) + " µs" : "0 s";
}
function bytes(x) {
  for (const [unit, scale] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (x >= scale) return +(x / scale).toPrecision(3) + " " + unit;
  return Math.round(x) + " B";
}
const name = i => i >= 0 && HOSTS[i] ? HOSTS[i].name : "?";

// ------------------------------------------------------------------------------------------------ theme
const THEMES = {auto: "automatic", light: "light", dark: "dark"};
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme-name").textContent = theme;
  $("theme").setAttribute("aria-label", "Colour theme: " + THEMES[theme]);
}
let theme = "auto";
try { theme = localStorage.getItem("labctl-theme") || "auto"; } catch { /* no storage from a file: stays automatic */ }
if (!(theme in THEMES)) theme = "auto";
setTheme(theme);
$("theme").hidden = false;
$("theme").addEventListener("click", () => {
  const order = Object.keys(THEMES);
  theme = order[(order.indexOf(theme) + 1) % order.length];
  setTheme(theme);
  try { localStorage.setItem("labctl-theme", theme); } catch { /* as above */ }
});

// ------------------------------------------------------------------------------------------------ what rows are
function kind(row) {
  const x = row.x;
  if (row.z) return "noise";
  if (x.includes("icmp")) return "icmp";
  if (x.includes("rst")) return "rst";
  if (x.includes("retransmission")) return "again";
  if (x.includes("zero-window")) return "zero";
  if (x.includes("syn") || x.includes("fin")) return "syn";
  if (row.c) return row.mix ? "syn" : row.c[1] + row.c[3] ? "data" : row.p.stream == null ? "udp" : "ack";
  if (row.p.flags == null) return "udp";
  return row.p.pay ? "data" : "ack";
}
const NAMES = {data: "data", ack: "bare ACK", syn: "SYN, FIN", rst: "reset", icmp: "ICMP error", again: "retransmission", zero: "zero window", udp: "datagram", noise: "ARP, multicast"};
ROWS.forEach((row, i) => {
  row.i = i;
  row.k = kind(row);
  row.problem = !!(row.w && row.w.length);
  const p = row.p;
  row.ports = p.sport != null ? p.sport + " → " + p.dport : "";
  row.text = [row.l, row.ports, p.src, p.dst, p.proto, p.info || "", (row.w || []).join(" "), name(row.a), name(row.b), NAMES[row.k]].join(" ").toLowerCase();
});
const ENDS = [...ROWS.map(r => r.e || r.t), ...STEPS.map(s => s.t + s.s), ...FAULTS.map(f => f.t1 || 0), 0.001];
const FIRST = Math.min(...[...STEPS.map(s => s.t), ...ROWS.filter(r => !r.z).slice(0, 1).map(r => r.t), DATA.end || Infinity].filter(isFinite), ENDS.reduce((a, b) => Math.max(a, b)));
const LAST_EVENT = Math.max(ENDS.reduce((a, b) => Math.max(a, b)), FIRST + 0.001), LAST = LAST_EVENT + (LAST_EVENT - FIRST) * 0.01;
const faultClass = i => "f" + FAULTS[i].fault % 6;
const faultEnd = f => f.t1 == null ? LAST : f.t1;
let view = [FIRST, LAST];
const wholeView = () => view[0] <= FIRST && view[1] >= LAST;

// ------------------------------------------------------------------------------------------------ timeline
const timeBox = $("time");
let timeScale = null;
function ticks(t0, t1, most) {
  const rough = (t1 - t0) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find(m => m * power >= rough);
  const found = [];
  for (let n = Math.ceil(t0 / step); n * step <= t1; n++) found.push(n * step);
  return {step, found};
}
function drawTime() {
  const width = timeBox.clientWidth || 900, narrow = width < 560;
  const left = narrow ? 8 : 104, right = 14, inner = Math.max(50, width - left - right);
  const [t0, t1] = view, X = t => left + (t - t0) / (t1 - t0) * inner;
  timeScale = {left, inner};
  const clip = el("g", {"clip-path": "url(#time-clip)"});
  const svg = el("svg", {role: "img", "aria-label": "Timeline from " + seconds(t0) + " to " + seconds(t1)});
  let y = 26;
  const under = el("g"), over = el("g");
  const lane = (title, height, draw, scale) => {
    if (narrow) { over.append(el("text", {x: left, y: y + 11, class: "lane-name"}, title)); y += 15; }
    else over.append(el("text", {x: 14, y: y + Math.min(height, 34) / 2 + 4, class: "lane-name"}, title));
    if (scale) over.append(el("text", {x: narrow ? width - right : 14, y: narrow ? y - 4 : y + Math.min(height, 34) / 2 + 18, class: "scale", "text-anchor": narrow ? "end" : "start"}, scale));
    draw(y, height);
    y += height + 10;
    under.append(el("line", {x1: left, x2: left + inner, y1: y - 5, y2: y - 5, class: "lane-line"}));
  };
  lane("steps", 20, (top, h) => drawStepSegments(clip, X, top, h));
  if (FAULTS.length) drawFaultLanes(lane, clip, over, X, left, inner);
  if (ROWS.length) lane("packets", 56, (top, h) => drawPacketBars(clip, X, top, h, inner));
  const flows = DATA.throughput ? DATA.throughput.flows : [];
  if (flows.length) {
    const most = visibleMost(flows);
    lane("throughput", 54, (top, h) => flows.forEach((f, i) => drawFlow(clip, over, X, top, h, f, i, most, left, inner)), "to " + bytes(most / DATA.throughput.dt) + "/s");
  }
  for (const plot of PLOTS) {
    const lines = plotLines(plot);
    if (lines.length) lane(plot.name, 58, (top, h) => drawLines(clip, over, X, top, h, lines, plot, left, inner), "to " + plot.show(lines.most));
  }
  const {step, found} = ticks(t0, t1, narrow ? 4 : 9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  for (const t of found) {
    under.append(el("line", {x1: X(t), x2: X(t), y1: 20, y2: y - 6, class: "grid"}));
    over.append(el("text", {x: X(t), y: 14, class: "tick", "text-anchor": X(t) > width - 40 ? "end" : X(t) < left + 16 ? "start" : "middle"}, t.toFixed(digits) + " s"));
  }
  svg.append(el("defs", {}, el("clipPath", {id: "time-clip"}, el("rect", {x: left, y: 0, width: inner, height: y}))), under, clip, over);
  svg.setAttribute("viewBox", "0 0 " + width + " " + y);
  svg.setAttribute("height", y);
  timeBox.replaceChildren(svg);
  $("range").textContent = wholeView() ? "" : seconds(t1 - t0) + " of " + seconds(LAST - FIRST) + ", from " + t0.toFixed(3) + " s";
}
function drawStepSegments(g, X, top, h) {
  for (const s of STEPS) {
    const x = X(s.t), w = Math.max(3, X(s.t + s.s) - x);
    const quiet = !["run", "finish"].includes(s.kind) && s.verdict === "pass";
    const seg = el("rect", {x, y: top, width: w, height: h, rx: 3, class: "step-seg v-" + (quiet ? "setup" : s.verdict)}, el("title", {}, s.i + ". " + s.title + ": " + s.verdict + ", " + seconds(s.s)));
    seg.addEventListener("click", () => { location.hash = "step-" + s.i; });
    g.append(seg);
    if (w > 18) g.append(el("text", {x: x + w / 2, y: top + h / 2 + 3.5, class: "on-seg" + (quiet || s.verdict === "pass" || s.verdict === "skip" ? "" : " on-loud"), "text-anchor": "middle"}, s.i));
  }
}
function faultLanes() {
  const lanes = [];
  FAULTS.forEach((f, i) => {
    let lane = lanes.find(l => l.end <= f.t0 - (LAST - FIRST) * 0.002);
    if (!lane) lanes.push(lane = {faults: []});
    lane.faults.push(i);
    lane.end = faultEnd(f);
  });
  return lanes.slice(0, 8);
}
function drawFaultLanes(lane, g, over, X, left, inner) {
  const lanes = faultLanes();
  lane("faults", lanes.length * 20 - 2, top => lanes.forEach((l, n) => {
    let free = left;
    for (const i of l.faults) {
      const f = FAULTS[i], x = X(f.t0), w = Math.max(3, X(faultEnd(f)) - x), y = top + n * 20;
      g.append(el("rect", {x, y, width: w, height: 1000, class: "fault-wash " + faultClass(i)}));
      g.append(el("rect", {x, y, width: w, height: 17, rx: 3, class: "fault-bar " + faultClass(i)}, el("title", {}, f.name + ": " + f.kind + " at " + name(f.host) + ", " + f.n + " packets")));
      const label = f.name, room = label.length * 6.4, at = clamp(x, left, left + inner) + 5;
      const inside = Math.min(x + w, left + inner) - at > room;
      if (x < left + inner && x + w > left && at >= free && (inside || at + w + room < left + inner)) {
        const start = inside ? at : Math.max(at, x + w + 4);
        const next = l.faults.map(j => X(FAULTS[j].t0)).find(nx => nx > x + w);
        if (inside || next == null || next > start + room) { over.append(el("text", {x: start, y: y + 12.5, class: "fault-label"}, label)); free = start + room; }
      }
    }
  }));
}
function drawPacketBars(g, X, top, h, inner) {
  const size = 4, bins = new Map();
  for (const r of ROWS) {
    if (r.z || (r.e || r.t) < view[0] || r.t > view[1]) continue;
    const count = r.c ? r.c[0] + r.c[2] : 1, from = Math.floor(X(r.t) / size), to = Math.floor(X(r.e || r.t) / size);
    const n = to - from + 1;
    for (let b = Math.max(from, -1); b <= Math.min(to, (inner + 200) / size); b++) bins.set(b, (bins.get(b) || 0) + count / n);
  }
  const most = Math.max(1, ...bins.values());
  for (const [b, n] of bins) {
    const bar = Math.max(2, Math.sqrt(n / most) * (h - 24));
    g.append(el("rect", {x: b * size + 0.5, y: top + h - bar, width: size - 1, height: bar, class: "bars"}));
  }
  const shown = new Map();
  for (const r of ROWS) {
    if (!r.problem || r.t < view[0] || r.t > view[1]) continue;
    const x = X(r.t), spot = r.k + Math.round(x / 9);
    if (shown.has(spot)) continue;
    shown.set(spot, 1);
    const mark = badge(r.c ? "again" : markOf(r), x, top + (["icmp", "zero", "rst"].includes(r.k) ? 16 : 5), 4.8);
    mark.append(el("title", {}, r.l + ": " + r.w.join(", ")));
    mark.addEventListener("click", () => select(r.i, true));
    g.append(mark);
  }
}
const markOf = r => r.k === "rst" || r.k === "icmp" || r.k === "zero" || r.k === "again" ? r.k : "lost";
function visibleMost(flows) {
  const {t0, dt} = DATA.throughput;
  let most = 1;
  for (const f of flows) for (const [b, v] of f.b) { const t = t0 + b * dt; if (t + dt >= view[0] && t <= view[1]) most = Math.max(most, v); }
  return most;
}
function drawFlow(g, over, X, top, h, flow, i, most, left, inner) {
  const {t0, dt} = DATA.throughput, cls = " s" + i % 8;
  let d = "", last = -2;
  const base = top + h, Y = v => base - v / most * (h - 12);
  for (const [b, v] of flow.b) {
    if (b !== last + 1) d += (last >= 0 ? "V" + base : "") + "M" + X(t0 + b * dt).toFixed(1) + " " + base;
    d += "V" + Y(v).toFixed(1) + "H" + X(t0 + (b + 1) * dt).toFixed(1);
    last = b;
  }
  if (last >= 0) d += "V" + base;
  g.append(el("path", {d, class: "area" + cls}), el("path", {d, class: "series" + cls + (i % 2 ? " dash" : "")}));
  legend(over, left, inner, top, i, flow.name, cls);
}
function legend(over, left, inner, top, i, text, cls) {
  const wide = Math.min(215, Math.max(125, inner / 3)), x = left + 6 + i * wide;
  if (x + wide > left + inner + 20) return;
  const room = Math.floor((wide - 30) / 6);
  over.append(el("rect", {x, y: top + 1, width: 10, height: 4, rx: 2, class: "swatch" + cls}), el("text", {x: x + 14, y: top + 7}, text.length > room ? text.slice(0, room - 1) + "…" : text));
}
const PLOTS = [
  {name: "recv_q", column: 1, show: bytes}, {name: "send_q", column: 2, show: bytes},
  {name: "cwnd", column: 3, show: x => x + " segments"}, {name: "rtt", column: 4, show: x => seconds(x / 1e3)},
];
function plotLines(plot) {
  const lines = [];
  let most = 0;
  for (const s of DATA.sockets) {
    const values = s.p.filter(p => p[plot.column] != null);
    if (!values.some(p => p[plot.column] > (plot.name === "send_q" ? 1 : 0))) continue;
    lines.push({name: s.host + s.name, points: s.p});
    for (const p of values) most = Math.max(most, p[plot.column]);
  }
  const kept = lines.slice(0, 8);
  kept.most = most;
  return kept;
}
function drawLines(g, over, X, top, h, lines, plot, left, inner) {
  const base = top + h, Y = v => base - v / (lines.most || 1) * (h - 14);
  lines.forEach((line, i) => {
    let d = "", pen = false;
    for (const p of line.points) {
      const v = p[plot.column], x = X(p[0]).toFixed(1);
      if (v == null) { if (pen) d += "H" + x; pen = false; continue; }
      d += pen ? "H" + x + "V" + Y(v).toFixed(1) : "M" + x + " " + Y(v).toFixed(1);
      pen = true;
    }
    if (pen) d += "H" + X(LAST).toFixed(1);
    g.append(el("path", {d, class: "series s" + i % 8 + (i % 2 ? " dash" : "")}, el("title", {}, line.name)));
    legend(over, left, inner, top, i, line.name, " s" + i % 8);
  });
}
function setView(t0, t1) {
  const least = 0.0005, span = clamp(t1 - t0, least, LAST - FIRST);
  t0 = clamp(t0, FIRST, LAST - span);
  view = [t0, t0 + span];
  drawTime();
  applyFilter();
}
function zoomBy(factor, at) {
  const [t0, t1] = view, middle = at == null ? (t0 + t1) / 2 : at;
  setView(middle - (middle - t0) * factor, middle + (t1 - middle) * factor);
}
function zoomTo(what) {
  const [t0, t1] = view, span = t1 - t0;
  if (what === "in") zoomBy(0.5); else if (what === "out") zoomBy(2);
  else if (what === "left") setView(t0 - span / 3, t1 - span / 3); else if (what === "right") setView(t0 + span / 3, t1 + span / 3);
  else setView(FIRST, LAST);
}
const timeAt = event => { const box = timeBox.getBoundingClientRect(); return view[0] + clamp((event.clientX - box.left - timeBox.clientLeft - timeScale.left) / timeScale.inner, 0, 1) * (view[1] - view[0]); };
let drag = null;
timeBox.addEventListener("pointerdown", event => { if (event.button === 0 && timeScale) drag = {t: timeAt(event), x: event.clientX}; });
timeBox.addEventListener("pointermove", event => {
  const svg = timeBox.firstChild;
  if (!drag || !svg || Math.abs(event.clientX - drag.x) < 5) return;
  svg.querySelector(".brush")?.remove();
  const x = t => timeScale.left + (t - view[0]) / (view[1] - view[0]) * timeScale.inner, a = x(drag.t), b = x(timeAt(event));
  svg.append(el("rect", {x: Math.min(a, b), y: 18, width: Math.abs(b - a), height: 2000, class: "brush"}));
});
addEventListener("pointerup", event => {
  if (!drag) return;
  const from = drag;
  drag = null;
  timeBox.querySelector(".brush")?.remove();
  if (Math.abs(event.clientX - from.x) < 5) return;
  const to = timeAt(event);
  setView(Math.min(from.t, to), Math.max(from.t, to));
});
addEventListener("pointercancel", () => { drag = null; timeBox.querySelector(".brush")?.remove(); });
timeBox.addEventListener("dblclick", () => zoomTo("all"));
timeBox.addEventListener("wheel", event => { if (event.ctrlKey || event.metaKey) { event.preventDefault(); zoomBy(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event)); } }, {passive: false});
timeBox.addEventListener("keydown", event => {
  const what = {"+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", "0": "all", Escape: "all"}[event.key];
  if (what) { event.preventDefault(); zoomTo(what); }
});
document.querySelectorAll("[data-zoom]").forEach(button => button.addEventListener("click", () => zoomTo(button.dataset.zoom)));
document.querySelectorAll(".to-packets").forEach(button => {
  const at = STEPS.findIndex(s => s.i === +button.dataset.step);
  if (at < 0 || !ROWS.length) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const s = STEPS[at], next = STEPS[at + 1], end = next ? Math.max(next.t, s.t + s.s) : LAST, margin = (end - s.since) * 0.02;
    setView(s.since - margin, end + margin);
    $("packets").scrollIntoView();
  });
});

// ------------------------------------------------------------------------------------------------ ladder: layout
const viewBox = $("ladder-view"), ladder = $("ladder"), headBox = $("ladder-head");
const GAP_S = 0.25;
let shown = [], items = [], bandsAt = [], rowY = new Map(), times = [], heights = [], total = 0, stretch = 1, columnsAt = [], geometry = null, selected = -1;

function measure() {
  const width = viewBox.clientWidth || 900, narrow = width < 620;
  const left = narrow ? 8 : 86, labels = narrow ? 0 : clamp(width * 0.39, 230, 400);
  const inner = width - left - labels - (narrow ? 8 : 0), pad = narrow ? 34 : 62, n = HOSTS.length;
  columnsAt = HOSTS.map((_, i) => n === 1 ? left + inner / 2 : left + pad + i * (inner - 2 * pad) / (n - 1));
  geometry = {width, narrow, left, labels: width - labels + 6, row: narrow ? 36 : 24};
}
function passes(row, words, protocol, host, problems, noise) {
  if (row.z && !noise) return false;
  if (problems && !row.problem) return false;
  if (!wholeView() && ((row.e || row.t) < view[0] || row.t > view[1])) return false;
  if (protocol && row.p.proto !== protocol) return false;
  if (host !== "" && row.a !== +host && row.b !== +host && !row.h.some(h => h[0] === +host)) return false;
  return words.every(word => row.text.includes(word));
}
function applyFilter() {
  const words = $("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const arguments_ = [words, $("filter-protocol").value, $("filter-host").value, $("filter-problems").checked, $("filter-noise").checked];
  shown = ROWS.filter(row => passes(row, ...arguments_));
  tablePage = 0;
  layout();
  drawTable();
  const many = shown.reduce((n, r) => n + (r.c ? r.c[0] + r.c[2] : 1), 0);
  if (ROWS.length) $("counts").textContent = plural(many, "packet") + (shown.length < many ? " in " + plural(shown.length, "row") : "") + ", " + plural(shown.filter(r => r.problem).length, "problem") + (wholeView() ? "" : ", " + view[0].toFixed(3) + " to " + view[1].toFixed(3) + " s");
}
function layout() {
  measure();
  const events = [];
  for (const row of shown) {
    events.push([row.t, 2, row]);
    for (let i = 1; i < row.h.length; i++) events.push([row.h[i][1], 3, null]);
    if (row.e) events.push([row.e, 3, null]);
  }
  for (const s of STEPS) if (s.t >= view[0] && s.t <= view[1]) events.push([s.t, 0, s]);
  for (const f of FAULTS) for (const t of [f.t0, faultEnd(f)]) if (t >= view[0] && t <= view[1]) events.push([t, 1, null]);
  events.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  items = []; times = []; heights = []; rowY = new Map();
  let y = 6, before = null, lastRow = -100;
  for (const [t, what, thing] of events) {
    const dt = before == null ? 0 : t - before;
    if (dt > GAP_S) { items.push({gap: dt, y: y + 17}); y += geometry.narrow ? 50 : 34; }
    else if (dt > 0) y += clamp(4.5 * Math.log2(1 + dt * 1e3 / 0.25), 2.4, 20) * stretch;
    if (what === 2) { y = Math.max(y, lastRow + geometry.row * stretch); lastRow = y; rowY.set(thing.i, y); items.push({row: thing, y}); }
    if (what === 0) { y += 22; items.push({step: thing, y}); y += 8; lastRow = Math.max(lastRow, y - geometry.row + (geometry.narrow ? 28 : 14)); }
    times.push(t); heights.push(y);
    before = t;
  }
  total = y + 36;
  bandsAt = FAULTS.map((f, i) => ({f, i, y0: f.t0 < view[0] ? 0 : yAt(f.t0), y1: faultEnd(f) > view[1] ? total : yAt(faultEnd(f))})).filter(b => faultEnd(b.f) >= view[0] && b.f.t0 <= view[1]);
  ladder.setAttribute("height", total);
  ladder.setAttribute("viewBox", "0 0 " + geometry.width + " " + total);
  $("ladder-empty").hidden = shown.length > 0;
  drawHead();
  drawn = [-1, -1];
  draw();
}
function yAt(t) {
  let low = 0, high = times.length - 1;
  if (high < 0) return 0;
  while (low < high) { const middle = low + high + 1 >> 1; if (times[middle] <= t) low = middle; else high = middle - 1; }
  return heights[low];
}

// ------------------------------------------------------------------------------------------------ ladder: drawing
function drawHead() {
  const svg = el("svg", {viewBox: "0 0 " + geometry.width + " 52"});
  HOSTS.forEach((h, i) => {
    const x = columnsAt[i], router = DATA.routers.includes(i);
    svg.append(el("text", {x, y: 21, class: "name", "text-anchor": "middle"}, h.name));
    const address = router ? "router" : h.addresses[0] || "";
    if (!geometry.narrow || HOSTS.length < 4) svg.append(el("text", {x, y: 36, class: "address", "text-anchor": "middle"}, address));
    svg.append(el("circle", {cx: x, cy: 49, r: 3, fill: "var(--faint)"}));
  });
  headBox.replaceChildren(svg);
}
let drawn = [-1, -1];
function draw() {
  const top = viewBox.scrollTop, bottom = top + (viewBox.clientHeight || 800);
  if (drawn[0] <= Math.max(0, top - 60) && drawn[1] >= Math.min(total, bottom + 60)) return;
  const y0 = Math.max(0, top - 500), y1 = Math.min(total, bottom + 500);
  drawn = [y0, y1];
  const back = el("g", {"aria-hidden": "true"}), front = el("g");
  bandsAt.forEach(b => drawBand(back, b, y0, y1));
  columnsAt.forEach((x, i) => back.append(el("line", {x1: x, x2: x, y1: y0, y2: y1, class: "life" + (DATA.routers.includes(i) ? " life-router" : "")})));
  let from = firstItem(y0 - 400);
  const focused = document.activeElement && document.activeElement.classList.contains("row");
  for (; from < items.length && items[from].y <= y1; from++) {
    const item = items[from];
    if (item.step) { if (item.y >= y0 - 40) drawStepLine(back, item); }
    else if (item.gap) { if (item.y >= y0 - 40) drawGap(back, item); }
    else front.append(drawRow(item.row, item.y));
  }
  ladder.replaceChildren(back, front);
  if (focused && selected >= 0) ladder.querySelector(".row.on")?.focus({preventScroll: true});
}
function firstItem(y) {
  let low = 0, high = items.length;
  while (low < high) { const middle = low + high >> 1; if (items[middle].y < y) low = middle + 1; else high = middle; }
  return low;
}
function drawBand(g, band, y0, y1) {
  if (band.y1 < y0 || band.y0 > y1 || band.f.host < 0) return;
  const same = bandsAt.filter(b => b.f.host === band.f.host && b.y0 < band.y1 && b.y1 > band.y0);
  const n = same.indexOf(band), w = 40, x = columnsAt[band.f.host] - w / 2 + (n - (same.length - 1) / 2) * (w + 3), cls = faultClass(band.i);
  const height = Math.max(4, band.y1 - band.y0);
  g.append(el("rect", {x, y: band.y0, width: w, height, rx: 4, class: "fault-band " + cls}));
  g.append(el("line", {x1: x, x2: x + w, y1: band.y0, y2: band.y0, class: "fault-edge " + cls}), el("line", {x1: x, x2: x + w, y1: band.y1, y2: band.y1, class: "fault-edge " + cls}));
  for (let y = band.y0 + 14; y < band.y1 + 10; y += 600) {
    if (y < y0 - 20 || y > y1 + 20) continue;
    g.append(el("text", {x: geometry.narrow ? clamp(x + w / 2, 40, geometry.width - 40) : x + w + 5, y, class: "fault-label", "text-anchor": geometry.narrow ? "middle" : "start"}, band.f.name + (geometry.narrow ? "" : " · " + band.f.kind)));
  }
}
function drawStepLine(g, item) {
  const s = item.step, y = item.y, cls = s.verdict !== "pass" ? " bad-" + s.verdict : ["run", "finish"].includes(s.kind) ? "" : " quiet-step";
  const room = Math.floor((geometry.width - 40) / 6.6), text = s.i + ". " + s.title;
  g.append(el("line", {x1: 0, x2: geometry.width, y1: y - 16, y2: y - 16, class: "step-line"}));
  g.append(el("text", {x: 12, y: y - 2, class: "step-name" + cls}, text.length > room ? text.slice(0, room - 1) + "…" : text));
}
function drawGap(g, item) {
  const y = item.y, x0 = columnsAt[0], x1 = columnsAt[columnsAt.length - 1];
  for (const x of columnsAt) g.append(el("rect", {x: x - 3, y: y - 8, width: 6, height: 16, class: "gap-box"}), el("path", {d: "M" + (x - 6) + " " + (y - 5) + "l12 -4m-12 12l12 -4", class: "gap-zig"}));
  const middle = (x0 + (columnsAt[1] == null ? x1 : columnsAt[1])) / 2;
  g.append(el("text", {x: columnsAt.length > 1 ? middle : x0 + 12, y: y + 4, class: "gap-text", "text-anchor": columnsAt.length > 1 ? "middle" : "start"}, "… " + seconds(item.gap) + " …"));
}
function path(row) {
  const points = row.h.map(h => [columnsAt[h[0]], yAt(h[1])]);
  const last = row.h[row.h.length - 1][0];
  let stop = null;
  if (row.f === 1 && row.b >= 0) {
    const direction = Math.sign(row.b - last) || 1, [x, y] = points[points.length - 1];
    const visits = row.h.filter(h => h[0] === last).length;
    const next = columnsAt[last + direction];
    const left = last === row.a || visits > 1;
    stop = left && next != null ? [x + (next - x) * 0.45, y + 4] : [x, y + 3];
  }
  return {points, stop};
}
function drawRow(row, y) {
  const g = el("g", {class: "row k-" + row.k + (row.i === selected ? " on" : ""), role: "button", tabindex: row.i === selected ? 0 : -1, "data-row": row.i, "aria-label": spoken(row)});
  const h = geometry.row * Math.min(stretch, 1.2);
  g.append(el("rect", {x: 0, y: geometry.narrow ? y - 20 : y - 12, width: geometry.width, height: Math.max(20, h - 1), class: "hit"}));
  if (row.c) drawBurst(g, row, y); else drawPacket(g, row, y);
  drawLabel(g, row, y);
  return g;
}
function drawPacket(g, row, y) {
  const {points, stop} = path(row);
  if (points.length === 1 && !stop) {
    const [x] = points[0];
    if (row.b === row.a && row.b >= 0 && !row.z) g.append(el("path", {d: "M" + x + " " + (y - 4) + "c26 0 26 10 2 10", class: "wire"}), arrowHead(x + 9, y + 5, x + 1, y + 6));
    else g.append(el("circle", {cx: x, cy: y, r: 3.5, class: "dot"}));
    if (!row.z && row.b !== row.a) stubTo(g, row, points[0]);
  } else if (points.length > 1) {
    g.append(el("path", {d: "M" + points.map(p => p[0].toFixed(1) + " " + p[1].toFixed(1)).join("L"), class: "wire"}));
    for (let i = 1; i < points.length - 1; i++) g.append(el("circle", {cx: points[i][0], cy: points[i][1], r: 2, class: "head"}));
    const end = points[points.length - 1], from = [...points].reverse().find(p => p[0] !== end[0]) || points[0];
    if (!stop) g.append(arrowHead(from[0], from[1], end[0], end[1]));
  }
  if (stop) {
    const [x, yy] = points[points.length - 1];
    if (stop[0] !== x) g.append(el("path", {d: "M" + x + " " + yy + "L" + stop[0] + " " + stop[1], class: points.length > 1 ? "stub" : "wire"}));
    g.append(cross(stop[0], stop[1], 5.5));
  }
  if (row.x.includes("forged")) g.append(el("path", {d: "M" + points[0][0] + " " + (points[0][1] - 6) + "l6 6-6 6-6-6z", class: "badge-shape"}));
  if (row.x.includes("duplicate")) g.append(el("text", {x: points[0][0] + 6, y: y - 4, class: "wrong"}, "×2"));
  if (["rst", "icmp", "again", "zero"].includes(row.k)) {
    const a = points[0], b = stop || points.find(p => p[0] !== a[0]) || a;
    g.append(badge(row.k, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2, 6.5));
  }
}
function stubTo(g, row, [x, y]) {
  if (row.a < 0 || row.h[0][0] !== row.a) return;
  const next = columnsAt[row.h[0][0] + 1] ?? columnsAt[row.h[0][0] - 1];
  if (next != null) g.append(el("path", {d: "M" + x + " " + y + "L" + (x + (next - x) * 0.4) + " " + (y + 3), class: "stub"}));
}
function drawBurst(g, row, y) {
  const x0 = columnsAt[row.a] ?? columnsAt[row.h[0][0]], x1 = columnsAt[row.b] ?? x0 + 30, end = Math.max(y + 2, yAt(row.e)), tip = x1 > x0 ? 1 : -1;
  const far = columnsAt[row.b] ?? x1, back = row.c[2] > 0;
  g.append(el("path", {d: "M" + (x0 + (back ? 10 * tip : 0)) + " " + (y - 5) + "H" + (x1 - 10 * tip) + "L" + x1 + " " + y + "L" + (x1 - 10 * tip) + " " + (y + 5) + "H" + (x0 + (back ? 10 * tip : 0)) + (back ? "L" + x0 + " " + y : "") + "z", class: "burst"}));
  for (const x of [x0, far]) g.append(el("rect", {x: x - 3, y: y - 5, width: 6, height: end - y + 8, rx: 3, class: "burst-last"}));
  g.append(el("path", {d: "M" + x0 + " " + y + "H" + x1, class: "burst-edge"}));
  if (row.problem) g.append(badge(row.k === "syn" || row.k === "data" || row.k === "ack" || row.k === "udp" ? "lost" : row.k, (x0 + x1) / 2, y + 1, 6.5));
}
function arrowHead(x0, y0, x, y) {
  const a = Math.atan2(y - y0, x - x0), s = 7;
  const p = d => (x - s * Math.cos(a + d)).toFixed(1) + " " + (y - s * Math.sin(a + d)).toFixed(1);
  return el("path", {d: "M" + x.toFixed(1) + " " + y.toFixed(1) + "L" + p(0.42) + "L" + p(-0.42) + "z", class: "head"});
}
const cross = (x, y, r) => el("path", {d: "M" + (x - r) + " " + (y - r) + "L" + (x + r) + " " + (y + r) + "M" + (x - r) + " " + (y + r) + "L" + (x + r) + " " + (y - r), class: "cross"});
// Shape says it as well as colour: octagon reset, triangle ICMP, circle with arrow again, hollow square zero window, cross stopped.
function badge(what, x, y, r) {
  const g = el("g", {class: "k-" + what, transform: "translate(" + x.toFixed(1) + " " + y.toFixed(1) + ") scale(" + r / 8 + ")"});
  if (what === "rst") g.append(el("path", {d: "M-3.300 -8H3.300L8 -3.300V3.300L3.300 8H-3.300L-8 3.300V-3.300z", class: "badge-shape"}), el("path", {d: "M-3 -3L3 3M-3 3L3 -3", class: "badge-sign"}));
  else if (what === "icmp") g.append(el("path", {d: "M0 -8.500L8.500 7H-8.500z", class: "badge-shape"}), el("path", {d: "M0 -2.500V2M0 4.600V4.700", class: "badge-sign"}));
  else if (what === "again") g.append(el("circle", {r: 8, class: "badge-shape"}), el("path", {d: "M3.700 -1.500A4 4 0 1 0 3.400 2.200M4.300 -4.400V-1.200H1.200", class: "badge-sign"}));
  else if (what === "zero") g.append(el("rect", {x: -7, y: -7, width: 14, height: 14, class: "badge-shape"}), el("path", {d: "M-3 0H3", class: "badge-sign"}));
  else g.append(cross(0, 0, 6));
  return g;
}
function drawLabel(g, row, y) {
  const wrong = (row.w || []).filter(w => row.c || w !== "ICMP error" && w !== "reset").map(w => w === "lost" ? "stopped" : w);
  const parts = [el("tspan", {class: "about"}, row.l)];
  if (wrong.length) parts.push(el("tspan", {class: wrong[0] === "stopped" ? "stopped" : "wrong"}, "  " + wrong.join(", ")));
  if (geometry.narrow) {
    const text = el("text", {x: 8, y: y - 7}, el("tspan", {class: "time"}, row.t.toFixed(3) + " "), ...parts);
    g.append(text);
    return;
  }
  g.append(el("text", {x: 12, y: y + 4, class: "time"}, row.t.toFixed(4)));
  const text = el("text", {x: geometry.labels, y: y + 4}, ...parts);
  if (row.ports) text.append(el("tspan", {class: "ports"}, "  " + row.ports));
  g.append(text);
}
function spoken(row) {
  const numbers = row.c ? "" : row.h.map(h => "number " + h[2] + " at " + name(h[0])).join(", ");
  return row.t.toFixed(4) + " seconds: " + row.l + ", " + name(row.a) + " to " + name(row.b) + (row.ports ? ", ports " + row.ports : "") + ((row.w || []).length ? "; " + row.w.join(", ") : "") + (numbers ? "; " + numbers : "");
}

// ------------------------------------------------------------------------------------------------ details
const FLAGS = [[1, "FIN"], [2, "SYN"], [4, "RST"], [8, "PSH"], [16, "ACK"], [32, "URG"], [64, "ECE"], [128, "CWR"]];
function numbersAt(row) {
  if (row.n) return row.n.map(([h, low, high]) => [h, low === high ? "#" + low : "#" + low + " to #" + high, low, high]);
  const found = new Map();
  for (const [h, , n] of row.h) found.set(h, [...(found.get(h) || []), n]);
  return [...found].map(([h, ns]) => [h, ns.map(n => "#" + n).join(", "), Math.min(...ns), Math.max(...ns)]);
}
function filterFor(row) {
  const p = row.p, six = (p.src || "").includes(":"), ip = six ? "ipv6" : "ip", q = [];
  if (p.icmp) {
    return ip + ".src == " + p.src + " && " + ip + ".dst == " + p.dst + " && " + (six ? "icmpv6" : "icmp") + ".type == " + p.icmp[0] + (p.id && p.id !== "0x0000" ? " && ip.id == " + p.id : "");
  }
  if (row.c) {
    const t = p.sport == null ? "" : p.stream == null ? "udp" : "tcp";
    q.push(ip + ".addr == " + p.src, ip + ".addr == " + p.dst);
    if (t && !row.mix) q.push(t + ".port == " + p.sport, t + ".port == " + p.dport);
    return q.join(" && ");
  }
  if (!p.src) return row.h.length ? "frame.number == " + row.h[0][2] : "";
  q.push(ip + ".src == " + p.src, ip + ".dst == " + p.dst);
  if (p.flags != null) q.push("tcp.srcport == " + p.sport, "tcp.dstport == " + p.dport, "tcp.seq_raw == " + p.raw, "tcp.flags == 0x" + p.flags.toString(16).padStart(4, "0"));
  else if (p.sport != null) q.push("udp.srcport == " + p.sport, "udp.dstport == " + p.dport);
  if (p.id && p.id !== "0x0000") q.push("ip.id == " + p.id);
  return q.join(" && ");
}
function fieldsOf(row) {
  const p = row.p, f = [];
  const at = (address, port) => address + (port != null ? " port " + port : "");
  if (p.src) f.push(["from", at(p.src, p.sport) + " (" + name(row.a) + ")"], ["to", at(p.dst, p.dport) + " (" + (row.b < 0 ? "no host of the lab" : name(row.b)) + ")"]);
  f.push(["protocol", p.proto]);
  if (row.c) {
    f.push([name(row.a) + " sent", plural(row.c[0], "packet") + ", " + bytes(row.c[1]) + " of payload"], [name(row.b) + " sent", plural(row.c[2], "packet") + ", " + bytes(row.c[3]) + " of payload"], ["lasted", seconds(row.e - row.t)]);
    return f;
  }
  if (p.flags != null) {
    f.push(["flags", FLAGS.filter(([bit]) => p.flags & bit).map(x => x[1]).join(", ") + " (0x" + p.flags.toString(16).padStart(3, "0") + ")"]);
    f.push(["seq", p.seq + (p.raw != null ? " (raw " + p.raw + ")" : "")], ["ack", p.ack ?? "–"], ["payload", bytes(p.pay || 0)], ["window", p.win != null ? bytes(p.win) : "–"]);
  }
  if (p.icmp) f.push(["icmp type, code", p.icmp.join(", ")]);
  f.push(["length", p.len + " B"]);
  if (p.ttl != null) f.push(["ttl", p.ttl]);
  if (p.id) f.push(["ip id", p.id]);
  if (row.pieces) f.push(["arrived in", plural(row.pieces, "piece")]);
  return f;
}
function copyLine(text) {
  const button = html("button", {type: "button", textContent: "Copy", "aria-label": "Copy the filter"});
  const code = html("code", {textContent: text});
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text); }
    catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      try { document.execCommand("copy"); } catch { /* it is selected: the reader can copy it */ }
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return html("div", {class: "copy"}, code, button);
}
function showDetail(row) {
  const close = html("button", {type: "button", class: "quiet close", textContent: "✕", "aria-label": "Close the details"});
  close.addEventListener("click", () => select(-1));
  const list = html("dl", {});
  for (const [key, value] of fieldsOf(row)) list.append(html("dt", {textContent: key}), html("dd", {textContent: value}));
  const where = html("dl", {});
  for (const [h, text] of numbersAt(row)) where.append(html("dt", {textContent: name(h)}), html("dd", {textContent: text}));
  const hops = html("dl", {});
  row.h.forEach((h, i) => hops.append(html("dt", {textContent: name(h[0])}), html("dd", {textContent: h[1].toFixed(6) + " s" + (i ? "  +" + seconds(h[1] - row.h[i - 1][1]) : "")})));
  const filter = filterFor(row);
  $("detail").replaceChildren(...[
    close, html("h3", {textContent: row.l}), html("p", {class: "sub", textContent: row.t.toFixed(6) + " s" + stepOf(row.t)}),
    (row.w || []).length ? html("p", {class: "wrong", textContent: row.w.map(w => w === "lost" ? stopped(row) : w).join("; ")}) : null, list,
    html("h3", {textContent: "Number in each pcap"}), where,
    row.h.length > 1 && !row.c ? html("h3", {textContent: "Its way"}) : null, row.h.length > 1 && !row.c ? hops : null,
    filter ? html("h3", {textContent: "Wireshark filter"}) : null, filter ? copyLine(filter) : null,
    row.p.info ? html("p", {class: "info", textContent: row.p.info}) : null,
  ].filter(Boolean));
  $("detail").hidden = false;
  if (innerWidth < 1000) requestAnimationFrame(() => $("detail").scrollIntoView({block: "nearest"}));
}
function stopped(row) {
  const last = row.h[row.h.length - 1][0];
  const gone = last === row.a || row.h.filter(h => h[0] === last).length > 1;
  const there = FAULTS.filter(f => f.host === last && f.t0 <= row.t && row.t <= faultEnd(f)).map(f => f.name + " (" + f.kind + ")");
  const said = gone ? "it left " + name(last) + " and was seen no further" : "it reached " + name(last) + " and went no further";
  return said + (there.length ? "; in place there: " + there.join(", ") : "");
}
function stepOf(t) {
  const s = [...STEPS].reverse().find(x => x.t <= t);
  return s ? ", in step " + s.i + " (" + s.title + ")" : "";
}
function select(i, scroll) {
  const closing = i < 0, was = selected;
  selected = i;
  ladder.querySelectorAll(".row").forEach(g => { const on = +g.dataset.row === i; g.classList.toggle("on", on); g.setAttribute("tabindex", on ? 0 : -1); });
  const had = !$("detail").hidden;
  $("ladder-card").classList.toggle("with-detail", !closing);
  if (closing) { $("detail").hidden = true; }
  else showDetail(ROWS[i]);
  if (had === closing) { layout(); }
  if (!closing && scroll) { if (!rowY.has(i)) resetFilters(); scrollToRow(i); }
  if (closing && was >= 0) ladder.querySelector('[data-row="' + was + '"]')?.focus({preventScroll: true});
}
function scrollToRow(i) {
  const y = rowY.get(i), top = viewBox.scrollTop, h = viewBox.clientHeight;
  if (y != null && (y < top + 40 || y > top + h - 60)) viewBox.scrollTop = y - h / 3;
  draw();
  ladder.querySelector('[data-row="' + i + '"]')?.focus({preventScroll: true});
}
function resetFilters() {
  for (const id of ["filter-text", "filter-protocol", "filter-host"]) $(id).value = "";
  $("filter-problems").checked = false;
  view = [FIRST, LAST];
  drawTime();
  applyFilter();
}
ladder.addEventListener("click", event => { const g = event.target.closest(".row"); if (g) select(+g.dataset.row); });
viewBox.addEventListener("keydown", event => {
  if (!shown.length) return;
  const active = document.activeElement, onRow = active && active.classList.contains("row");
  const at = onRow ? shown.findIndex(r => r.i === +active.dataset.row) : selected >= 0 ? shown.findIndex(r => r.i === selected) : -1;
  const move = {ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -1e9, End: 1e9}[event.key];
  if (move) {
    event.preventDefault();
    const row = shown[clamp(at < 0 ? 0 : at + move, 0, shown.length - 1)];
    selected = row.i;
    ladder.querySelectorAll(".row.on").forEach(g => { g.classList.remove("on"); g.setAttribute("tabindex", -1); });
    drawn = [-1, -1];
    scrollToRow(row.i);
    if (!$("detail").hidden) showDetail(row);
  } else if ((event.key === "Enter" || event.key === " ") && at >= 0) { event.preventDefault(); select(shown[at].i, true); }
  else if (event.key === "Escape" && !$("detail").hidden) { event.preventDefault(); select(-1); }
});
viewBox.addEventListener("scroll", () => requestAnimationFrame(draw), {passive: true});
viewBox.addEventListener("wheel", event => { if (event.ctrlKey || event.metaKey) { event.preventDefault(); setStretch(event.deltaY > 0 ? 0.9 : 1.1); } }, {passive: false});
function setStretch(by) {
  const middle = viewBox.scrollTop + viewBox.clientHeight / 2, share = middle / (total || 1);
  stretch = clamp(stretch * by, 0.7, 4);
  layout();
  viewBox.scrollTop = share * total - viewBox.clientHeight / 2;
  draw();
}
$("stretch-more").addEventListener("click", () => setStretch(1.3));
$("stretch-less").addEventListener("click", () => setStretch(1 / 1.3));

// ------------------------------------------------------------------------------------------------ table
const PAGE = 100;
let tablePage = 0;
function drawTable() {
  if (!$("table-details").open) return;
  const rows = shown.slice(tablePage * PAGE, tablePage * PAGE + PAGE);
  $("table-range").textContent = shown.length ? tablePage * PAGE + 1 + " to " + (tablePage * PAGE + rows.length) + " of " + shown.length : "none";
  $("table-previous").disabled = tablePage === 0;
  $("table-next").disabled = (tablePage + 1) * PAGE >= shown.length;
  $("table").tBodies[0].replaceChildren(...rows.map(row => html("tr", {}, ...[
    row.t.toFixed(6), name(row.a), name(row.b), row.l + (row.ports ? " (" + row.ports + ")" : ""), (row.w || []).join(", "), numbersAt(row).map(([h, text]) => name(h) + " " + text).join("; "),
  ].map((text, i) => html("td", {textContent: text, class: i ? "" : "num"})))));
}
$("table-details").addEventListener("toggle", drawTable);
$("table-previous").addEventListener("click", () => { tablePage--; drawTable(); });
$("table-next").addEventListener("click", () => { tablePage++; drawTable(); });

// ------------------------------------------------------------------------------------------------ start
function fillLegend() {
  const used = new Set(ROWS.filter(r => !r.z).map(r => r.k));
  for (const k of Object.keys(NAMES)) {
    if (!used.has(k)) continue;
    const svg = el("svg", {viewBox: "0 0 34 14", class: "k-" + k, "aria-hidden": "true"}, el("path", {d: "M1 7H26", class: "wire"}), arrowHead(0, 7, 33, 7));
    if (["rst", "icmp", "again", "zero"].includes(k)) svg.append(badge(k, 14, 7, 6));
    $("legend").append(html("li", {}, svg, NAMES[k]));
  }
  if (ROWS.some(r => r.f === 1)) $("legend").append(html("li", {}, el("svg", {viewBox: "0 0 34 14", class: "k-ack", "aria-hidden": "true"}, el("path", {d: "M1 7H20", class: "wire"}), cross(22, 7, 5)), "stopped here"));
  if (ROWS.some(r => r.x.includes("forged"))) $("legend").append(html("li", {}, el("svg", {viewBox: "0 0 34 14", class: "k-rst", "aria-hidden": "true"}, el("path", {d: "M8 1l6 6-6 6-6-6z", class: "badge-shape"})), "its sender never sent it"));
  $("legend").hidden = !$("legend").children.length;
}
function fillChoices() {
  for (const p of [...new Set(ROWS.filter(r => !r.z).map(r => r.p.proto))].sort()) $("filter-protocol").append(html("option", {value: p, textContent: p}));
  HOSTS.forEach((h, i) => $("filter-host").append(html("option", {value: i, textContent: h.name})));
  $("noise-label").hidden = !ROWS.some(r => r.z);
}
// Numbers in a reason are those of the program's own capture; what another host captured says so and is no link.
function rowOf(host, number) {
  const h = HOSTS.findIndex(x => x.name === host);
  return h < 0 ? undefined : ROWS.find(row => numbersAt(row).some(([at, , low, high]) => at === h && low <= number && number <= high));
}
function linkNumbers(reason) {
  const parts = reason.textContent.split(/(\([^()]* in its capture\)|#\d+)/);
  reason.replaceChildren(...parts.map(part => /^#\d+$/.test(part) ? html("a", {href: "#packets", class: "packet-number", textContent: part}) : part));
  reason.addEventListener("click", event => {
    const link = event.target.closest(".packet-number"), row = link && rowOf(reason.dataset.host, +link.textContent.slice(1));
    if (!row) return;
    event.preventDefault();
    $("packets").scrollIntoView();
    select(row.i, true);
  });
}
if (ROWS.length) document.querySelectorAll(".reason[data-host]").forEach(linkNumbers);
document.querySelectorAll(".script-only").forEach(node => { node.hidden = node.id === "table-details" ? !ROWS.length : !STEPS.length && !ROWS.length; });
$("timeline-tools").hidden = !(STEPS.length || ROWS.length);
$("filters").addEventListener("submit", event => event.preventDefault());
for (const id of ["filter-text", "filter-protocol", "filter-host", "filter-problems", "filter-noise"]) $(id).addEventListener("input", applyFilter);
drawTime();
if (ROWS.length) {
  for (const id of ["filters", "ladder-card"]) $(id).hidden = false;
  fillChoices();
  fillLegend();
  applyFilter();
}
let resizing = 0, lastWidth = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === lastWidth) return;
  lastWidth = innerWidth;
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => { drawTime(); if (ROWS.length) layout(); });
});
document.documentElement.dataset.ready = "1";
})();
