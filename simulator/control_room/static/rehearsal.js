// Orders to the simulator of a demo; the tab is there only where somebody takes them.

import { store, watch } from "./store.js";
import { $, call, html, render } from "./ui.js";
import { view } from "./view.js";
import { t } from "./words.js";

const form = { crossing: "", count: 20, seconds: 15 };
let said = "";
let isSending = false;

async function order(action, words) {
  isSending = true;
  draw();
  try {
    await call("/v1/scenario", { action, ...form, crossing: crossing() });
    said = t("rehearsal.done", { action: words });
  } catch (error) {
    said = t("override.failed", { why: error.message });
  }
  isSending = false;
  draw();
}

const crossing = () => form.crossing || view.get("crossing") || [...store.crossings.keys()][0] || "";
const act = (action, key) => html`<button type="button" disabled=${isSending} onClick=${() => order(action, t(key))}>${t(key)}</button>`;
const number = (name, key, most) => html`<label>${t(key)} <input type="number" min="1" max=${most} value=${form[name]} onInput=${(event) => { form[name] = Math.min(most, Math.max(1, Number(event.target.value) || 1)); }}/></label>`;

function draw() {
  $("#tab-rehearsal").hidden = !store.rehearsal;
  if ($("#rehearsal").hidden) return;
  const crossings = [...store.crossings].sort((a, b) => (a[1] < b[1] ? -1 : 1));
  render(html`<p class="soft">${t("rehearsal.about")}</p>
    <div class="orders"><div>${number("count", "rehearsal.count", 500)} ${act("ADD_LORRIES", "rehearsal.add")} ${act("START", "rehearsal.start")}</div>
      <div>${number("seconds", "rehearsal.seconds", 120)} ${act("CUT_LINK", "rehearsal.cut")}</div>
      <div><label>${t("board.crossing")} <select value=${crossing()} onChange=${(event) => { form.crossing = event.target.value; }}>${crossings.map(([id, name]) => html`<option value=${id}>${name}</option>`)}</select></label>
        ${act("MOVE_ZONE", "rehearsal.move")} ${act("CLOSE_CROSSING", "rehearsal.close")} ${act("OPEN_CROSSING", "rehearsal.open")}</div></div>
    <p role="status">${said}</p>`, $("#rehearsal"));
}

export const showRehearsal = () => watch(["agents", "tab", "crossings"], draw, () => 1000);
