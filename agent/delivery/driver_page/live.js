// The stream of one journey: what stands, and whether that is known at this moment.
import {SILENCE_MS, lateness} from './judge.js';

const AGAIN_MS = 2000;
/** The phone slept, or its clock was set: what was known before says nothing of now. */
const JUMP_MS = 1500;

export class Live {
  /** @param {string} base address of the page; @param {{message: Function, over: Function}} tell */
  constructor(base, tell) {
    this.base = base;
    this.tell = tell;
    this.over = false;
    /** Whether the first connection has come to anything, good or bad. */
    this.hasTried = false;
    this.bestMs = -performance.now();
    this.open();
  }

  open() {
    this.heardMs = -Infinity;
    this.fresh = true;
    this.source = new EventSource(`${this.base}/events`);
    this.source.onmessage = (event) => this.take(event.data);
    this.source.addEventListener('over', () => this.end());
    this.source.onerror = () => this.lost();
  }

  take(data) {
    const pageMs = performance.now();
    let told;
    try {
      told = JSON.parse(data);
    } catch {
      return;
    }
    const {bestMs, lateMs} = lateness(this.fresh ? -Infinity : this.bestMs, told.pulse.serverMs, pageMs);
    this.bestMs = bestMs;
    this.fresh = false;
    if (lateMs > SILENCE_MS) {  // held up on the way: a new connection says what stands now
      this.source.close();
      this.open();
      return;
    }
    this.hasTried = true;
    this.heardMs = pageMs - lateMs;
    this.offsetMs = Date.now() - pageMs;
    const endsInS = told.pulse.endsInS;
    const endsAtMs = endsInS === null ? null : this.heardMs + endsInS * 1000;
    this.tell.message(told, endsAtMs);
  }

  /** The server's monotonic clock now, as near as can be known. */
  get serverMs() {
    return performance.now() + this.bestMs;
  }

  /** Whether what was heard last still counts. */
  get isLive() {
    const nowMs = performance.now();
    const jumped = Math.abs(Date.now() - nowMs - this.offsetMs) > JUMP_MS;
    return !this.over && nowMs - this.heardMs < SILENCE_MS && !jumped;
  }

  async lost() {
    this.hasTried = true;
    this.heardMs = -Infinity;
    this.fresh = true;
    if (this.over || this.source.readyState !== EventSource.CLOSED) return;  // else it tries again by itself
    const status = await fetch(`${this.base}/recorded`, {cache: 'no-store'}).then((answer) => answer.status, () => 0);
    if (status === 404 || status === 410) this.end();
    else setTimeout(() => this.open(), AGAIN_MS);
  }

  end() {
    this.over = true;
    this.source.close();
    this.tell.over();
  }
}
