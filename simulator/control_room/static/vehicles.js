// The table of vehicles: the same facts as the map, filtered by what the address bar says.

import { openJourney } from "./journey.js";
import { choose, store, watch } from "./store.js";
import { badge, isOpen, isThrough, isUnderWay, plateOf, risk, stateOf, STATES } from "./states.js";
import { Table, csv, opener, unfit } from "./table.js";
import { $, clock, download, html, render } from "./ui.js";
import { clearFilters, isFiltered, view } from "./view.js";
import { say, t } from "./words.js";

const MANY = 5000;
const texts = new WeakMap();

/** What a search looks through. */
function textOf(row) {
  let text = texts.get(row);
  if (text === undefined) {
    text = [plateOf(row), row.jrn, row.unit, row.crossing, store.crossings.get(row.crossing)].join("\n").toLowerCase();
    texts.set(row, text);
  }
  return text;
}

const ageOf = (row) => {
  const index = store.positions?.find(row.handle) ?? -1;
  return index < 0 ? null : store.positions.ageS(index);
};
const isOver = (row) => store.silent.has(row.agent) || Boolean(row.action && !isOpen(row) && !isUnderWay(row));
const crossingOf = (row) => `${store.crossings.get(row.crossing) ?? row.crossing ?? ""} ${say("direction", row.direction)}`.trim();

/** @returns {import("./table.js").Column[]} */
const columns = () => [
  { key: "state", title: t("column.state"), cell: (row) => badge(stateOf(row), isOver(row)), value: (row) => STATES.indexOf(stateOf(row)) },
  { key: "plate", title: t("column.plate"), className: "name", cell: (row) => opener(plateOf(row), () => openJourney(row)), value: plateOf },
  { key: "crossing", title: t("column.crossing"), className: "text", cell: crossingOf, value: crossingOf },
  { key: "stage", title: t("column.stage"), cell: (row) => say("stage", row.stage), value: (row) => row.stage },
  { key: "reason", title: t("column.reason"), className: "text", cell: (row) => say("reason", row.reasonCode), value: (row) => row.reasonCode ?? "" },
  { key: "risk", title: t("column.risk"), cell: risk, value: (row) => row.score ?? -1 },
  { key: "declarations", title: t("column.declarations"), long: t("column.declarations.long"), className: "n", cell: (row) => row.declarations, value: (row) => row.declarations },
  { key: "age", title: t("column.age"), long: t("column.age.long"), className: "n", cell: ageCell, value: (row) => ageOf(row) ?? -1 },
  { key: "changed", title: t("column.changed"), long: t("column.changed.long"), className: "n", cell: (row) => clock(row.changed), value: (row) => row.changed ?? "" },
  { key: "jrn", title: t("column.jrn"), className: "text code", cell: (row) => row.jrn ?? t("journey.none"), value: (row) => row.jrn ?? "" },
];

function ageCell(row) {
  const ageS = ageOf(row);
  return ageS === null ? "" : html`<span class=${ageS > 10 ? "stale" : ""}>${Math.round(ageS)}</span>`;
}

/** Rows that the filters let through. */
export function filtered() {
  const [text, crossing, direction, state] = ["q", "crossing", "direction", "state"].map(view.get);
  const query = text.toLowerCase();
  const found = [];
  for (const row of store.rows.values()) {
    if (crossing && row.crossing !== crossing) continue;
    if (direction && row.direction !== direction) continue;
    if (state && stateOf(row) !== state) continue;
    if (query ? !textOf(row).includes(query) : !view.get("over") && isThrough(row)) continue;
    found.push(row);
  }
  return found;
}

function bar(shown) {
  const choice = (name, label, options) => html`<label>${label} <select value=${view.get(name)} onChange=${(event) => view.set({ [name]: event.target.value })}>
    <option value="">${t("filter.any")}</option>${options.map(([value, text]) => html`<option value=${value}>${text}</option>`)}</select></label>`;
  const crossings = [...store.crossings].sort((a, b) => (a[1] < b[1] ? -1 : 1));
  const save = () => download("vehicles.csv", "text/csv", csv(columns(), table.rows));
  return html`<span class="count">${t("vehicles.count", { shown, all: store.rows.size })}</span>
    ${choice("state", t("filter.state"), STATES.map((one) => [one, say("state", one)]))}
    ${choice("direction", t("filter.direction"), ["IN", "OUT"].map((one) => [one, say("direction", one)]))}
    ${choice("crossing", t("board.crossing"), crossings)}
    <label><input type="checkbox" checked=${Boolean(view.get("over"))} onChange=${(event) => view.set({ over: event.target.checked ? "1" : "" })}/> ${t("vehicles.over")}</label>
    ${isFiltered() && html`<button type="button" onClick=${() => { clearFilters(); /** @type {HTMLInputElement} */ ($("#search")).value = ""; }}>${t("filter.clear")}</button>`}
    <button type="button" onClick=${save}>${t("filter.save")}</button>`;
}

/** @type {Table} */
export let table;

export function showVehicles() {
  table = new Table($("#vehicles-table"), {
    columns, label: t("vehicles"), prefix: "", first: "changed", keyOf: (row) => row.id, open: openJourney,
    choose: (row) => choose(row.id), classOf: (row) => (store.silent.has(row.agent) ? "silent" : ""),
    empty: () => (!store.answered ? t("journey.loading") : store.rows.size ? unfit() : t("vehicles.none")),
  });
  const draw = () => {
    if ($("#vehicles").hidden) return;
    const rows = table.sorted(filtered());
    table.show(rows, store.chosen ?? undefined);
    render(bar(rows.length), $("#vehicles-bar"));
  };
  watch(["view", "tab"], draw);
  watch(["chosen"], () => table.mark(store.chosen));
  watch(["rows", "silent", "crossings"], draw, () => (store.rows.size > MANY ? 1000 : 100));
  watch(["positions"], () => { if (!$("#vehicles").hidden) table.draw(); }, () => 500);
}
