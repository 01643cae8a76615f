// What the page did with an instruction, told until the agent has it on disk. Times are "so long ago", by the
// monotonic clock: the phone's own clock may be wrong.

const AGAIN_MS = 2000;

export class Receipts {
  constructor(base) {
    this.base = base;
    this.now = null;
    this.busy = false;
  }

  /** An instruction arrived. */
  delivered(view, language) {
    if (!view.instructionId || (this.now && this.now.id === view.instructionId)) return;
    this.now = {id: view.instructionId, version: view.version, delivered: performance.now(), language};
    this.send();
  }

  /** It is on the screen, and somebody could see it. */
  displayed() {
    if (!this.now || this.now.displayed) return;
    this.now.displayed = performance.now();
    this.send();
  }

  acknowledged() {
    if (!this.now || this.now.acknowledged) return;
    this.now.acknowledged = performance.now();
    this.send();
  }

  async send() {
    const one = this.now;
    const shape = this.shape(one);
    if (this.busy || one.settled === shape) return;
    this.busy = true;
    const status = await post(`${this.base}/receipt`, this.body(one));
    this.busy = false;
    const settled = status !== 0 && status !== 429 && status < 500;
    if (settled) one.settled = shape;
    if (this.now.settled !== this.shape(this.now)) setTimeout(() => this.send(), settled ? 0 : AGAIN_MS);
  }

  shape(one) {
    return `${one.id} ${one.delivered} ${one.displayed} ${one.acknowledged}`;
  }

  body(one) {
    const ago = (atMs) => (atMs === undefined ? null : Math.max(0, performance.now() - atMs));
    return {
      instructionId: one.id, version: one.version, deliveredAgoMs: ago(one.delivered),
      displayedAgoMs: ago(one.displayed), acknowledgedAgoMs: ago(one.acknowledged), language: one.language,
    };
  }
}

/** @returns {Promise<number>} the status; 0 = it did not get through */
export async function post(address, body) {
  try {
    const answer = await fetch(address, {
      method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body),
    });
    return answer.status;
  } catch {
    return 0;
  }
}
