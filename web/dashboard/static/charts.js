// Charts: drawn with uPlot of what the API answers, ranged by the page's own links and form. Every figure is in the page
// as a table, too.
"use strict";

const charts = new Map();
const HIGH = 160; // pixels
const asked = new Map(); // of this drawing: charts of one address share an answer

const figuresOf = (address) => {
  if (!asked.has(address)) {
    asked.set(address, fetch(address).then((response) => response.ok ? response.json() : null).catch(() => null));
  }
  return asked.get(address);
};

// ---------------------------------------------------------------- what is drawn, by what was asked for

const SECONDS = [0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800, 43200, 86400, 259200, 604800];
const tellSeconds = (seconds) => {
  if (seconds == null) return "–";
  if (seconds < 10) return `${Number(seconds.toPrecision(2))} s`;
  const [unit, size] = seconds < 60 ? ["s", 1] : seconds < 3600 ? ["min", 60] : seconds < 86400 ? ["h", 3600] : ["d", 86400];
  return `${Number((seconds / size).toPrecision(2))} ${unit}`;
};
const tellCount = (n) => n == null ? "–" : n.toLocaleString("en");
const ofCause = (cause) => shownName(cause.place ? `${cause.kind} in ${cause.place}` : cause.kind);
const brief = (text) => text.length > 48 ? `${text.slice(0, 47)}…` : text;

// Lines as they are, with the name of each and its colour.
const lines = (holder, { flows, levels, workers }) => {
  const series = { ...flows, ...levels, workers };
  const chosen = (holder.dataset.series || "").split(" ").filter((name) => name in series);
  return { rows: chosen.map((name) => ({ name, colour: name, values: series[name] })), unit: chosen.join() === "workers" ? "workers" : "jobs" };
};

const quantiles = (holder, data) => ({
  seconds: true, unit: "time",
  rows: [["p50", "half"], ["p90", "90 %"], ["p99", "99 %"]].map(([part, name]) => ({ name, colour: part, values: data[holder.dataset.series][part] })),
});

// Each cause upon the ones before it; the legend says its own number.
const stacked = (_, { causes, others }) => {
  const parts = causes.map((cause, at) => ({ name: brief(ofCause(cause)), colour: `cause-${at + 1}`, own: cause.n }));
  if (others.some(Boolean)) parts.push({ name: "others", colour: "cause-others", own: others });
  let below = null;
  for (const part of parts) {
    part.values = part.own.map((n, at) => n == null ? null : n + (below?.[at] || 0));
    below = part.values;
  }
  return { rows: parts, unit: "attempts", stacked: true };
};

const KINDS = { history: lines, times: quantiles, causes: stacked };

// ---------------------------------------------------------------- drawing

const drawChart = async (holder) => {
  const { chart: address, kind = "history" } = holder.dataset;
  const style = getComputedStyle(holder);
  const dress = address + style.color;
  const existing = charts.get(holder.id);
  const stands = existing && existing.root.isConnected && existing.blobforge === dress;
  if (stands && holder.dataset.over) return; // what is over does not change
  const data = await figuresOf(address);
  if (!holder.isConnected) return;
  if (!data) {
    // What is drawn stays: the page says by itself that it is old.
    if (!holder.querySelector("canvas")) holder.textContent = "These figures could not be fetched. The next refresh of the page asks again.";
    return;
  }
  const shown = KINDS[kind](holder, data);
  const rows = [data.at, ...shown.rows.map((row) => row.values)];
  const names = shown.rows.map((row) => row.name).join("\n");
  if (stands && existing === charts.get(holder.id) && existing.names === names) {
    existing.own = shown.rows;
    existing.setData(rows);
    return;
  }
  charts.get(holder.id)?.destroy();
  holder.replaceChildren();
  const plot = new uPlot(optionsOf(holder, data, shown, style), rows, holder);
  Object.assign(plot, { blobforge: dress, names, own: shown.rows });
  charts.set(holder.id, plot);
};

