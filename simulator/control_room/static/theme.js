// Light or dark: as the system says, or as chosen here.

const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners = [];

/** @returns {"system"|"light"|"dark"} */
export const chosenTheme = () => localStorage.getItem("theme") ?? "system";

/** @returns {"light"|"dark"} */
export function theme() {
  const chosen = chosenTheme();
  if (chosen !== "system") return chosen;
  return dark.matches ? "dark" : "light";
}

/** @param {string} chosen */
export function chooseTheme(chosen) {
  if (chosen === "system") localStorage.removeItem("theme");
  else localStorage.setItem("theme", chosen);
  dress();
}

/** @param {() => void} listener called after each change */
export const whenThemed = (listener) => listeners.push(listener);

export function dress() {
  document.documentElement.dataset.theme = theme();
  for (const listener of listeners) listener();
}
dark.addEventListener("change", dress);
