// Live tables of crossings, vehicles and instructions. Every fact is in a table; nothing is fetched from elsewhere.
// Journeys are read whole once and after each reconnect; between, server-sent events name the journeys that changed.

const STALE_AFTER_S = 2.5;
const FEED_LENGTH = 200;
const REFRESH_MS = 500;
const STATUS_MS = 1000;
const ROWS_SHOWN = 500;
const ASKED_CHARACTERS = 3000; // of keys in one request: the address stays under what servers read

const UNDER_WAY = new Set(["TRACKING", "ACTIVATION", "CONFIRMATION"]);
const word = {
  GO: "GO", GO_WITH_OBLIGATION: "GO, report", STOP: "STOP", HOLD: "HOLD", BREACH: "BREACH", WAIT: "waiting", NONE: "none yet",
};

const rows = new Map(); // agent and key -> journey row as served by /v1/journeys
const wanted = new Set(); // journeys and units that changed and were not read yet
const fresh = new Set(); // rows that changed since the last drawing
let silent = new Set(); // agents that do not answer: their rows are shown hollow
let wholeWanted = true;
let reading = false;
let answered = false; // the control room itself has answered
let answeredAt = performance.now();
let agentAgeS = 0; // of the agent that has been silent longest, as the control room said it

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
  const query = view.toString();
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
  draw();
}

// --- what a row says ---

const isOpen = (row) => row.breach || ((row.action === "STOP" || row.action === "HOLD") && !row.closed);
const isThrough = (row) => !UNDER_WAY.has(row.stage) && !isOpen(row);

function stateOf(row) {
  if (row.breach) return "BREACH";
  return row.action ?? (row.waiting ? "WAIT" : "NONE");
}

const plateOf = (row) => (row.plate ? `${row.nationality ?? ""} ${row.plate}`.trim() : row.unit ?? "");
const whereOf = (row) => `${row.crossing ?? ""} ${row.direction ?? ""}`.trim();
const reasonOf = (fact) => (fact.reasonCode ?? "").replaceAll("_", " ").toLowerCase();
const SORTED_BY = {
  action: stateOf, plate: plateOf, crossing: whereOf, stage: (row) => row.stage, jrn: (row) => row.jrn ?? "",
  reasonCode: (row) => row.reasonCode ?? "", declarations: (row) => row.declarations, changed: (row) => row.changed ?? "",
};

function badge(state, over) {
  return element("span", word[state] ?? state, `badge ${state}${over ? " over" : ""}`);
}

// --- tables, kept row by row so that the keyboard's place and the reader's are not lost ---

function fill(body, items, cellsOf) {
  const known = new Map([...body.children].map((line) => [line.dataset.key, line]));
  items.forEach((item, index) => {
    const line = known.get(item.key) ?? element("tr");
    known.delete(item.key);
    line.dataset.key = item.key;
    line.className = item.className ?? "";
    cellsOf(item, line);
    if (body.children[index] !== line) body.insertBefore(line, body.children[index] ?? null);
  });
  for (const line of known.values()) line.remove();
}

function put(line, index, text, className) {
  const cell = line.children[index] ?? line.appendChild(element("td"));
  if (cell.textContent !== String(text)) cell.textContent = text;
  if (cell.className !== (className ?? "")) cell.className = className ?? "";
  return cell;
}

function chosenRows() {
  const text = (view.get("q") ?? "").toLowerCase();
  const crossing = view.get("crossing");
  const value = SORTED_BY[view.get("sort")] ?? SORTED_BY.changed;
  const sign = view.get("order") === "ascending" ? 1 : -1;
  return [...rows]
    .filter(([, row]) => !crossing || row.crossing === crossing)
    .filter(([, row]) => view.has("over") || text || !isThrough(row))
    .filter(([, row]) => !text || [plateOf(row), row.jrn, whereOf(row), row.unit].some((field) => (field ?? "").toLowerCase().includes(text)))
    .sort(([keyA, a], [keyB, b]) => {
      const [first, second] = [value(a), value(b)];
      if (first === second) return keyA < keyB ? -1 : 1;
      return first < second ? -sign : sign;
    });
}

function vehicleCells({ row }, line) {
  const state = stateOf(row);
  const over = silent.has(row.agent) || (row.action && !isOpen(row) && !UNDER_WAY.has(row.stage));
  const look = `${state}${over}`;
  if (line.dataset.look !== look) {
    line.dataset.look = look;
    const cell = line.children[0] ?? line.appendChild(element("td"));
    cell.replaceChildren(badge(state, over));
  }
  const texts = [plateOf(row), whereOf(row), row.stage.toLowerCase(), row.jrn ?? "no journey", reasonOf(row)];
  texts.forEach((text, index) => put(line, index + 1, text, index === 1 || index === 4 ? "text" : ""));
  put(line, 6, row.declarations, "n");
  put(line, 7, (row.changed ?? "").slice(11, 19), "n");
}

