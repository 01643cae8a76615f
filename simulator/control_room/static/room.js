// Live tables of crossings, vehicles and instructions. Every fact is in a table; nothing is fetched from elsewhere.
// Journeys are read whole once and after each reconnect; between, server-sent events name the journeys that changed.

const STALE_AFTER_MS = 4000;
const FEED_LENGTH = 200;
const REFRESH_MS = 500;

const rows = new Map(); // key -> journey row as served by /v1/journeys
const changedKeys = new Set();
let lastHeard = 0;
let wholeWanted = true;

const $ = (selector) => document.querySelector(selector);
const view = new URLSearchParams(location.search); // filters live in the address bar

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function remember(name, value) {
  if (value) view.set(name, value); else view.delete(name);
  history.replaceState(null, "", view.size ? `?${view}` : location.pathname);
  draw();
}

const actionOf = (row) => row.action ?? (row.stage === "ACTIVATION" ? "WAIT" : "NONE");
const word = { GO: "GO", GO_WITH_OBLIGATION: "GO, report", STOP: "STOP", HOLD: "HOLD", WAIT: "waiting", NONE: "tracked" };

function badge(action) { return element("span", word[action] ?? action, `badge ${action}`); }

function chosenRows() {
  const text = (view.get("q") ?? "").toLowerCase();
  const crossing = view.get("crossing");
  const sort = view.get("sort") ?? "changed";
  const sign = view.get("order") === "ascending" ? 1 : -1;
  const value = (row) => (sort === "action" ? actionOf(row) : row[sort]) ?? "";
  return [...rows.values()]
    .filter((row) => !crossing || row.crossing === crossing)
    .filter((row) => !text || [row.plate, row.jrn, row.crossing, row.unit].some((field) => (field ?? "").toLowerCase().includes(text)))
    .sort((a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : 0));
}

function drawVehicles() {
  const shown = chosenRows();
  $("#count").textContent = `${shown.length} of ${rows.size}`;
  const body = element("tbody");
  for (const row of shown.slice(0, 500)) {
    const line = element("tr", null, changedKeys.has(row.key) ? "fresh" : "");
    const cell = element("td");
    cell.append(badge(actionOf(row)));
    line.append(cell);
    const stage = row.breach ? "BREACH" : row.stage;
    for (const text of [row.plate ?? row.unit, `${row.crossing ?? ""} ${row.direction ?? ""}`, stage, row.jrn ?? "no journey", row.reasonCode ?? ""]) {
      line.append(element("td", text));
    }
    line.append(element("td", row.declarations, "n"), element("td", (row.changed ?? "").slice(11, 19), "n"));
    body.append(line);
  }
  if (!shown.length) {
    const line = element("tr");
    const cell = element("td", rows.size ? "no vehicle fits the filter" : "no agent has reported a vehicle yet: is the agent running and connected to its broker?");
    cell.colSpan = 8;
    line.append(cell);
    body.append(line);
  }
  $("#vehicles tbody").replaceWith(body);
  changedKeys.clear();
}

function drawCrossings() {
  const board = new Map();
  for (const row of rows.values()) {
    if (!row.crossing) continue;
    const cell = board.get(row.crossing) ?? { in: 0, out: 0, go: 0, waiting: 0, stopped: 0 };
    cell[row.direction === "OUT" ? "out" : "in"] += 1;
    const action = actionOf(row);
    if (action === "GO" || action === "GO_WITH_OBLIGATION") cell.go += 1;
    if (action === "WAIT") cell.waiting += 1;
    if ((action === "STOP" || action === "HOLD") && !row.closed) cell.stopped += 1;
    board.set(row.crossing, cell);
  }
  const body = element("tbody");
  for (const [crossing, cell] of [...board].sort()) {
    const line = element("tr", null, view.get("crossing") === crossing ? "chosen" : "");
    line.tabIndex = 0;
    line.append(element("td", crossing));
    for (const n of [cell.in, cell.out, cell.go, cell.waiting, cell.stopped]) line.append(element("td", n, "n"));
    const choose = () => remember("crossing", view.get("crossing") === crossing ? "" : crossing);
    line.addEventListener("click", choose);
    line.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); });
    body.append(line);
  }
  $("#crossings tbody").replaceWith(body);
}

