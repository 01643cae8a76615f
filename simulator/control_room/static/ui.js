// preact and htm, bound once; small pieces that several panels show.

import { h, render } from "/static/vendor/preact.mjs";
import htm from "/static/vendor/htm.mjs";

export const html = htm.bind(h);
export { render };

/** @param {string} selector @returns {HTMLElement} the one element of the page. */
export const $ = (selector) => /** @type {HTMLElement} */ (document.querySelector(selector));

/** Hours, minutes and seconds of an RFC 3339 time, UTC. @param {string|null|undefined} time */
export const clock = (time) => (time ?? "").slice(11, 19);

/** A file made here, offered for keeping. @param {string} name @param {string} type @param {string} text */
export function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A call that is answered with JSON. @param {string} address @param {object} [body] posted, if there is one
 * @throws {Error} with the words of the problem, if it was not served */
export async function call(address, body) {
  const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const reply = await fetch(address, options);
  const answer = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(answer.detail ?? answer.title ?? `${reply.status}`);
  return answer;
}
