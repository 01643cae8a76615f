// Top bar: search, agents, age of the data, language, theme; and the banner when what is shown is old.

import { age } from "./live.js";
import { turnReplay } from "./replay.js";
import { store, watch } from "./store.js";
import { chosenTheme, chooseTheme } from "./theme.js";
import { $, html, render } from "./ui.js";
import { view } from "./view.js";
import { choose, language, say, t } from "./words.js";

const LANGUAGES = [["de", "Deutsch"], ["fr", "Français"], ["it", "Italiano"], ["en", "English"]];
let bannerText = "";

function agents() {
  const modes = (agent) => (agent.degraded?.length ? agent.degraded : [agent.mode]).map((one) => say("mode", one)).join(", ");
  render(store.agents.map((agent) => html`<li key=${agent.agent} class=${agent.mode === "NORMAL" ? "" : "degraded"}>${agent.agent}: ${modes(agent)}</li>`), $("#agents"));
}

function showAge() {
  const { ageS, isLost, isRoom, since } = age();
  const isKnown = Number.isFinite(ageS);
  $("#age").textContent = !store.answered && !isLost ? t("connecting") : isKnown ? t("age", { seconds: Math.floor(ageS) }) : t("age.none");
  const isHidden = !isLost || $("#banner").dataset.kind === String(isRoom);
  if (isLost && isHidden) return; // said once, not every second: it is read out
  bannerText = isLost ? t(isRoom ? "lost.room" : "lost.agent", { time: since.toISOString().slice(11, 19) }) : "";
  $("#banner").dataset.kind = isLost ? String(isRoom) : "";
  $("#banner").hidden = !isLost;
  $("#banner").textContent = bannerText;
  document.body.classList.toggle("lost", isLost);
}

const option = (chosen) => ([value, text]) => html`<option value=${value} selected=${value === chosen}>${text}</option>`;

export function showHeader() {
  const search = /** @type {HTMLInputElement} */ ($("#search"));
  search.value = view.get("q");
  search.placeholder = t("search.hint");
  search.setAttribute("aria-label", `${t("search")}: ${t("search.hint")}`);
  search.addEventListener("input", () => view.set({ q: search.value }));
  render(html`<button type="button" onClick=${turnReplay}>${t("replay")}</button>
    <label><span class="unseen">${t("language")}</span><select onChange=${(event) => choose(event.target.value)}>${LANGUAGES.map(option(language))}</select></label>
    <label><span class="unseen">${t("theme")}</span><select onChange=${(event) => chooseTheme(event.target.value)}>
      ${["system", "light", "dark"].map((one) => [one, t(`theme.${one}`)]).map(option(chosenTheme()))}</select></label>
    <button type="button" aria-keyshortcuts="?" onClick=${() => /** @type {HTMLDialogElement} */ ($("#help")).showModal()}>${t("help")}</button>`, $("#controls"));
  watch(["agents"], agents);
  watch(["agents", "age"], showAge);
}
