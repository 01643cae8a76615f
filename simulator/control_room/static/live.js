// Keeps the store fresh: events as they come, positions and status each second. Events that were missed are resumed
// by their id; what is older than the server keeps is read anew.

import { Positions } from "./positions.js";
import { changed, store, takeAlarms, takeAllRows, takeRows, tell } from "./store.js";
import { call } from "./ui.js";

const EVERY_MS = 1000;
const REQUEST_LIMIT_MS = 4000;
const STALE_AFTER_S = 2.5;
const LISTEN_AGAIN_MS = 2000;
const POINTS = 720;

let answeredMs = performance.now();
let agentAgeS = 0;
let mustReadAll = true;
let isReadingAll = false;
/** @type {{put: object[], gone: string[]}[]|null} rows pushed while all are read: they are newer than the answer */
let meanwhile = null;

/** What the feed tells; other events only change rows. */
const TOLD = ["instruction", "incident", "turned_back", "unit_lost", "unit_found", "mode", "link"];
/** These change rows, and the rows that changed are told by an event of their own. */
const QUIET = ["alarm", "detection", "activation", "journey", "receipt", "notice", "approach_seen", "touch_seen", "bypassed", "output"];

function listen() {
  const source = new EventSource("/v1/events?lastEventId=0"); // what happened just before is told too
  source.addEventListener("open", () => { mustReadAll = true; readAll(); });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, LISTEN_AGAIN_MS); // else it connects by itself
  });
  const on = (kind, take) => source.addEventListener(kind, (message) => take(JSON.parse(message.data)));
  on("rows", (news) => { meanwhile?.push(news); takeRows(news.put, news.gone); });
  on("alarms", ({ put, gone }) => takeAlarms(put, gone));
  on("figures", (point) => { store.points = [...store.points, point].slice(-POINTS); changed("points"); });
  for (const kind of TOLD) on(kind, (fact) => tell({ ...fact, kind, time: fact.time ?? new Date().toISOString() }));
  for (const kind of QUIET) on(kind, () => changed("news"));
  on("link", () => { mustReadAll = true; });
}

async function readAll() {
  if (isReadingAll || !mustReadAll) return;
  isReadingAll = true;
  mustReadAll = false;
  try {
    meanwhile = [];
    takeAllRows((await call("/v1/journeys")).journeys);
    for (const { put, gone } of meanwhile) takeRows(put, gone);
    const [alarms, figures] = await Promise.all([call("/v1/alarms"), call("/v1/figures")]);
    store.alarms.clear();
    takeAlarms(alarms.alarms, []);
    store.points = figures.points;
    changed("points");
  } catch {
    mustReadAll = true;
  } finally {
    meanwhile = null;
    isReadingAll = false;
  }
}

async function readStatus() {
  try {
    const reply = await fetch("/v1/status", { signal: AbortSignal.timeout(REQUEST_LIMIT_MS) });
    if (!reply.ok) return;
    const page = await reply.json();
    store.agents = page.agents;
    store.rehearsal = page.rehearsal;
    const silent = page.agents.filter((one) => one.mode === "OUT_OF_REACH").map((one) => one.agent);
    if (silent.join() !== [...store.silent].join() || !store.answered) changed("silent");
    store.silent = new Set(silent);
    agentAgeS = Math.max(0, ...page.agents.map((one) => one.heardAgoS ?? Infinity));
    store.answered = true;
    answeredMs = performance.now();
    changed("agents");
  } catch { /* the age says it */ }
}

async function readPositions() {
  try {
    const reply = await fetch("/v1/positions.bin", { signal: AbortSignal.timeout(REQUEST_LIMIT_MS) });
    if (!reply.ok) return;
    const frame = await reply.arrayBuffer();
    store.positions = new Positions(frame);
    changed("positions");
  } catch { /* the age says it */ }
}

/** @returns {{ageS: number, isLost: boolean, isRoom: boolean, since: Date}} how old what is shown is, and whose fault */
export function age() {
  const unheardS = (performance.now() - answeredMs) / 1000;
  const ageS = agentAgeS + unheardS;
  const since = new Date(Date.now() - (Number.isFinite(ageS) ? ageS * 1000 : 0));
  return { ageS, isLost: ageS > STALE_AFTER_S, isRoom: unheardS > STALE_AFTER_S, since };
}

async function everySecond(work) {
  for (;;) {
    const begunMs = performance.now();
    await work();
    await new Promise((resolve) => setTimeout(resolve, Math.max(50, EVERY_MS - (performance.now() - begunMs))));
  }
}

/** Begin, and go on for as long as the page is open. */
export function live() {
  listen();
  everySecond(readStatus);
  everySecond(readPositions);
  everySecond(readAll);
  setInterval(() => changed("age"), 500);
}
