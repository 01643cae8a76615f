// What the page did with an instruction, told until the agent has it on disk. Times are the server's monotonic clock,
// which every message carries: the phone's own clock may be wrong.

const AGAIN_MS = 2000;

export class Receipts {
  /** @param {() => number} serverMs the server's clock now */
  constructor(base, serverMs) {
    this.base = base;
    this.serverMs = serverMs;
    this.now = null;
    this.busy = false;
  }

  /** An instruction arrived. */
  delivered(view, language) {
    if (!view.instructionId || (this.now && this.now.id === view.instructionId)) return;
    this.now = {id: view.instructionId, version: view.version, delivered: this.serverMs(), language};
    this.send();
  }

  /** It is on the screen, and somebody could see it. */
  displayed() {
    if (!this.now || this.now.displayed) return;
    this.now.displayed = this.serverMs();
    this.send();
  }

  acknowledged() {
    if (!this.now || this.now.acknowledged) return;
    this.now.acknowledged = this.serverMs();
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
    return {
      instructionId: one.id, version: one.version, deliveredMs: one.delivered,
      displayedMs: one.displayed ?? null, acknowledgedMs: one.acknowledged ?? null, language: one.language,
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
