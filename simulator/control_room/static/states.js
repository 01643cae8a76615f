// What a row says of a vehicle, and the shape and colour for it: the same in tables, feed, legend and on the map.

import { html } from "./ui.js";
import { say, t } from "./words.js";

/** Shape of each state, drawn in a box of 16 by 16; the map's shader draws the same. */
const OCTAGON = "M5 1h6l4 4v6l-4 4H5l-4-4V5z";
const SHAPES = {
  NONE: html`<circle cx="8" cy="8" r="5.5"/>`,
  WAIT: html`<path d="M8 1l7 7-7 7-7-7z"/>`,
  GO: html`<path d="M8 1.5l7 13H1z"/>`,
  GO_WITH_OBLIGATION: html`<path d="M8 0l5.5 10h-11zM2 12h12v3H2z"/>`,
  HOLD: html`<path d="M2 2h12v12H2z"/>`,
  STOP: html`<path d="${OCTAGON}"/>`,
  BREACH: html`<path d="${OCTAGON}"/><path class="ring" d="M6.2 4h3.6L12 6.2v3.6L9.8 12H6.2L4 9.8V6.2z"/>`,
};
/** From mild to severe, as sorted and drawn; the place is the number in `positions.bin`. */
export const STATES = ["NONE", "WAIT", "GO", "GO_WITH_OBLIGATION", "HOLD", "STOP", "BREACH"];
export const ACTIONS = ["GO", "GO_WITH_OBLIGATION", "HOLD", "STOP"];
const UNDER_WAY = new Set(["TRACKING", "ACTIVATION", "CONFIRMATION"]);
export const STALE_AFTER_S = 10; // agent.detection stale_after_s

export const isUnderWay = (row) => UNDER_WAY.has(row.stage);
export const isOpen = (row) => row.breach || ((row.action === "STOP" || row.action === "HOLD") && !row.closed);
export const isThrough = (row) => !isUnderWay(row) && !isOpen(row);

/** @returns {string} one of `STATES` */
export function stateOf(row) {
  if (row.breach) return "BREACH";
  return row.action ?? (row.waiting ? "WAIT" : "NONE");
}

export const plateOf = (row) => (row.plate ? `${row.nationality ?? ""} ${row.plate}`.trim() : row.unit ?? "");

/** The shape alone. @param {string} state */
export const shape = (state) => html`<svg class="shape ${state}" viewBox="0 0 16 16" aria-hidden="true">${SHAPES[state]}</svg>`;

/** Shape and word. @param {string} state @param {boolean} [isOver] hollow, so that it is never taken for what holds */
export const badge = (state, isOver = false) =>
  html`<span class="badge ${state} ${isOver ? "over" : ""}">${shape(state)}${say("state", state)}</span>`;

/** Channel and score of the risk answers. */
export function risk(row) {
  if (!row.channel) return "";
  return html`<span class="channel ${row.channel}">${say("channel", row.channel)}${row.score === null ? "" : ` ${row.score}`}</span>`;
}

export const legend = () => html`<ul class="legend" aria-label=${t("legend")}>
  ${STATES.map((state) => html`<li>${shape(state)}${say("state", state)}</li>`)}
  <li><svg class="shape hollow" viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="5.5"/></svg>${t("state.SILENT")}</li></ul>`;
