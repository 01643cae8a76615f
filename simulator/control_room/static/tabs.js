// The panels below the map, one at a time (WAI-ARIA tabs).

import { changed } from "./store.js";
import { $ } from "./ui.js";
import { view } from "./view.js";
import { t } from "./words.js";

const NAMES = ["vehicles", "declarations", "figures", "health", "rehearsal"];

function choose(name) {
  for (const one of NAMES) {
    const tab = $(`#tab-${one}`);
    tab.setAttribute("aria-selected", String(one === name));
    tab.tabIndex = one === name ? 0 : -1;
    $(`#${one}`).hidden = one !== name;
  }
  changed("tab");
}

export function showTabs() {
  for (const name of NAMES) {
    const tab = $(`#tab-${name}`);
    tab.textContent = t(name);
    tab.addEventListener("click", () => { view.set({ tab: name === NAMES[0] ? "" : name }); choose(name); });
  }
  $("#tabs").addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    const tabs = NAMES.map((name) => $(`#tab-${name}`)).filter((tab) => !tab.hidden);
    const next = tabs[(tabs.indexOf(document.activeElement) + way + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
  choose(NAMES.includes(view.get("tab")) ? view.get("tab") : NAMES[0]);
}
