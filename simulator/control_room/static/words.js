// The words of the page in the chosen language; English where a file has none.

const LANGUAGES = ["de", "fr", "it", "en"];
/** @type {Record<string, string>} */
let words = {};
let english = {};
export let language = "en";

/** @returns {string} asked for in the address, chosen before, or the first of the browser's that there is. */
function wanted() {
  const asked = new URLSearchParams(location.search).get("lang") ?? localStorage.getItem("lang");
  const tongues = [asked, ...navigator.languages].map((one) => (one ?? "").slice(0, 2));
  return tongues.find((one) => LANGUAGES.includes(one)) ?? "en";
}

async function read(name) {
  const reply = await fetch(`/static/text/${name}.json`);
  return (await reply.json()).words;
}

/** Load the words; the page shows nothing before. */
export async function speak() {
  language = wanted();
  [english, words] = await Promise.all([read("en"), read(language)]);
  document.documentElement.lang = language;
}

/** @param {string} chosen */
export function choose(chosen) {
  localStorage.setItem("lang", chosen);
  const address = new URL(location.href);
  address.searchParams.delete("lang");
  location.replace(address);
}

/** The words under a key, with `{names}` filled in. @param {string} key @param {Record<string, any>} [facts] */
export function t(key, facts = {}) {
  const text = words[key] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => facts[name] ?? whole);
}

/** The same, or plain words of an unknown code. @param {string} family @param {string|null|undefined} code */
export function say(family, code) {
  if (!code) return "";
  const key = `${family}.${code}`;
  return words[key] ?? english[key] ?? code.replaceAll("_", " ").toLowerCase();
}
