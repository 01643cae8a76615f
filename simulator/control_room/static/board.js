// All crossings at a glance; each is a filter for everything else.

import { toCrossing } from "./map.js";
import { store, watch } from "./store.js";
import { isOpen, isUnderWay, stateOf } from "./states.js";
import { $, html, render } from "./ui.js";
import { view } from "./view.js";
import { t } from "./words.js";

const NONE = { in: 0, out: 0, waiting: 0, open: 0 };

function counted() {
  const counts = new Map();
  for (const row of store.rows.values()) {
    if (!row.crossing) continue;
    const cell = counts.get(row.crossing) ?? { ...NONE };
    if (isUnderWay(row)) cell[row.direction === "OUT" ? "out" : "in"] += 1;
    if (stateOf(row) === "WAIT") cell.waiting += 1;
    if (isOpen(row)) cell.open += 1;
    counts.set(row.crossing, cell);
  }
  return counts;
}

function choose(crossing) {
  view.set({ crossing: view.get("crossing") === crossing ? "" : crossing });
  toCrossing();
}

function line(crossing, name, counts) {
  const number = (value, name) => html`<td class="n ${value ? name : "zero"}">${value}</td>`;
  const isChosen = view.get("crossing") === crossing;
  return html`<tr key=${crossing} class=${isChosen ? "active" : ""}>
    <th scope="row"><button type="button" class="link" aria-pressed=${String(isChosen)} onClick=${() => choose(crossing)}>${name}</button></th>
    ${number(counts.in, "some")}${number(counts.out, "some")}${number(counts.waiting, "wait")}${number(counts.open, "open")}</tr>`;
}

function draw() {
  const counts = counted();
  const names = new Map([...store.crossings, ...[...counts.keys()].filter((one) => !store.crossings.has(one)).map((one) => [one, one])]);
  const heading = (key) => html`<th scope="col" class="n"><abbr title=${t(`board.${key}.long`)}>${t(`board.${key}`)}</abbr></th>`;
  const lines = [...names].sort((a, b) => (a[1] < b[1] ? -1 : 1));
  render(html`<table aria-labelledby="h-board"><thead><tr><th scope="col">${t("board.crossing")}</th>
    ${["in", "out", "waiting", "open"].map(heading)}</tr></thead>
    <tbody>${lines.map(([crossing, name]) => line(crossing, name, counts.get(crossing) ?? NONE))}</tbody></table>`, $("#board-table"));
  const chosen = view.get("crossing");
  render(html`${t("board")} <span class="count">${store.crossings.size}</span>
    ${chosen && html`<button type="button" onClick=${() => choose(chosen)}>${t("board.all")}</button>`}`, $("#h-board"));
}

export const showBoard = () => watch(["rows", "view", "crossings"], draw, () => (store.rows.size > 5000 ? 1000 : 250));
