// Draws the charts by day and by night, and recomputes the advice. Text is only ever set as text.
const data = JSON.parse(document.getElementById("kbit-data").textContent);
const night = matchMedia("(prefers-color-scheme: dark)");
const $ = (id) => document.getElementById(id);
const UNITS = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
const views = new Map();
let chosen = "";

// ---- charts -----------------------------------------------------------------------------------------------------
async function draw() {
  const config = data.config[night.matches ? "dark" : "light"];
  for (const place of document.querySelectorAll(".chart[data-chart]")) {
    const name = place.dataset.chart;
    const spec = structuredClone(data.charts[name]);
    if (place.clientWidth < 520) spec.height = Math.round(spec.height * 0.82);
    views.get(name)?.finalize();
    const drawn = await window.kbitEmbed(place, spec, {
      actions: false, ast: true, config, defaultStyle: false, mode: "vega-lite", renderer: "svg",
      tooltip: { theme: "kbit", disableDefaultStyle: false },
    });
    views.set(name, drawn);
    place.querySelector("svg")?.setAttribute("aria-hidden", "true");
  }
  mark(chosen);
  document.documentElement.dataset.drawn = night.matches ? "dark" : "light";
}

function mark(key) {
  chosen = key;
  const view = views.get("gain")?.view;
  if (view) view.signal("chosen", key).runAsync();
}

// One drawing at a time: a second change of colours waits for the first.
let drawing = Promise.resolve();
const redraw = () => (drawing = drawing.then(draw).catch((error) => console.error(error)));
night.addEventListener("change", redraw);

// ---- advice: the same rule as kbit.advise.advise ----------------------------------------------------------------
function memoryOf(item, context) {
  const m = item.memory;
  if (m === null) return null;
  const windowed = m.kv_window_bytes_per_token * (m.window === null ? 0 : Math.min(context, m.window));
  const cache = m.kv_bytes_per_token * context + windowed;
  const panel = m.working_panel_bytes_per_token * (m.panel === null ? 0 : Math.min(context, m.panel));
  const working = m.working_bytes + m.working_bytes_per_token * context + panel;
  return { weights: m.weights_bytes, cache, working, total: m.weights_bytes + cache + working };
}

function advise(memoryBytes, context) {
  const fitting = [];
  const left = [];
  for (const item of data.advice.items) {
    const need = memoryOf(item, context);
    const reason =
      need === null ? "its memory is not known"
      : item.max_context !== null && context > item.max_context ? `its longest context is ${item.max_context} tokens`
      : need.total > memoryBytes ? `needs ${size(need.total)}`
      : null;
    (reason === null ? fitting : left).push({ item, need, reason });
  }
  // as Python orders strings: by code point
  const byName = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  fitting.sort((a, b) => b.item.gain - a.item.gain || a.need.total - b.need.total || byName(a.item.name, b.item.name));
  left.sort((a, b) => b.item.gain - a.item.gain);
  const best = fitting[0];
  fitting.forEach((choice, i) => {
    const [own, top] = [choice.item.ci95, best.item.ci95];
    choice.tie = i === 0 ? true : own === null || top === null ? null : own[1] >= top[0];
  });
  return { fitting, left };
}

// ---- words ------------------------------------------------------------------------------------------------------
function size(bytes) {
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) if (bytes >= UNITS[unit]) return `${(bytes / UNITS[unit]).toFixed(2)} ${unit}`;
  return `${Math.round(bytes)} bytes`;
}
const figure = (x) => x.toFixed(4).replace("-", "\u2212");

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function cell(text, name = "td", attributes = {}) {
  return element(name, attributes, text);
}

// ---- the panel --------------------------------------------------------------------------------------------------
const FEW = 8;
let showAll = false;

