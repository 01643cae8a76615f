// One journey whole: what holds, the score cards behind it, its way to the driver, why, proof. For officials only.

import { toVehicle } from "./map.js";
import { openOverride } from "./override.js";
import { choose, store, watch } from "./store.js";
import { badge, plateOf, risk, stateOf } from "./states.js";
import { $, call, clock, html, render } from "./ui.js";
import { language, say, t } from "./words.js";

/** @type {{row: any, detail: any, story: any, failed: string}|null} */
let shown = null;
let readVersion = "";

const dialog = () => /** @type {HTMLDialogElement} */ ($("#journey"));
const address = (row) => `/v1/journeys/${encodeURIComponent(row.key)}`;

/** @param {Record<string, any>} row of the tables, or as much of one as is known */
export function openJourney(row) {
  shown = { row, detail: null, story: null, failed: "" };
  if (row.id) choose(row.id);
  draw();
  if (!dialog().open) dialog().showModal();
  read();
}

async function read() {
  const own = shown;
  try {
    own.detail = await call(address(own.row));
    own.failed = "";
  } catch (error) {
    own.failed = t("journey.failed", { why: error.message });
  }
  if (own === shown) draw();
}

async function explain() {
  const own = shown;
  own.story = { lines: [t("journey.loading")] };
  draw();
  try {
    own.story = await call(`${address(own.row)}/explain`);
  } catch (error) {
    own.story = { lines: [t("journey.failed", { why: error.message })] };
  }
  if (own === shown) draw();
}

function card(one) {
  const scored = one.score_card ?? one.scoreCard;
  if (!scored) return html`<li><b class="code">${one.mrn ?? "-"}</b> ${one.routing}</li>`;
  const parts = scored.parts ?? {};
  return html`<li class="card"><div><b class="code">${one.mrn ?? "-"}</b> ${risk(scored)} ${say("selection", scored.selectionKind)}</div>
    ${scored.reasons?.length > 0 && html`<ul>${scored.reasons.map((reason) => html`<li><span class="points">${reason.points}</span> ${reason.text?.[language] ?? reason.text?.en ?? reason.id}</li>`)}</ul>`}
    <p class="soft">${t("journey.card.parts", parts)}; ${t("journey.card.book", { book: scored.ruleBookVersion, model: scored.modelVersion })}</p></li>`;
}

const epoch = (seconds) => (seconds ? new Date(seconds * 1000).toISOString().slice(11, 19) : "");

function delivery(one) {
  const steps = [["sent", "sent_s"], ["delivered", "delivered_s"], ["displayed", "displayed_s"], ["acknowledged", "acknowledged_s"]];
  return html`<li>${t("journey.version")} ${one.version}: ${steps.filter(([, name]) => one[name]).map(([key, name]) => `${t(`journey.${key}`)} ${epoch(one[name])}`).join(", ")}</li>`;
}

function facts(row, detail) {
  const pairs = [
    [t("column.jrn"), row.jrn ?? t("journey.none")], [t("column.crossing"), `${store.crossings.get(row.crossing) ?? row.crossing ?? ""} ${say("direction", row.direction)}`],
    [t("column.stage"), say("stage", row.stage)], [t("column.reason"), say("reason", row.reasonCode)],
    [t("journey.officer"), row.officer], [t("journey.entered"), clock(detail?.enteredAt)], [t("journey.decideBy"), clock(row.decideBy)],
    [t("agents"), row.agent],
  ];
  return html`<dl>${pairs.filter(([, value]) => value).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function proofs(detail) {
  return (detail.declarations ?? []).map((one) => html`<li><span class="code">${one.mrn ?? "-"}</span> ${one.state.replaceAll("_", " ").toLowerCase()} <a href="/v1/journal/export?activation=${encodeURIComponent(one.activation_id)}" download>${t("journey.proof")}</a></li>`);
}

function draw() {
  if (!shown) return;
  const { detail, story, failed } = shown;
  const row = { ...shown.row, ...detail?.row, agent: shown.row.agent };
  render(html`<header><h2 id="h-journey">${t("journey.title", { name: plateOf(row) || row.jrn || row.key })} ${badge(stateOf(row))} ${risk(row)}</h2>
      <button type="button" class="close" onClick=${() => dialog().close()}>${t("help.close")}</button></header>
    ${failed && html`<p class="notice">${failed}</p>`}
    ${!detail && !failed && html`<p>${t("journey.loading")}</p>`}
    <div class="acts"><button type="button" aria-keyshortcuts="o" onClick=${() => openOverride(row)}>${t("override")}</button>
      ${!document.body.classList.contains("without-map") && html`<button type="button" onClick=${() => { dialog().close(); toVehicle(row); }}>${t("journey.map")}</button>`}</div>
    ${facts(row, detail)}
    ${detail && html`<section><h3>${t("journey.card")}</h3>
        ${detail.assessments?.length ? html`<ul class="cards">${detail.assessments.map(card)}</ul>` : html`<p class="soft">${t("journey.card.none")}</p>`}</section>
      ${detail.deliveries?.length > 0 && html`<section><h3>${t("journey.deliveries")}</h3><ul>${detail.deliveries.map(delivery)}</ul></section>`}
      ${detail.declarations?.length > 0 && html`<section><h3>${t("declarations")}</h3><ul>${proofs(detail)}</ul></section>`}
      <section><h3>${t("journey.why")}</h3>${story
    ? html`<pre tabindex="0">${story.lines.join("\n")}</pre>`
    : html`<button type="button" onClick=${explain}>${t("journey.why.show")}</button>`}</section>`}`, $("#journey-content"));
}

export function showJourney() {
  dialog().addEventListener("close", () => { shown = null; });
  watch(["rows"], () => { // what is shown follows the row
    const row = shown && store.rows.get(shown.row.id ?? `${shown.row.agent} ${shown.row.key}`);
    const version = row ? JSON.stringify(row) : "";
    if (!row || version === readVersion) return;
    readVersion = version;
    shown.row = row;
    read();
  }, () => 500);
}
