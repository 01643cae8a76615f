// The control room's page. Every fact is in a table; the map shows them at a glance. Nothing comes from elsewhere.

import { showAlarms } from "./alarms.js";
import { showBoard } from "./board.js";
import { showDeclarations } from "./declarations.js";
import { showFeed } from "./feed.js";
import { showFigures } from "./figures.js";
import { showHeader } from "./header.js";
import { showHealth } from "./health.js";
import { openJourney, showJourney } from "./journey.js";
import { listenToKeys } from "./keys.js";
import { live } from "./live.js";
import { showMap } from "./map.js";
import { showRehearsal } from "./rehearsal.js";
import { changed, store } from "./store.js";
import { showTabs } from "./tabs.js";
import { dress } from "./theme.js";
import { $ } from "./ui.js";
import { showVehicles } from "./vehicles.js";
import { speak, t } from "./words.js";

async function readCrossings() {
  const reply = await fetch("/static/geo/crossings.geojson");
  const { features } = await reply.json();
  store.crossings = new Map(features.map(({ properties }) => [properties.id, properties.name.replace(/ \(.*\)/, "")]));
  store.places = new Map(features.map(({ properties, geometry }) => [properties.id, geometry.coordinates]));
  changed("crossings");
}

/** Words that stand in the document itself. */
function translate() {
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.getAttribute("data-t"));
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.getAttribute("data-label")));
  document.title = `borderlane ${t("title")}`;
}

dress();
await speak();
translate();
showTabs();
showHeader();
showBoard();
showVehicles();
showDeclarations();
showAlarms();
showFeed();
showFigures();
showHealth();
showRehearsal();
showJourney();
listenToKeys();
$("#main").addEventListener("open-journey", (event) => openJourney(event.detail));
live();
await Promise.all([readCrossings(), showMap()]);
