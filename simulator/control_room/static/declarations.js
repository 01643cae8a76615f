// The table of goods declarations that vehicles have brought to a crossing; read while it is looked at.

import { openJourney } from "./journey.js";
import { rowOf, store, watch } from "./store.js";
import { badge, risk } from "./states.js";
import { Table, csv, opener, unfit } from "./table.js";
import { $, call, download, html, render } from "./ui.js";
import { view } from "./view.js";
import { say, t } from "./words.js";

const EVERY_MS = 2000;
let rows = [];
let isReading = false;

/** @returns {import("./table.js").Column[]} */
const columns = () => [
  { key: "mrn", title: t("column.mrn"), className: "text code", cell: (row) => opener(row.mrn ?? "-", () => open(row)), value: (row) => row.mrn ?? "" },
  { key: "declaration", title: t("column.declaration"), className: "text", cell: (row) => row.state.replaceAll("_", " ").toLowerCase(), value: (row) => row.state },
  { key: "state", title: t("column.state"), cell: (row) => row.action && badge(row.action), value: (row) => row.action ?? "" },
  { key: "risk", title: t("column.risk"), cell: risk, value: (row) => row.score ?? -1 },
  { key: "selection", title: t("column.selection"), cell: (row) => say("selection", row.selectionKind), value: (row) => row.selectionKind ?? "" },
  { key: "plate", title: t("column.plate"), className: "name", cell: (row) => row.plate ?? "", value: (row) => row.plate ?? "" },
  { key: "crossing", title: t("column.crossing"), className: "text", cell: crossingOf, value: crossingOf },
  { key: "jrn", title: t("column.jrn"), className: "text code", cell: (row) => row.jrn, value: (row) => row.jrn },
];
const crossingOf = (row) => `${store.crossings.get(row.crossing) ?? row.crossing ?? ""} ${say("direction", row.direction)}`.trim();
const open = (row) => openJourney(rowOf(row.jrn, row.agent) ?? { key: row.jrn, agent: row.agent, jrn: row.jrn, plate: row.plate });

function isWanted(row) {
  const text = view.get("q").toLowerCase();
  if (view.get("crossing") && row.crossing !== view.get("crossing")) return false;
  if (view.get("direction") && row.direction !== view.get("direction")) return false;
  if (view.get("state") && row.action !== view.get("state")) return false;
  return !text || [row.mrn, row.jrn, row.plate, row.crossing].join("\n").toLowerCase().includes(text);
}

export function showDeclarations() {
  const table = new Table($("#declarations-table"), {
    columns, label: t("declarations"), prefix: "d", first: "risk", keyOf: (row) => `${row.agent} ${row.activationId}`, open,
    empty: () => (rows.length ? unfit() : t("declarations.none")),
  });
  const draw = () => {
    if ($("#declarations").hidden) return;
    const wanted = table.sorted(rows.filter(isWanted));
    table.show(wanted);
    render(html`<span class="count">${t("vehicles.count", { shown: wanted.length, all: rows.length })}</span>
      <button type="button" onClick=${() => download("declarations.csv", "text/csv", csv(columns(), wanted))}>${t("filter.save")}</button>`, $("#declarations-bar"));
  };
  const read = async () => {
    if (isReading || $("#declarations").hidden) return;
    isReading = true;
    rows = await call("/v1/declarations").then((page) => page.declarations, () => rows);
    isReading = false;
    draw();
  };
  watch(["view", "tab"], draw);
  watch(["tab"], read);
  watch(["rows"], read, () => EVERY_MS);
}
