// Decisions as they fall, with what officers may know of why.

import { openJourney } from "./journey.js";
import { rowOf, store, watch } from "./store.js";
import { badge, plateOf, risk } from "./states.js";
import { $, clock, html, render } from "./ui.js";
import { say, t } from "./words.js";

const nameOf = (fact) => fact.jrn ?? (fact.unit ? `unit:${fact.unit}` : "");

const WORDS = {
  instruction: (fact) => `${say("reason", fact.reasonCode)}${fact.officer ? `, ${t("feed.officer", { name: fact.officer })}` : ""}`,
  incident: (fact) => t("feed.incident", { what: String(fact.incident).replaceAll("_", " ").toLowerCase() }),
  turned_back: () => t("feed.turned_back"),
  unit_lost: () => t("feed.unit_lost"),
  unit_found: () => t("feed.unit_found"),
  mode: (fact) => t("feed.mode", { agent: fact.agent, mode: (fact.degraded?.length ? fact.degraded : [fact.mode]).map((one) => say("mode", one)).join(", ") }),
  link: (fact) => t(fact.connected ? "feed.connected" : "feed.lost", { agent: fact.agent }),
};

function item(fact) {
  const row = nameOf(fact) ? rowOf(nameOf(fact), fact.agent) : undefined;
  const name = row ? plateOf(row) : fact.jrn ?? fact.unit;
  const place = store.crossings.get(fact.crossing) ?? fact.crossing;
  return html`<li key=${`${fact.time} ${fact.kind} ${nameOf(fact)} ${fact.version ?? ""}`} class=${fact.kind}>
    <time>${clock(fact.time)}</time>
    <div>${fact.kind === "instruction" && badge(fact.action)}
      ${name && html` <button type="button" class="link" onClick=${() => openJourney(row ?? { key: nameOf(fact), agent: fact.agent, jrn: fact.jrn, unit: fact.unit })}>${name}</button>`}
      ${row && fact.kind === "instruction" && html` ${risk(row)}`}
      <p>${[place && `${place} ${say("direction", fact.direction)}`.trim(), WORDS[fact.kind](fact)].filter(Boolean).join(": ")}</p></div></li>`;
}

function draw() {
  const facts = store.feed.filter((fact) => WORDS[fact.kind]);
  render(facts.length ? html`<ol>${facts.map(item)}</ol>` : html`<p class="empty">${t("feed.none")}</p>`, $("#feed"));
}

export const showFeed = () => watch(["feed", "crossings"], draw, () => 250);
