// What the page may show, from what it knows; no clock, no network, no element in here.

/** A GO stands only as long as it is heard of: as on a roadside sign, 3 s at most. */
export const SILENCE_MS = 3000;
const MILD = new Set(['GO', 'GO_WITH_OBLIGATION']);

/**
 * The word, and the sentence below it. Not live is never better than what was last known, and never GO.
 * @param {{view: object|null, live: boolean, endsAtMs: number|null, nowMs: number, over: boolean}} known
 * @returns {{word: string, line: string}} keys of the language's `words` and `lines`
 */
export function shown({view, live, endsAtMs, nowMs, over}) {
  if (over) return {word: 'OVER', line: 'OVER'};
  if (!view) return live ? {word: 'WAIT', line: 'EXPECTED'} : {word: 'WAIT', line: 'OFFLINE'};
  const ended = endsAtMs !== null && nowMs >= endsAtMs;
  if (!live && !view.atBorder) return {word: 'WAIT', line: 'OFFLINE'};
  if (!live || ended) {
    const strict = view.show === 'STOP' || view.show === 'HOLD';
    return strict ? {word: view.show, line: view.show} : {word: 'NO_DATA', line: 'NO_DATA'};
  }
  if (view.show === 'WAIT') return {word: 'WAIT', line: view.atBorder ? 'WAIT' : 'EXPECTED'};
  if (!MILD.has(view.show) && view.show !== 'STOP') return {word: 'HOLD', line: 'HOLD'};
  return {word: view.show, line: view.show};
}

/**
 * How late a message is, by two monotonic clocks whose distance is not known: against the quickest message so far.
 * @param {number} bestMs largest (server - page) seen on this connection
 * @returns {{bestMs: number, lateMs: number}}
 */
export function lateness(bestMs, serverMs, pageMs) {
  const best = Math.max(bestMs, serverMs - pageMs);
  return {bestMs: best, lateMs: pageMs + best - serverMs};
}

/** Whether anything may be operated: only when the vehicle is known to stand, by its own unit or by the phone. */
export function mayOperate(unitStands, phoneStands) {
  if (unitStands === false) return false;
  return unitStands === true || phoneStands === true;
}

/** The language to speak: chosen here, declared, the phone's; null = nobody knows, so all national ones in turn. */
export function languageOf(chosen, declared, phone, known) {
  for (const one of [chosen, declared, ...phone]) {
    const code = (one || '').slice(0, 2).toLowerCase();
    if (known.includes(code)) return code;
  }
  return null;
}
