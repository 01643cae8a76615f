// Everything by keyboard; letters do nothing while somebody types.

import { acknowledge, focusAlarm, openAlarm, stepAlarm } from "./alarms.js";
import { openJourney } from "./journey.js";
import { focusMap } from "./map.js";
import { openOverride } from "./override.js";
import { chosenRow } from "./store.js";
import { $, html, render } from "./ui.js";
import { table } from "./vehicles.js";
import { t } from "./words.js";

const KEYS = [["/", "search"], ["j k", "rows"], ["Enter", "open"], ["a", "acknowledge"], ["o", "override"], ["t", "map"], ["l", "alarms"], ["?", "help"]];
const help = () => /** @type {HTMLDialogElement} */ ($("#help"));

function step(by) {
  if (!stepAlarm(by)) table.step(by);
}

function turnToMap() {
  if (document.activeElement?.closest("#map")) $("#vehicles-table").focus();
  else focusMap();
}

const ACTS = {
  "/": () => $("#search").focus(),
  j: () => step(1),
  k: () => step(-1),
  a: acknowledge,
  o: () => { const row = chosenRow(); if (row) openOverride(row); },
  t: turnToMap,
  l: () => focusAlarm(),
  "?": () => help().showModal(),
};

function onKey(event) {
  const isTyping = event.target.closest?.("input:not([type=checkbox]), select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
  const isInDialog = document.querySelector("dialog[open]");
  if (event.key === "Enter" && !isInDialog && !event.target.closest?.("button, a, input, select")) {
    const row = chosenRow();
    if (!openAlarm() && row) openJourney(row);
    return;
  }
  if (isInDialog && event.key !== "o") return;
  const act = ACTS[event.key];
  if (!act || (isInDialog && !$("#journey").hasAttribute("open"))) return;
  event.preventDefault();
  act();
}

export function listenToKeys() {
  document.addEventListener("keydown", onKey);
  render(html`<h2 id="h-help">${t("help")}</h2><dl>${KEYS.map(([key, name]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${name === "help" ? t("help") : t(`help.${name}`)}</dd></div>`)}</dl>
    <button type="button" onClick=${() => help().close()}>${t("help.close")}</button>`, help());
}
