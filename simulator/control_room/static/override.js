// An officer decides: action, name, role and reason first, then a second look at what the driver will see.

import { store } from "./store.js";
import { ACTIONS, badge, plateOf } from "./states.js";
import { $, call, html, render } from "./ui.js";
import { t } from "./words.js";

const REASONS = ["checked", "papers", "suspicion", "safety", "other"];
const NO_STATE = { row: null, action: "STOP", reason: "checked", text: "", isSecondLook: false, said: "", isSending: false };
let state = { ...NO_STATE };

const dialog = () => /** @type {HTMLDialogElement} */ ($("#override"));

/** @param {Record<string, any>} row */
export function openOverride(row) {
  state = { ...NO_STATE, row, action: row.action === "GO" || row.action === "GO_WITH_OBLIGATION" ? "STOP" : "GO" };
  draw();
  if (!dialog().open) dialog().showModal();
  dialog().querySelector("input")?.focus();
}

function change(values) {
  state = { ...state, said: "", ...values };
  draw();
}

function look(event) {
  event.preventDefault();
  if (!store.me.name.trim() || (state.reason === "other" && !state.text.trim())) return change({ said: t("override.missing") });
  change({ isSecondLook: true });
  requestAnimationFrame(() => /** @type {HTMLElement|null} */ (dialog().querySelector("[data-send]"))?.focus());
}

async function send(event) {
  event.preventDefault();
  if (state.isSending) return;
  change({ isSending: true });
  const reason = [t(`override.reason.${state.reason}`), state.text.trim()].filter(Boolean).join(": ");
  try {
    await call(`/v1/journeys/${encodeURIComponent(state.row.key)}/override`, {
      action: state.action, officer: store.me.name.trim(), role: store.me.role, reason,
    });
    $("#announce").textContent = t("override.done", { action: t(`state.${state.action}`) });
    dialog().close();
  } catch (error) {
    change({ isSending: false, said: t("override.failed", { why: error.message }) });
  }
}

const preview = () => html`<div class="preview ${state.action}" aria-label=${t("override.action")}>${t(`driver.${state.action}`)}</div>`;

function form() {
  return html`<form onSubmit=${look}>
    <fieldset><legend>${t("override.action")}</legend>${ACTIONS.map((action) => html`<label class="choice">
      <input type="radio" name="action" value=${action} checked=${state.action === action} onChange=${() => change({ action })}/> ${badge(action)}</label>`)}</fieldset>
    ${preview()}
    <label>${t("override.officer")}<input type="text" required maxlength="70" autocomplete="name" value=${store.me.name} onInput=${(event) => { store.me.name = event.target.value; }}/></label>
    <label>${t("override.role")}<select value=${store.me.role} onChange=${(event) => { store.me.role = event.target.value; }}>
      ${["officer", "supervisor"].map((role) => html`<option value=${role}>${t(`override.role.${role}`)}</option>`)}</select></label>
    <label>${t("override.reason")}<select value=${state.reason} onChange=${(event) => change({ reason: event.target.value })}>
      ${REASONS.map((reason) => html`<option value=${reason}>${t(`override.reason.${reason}`)}</option>`)}</select></label>
    <label>${t("override.text")}<input type="text" maxlength="400" value=${state.text} onInput=${(event) => { state.text = event.target.value; }}/></label>
    <p role="alert" class="said">${state.said}</p>
    <div class="acts"><button type="button" onClick=${() => dialog().close()}>${t("override.cancel")}</button>
      <button type="submit" class="main">${t("override.next")}</button></div></form>`;
}

function secondLook() {
  const facts = { officer: store.me.name, role: t(`override.role.${store.me.role}`), action: t(`state.${state.action}`) };
  return html`<form onSubmit=${send}>${preview()}<p>${t("override.confirm", facts)}</p>
    <p role="alert" class="said">${state.said}</p>
    <div class="acts"><button type="button" onClick=${() => change({ isSecondLook: false })}>${t("override.back")}</button>
      <button type="submit" class="main" data-send disabled=${state.isSending}>${t("override.send")}</button></div></form>`;
}

function draw() {
  render(html`<h2 id="h-override">${t("override.title", { name: plateOf(state.row) || state.row.key })}</h2>
    ${state.isSecondLook ? secondLook() : form()}`, $("#override-content"));
}
