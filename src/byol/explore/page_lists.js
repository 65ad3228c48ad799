// Runs after page.js, in the same script: what is selected, and the lists of findings.

// ---- selection ----
function select(rows) {
  selection = rows;
  chosen.fill(0);
  for (const row of rows) chosen[row] = 1;
  byId("selected").textContent = rows.length ? `${counted(rows.length, "image")} selected` : "Nothing is selected: press Lasso (or hold Shift) and draw around points, or select all that are shown.";
  byId("copy").disabled = byId("download").disabled = byId("clear").disabled = !rows.length;
  byId("chosen").replaceChildren(...rows.slice(0, 60).map((row) => card(row, data.names[row])));
  draw();
}
const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
function asCsv(rows) {
  const head = ["index", "path", ...data.columns.map((c) => c.name)].map(cell).join(",");
  const body = rows.map((row) => [String(data.indices ? data.indices[row] : row), path(row), ...data.columns.map((c) => (c.kind === "number" ? (Number.isNaN(c.values[row]) ? "" : String(c.values[row])) : c.values[row] < 0 ? "" : c.names[c.values[row]]))].map(cell).join(","));
  return [head, ...body].join("\n") + "\n";
}
byId("download").addEventListener("click", () => {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([asCsv(selection)], { type: "text/csv" }));
  link.download = "selection.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
byId("copy").addEventListener("click", async () => {
  const text = selection.map(path).join("\n");
  try { await navigator.clipboard.writeText(text); } catch {
    const area = element("textarea"); // a page from a file may have no clipboard
    area.value = text; document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  byId("selected").textContent = `${counted(selection.length, "path")} copied`;
});
byId("all").addEventListener("click", () => { const rows = []; for (let i = 0; i < count; i++) if (visible[i]) rows.push(i); select(rows); });
byId("clear").addEventListener("click", () => select([]));
byId("lasso").addEventListener("click", () => { lassoOn = !lassoOn; byId("lasso").setAttribute("aria-pressed", String(lassoOn)); });
byId("in").addEventListener("click", () => zoom(1.5));
byId("out").addEventListener("click", () => zoom(1 / 1.5));
byId("reset").addEventListener("click", reset);
byId("filter").addEventListener("input", (event) => { filter = event.target.value; recolor(); });
for (const [number, each] of data.columns.entries()) {
  const option = element("option", "", each.name);
  option.value = String(number);
  byId("color").append(option);
}
byId("color").addEventListener("change", (event) => { column = data.columns[Number(event.target.value)]; only = null; recolor(); });

// ---- findings ----
for (const finding of data.findings) {
  const section = element("section", "", element("h2", "", finding.title), element("p", "note", finding.note));
  const many = finding.groups.length > 1, all = element("div", many ? "groups" : "");
  for (const group of finding.groups) {
    const cards = element("div", "cards", ...group.map(([row, ...words]) => card(row, ...words)));
    all.append(many ? element("div", "group", cards) : cards);
  }
  section.append(all);
  byId("findings").append(section);
}
new ResizeObserver(draw).observe(canvas);
select([]);
recolor();