function emptyText() {
  if (!answered) return "reading";
  if (rows.size) return "no vehicle fits the filter";
  return "no agent has reported a vehicle yet: run borderlane doctor if this lasts";
}

function drawVehicles() {
  const shown = chosenRows();
  const cut = shown.length > ROWS_SHOWN ? `, first ${ROWS_SHOWN} listed` : "";
  $("#count").textContent = `${shown.length} of ${rows.size}${cut}`;
  const body = $("#vehicles tbody");
  if (!shown.length) {
    const cell = element("td", emptyText(), "text");
    cell.colSpan = 8;
    body.replaceChildren(element("tr"));
    body.firstChild.append(cell);
    return;
  }
  const items = shown.slice(0, ROWS_SHOWN).map(([key, row]) => ({
    key, row, className: `${fresh.has(key) ? "fresh" : ""}${silent.has(row.agent) ? " silent" : ""}`,
  }));
  fill(body, items, vehicleCells);
  fresh.clear();
}

function counted() {
  const board = new Map();
  for (const row of rows.values()) {
    if (!row.crossing) continue;
    const cell = board.get(row.crossing) ?? { key: row.crossing, in: 0, out: 0, waiting: 0, open: 0, passed: 0 };
    if (UNDER_WAY.has(row.stage)) cell[row.direction === "OUT" ? "out" : "in"] += 1;
    if (stateOf(row) === "WAIT") cell.waiting += 1;
    if (isOpen(row)) cell.open += 1;
    if (row.stage === "PASSED") cell.passed += 1;
    board.set(row.crossing, cell);
  }
  return [...board.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

function crossingCells(item, line) {
  if (!line.children.length) {
    const choose = element("button", item.key);
    choose.type = "button";
    choose.addEventListener("click", () => remember("crossing", view.get("crossing") === item.key ? "" : item.key));
    line.appendChild(element("td", null, "text")).append(choose);
  }
  line.firstChild.firstChild.setAttribute("aria-pressed", view.get("crossing") === item.key);
  [item.in, item.out, item.waiting, item.open, item.passed].forEach((number, index) =>
    put(line, index + 1, number, number ? `n${index === 3 ? " open" : ""}` : "n zero"));
}

function drawCrossings() {
  const board = counted();
  $("#crossing-count").textContent = board.length ? `${board.length} with vehicles` : "";
  fill($("#crossings tbody"), board, crossingCells);
  const chosen = view.get("crossing");
  const button = $("#all-crossings");
  button.hidden = !chosen;
  button.textContent = chosen ? `${chosen} only: show all` : "";
}

function markSorting() {
  for (const button of document.querySelectorAll("th button")) {
    const heading = button.closest("th");
    if (button.dataset.sort !== (view.get("sort") ?? "changed")) heading.removeAttribute("aria-sort");
    else heading.setAttribute("aria-sort", view.get("order") === "ascending" ? "ascending" : "descending");
  }
}

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; drawCrossings(); drawVehicles(); markSorting(); });
}

// --- reading ---

function nextKeys() {
  const keys = [];
  let length = 0;
  for (const key of wanted) {
    length += encodeURIComponent(key).length + 3;
    if (length > ASKED_CHARACTERS) break;
    keys.push(key);
  }
  for (const key of keys) wanted.delete(key);
  return keys;
}

function take(page, keys) {
  silent = new Set(page.unanswered);
  for (const [id, row] of rows) {
    const asked = keys === null || keys.some((key) => key === row.key || key === row.jrn || key === row.unit);
    if (asked && !silent.has(row.agent)) rows.delete(id);
  }
  for (const row of page.journeys) {
    const id = `${row.agent} ${row.key}`;
    rows.set(id, row);
    if (keys !== null) fresh.add(id);
  }
}

async function refresh() {
  if (reading || (!wholeWanted && !wanted.size)) return;
  reading = true;
  const keys = wholeWanted ? null : nextKeys();
  if (keys === null) { wanted.clear(); wholeWanted = false; }
  try {
    const reply = await fetch(keys === null ? "/v1/journeys" : `/v1/journeys?keys=${encodeURIComponent(keys.join(","))}`);
    if (!reply.ok) throw new Error(`${reply.status}`);
    take(await reply.json(), keys);
    draw();
  } catch {
    wholeWanted = true;
  } finally {
    reading = false;
  }
}

async function refreshStatus() {
  try {
    const reply = await fetch("/v1/status");
    if (!reply.ok) throw new Error(`${reply.status}`);
    const page = await reply.json();
    showAgents(page.agents);
    agentAgeS = Math.max(0, ...page.agents.map((agent) => agent.heardAgoS ?? Infinity));
    answered = true;
    answeredAt = performance.now();
    const unanswered = new Set(page.agents.filter((agent) => agent.mode === "OUT_OF_REACH").map((agent) => agent.agent));
    if ([...silent].some((agent) => !unanswered.has(agent))) wholeWanted = true; // it is back
    silent = unanswered;
    draw();
  } catch { /* the age says it */ }
}

