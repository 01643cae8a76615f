// What the page knows, and who wants to be drawn anew when it changes.

/** @typedef {Record<string, any>} Row */

export const store = {
  /** @type {Map<string, Row>} vehicles by agent and key */
  rows: new Map(),
  /** @type {Map<number, Row>} vehicles by their number on the map */
  byHandle: new Map(),
  /** @type {Map<string, Record<string, any>>} */
  alarms: new Map(),
  /** @type {Record<string, any>[]} newest first */
  feed: [],
  /** @type {Record<string, any>[]} */
  agents: [],
  /** @type {Record<string, any>[]} oldest first */
  points: [],
  /** @type {import("./positions.js").Positions|null} of now */
  positions: null,
  /** @type {import("./positions.js").Positions|null} of the time that is replayed */
  replayed: null,
  /** @type {Map<string, string>} crossing to its name */
  crossings: new Map(),
  silent: new Set(),
  answered: false,
  rehearsal: false,
  /** Officer's name and role as typed last; only kept for this page. */
  me: { name: "", role: "officer" },
  /** @type {string|null} id of the chosen row */
  chosen: null,
};

const FEED_LENGTH = 200;
const watchers = new Map();
const dirty = new Set();
let isPlanned = false;

/** Draw when a topic changes, at most so often. @param {string[]} topics @param {() => void} draw @param {() => number} everyMs */
export function watch(topics, draw, everyMs = () => 0) {
  const watcher = { draw, everyMs, drawnMs: -Infinity, timer: 0 };
  for (const topic of topics) watchers.set(topic, [...(watchers.get(topic) ?? []), watcher]);
  dirty.add(watcher);
  plan();
}

/** @param {...string} topics what has changed */
export function changed(...topics) {
  for (const topic of topics) for (const watcher of watchers.get(topic) ?? []) dirty.add(watcher);
  plan();
}

function plan() {
  if (isPlanned || !dirty.size) return;
  isPlanned = true;
  requestAnimationFrame((nowMs) => {
    isPlanned = false;
    const later = [];
    for (const watcher of dirty) {
      const waitMs = watcher.drawnMs + watcher.everyMs() - nowMs;
      if (waitMs > 0) { later.push(waitMs); continue; }
      dirty.delete(watcher);
      watcher.drawnMs = nowMs;
      watcher.draw();
    }
    if (later.length) setTimeout(plan, Math.min(...later) + 1);
  });
}

/** @param {Row[]} put @param {string[]} gone */
export function takeRows(put, gone) {
  for (const id of gone) drop(id);
  for (const row of put) {
    drop(row.id);
    store.rows.set(row.id, row);
    if (row.handle !== null && row.handle !== undefined) store.byHandle.set(row.handle, row);
  }
  changed("rows");
}

function drop(id) {
  const row = store.rows.get(id);
  if (!row) return;
  store.rows.delete(id);
  if (store.byHandle.get(row.handle) === row) store.byHandle.delete(row.handle);
}

/** All rows anew. @param {Row[]} rows */
export function takeAllRows(rows) {
  store.rows.clear();
  store.byHandle.clear();
  takeRows(rows, []);
}

/** @param {Record<string, any>[]} put @param {string[]} gone */
export function takeAlarms(put, gone) {
  for (const id of gone) store.alarms.delete(id);
  for (const alarm of put) store.alarms.set(alarm.id, alarm);
  changed("alarms");
}

/** @param {Record<string, any>} fact */
export function tell(fact) {
  store.feed.unshift(fact);
  store.feed.length = Math.min(store.feed.length, FEED_LENGTH);
  changed("feed");
}

/** The chosen row, if it is still there. */
export const chosenRow = () => (store.chosen === null ? undefined : store.rows.get(store.chosen));

/** @param {string|null} id */
export function choose(id) {
  store.chosen = id;
  changed("chosen");
}

/** @param {string} key @param {string} [agent] @returns {Row|undefined} row of a journey or `unit:` key */
export function rowOf(key, agent) {
  if (agent) return store.rows.get(`${agent} ${key}`);
  for (const row of store.rows.values()) if (row.key === key) return row;
  return undefined;
}
