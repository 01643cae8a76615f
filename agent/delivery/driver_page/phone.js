// What the phone itself gives: whether it stands still, a screen that stays on, a place to keep the last result.

const STANDSTILL_MPS = 1.4;
const FRESH_MS = 10000;
const APART_MS = 4000;
const GOOD_M = 25;

/** Whether the phone stands still, by its own receiver; the position goes nowhere. null = not known. */
export class Motion {
  constructor() {
    this.stands = null;
    this.atMs = -Infinity;
    this.before = null;
    navigator.geolocation?.watchPosition((found) => this.take(found), () => {}, {enableHighAccuracy: true});
  }

  take({coords}) {
    const nowMs = performance.now();
    let speed = coords.speed;
    if (speed === null || Number.isNaN(speed)) speed = this.measured(coords, nowMs);
    if (speed === null) return;
    this.stands = speed <= STANDSTILL_MPS;
    this.atMs = nowMs;
  }

  measured(coords, nowMs) {
    if (coords.accuracy > GOOD_M) return null;
    const before = this.before;
    if (!before || nowMs - before.nowMs >= APART_MS) this.before = {coords, nowMs};
    if (!before || nowMs - before.nowMs < APART_MS) return null;
    const north = (coords.latitude - before.coords.latitude) * 111200;
    const east = (coords.longitude - before.coords.longitude) * 111200 * Math.cos(coords.latitude * Math.PI / 180);
    return Math.hypot(north, east) / ((nowMs - before.nowMs) / 1000);
  }

  get standing() {
    return performance.now() - this.atMs < FRESH_MS ? this.stands : null;
  }
}

/** Keeps the screen on while the page is seen. */
export function stayAwake() {
  const ask = () => {
    if (document.visibilityState === 'visible') navigator.wakeLock?.request('screen').catch(() => {});
  };
  document.addEventListener('visibilitychange', ask);
  ask();
}

/** The last result of this journey, for the time without a network. Its age is never reckoned: it is not a GO. */
export class Kept {
  constructor(token) {
    this.name = `borderlane:${token}`;
    this.state = {};
    try {
      this.state = JSON.parse(localStorage.getItem(this.name)) || {};
    } catch { /* nothing kept, or nothing to be had */ }
  }

  write(change) {
    this.state = {...this.state, ...change};
    try {
      localStorage.setItem(this.name, JSON.stringify(this.state));
    } catch { /* no room, or not allowed: then there is nothing without a network */ }
  }

  forget() {
    try {
      localStorage.removeItem(this.name);
    } catch { /* as above */ }
  }
}