let agentsShown = "";
function showAgents(agents) {
  const texts = agents.map((agent) => {
    const modes = agent.degraded?.length ? agent.degraded.join(", ") : agent.mode;
    const held = agent.checkpointHeld == null ? "" : `, ${agent.checkpointHeld} entries attested`;
    return `${agent.agent}: ${modes.replaceAll("_", " ").toLowerCase()}${held}`;
  });
  if (texts.join("\n") === agentsShown) return;
  agentsShown = texts.join("\n");
  $("#agents").replaceChildren(...texts.map((text, index) =>
    element("li", text, agents[index].mode === "NORMAL" ? "" : "degraded")));
}

let lostSince = null;
function showAge() {
  const unheardS = (performance.now() - answeredAt) / 1000;
  const ageS = agentAgeS + unheardS;
  const isLost = ageS > STALE_AFTER_S;
  if (answered || isLost) $("#age").textContent = Number.isFinite(ageS) ? `data ${Math.floor(ageS)} s old` : "no data yet";
  if (isLost === (lostSince !== null)) return;
  // Said once, not every second: it is read out.
  lostSince = isLost ? new Date(Date.now() - (Number.isFinite(ageS) ? ageS * 1000 : 0)) : null;
  const banner = $("#banner");
  banner.hidden = !isLost;
  const what = unheardS > STALE_AFTER_S ? "The control room does not answer" : "An agent is out of reach";
  banner.textContent = isLost ? `${what}: what is shown dates from ${lostSince.toISOString().slice(11, 19)} UTC.` : "";
}

// --- events ---

const who = (fact) => fact.jrn ?? fact.unit ?? "";
const sentence = {
  instruction: (fact) => `${fact.crossing ?? ""} ${fact.direction ?? ""}: ${who(fact)}, ${reasonOf(fact)}${fact.officer ? `, by ${fact.officer}` : ""}`,
  alarm: (fact) => `${fact.name}: ${fact.text ?? ""} (${[fact.crossing, who(fact)].filter(Boolean).join(", ")})`,
  mode: (fact) => `${fact.agent} is now ${fact.degraded?.length ? fact.degraded.join(", ") : fact.mode}`,
  output: (fact) => `${fact.crossing ?? ""}: ${fact.output} shows ${fact.state}`,
  incident: (fact) => `${who(fact)}: driver reports ${fact.incident}`,
  turned_back: (fact) => `${fact.crossing ?? ""}: ${who(fact)} turned back`,
  unit_lost: (fact) => `${fact.crossing ?? ""}: no position from ${who(fact)} any more`,
  unit_found: (fact) => `${fact.crossing ?? ""}: ${who(fact)} is heard again`,
  link: (fact) => `${fact.agent} is ${fact.connected ? "connected" : "out of reach"}`,
};
// These change rows; a line of the feed for each would hide what matters.
const QUIET = ["detection", "activation", "journey", "receipt", "notice", "approach_seen", "touch_seen", "bypassed"];

function tell(kind, fact) {
  const isAlarm = kind === "alarm" || (kind === "link" && !fact.connected);
  const line = element("li", null, isAlarm ? "alarm" : "");
  line.append(element("time", (fact.time ?? new Date().toISOString()).slice(11, 19)));
  if (kind === "instruction") line.append(badge(fact.action), " ");
  line.append(sentence[kind](fact));
  const feed = $("#feed");
  feed.prepend(line);
  while (feed.children.length > FEED_LENGTH) feed.lastChild.remove();
}

function heard(kind, fact) {
  if (kind === "link") wholeWanted = true;
  if (fact.jrn) wanted.add(fact.jrn);
  else if (fact.unit) wanted.add(fact.unit);
  if (sentence[kind]) tell(kind, fact);
}

function listen() {
  const source = new EventSource("/v1/events?lastEventId=0"); // what happened just before is told too
  source.addEventListener("open", () => { wholeWanted = true; });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return; // it connects again by itself
    setTimeout(listen, 2000);
  });
  for (const kind of [...Object.keys(sentence), ...QUIET]) {
    source.addEventListener(kind, (message) => heard(kind, JSON.parse(message.data)));
  }
}

// --- controls ---

$("#search").value = view.get("q") ?? "";
$("#search").addEventListener("input", (event) => remember("q", event.target.value));
$("#over").checked = view.has("over");
$("#over").addEventListener("change", (event) => remember("over", event.target.checked ? "1" : ""));
$("#all-crossings").addEventListener("click", () => { remember("crossing", ""); $("#search").focus(); });
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
  event.preventDefault();
  $("#search").focus();
});
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const isSorted = (view.get("sort") ?? "changed") === button.dataset.sort;
    const isAscending = isSorted && view.get("order") === "ascending";
    view.set("sort", button.dataset.sort);
    remember("order", isAscending ? "descending" : "ascending");
  });
}
listen();
setInterval(refresh, REFRESH_MS);
setInterval(showAge, REFRESH_MS);
setInterval(refreshStatus, STATUS_MS);
refresh();
refreshStatus();
draw();
