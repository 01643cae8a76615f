// Filters, order and tab live in the address bar, so that a link shows what its sender saw.

import { changed } from "./store.js";

const wanted = new URLSearchParams(location.search);

export const view = {
  /** @param {string} name */
  get: (name) => wanted.get(name) ?? "",
  /** @param {Record<string, string>} values empty = without */
  set(values) {
    for (const [name, value] of Object.entries(values)) {
      if (value) wanted.set(name, value);
      else wanted.delete(name);
    }
    const query = wanted.toString();
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
    changed("view");
  },
};

export const FILTERS = ["q", "crossing", "direction", "state", "over"];
export const isFiltered = () => FILTERS.some((name) => view.get(name));
export const clearFilters = () => view.set(Object.fromEntries(FILTERS.map((name) => [name, ""])));
