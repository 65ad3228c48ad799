"use strict";
// Everything that comes from outside (names, labels) enters the page as text nodes only.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
const place = new Uint16Array(bytes(data.points).buffer);
const picture = new Int32Array(bytes(data.pictures).buffer);
const count = data.count;
const xs = new Float32Array(count), ys = new Float32Array(count);
for (let i = 0; i < count; i++) { xs[i] = place[2 * i] / 65535; ys[i] = place[2 * i + 1] / 65535; }
for (const column of data.columns) {
  column.values = column.kind === "number" ? new Float32Array(bytes(column.values).buffer) : new Int32Array(bytes(column.values).buffer);
}
const path = (row) => data.prefix + data.names[row];
const canvas = byId("map"), context = canvas.getContext("2d"), tip = byId("tip"), lassoPath = byId("lasso-path");
const PALETTE = [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [148, 103, 50], [110, 80, 200]];
const GRAY = [127, 127, 127];
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
let view = { x: 0.5, y: 0.5, zoom: 1 }, lassoOn = false, column = data.columns[0], only = null, filter = "", marked = -1;
const chosen = new Uint8Array(count);
let selection = [], colors = new Uint32Array(count), visible = new Uint8Array(count).fill(1), legendOf = [];

const packed = ([r, g, b], alpha = 255) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
const ramp = (share) => {
  const at = Math.min(0.9999, Math.max(0, share)) * (RAMP.length - 1), low = Math.floor(at);
  return RAMP[low].map((value, i) => Math.round(value + (at - low) * (RAMP[low + 1][i] - value)));
};
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const shown = (value) => (value === null || Number.isNaN(value) ? "none" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3));

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// ---- colors and what is visible ----
function recolor() {
  const legend = byId("legend");
  legend.replaceChildren();
  legendOf = [];
  if (column.kind === "number") {
    const finite = Array.from(column.values).filter(Number.isFinite).sort((a, b) => a - b);
    const low = finite[Math.floor(0.01 * finite.length)] ?? 0, high = finite[Math.floor(0.99 * (finite.length - 1))] ?? 1;
    for (let i = 0; i < count; i++) {
      const value = column.values[i];
      colors[i] = packed(Number.isFinite(value) ? ramp((value - low) / (high - low || 1)) : GRAY);
    }
    if (!finite.length) legend.append(element("p", "note", "No image has a value here."));
    const bar = element("div", "ramp");
    bar.style.background = `linear-gradient(to right, ${RAMP.map((color) => `rgb(${color})`).join(",")})`;
    if (finite.length) legend.append(bar, element("p", "note", `${shown(low)} to ${shown(high)} (1st to 99th percentile)`));
  } else {
    const sizes = new Int32Array(column.names.length + 1);
    for (const value of column.values) sizes[value + 1]++;
    const order = column.names.map((_, i) => i).sort((a, b) => sizes[b + 1] - sizes[a + 1]);
    const colorOf = new Map(order.slice(0, PALETTE.length).map((name, i) => [name, PALETTE[i]]));
    for (let i = 0; i < count; i++) colors[i] = packed(colorOf.get(column.values[i]) ?? GRAY);
    const entries = sizes[0] ? [...order, -1] : order;
    for (const name of entries.slice(0, 200)) {
      const swatch = element("span", "swatch");
      swatch.style.background = `rgb(${colorOf.get(name) ?? GRAY})`;
      const button = element("button", "", swatch, `${name < 0 ? "(none)" : column.names[name]} · ${sizes[name + 1].toLocaleString("en")}`);
      button.setAttribute("aria-pressed", String(only === name));
      button.addEventListener("click", () => { only = only === name ? null : name; recolor(); });
      legend.append(button);
    }
    if (entries.length > 200) legend.append(element("p", "note", `${entries.length - 200} more`));
    if (order.length > PALETTE.length) legend.append(element("p", "note", `The ${PALETTE.length} largest have colors; choose one to see it alone.`));
  }
  const wanted = filter.toLowerCase();
  let left = 0;
  for (let i = 0; i < count; i++) {
    const fits = (only === null || column.kind === "number" || column.values[i] === only) && (!wanted || path(i).toLowerCase().includes(wanted) || labelText(i).toLowerCase().includes(wanted));
    visible[i] = fits ? 1 : 0;
    left += visible[i];
  }
  byId("shown").textContent = left === count ? counted(count, "image") : `${left.toLocaleString("en")} of ${counted(count, "image")}`;
  draw();
}
const labelText = (row) => data.columns.filter((c) => c.kind === "name" && c.values[row] >= 0).map((c) => c.names[c.values[row]]).join(" ");