let drawn = false;
function draw() {
  if (drawn) return;
  drawn = true;
  requestAnimationFrame(() => { drawn = false; drawCrossings(); drawVehicles(); });
}

async function refresh() {
  if (!wholeWanted && !changedKeys.size) return;
  const query = wholeWanted ? "" : `?keys=${[...changedKeys].slice(0, 200).map(encodeURIComponent).join(",")}`;
  try {
    const reply = await fetch(`/v1/journeys${query}`);
    if (!reply.ok) throw new Error(`${reply.status}`);
    const page = await reply.json();
    if (wholeWanted) rows.clear();
    for (const row of page.journeys) rows.set(row.key, row);
    wholeWanted = false;
    draw();
  } catch { wholeWanted = true; }
}

async function refreshStatus() {
  try {
    const page = await (await fetch("/v1/status")).json();
    $("#agents").replaceChildren(...page.agents.map((agent) =>
      element("li", `${agent.agent}: ${agent.mode}`, agent.mode === "NORMAL" ? "" : "degraded")));
    const ages = page.agents.map((agent) => agent.heardAgoS);
    if (ages.length && !ages.includes(null)) lastHeard = Date.now() - 1000 * Math.max(...ages);
  } catch { /* the age banner says it */ }
}

const sentence = {
  detection: (e) => `${e.event} ${e.zoneId} (${e.kind})`,
  activation: (e) => `${e.crossing} ${e.direction}: ${e.declarations} declaration(s) activated for ${e.jrn ?? e.unit}`,
  instruction: (e) => `${e.crossing ?? ""} ${e.jrn ?? e.unit}: ${word[e.action] ?? e.action} (${e.reasonCode})`,
  receipt: (e) => `${e.jrn ?? e.unit}: shown to the driver`,
  alarm: (e) => `${e.name}: ${e.text ?? ""} ${e.crossing ?? ""} ${e.jrn ?? e.unit ?? ""}`,
  mode: (e) => `${e.agent ?? "agent"} is ${e.mode}`,
};

function tell(kind, fact) {
  if (kind === "detection") return;
  const line = element("li", null, kind === "alarm" ? "alarm" : "");
  line.append(element("time", (fact.time ?? new Date().toISOString()).slice(11, 19)));
  if (kind === "instruction") line.append(badge(fact.action), " ");
  line.append(sentence[kind](fact));
  const feed = $("#feed");
  feed.prepend(line);
  while (feed.children.length > FEED_LENGTH) feed.lastChild.remove();
}

function listen() {
  const source = new EventSource("/v1/events");
  source.addEventListener("open", () => { wholeWanted = true; });
  for (const kind of Object.keys(sentence)) {
    source.addEventListener(kind, (message) => {
      const fact = JSON.parse(message.data);
      if (fact.key) changedKeys.add(fact.key);
      tell(kind, fact);
    });
  }
}

function showAge() {
  const age = Math.max(0, Date.now() - lastHeard);
  const known = lastHeard > 0;
  $("#age").textContent = known ? `data ${Math.max(0, Math.round(age / 1000))} s old` : "connecting";
  const banner = $("#banner");
  banner.hidden = !known || age < STALE_AFTER_MS;
  if (!banner.hidden) banner.textContent = `Connection lost: what you see is ${Math.round(age / 1000)} s old.`;
}

$("#search").value = view.get("q") ?? "";
$("#search").addEventListener("input", (event) => remember("q", event.target.value));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target.tagName !== "INPUT") { event.preventDefault(); $("#search").focus(); }
});
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const order = view.get("sort") === button.dataset.sort && view.get("order") === "ascending" ? "descending" : "ascending";
    for (const other of document.querySelectorAll("th button")) other.removeAttribute("aria-sort");
    button.setAttribute("aria-sort", order);
    view.set("sort", button.dataset.sort);
    remember("order", order);
  });
}
listen();
setInterval(refresh, REFRESH_MS);
setInterval(showAge, 1000);
setInterval(refreshStatus, 1000);
refreshStatus();
draw();
