// Small charts: drawn as SVG, each with its newest value and its range in words.

import { store, watch } from "./store.js";
import { $, html, render } from "./ui.js";
import { t } from "./words.js";

const [WIDTH, HEIGHT] = [260, 64];
const WINDOW = 12; // points that a rate is taken over: one minute
const total = (point, names) => names.reduce((sum, name) => sum + (point.instructions[name] ?? 0), 0);
const ALL = ["GO", "GO_WITH_OBLIGATION", "STOP", "HOLD"];

/** Sum of a value over the minute up to each point. */
function overMinute(points, value) {
  return points.map((_, index) => points.slice(Math.max(0, index - WINDOW + 1), index + 1).reduce((sum, point) => sum + value(point), 0));
}

function shares(points) {
  const all = overMinute(points, (point) => total(point, ALL));
  const stopped = overMinute(points, (point) => total(point, ["STOP", "HOLD"]));
  return all.map((number, index) => (number ? 100 * stopped[index] / number : null));
}

const CHARTS = [
  ["flow", (points) => overMinute(points, (point) => total(point, ALL))],
  ["latency", (points) => points.map((point) => point.p99Ms)],
  ["selection", shares],
  ["queue", (points) => points.map((point) => point.waiting)],
  ["vehicles", (points) => points.map((point) => point.vehicles)],
  ["outbox", (points) => points.map((point) => point.outbox)],
];

function path(values, highest) {
  const stepX = WIDTH / Math.max(values.length - 1, 1);
  let pen = "M";
  return values.map((value, index) => {
    if (value === null) { pen = "M"; return ""; }
    const point = `${pen}${(index * stepX).toFixed(1)} ${(HEIGHT - 4 - (HEIGHT - 8) * value / highest).toFixed(1)}`;
    pen = "L";
    return point;
  }).join("");
}

function chart([name, of]) {
  const values = of(store.points);
  const known = values.filter((value) => value !== null);
  const highest = Math.max(...known, 1e-9);
  const now = known.length ? Math.round(known[known.length - 1] * 10) / 10 : "-";
  const minutes = Math.round((store.points.at(-1).timeMs - store.points[0].timeMs) / 60_000);
  const words = t("figures.range", { minutes, highest: known.length ? Math.round(highest * 10) / 10 : "-" });
  return html`<figure><figcaption><span>${t(`figures.${name}`)}</span><b>${now}</b></figcaption>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${t(`figures.${name}`)}: ${t("figures.now", { value: now })}, ${words}">
      <path class="base" d="M0 ${HEIGHT - 4}H${WIDTH}"/><path class="line" d=${path(values, highest)}/></svg>
    <p class="soft">${words}</p></figure>`;
}

export const showFigures = () => watch(["points", "tab"], () => {
  if ($("#figures").hidden) return;
  render(store.points.length ? CHARTS.map(chart) : html`<p class="empty">${t("figures.none")}</p>`, $("#figures"));
});