const optionsOf = (holder, data, shown, style) => {
  const colour = (name) => style.getPropertyValue(`--chart-${name}`).trim() || style.getPropertyValue("--accent").trim();
  const muted = style.getPropertyValue("--muted").trim(), line = style.getPropertyValue("--line").trim();
  // Hours as hours, days as days, and the newest figures while no pointer asks for others.
  const said = (step) => new Intl.DateTimeFormat("en-GB", step < 86400 ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" });
  const days = data.at.length && data.at.at(-1) - data.at[0] >= 86400;
  const exact = new Intl.DateTimeFormat("en-GB", { ...(days ? { day: "numeric", month: "short" } : {}), hour: "2-digit", minute: "2-digit" });
  const few = (self, index) => self.data[index].filter((value) => value != null).length < 20; // no line to see yet
  const times = (_, splits, __, ___, step) => splits.map((at) => said(step).format(at * 1000));
  const newest = (self) => { if (self.legend.idx == null) self.setLegend({ idx: self.data[0].length - 1 }, false); };
  // 1,200,000 as 1.2M: and as much room as the longest of them takes.
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
  const short = (_, splits) => splits.map((n) => Number.isInteger(n) || n >= 1000 ? compact.format(n) : "");
  const wide = (_, values) => 18 + 8 * Math.max(2, ...(values || []).map((each) => each.length));
  const fromNothing = (_, low, high) => [0, Math.max(high || 0, 1)];
  const around = (_, low, high) => [Math.max(0.05, (low || 1) / 2), (high || 60) * 2];
  const apart = shown.rows.length > 1 && shown.rows.some((row) => row.name === "workers"); // few of them beside many jobs would lie flat
  const marked = { paused: style.getPropertyValue("--bad").trim(), resumed: style.getPropertyValue("--good").trim(), started: muted, stopped: muted };
  const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
  const upright = shown.seconds
    ? { values: (_, splits) => splits.map(tellSeconds), splits: (_, __, low, high) => SECONDS.filter((each) => each >= low && each <= high), filter: (_, splits) => splits }
    : { values: short };
  return {
    width: Math.max(200, holder.clientWidth), height: HIGH,
    legend: { live: true },
    cursor: { y: false, drag: { x: true, y: false, setScale: false } },
    axes: [
      { ...axis, values: times },
      { ...axis, ...upright, scale: "y", size: wide, label: shown.unit, labelSize: 16 },
      ...(apart ? [{ ...axis, scale: "workers", side: 1, size: wide, values: short, label: "workers", labelSize: 16, grid: { show: false } }] : []),
    ],
    hooks: { setLegend: [newest], setData: [newest], ready: [newest], setSelect: [(self) => zoom(self, data.step_seconds)], draw: [(self) => drawMarks(self, marked, data.step_seconds)] },
    scales: {
      y: shown.seconds ? { distr: 3, range: around } : { range: fromNothing },
      ...(apart ? { workers: { range: fromNothing } } : {}),
    },
    bands: shown.stacked ? shown.rows.slice(1).map((_, at) => ({ series: [at + 2, at + 1] })) : undefined,
    series: [{ value: (_, at) => at == null ? "" : exact.format(at * 1000) }, ...shown.rows.map((row, at) => ({
      label: row.name, scale: apart && row.name === "workers" ? "workers" : "y",
      value: (self, n, __, index) => {
        if (shown.seconds) return tellSeconds(n);
        return tellCount(shown.stacked && index != null ? (self.own?.[at] || row).own[index] : n);
      },
      stroke: colour(row.colour), width: shown.stacked ? 1 : 2, spanGaps: false, points: { show: shown.stacked ? false : few, size: 4 },
      fill: shown.stacked ? `${colour(row.colour)}b0` : shown.rows.length === 1 ? `${colour(row.colour)}22` : undefined,
    }))],
  };
};

const drawCharts = () => {
  for (const [id, plot] of charts) if (!plot.root.isConnected) { plot.destroy(); charts.delete(id); }
  if (typeof uPlot === "undefined") return;
  asked.clear();
  for (const holder of document.querySelectorAll("[data-chart]")) drawChart(holder);
};

let resizing = 0;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    for (const plot of charts.values()) plot.setSize({ width: Math.max(200, plot.root.parentElement.clientWidth), height: HIGH });
  }, 150);
});

// ---------------------------------------------------------------- marks

// Where types were paused and resumed, and servers started and stopped: by the list of the page, upright lines over
// each chart; dashed where something begins again.
const drawMarks = (plot, colours, step) => {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  for (const each of document.querySelectorAll("[data-mark]")) {
    const at = Date.parse(each.dataset.mark) / 1000;
    const { min, max } = plot.scales.x; // the last slot is drawn where it begins
    if (at < min || at > max + step) continue;
    const x = Math.round(plot.valToPos(Math.min(at, max), "x", true));
    const kind = each.dataset.markKind;
    ctx.strokeStyle = colours[kind];
    ctx.setLineDash(kind === "paused" || kind === "stopped" ? [] : [4 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
};

// ---------------------------------------------------------------- ranges

const ranges = {
  // Milliseconds since the epoch; the form is sent as any other.
  go(since, until) {
    const form = document.querySelector("form[data-range]");
    if (!form) return;
    form.elements.since.value = zoned.local(since);
    form.elements.until.value = zoned.local(until);
    form.requestSubmit();
  },
};

// A stretch that was drawn over is the range of all charts of the page, and Back leads to the one before.
const zoom = (plot, step) => {
  const { left, width } = plot.select;
  if (width < 8) return;
  const at = (x) => plot.posToVal(x, "x") * 1000;
  const [low, high] = [at(left), at(left + width)];
  const least = Math.max(60000, step * 1000);
  ranges.go(Math.floor(low / 60000) * 60000, Math.ceil(Math.max(high, low + least) / 60000) * 60000);
};

// Keys of a chart that has the focus: what its links do.
const RANGE_KEYS = { ArrowLeft: "earlier", ArrowRight: "later", "-": "wider", "+": "closer", "=": "closer", Escape: "reset" };
addEventListener("keydown", (event) => {
  const verb = RANGE_KEYS[event.key];
  if (!verb || event.ctrlKey || event.metaKey || event.altKey || !event.target.matches("[data-chart]")) return;
  const link = document.querySelector(`[data-range-link=${verb}]`);
  if (!link) return;
  event.preventDefault();
  link.click();
});
addEventListener("dblclick", (event) => {
  if (event.target.closest("[data-chart]")) document.querySelector("[data-range-link=reset]")?.click();
});
