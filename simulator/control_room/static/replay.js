// What was, on the same map: a timeline of the last hour, at 1 to 60 times the pace, or from event to event.

import { Positions } from "./positions.js";
import { changed, store } from "./store.js";
import { badge } from "./states.js";
import { $, call, html, render } from "./ui.js";
import { say, t } from "./words.js";

const SPEEDS = [1, 5, 20, 60];
const STEP_MS = 250;

/** @type {{frames: number[], facts: any[], atMs: number, shownMs: number, isPlaying: boolean, speed: number}|null} */
let replay = null;
let timer = 0;
let isReading = false;

const stamp = (ms) => new Date(ms).toISOString().slice(11, 19);
const timeOf = (fact) => Date.parse(fact.time);
const told = () => replay.facts.filter((fact) => ["instruction", "alarm"].includes(fact.kind));

/** Begin, or go back to now. */
export async function turnReplay() {
  if (replay) return end();
  const { frames, facts } = await call("/v1/history");
  if (!frames.length) {
    $("#announce").textContent = t("replay.none");
    return undefined;
  }
  replay = { frames, facts, atMs: Math.max(frames[0], frames.at(-1) - 60_000), shownMs: 0, isPlaying: true, speed: 5 };
  timer = setInterval(step, STEP_MS);
  document.body.classList.add("replaying");
  await goTo(replay.atMs);
  $("#replay input")?.focus();
  return undefined;
}

function end() {
  clearInterval(timer);
  replay = null;
  store.replayed = null;
  document.body.classList.remove("replaying");
  $("#replay").hidden = true;
  changed("replayed");
}

function step() {
  if (!replay?.isPlaying) return;
  goTo(replay.atMs + STEP_MS * replay.speed);
}

async function goTo(ms) {
  const last = replay.frames.at(-1);
  replay.atMs = Math.min(Math.max(ms, replay.frames[0]), last);
  if (replay.atMs === last) replay.isPlaying = false;
  draw();
  const frameMs = replay.frames.findLast((one) => one <= replay.atMs) ?? replay.frames[0];
  if (frameMs === replay.shownMs || isReading) return;
  isReading = true;
  const own = replay;
  try {
    const reply = await fetch(`/v1/history/positions.bin?at=${frameMs}`);
    if (reply.ok && own === replay) {
      store.replayed = new Positions(await reply.arrayBuffer());
      own.shownMs = frameMs;
      changed("replayed");
    }
  } catch { /* the next step tries again */ } finally {
    isReading = false;
  }
}

/** To the next or previous event. @param {1|-1} way */
function jump(way) {
  const times = told().map(timeOf).sort((a, b) => a - b);
  const found = way > 0 ? times.find((one) => one > replay.atMs + 1) : times.findLast((one) => one < replay.atMs - 1);
  replay.isPlaying = false;
  if (found !== undefined) goTo(found);
}

function marks() {
  const [first, last] = [replay.frames[0], replay.frames.at(-1)];
  const x = (fact) => 100 * (timeOf(fact) - first) / Math.max(last - first, 1);
  return html`<svg class="marks" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">${told().slice(-2000).map((fact) =>
    html`<path class="mark ${fact.kind === "alarm" ? "BREACH" : fact.action}" d="M${x(fact).toFixed(2)} 0V8"/>`)}</svg>`;
}

function lately() {
  const recent = told().filter((fact) => timeOf(fact) <= replay.atMs).slice(-3).reverse();
  return html`<ul>${recent.map((fact) => html`<li><time>${stamp(timeOf(fact))}</time> ${fact.kind === "instruction" ? badge(fact.action) : fact.name} ${fact.jrn ?? fact.unit} ${say("reason", fact.reasonCode)}</li>`)}</ul>`;
}

function draw() {
  const { frames, atMs, isPlaying, speed } = replay;
  const play = () => { replay.isPlaying = !isPlaying; if (atMs === frames.at(-1)) replay.atMs = frames[0]; draw(); };
  $("#replay").hidden = false;
  render(html`<p class="banner">${t("replay.banner", { time: stamp(atMs) })} <button type="button" onClick=${end}>${t("replay.live")}</button></p>
    <div class="timeline"><button type="button" onClick=${play}>${t(isPlaying ? "replay.pause" : "replay.play")}</button>
      <button type="button" onClick=${() => jump(-1)} aria-label=${t("replay.previous")}>|◀</button>
      <button type="button" onClick=${() => jump(1)} aria-label=${t("replay.next")}>▶|</button>
      <label>${t("replay.speed")} <select value=${speed} onChange=${(event) => { replay.speed = Number(event.target.value); }}>${SPEEDS.map((one) => html`<option value=${one}>${one}×</option>`)}</select></label>
      <div class="track"><input type="range" aria-label=${t("replay.time")} aria-valuetext=${stamp(atMs)} min=${frames[0]} max=${frames.at(-1)} step="1000" value=${atMs}
        onInput=${(event) => { replay.isPlaying = false; goTo(Number(event.target.value)); }}/>${marks()}</div>
      <span class="time">${stamp(atMs)}</span></div>${lately()}`, $("#replay"));
}