// ---- drawing ----
let waiting = false;
function draw() { if (!waiting) { waiting = true; requestAnimationFrame(paint); } }
let frame = null;
function scale() { return view.zoom * 0.94 * Math.min(canvas.width, canvas.height); }
function toScreen(row) { const s = scale(); return [(xs[row] - view.x) * s + canvas.width / 2, (view.y - ys[row]) * s + canvas.height / 2]; }
function paint() {
  waiting = false;
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height || !frame) {
    canvas.width = width; canvas.height = height; frame = context.createImageData(width, height);
  }
  const pixels = new Uint32Array(frame.data.buffer);
  pixels.fill(0);
  const s = scale(), left = width / 2 - view.x * s, top = height / 2 + view.y * s;
  const size = Math.max(2, Math.min(9 * ratio, Math.round(ratio * (count > 20000 ? 2 : count > 2000 ? 3 : 5) * Math.sqrt(view.zoom))));
  const half = size >> 1, dim = packed(GRAY, 80), some = selection.length > 0;
  for (let pass = 0; pass < 2; pass++) { // what is filtered out or not selected lies below
    for (let i = 0; i < count; i++) {
      if ((visible[i] && (!some || chosen[i]) ? 1 : 0) !== pass) continue;
      const x = Math.round(xs[i] * s + left) - half, y = Math.round(top - ys[i] * s) - half;
      if (x < 0 || y < 0 || x + size >= width || y + size >= height) continue;
      const color = pass ? colors[i] : dim;
      for (let row = 0; row < size; row++) pixels.fill(color, (y + row) * width + x, (y + row) * width + x + size);
    }
  }
  context.putImageData(frame, 0, 0);
  context.lineWidth = 2 * ratio;
  context.strokeStyle = getComputedStyle(document.body).color;
  if (marked >= 0) { const [x, y] = toScreen(marked); context.beginPath(); context.arc(x, y, 9 * ratio, 0, 7); context.stroke(); }
  if (!data.frames) performance.mark("map");
  data.frames = (data.frames || 0) + 1;
}

// ---- finding the point below the pointer ----
const CELLS = 256, cells = new Map();
for (let i = 0; i < count; i++) {
  const cell = Math.min(CELLS - 1, Math.floor(xs[i] * CELLS)) * CELLS + Math.min(CELLS - 1, Math.floor(ys[i] * CELLS));
  if (cells.has(cell)) cells.get(cell).push(i); else cells.set(cell, [i]);
}
function toMap(clientX, clientY) {
  const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width, s = scale();
  return [((clientX - box.left) * ratio - canvas.width / 2) / s + view.x, view.y - ((clientY - box.top) * ratio - canvas.height / 2) / s];
}
function nearest(clientX, clientY) {
  const [x, y] = toMap(clientX, clientY), reach = (12 * (window.devicePixelRatio || 1)) / scale();
  let best = -1, least = reach * reach;
  const from = (value) => Math.max(0, Math.floor((value - reach) * CELLS)), to = (value) => Math.min(CELLS - 1, Math.floor((value + reach) * CELLS));
  for (let cx = from(x); cx <= to(x); cx++) for (let cy = from(y); cy <= to(y); cy++) {
    for (const row of cells.get(cx * CELLS + cy) ?? []) {
      const distance = (xs[row] - x) ** 2 + (ys[row] - y) ** 2;
      if (visible[row] && distance < least) { best = row; least = distance; }
    }
  }
  return best;
}

// ---- pictures ----
const urls = [];
const sheetUrl = (sheet) => (urls[sheet] ??= URL.createObjectURL(new Blob([bytes(data.sheets[sheet])], { type: "image/jpeg" })));
function thumb(row) {
  const box = element("span", "thumb"), number = picture[row];
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", data.names[row]);
  if (number < 0) { box.textContent = "no picture in this page"; return box; }
  const per = data.across * data.across, sheet = Math.floor(number / per), at = number % per;
  const rows = Math.ceil(Math.min(per, data.pictured - sheet * per) / data.across);
  box.style.backgroundImage = `url(${sheetUrl(sheet)})`;
  box.style.backgroundSize = `${100 * data.across}% ${100 * rows}%`;
  const share = (value, all) => (all > 1 ? (100 * value) / (all - 1) : 0);
  box.style.backgroundPosition = `${share(at % data.across, data.across)}% ${share(Math.floor(at / data.across), rows)}%`;
  return box;
}
function lines(row) {
  const said = [element("div", "", path(row))];
  for (const each of data.columns) {
    const value = each.values[row];
    said.push(element("div", "", `${each.name}: ${each.kind === "number" ? shown(value) : value < 0 ? "none" : each.names[value]}`));
  }
  return said;
}
function showTip(row, x, y) {
  tip.hidden = row < 0;
  if (row < 0) return;
  tip.replaceChildren(thumb(row), ...lines(row));
  const stage = canvas.parentElement.getBoundingClientRect();
  tip.style.left = `${Math.max(0, Math.min(x - stage.left + 14, stage.width - tip.offsetWidth - 4))}px`;
  tip.style.top = `${Math.max(0, Math.min(y - stage.top + 14, stage.height - tip.offsetHeight - 4))}px`;
}
function find(row) {
  marked = row;
  view = { x: xs[row], y: ys[row], zoom: Math.max(view.zoom, 4) };
  draw();
  canvas.scrollIntoView({ block: "nearest" });
  const box = canvas.getBoundingClientRect();
  showTip(row, box.left + box.width / 2, box.top + box.height / 2);
}
function card(row, ...words) {
  const button = element("button", "card", thumb(row), ...words.map((word) => element("div", "", word)));
  button.title = path(row);
  button.addEventListener("click", () => find(row));
  return button;
}