function show() {
  const memoryBytes = Number($("memory").value) * UNITS[$("unit").value];
  const context = Number($("context").value);
  const body = $("choices");
  const wrong =
    !(memoryBytes > 0) ? "Give a memory above zero." : !(Number.isInteger(context) && context > 0) ? "Give a context of whole tokens, 1 or more." : null;
  if (wrong !== null) {
    body.replaceChildren();
    $("verdict").textContent = wrong;
    $("more").hidden = true;
    mark("");
    return;
  }
  const { fitting, left } = advise(memoryBytes, context);
  // The little intervals share one scale: that of the choices shown.
  const ends = fitting.slice(0, showAll ? fitting.length : FEW).flatMap(({ item }) => item.ci95 ?? [item.gain]);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const place = (gain) => `${(high > low ? (100 * (gain - low)) / (high - low) : 50).toFixed(2)}%`;

  body.replaceChildren(
    ...fitting.map((choice, i) => {
      const { item, need } = choice;
      const bar = element("span", { class: `gainbar k${item.step}`, "aria-hidden": "true" });
      if (item.ci95 !== null) {
        const line = element("i");
        line.style.left = place(item.ci95[0]);
        line.style.right = `calc(100% - ${place(item.ci95[1])})`;
        bar.append(line);
      }
      const dot = element("b");
      dot.style.left = place(item.gain);
      bar.append(dot);
      const parts = element("span", {
        class: "items", role: "img",
        "aria-label": `weights ${size(need.weights)}, cache ${size(need.cache)}, working space ${size(need.working)}`,
        title: `weights ${size(need.weights)} + cache ${size(need.cache)} + working space ${size(need.working)}`,
      });
      for (const [kind, bytes] of [["weights", need.weights], ["cache", need.cache], ["working", need.working]]) {
        const part = element("i", { class: kind });
        part.style.width = `${(100 * bytes) / memoryBytes}%`;
        parts.append(part);
      }
      const badge =
        i === 0 ? element("span", { class: "badge best" }, "best") : choice.tie ? element("span", { class: "badge" }, "tie") : choice.tie === null ? "no interval" : "";
      const interval = item.ci95 === null ? "\u2013" : `${figure(item.ci95[0])} to ${figure(item.ci95[1])}`;
      const row = element(
        "tr",
        {
          class: choice.tie === false ? "far" : null, "data-model": item.model, "data-format": item.format,
          "data-method": item.method, "data-tie": String(choice.tie), "data-bytes": String(need.total),
        },
        cell(String(i + 1)),
        cell(item.model, "th", { scope: "row", class: "text" }),
        element("td", { class: "text" }, element("span", { class: `swatch k${item.step}`, "aria-hidden": "true" }), item.format),
        cell(figure(item.gain)),
        cell(interval),
        element("td", {}, bar),
        cell(size(need.total)),
        element("td", {}, parts),
        element("td", { class: "text" }, badge),
      );
      row.hidden = !showAll && i >= FEW;
      return row;
    }),
  );
  const more = $("more");
  more.hidden = fitting.length <= FEW;
  more.textContent = showAll ? "Show fewer" : `Show all ${fitting.length} that fit`;
  more.setAttribute("aria-expanded", String(showAll));

  const range = $("range");
  range.setAttribute("aria-valuetext", size(memoryBytes));
  const verdict = $("verdict");
  if (fitting.length === 0) {
    verdict.textContent = `Nothing that was measured fits in ${size(memoryBytes)} with ${context} tokens of context.`;
    if (left.length) verdict.append(` The best left out, ${left[0].item.name}: ${left[0].reason}.`);
    mark("");
    return;
  }
  const best = fitting[0];
  const ties = fitting.filter((choice, i) => i > 0 && choice.tie);
  verdict.replaceChildren(
    `In ${size(memoryBytes)} with ${context} tokens of context, run `,
    element("strong", {}, best.item.name),
    `: it gains ${figure(best.item.gain)} bits per byte in ${size(best.need.total)}.`,
  );
  if (ties.length) {
    const least = [best, ...ties].reduce((a, b) => (b.need.total < a.need.total ? b : a));
    verdict.append(
      ` ${ties.length === 1 ? "One other cannot" : `${ties.length} others cannot`} be told from it`,
      least === best ? "; none of them is smaller." : `; the smallest of them, ${least.item.name}, needs ${size(least.need.total)}.`,
    );
  }
  mark(best.item.key);
}

function setUp() {
  if (!data.advice) return;
  const range = $("range");
  const [low, high] = data.advice.range.map(Math.log);
  const unit = () => UNITS[$("unit").value];
  const follow = () => {
    const bytes = Number($("memory").value) * unit();
    if (bytes > 0) range.value = String(Math.round((1000 * (Math.log(bytes) - low)) / (high - low)));
  };
  range.addEventListener("input", () => {
    // What is shown is what is computed with: the slider only writes the number.
    $("memory").value = String(Number((Math.exp(low + ((high - low) * Number(range.value)) / 1000) / unit()).toPrecision(4)));
    show();
  });
  $("memory").addEventListener("input", () => { follow(); show(); });
  $("context").addEventListener("input", show);
  let before = unit();
  $("unit").addEventListener("change", () => {
    $("memory").value = String(Number(((Number($("memory").value) * before) / unit()).toPrecision(6)));
    before = unit();
    show();
  });
  $("more").addEventListener("click", () => { showAll = !showAll; show(); });
  follow();
  show();
}

// ---- tables that sort -------------------------------------------------------------------------------------------
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const column = [...head.parentElement.children].indexOf(head);
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent;
    const numeric = head.dataset.kind === "number";
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if ((x === "") !== (y === "")) return x === "" ? 1 : -1; // what is missing stays at the end
      const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
      return up ? order : -order;
    };
    body.append(...[...body.rows].sort(compare));
  });
}

setUp();
redraw();
