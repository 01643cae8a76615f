// What asks for an action, the most urgent first, and what is done about it; all of it by keyboard.

import { openJourney } from "./journey.js";
import { rowOf, store, watch } from "./store.js";
import { $, call, clock, html, render } from "./ui.js";
import { say, t } from "./words.js";

const SHELVED_MS = 15 * 60_000;
const SHOWN = 100;
const marked = new Set();
let showsAside = false;
let said = "";

const isAside = (alarm) => alarm.shelvedUntil || alarm.acknowledgedBy;
const nameOf = () => store.me.name || "operator";

function ordered() {
  return [...store.alarms.values()].sort((a, b) =>
    Number(Boolean(isAside(a))) - Number(Boolean(isAside(b))) || a.priority - b.priority || (a.since < b.since ? 1 : -1));
}

async function attempt(work) {
  said = "";
  try {
    await work();
  } catch (error) {
    said = t("override.failed", { why: error.message });
  }
  draw();
}

/** Acknowledge those that are marked, else the one that has the keyboard. */
export function acknowledge() {
  const here = document.activeElement?.closest("[data-alarm]")?.getAttribute("data-alarm");
  const ids = marked.size ? [...marked] : here ? [here] : [];
  if (!ids.length) return;
  attempt(async () => {
    await call("/v1/alarms/acknowledge", { ids, by: nameOf() });
    marked.clear();
  });
}

const shelve = (alarm) => attempt(() =>
  call(`/v1/alarms/${encodeURIComponent(alarm.id)}/shelve`, { untilTime: new Date(Date.now() + SHELVED_MS).toISOString(), by: nameOf() }));
const assign = (alarm) => attempt(() => call(`/v1/alarms/${encodeURIComponent(alarm.id)}/assign`, { to: alarm.assignedTo ? "" : nameOf() }));

/** Put the keyboard on an alarm. @param {number} [place] */
export function focusAlarm(place = 0) {
  const lines = document.querySelectorAll("#alarms [data-alarm]");
  /** @type {HTMLElement|undefined} */ (lines[Math.min(place, lines.length - 1)])?.focus();
}

/** To the next or previous alarm; true if the keyboard was in the list. @param {number} by */
export function stepAlarm(by) {
  const lines = [...document.querySelectorAll("#alarms [data-alarm]")];
  const place = lines.indexOf(document.activeElement?.closest("[data-alarm]"));
  if (place < 0) return false;
  /** @type {HTMLElement} */ (lines[Math.min(Math.max(place + by, 0), lines.length - 1)]).focus();
  return true;
}

/** Open the journey of the alarm that has the keyboard; true if there is one. */
export function openAlarm() {
  const id = document.activeElement?.getAttribute("data-alarm");
  const alarm = id && store.alarms.get(id);
  if (alarm?.key) openOf(alarm);
  return Boolean(alarm);
}

const openOf = (alarm) => openJourney(rowOf(alarm.key, alarm.agent) ?? { key: alarm.key, agent: alarm.agent, plate: alarm.plate });

function title(alarm) {
  const key = `alarm.${alarm.name}`;
  return t(key) === key ? `${t("alarm.other")} ${alarm.name}` : t(key);
}

function detail(alarm) {
  if (alarm.name === "DEGRADED") return say("mode", alarm.text);
  return t(`reason.${alarm.text}`) === `reason.${alarm.text}` ? alarm.text : say("reason", alarm.text);
}

function item(alarm) {
  const turn = (event) => { if (event.target.checked) marked.add(alarm.id); else marked.delete(alarm.id); draw(); };
  const place = store.crossings.get(alarm.crossing) ?? alarm.crossing;
  return html`<li key=${alarm.id} data-alarm=${alarm.id} tabindex="0" class="alarm p${alarm.priority} ${isAside(alarm) ? "aside" : ""}">
    <input type="checkbox" aria-label="${title(alarm)} ${alarm.plate ?? ""}" checked=${marked.has(alarm.id)} onChange=${turn}/>
    <div><b>${title(alarm)}</b> <time>${clock(alarm.since)}</time>
      <p>${alarm.key && html`<button type="button" class="link" onClick=${() => openOf(alarm)}>${alarm.plate ?? alarm.key.replace("unit:", "")}</button> `}
        ${[place, alarm.name === "AGENT_LOST" || alarm.name === "DEGRADED" ? alarm.agent : "", detail(alarm)].filter(Boolean).join(", ")}</p>
      ${isAside(alarm) && html`<p class="soft">${alarm.shelvedUntil ? t("alarms.shelved", { time: clock(alarm.shelvedUntil) }) : t("alarms.by", { name: alarm.acknowledgedBy })}</p>`}
      ${alarm.assignedTo && html`<p class="soft">${t("alarms.assigned", { name: alarm.assignedTo })}</p>`}</div>
    <div class="acts"><button type="button" aria-pressed=${String(Boolean(alarm.assignedTo))} onClick=${() => assign(alarm)}>${t("alarms.mine")}</button>
      ${!isAside(alarm) && html`<button type="button" onClick=${() => shelve(alarm)}>${t("alarms.shelve")}</button>`}</div></li>`;
}

function draw() {
  for (const id of marked) if (!store.alarms.has(id)) marked.delete(id);
  const all = ordered();
  const open = all.filter((alarm) => !isAside(alarm));
  const markAll = (event) => { marked.clear(); if (event.target.checked) for (const alarm of open) marked.add(alarm.id); draw(); };
  const turnAside = () => { showsAside = !showsAside; draw(); };
  render(html`${t("alarms")} <span class="count ${open.length ? "some" : ""}">${open.length}</span>`, $("#h-alarms"));
  render(html`<label><input type="checkbox" disabled=${!open.length} checked=${open.length > 0 && marked.size >= open.length} onChange=${markAll}/> ${t("alarms.all")}</label>
    <button type="button" aria-keyshortcuts="a" disabled=${!marked.size} onClick=${acknowledge}>${t("alarms.acknowledge")}${marked.size ? ` (${marked.size})` : ""}</button>
    ${all.length > open.length && html`<button type="button" aria-pressed=${String(showsAside)} onClick=${turnAside}>${t("alarms.showAside", { count: all.length - open.length })}</button>`}
    <span role="status">${said}</span>`, $("#alarms-bar"));
  const shown = (showsAside ? all : open).slice(0, SHOWN);
  const focused = [...document.querySelectorAll("#alarms [data-alarm]")].indexOf(document.activeElement);
  render(shown.length ? html`<ol>${shown.map(item)}</ol>` : html`<p class="empty">${t("alarms.none")}</p>`, $("#alarms"));
  if (focused >= 0 && document.activeElement === document.body) focusAlarm(focused); // the next one, where the list is shorter
  announce(open);
}

let announced = new Set();
/** New urgent alarms are read out; the list itself is not. */
function announce(open) {
  const urgent = open.filter((alarm) => alarm.priority === 1);
  const fresh = urgent.filter((alarm) => !announced.has(alarm.id));
  announced = new Set(urgent.map((alarm) => alarm.id));
  if (fresh.length) $("#announce").textContent = fresh.map((alarm) => `${title(alarm)} ${alarm.plate ?? alarm.agent}`).join(". ");
}

export const showAlarms = () => watch(["alarms", "crossings"], draw, () => 200);