// ---- pointer and keys ----
let drag = null, loop = [];
const fingers = new Map();
const spread = () => { const [[ax, ay], [bx, by]] = [...fingers.values()]; return { length: Math.hypot(ax - bx, ay - by), at: [(ax + bx) / 2, (ay + by) / 2] }; };
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  drag = { x: event.clientX, y: event.clientY, moved: fingers.size > 1 };
  loop = fingers.size === 1 && (lassoOn || event.shiftKey) ? [[event.clientX, event.clientY]] : [];
});
canvas.addEventListener("pointermove", (event) => {
  if (!drag) { showTip(nearest(event.clientX, event.clientY), event.clientX, event.clientY); return; }
  tip.hidden = true;
  if (loop.length) { loop.push([event.clientX, event.clientY]); showLoop(); return; }
  const before = fingers.size === 2 ? spread() : { at: [drag.x, drag.y] };
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  const after = fingers.size === 2 ? spread() : { at: [event.clientX, event.clientY] };
  const ratio = canvas.width / canvas.clientWidth;
  view.x -= ((after.at[0] - before.at[0]) * ratio) / scale();
  view.y += ((after.at[1] - before.at[1]) * ratio) / scale();
  if (before.length) zoom(after.length / before.length, ...after.at);
  drag = { x: event.clientX, y: event.clientY, moved: true };
  draw();
});
function lifted(event) {
  fingers.delete(event.pointerId);
  if (loop.length > 2) select(inside(loop.map(([x, y]) => toMap(x, y))));
  else if (event.type === "pointerup" && drag && !drag.moved) {
    marked = nearest(event.clientX, event.clientY);
    showTip(marked, event.clientX, event.clientY); // a finger has no hover
    draw();
  }
  const [left] = fingers.values();
  drag = left ? { x: left[0], y: left[1], moved: true } : null;
  loop = []; showLoop();
}
canvas.addEventListener("pointerup", lifted);
canvas.addEventListener("pointercancel", lifted);
canvas.addEventListener("pointerleave", () => { if (!drag) tip.hidden = true; });
canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY * 0.0015), event.clientX, event.clientY); }, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = 0.1 / view.zoom;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  if (moves[event.key]) { view.x += moves[event.key][0]; view.y += moves[event.key][1]; draw(); }
  else if (event.key === "+" || event.key === "=") zoom(1.4);
  else if (event.key === "-") zoom(1 / 1.4);
  else if (event.key === "0") reset();
  else if (event.key === "Enter") find(nearestTo(view.x, view.y));
  else if (event.key === "Escape") { tip.hidden = true; marked = -1; draw(); }
  else return;
  event.preventDefault();
});
function nearestTo(x, y) {
  let best = 0, least = Infinity;
  for (let i = 0; i < count; i++) { const d = (xs[i] - x) ** 2 + (ys[i] - y) ** 2; if (visible[i] && d < least) { best = i; least = d; } }
  return best;
}
function zoom(factor, clientX, clientY) {
  const box = canvas.getBoundingClientRect(), at = [clientX ?? box.left + box.width / 2, clientY ?? box.top + box.height / 2];
  const [x, y] = toMap(...at);
  view.zoom = Math.min(400, Math.max(0.5, view.zoom * factor));
  const [nx, ny] = toMap(...at);
  view.x += x - nx; view.y += y - ny;
  draw();
}
function reset() { view = { x: 0.5, y: 0.5, zoom: 1 }; draw(); }
function showLoop() {
  const box = canvas.getBoundingClientRect();
  lassoPath.setAttribute("d", loop.length ? `M${loop.map(([x, y]) => `${x - box.left} ${y - box.top}`).join("L")}Z` : "");
}
function inside(polygon) {
  const found = [];
  for (let i = 0; i < count; i++) {
    if (!visible[i]) continue;
    let odd = false;
    for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a++) {
      const [ax, ay] = polygon[a], [bx, by] = polygon[b];
      if (ay > ys[i] !== by > ys[i] && xs[i] < ((bx - ax) * (ys[i] - ay)) / (by - ay) + ax) odd = !odd;
    }
    if (odd) found.push(i);
  }
  return found;
}

