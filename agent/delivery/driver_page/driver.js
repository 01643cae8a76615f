// The driver's page: hears what stands, shows one word, says back what it did.
import {fit} from './fit.js';
import {Live} from './live.js';
import {SILENCE_MS, languageOf, mayOperate, shown} from './judge.js';
import {Kept, Motion, stayAwake} from './phone.js';
import {Receipts, post} from './receipts.js';
import {allowSound, canSound, signal, speak} from './voice.js';

const NATIONAL = ['de', 'fr', 'it', 'en'];
const LOOK_MS = 200;
const TURN_MS = 4000;
const STATIC = '/driver/static';
const base = location.pathname.replace(/\/$/, '');
const kept = new Kept(base.split('/').pop());
const receipts = new Receipts(base, () => stream.serverMs);
const motion = new Motion();
const node = (id) => document.getElementById(id);

const known = {view: kept.state.view || null, endsAtMs: null, standing: null, code: kept.state.code || null};
let languages = {};
let words = null;
let wanted = null;
let drawn = '';
let said = '';
let asking = null;
let over = false;

// --- language ------------------------------------------------------------------------------------------------

async function choose() {
  const code = languageOf(kept.state.language, known.view?.language, navigator.languages || [], Object.keys(languages));
  const turn = NATIONAL[Math.floor(performance.now() / TURN_MS) % NATIONAL.length];
  const next = code || turn;
  if (next === wanted) return;
  wanted = next;
  const found = await fetch(`${STATIC}/${next}.json`).then((answer) => answer.json()).catch(() => null);
  if (!found) wanted = words?.language || null;
  else if (next === wanted) speakIn(found);
}

function speakIn(found) {
  words = found;
  drawn = '';
  document.documentElement.lang = found.language;
  const {buttons, labels} = found;
  for (const id of ['read', 'sound', 'goods', 'breakdown', 'yes', 'no', 'call', 'download']) node(id).textContent = buttons[id];
  node('language-label').textContent = labels.language;
  node('language').value = found.language;
  node('recorded-title').textContent = buttons.recorded;
  const days = document.documentElement.dataset.papersDays;
  node('recorded-list').replaceChildren(...found.recorded.map((line) => element('li', line.replace('{days}', days))));
  node('unreviewed').textContent = found.reviewedBy ? '' : found.says.unreviewed;
  node('code-text').textContent = found.says.codeOfficer;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// --- showing -------------------------------------------------------------------------------------------------

function look() {
  choose();
  if (!words) return;
  const begun = stream.hasTried || performance.now() > SILENCE_MS;  // before the first answer nothing is known: WAIT
  const live = stream.isLive;
  const view = begun ? known.view : null;
  const now = shown({view, live: live || !begun, endsAtMs: known.endsAtMs, nowMs: performance.now(), over});
  const stands = over ? true : mayOperate(live ? known.standing : null, motion.standing);
  const driving = !over && (live ? known.standing : motion.standing) === false;
  node('clock').textContent = new Date().toLocaleTimeString(words.language);
  const picture = JSON.stringify([now, stands, driving, known.view, known.code?.instructionId, words.language, asking, canSound()]);
  if (picture === drawn) return;
  drawn = picture;
  draw(now, stands, driving);
  if (said !== now.word) announce(now);
  if (known.view && now.word === known.view.show && live) painted();
}

function draw(now, stands, driving) {
  const view = known.view;
  document.body.dataset.word = now.word;
  document.title = `${words.words[now.word]} – borderlane`;
  node('plate').textContent = view?.plate || '';
  node('country').textContent = view?.nationality || '';
  node('shape').firstElementChild.setAttribute('href', `#shape-${now.word}`);
  fit(node('word'), words.words[now.word]);
  node('line').textContent = words.lines[now.line];
  drawFacts(now, view);
  drawCode(now, driving);
  node('moving').textContent = stands || over ? '' : words.says.moving;
  for (const id of ['first', 'controls']) node(id).hidden = !stands || asking !== null || over;
  node('ask').hidden = !stands || asking === null;
  node('recorded').hidden = driving;
  node('unreviewed').hidden = driving;
  node('download').hidden = !stands || over;
  drawButtons(now, view);
}

function drawFacts(now, view) {
  const {labels} = words;
  const told = view && now.word === view.show;
  const facts = [];
  node('lane').textContent = told && view.lane ? `${labels.lane} ${view.lane}` : '';
  node('lane').hidden = !node('lane').textContent;
  if (view?.office && now.word !== 'GO') facts.push([labels.office, view.office]);
  if (view?.crossing) facts.push([labels.crossing, view.crossing.split(/[-_]/).map(capital).join(' ')]);
  if (told && view.deadline) facts.push([labels.deadline, new Date(view.deadline).toLocaleString(words.language, {dateStyle: 'short', timeStyle: 'short'})]);
  node('facts').replaceChildren(...facts.flatMap(([name, value]) => [element('dt', name), element('dd', value)]));
  const places = told ? view.reportTo : [];
  node('places').hidden = !places.length;
  node('places').replaceChildren(...places.map((one) => element('li', `${one.locationIds.join(', ')} (${one.inspectionTypeId})`)));
  const notices = (view?.notices || []).map((code) => words.notices[code]).filter(Boolean);
  node('notice').textContent = notices.join(' ');
  node('notice').hidden = !notices.length;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function drawCode(now, driving) {
  const code = known.code;
  const fits = code && code.instructionId === known.view?.instructionId;
  node('code').hidden = !fits || driving || over;
  if (!fits) return;
  node('code-picture').setAttribute('viewBox', `0 0 ${code.size} ${code.size}`);
  node('code-ground').setAttribute('d', `M0 0h${code.size}v${code.size}H0z`);
  node('code-dark').setAttribute('d', code.path);
}

function drawButtons(now, view) {
  const done = Boolean(view?.acknowledged);
  const acknowledge = node('acknowledge');
  acknowledge.hidden = !view?.instructionId || now.word !== view.show;
  acknowledge.textContent = done ? words.buttons.acknowledged : words.buttons.acknowledge;
  acknowledge.setAttribute('aria-disabled', String(done));
  const call = node('call');
  call.hidden = !view?.phone;
  if (view?.phone) call.href = `tel:${view.phone.replaceAll(' ', '')}`;
  node('sound').hidden = canSound();
  node('download').href = `${base}/recorded`;
  node('question').textContent = asking ? words.says[asking.question] : '';
}

/** Each new word is heard and felt, also while driving. */
function announce(now) {
  const first = said === '';
  said = now.word;
  if (first && now.word === 'WAIT') return;
  signal(now.word);
  if (canSound()) readAloud();
}

function readAloud() {
  const parts = [node('word').textContent, node('line').textContent, node('lane').textContent];
  speak(parts.filter(Boolean).join('. '), words.language);
}

function painted() {
  receipts.delivered(known.view, words.language);
  if (document.visibilityState !== 'visible') return;
  requestAnimationFrame(() => requestAnimationFrame(() => receipts.displayed()));
}

// --- hearing -------------------------------------------------------------------------------------------------

const stream = new Live(base, {
  message(told, endsAtMs) {
    known.endsAtMs = endsAtMs;
    known.standing = told.pulse.standing;
    if (told.view) take(told.view);
    look();
  },
  over() {
    over = true;
    kept.forget();
    look();
  },
});

function take(view) {
  const before = known.view;
  known.view = view;
  kept.write({view});
  if (!view.instructionId) {
    known.code = null;
    kept.write({code: null});
  } else if (!before || before.instructionId !== view.instructionId || !known.code) fetchCode(view.instructionId);
}

async function fetchCode(id, tries = 5) {
  const code = await fetch(`${base}/code`).then((answer) => (answer.ok ? answer.json() : null)).catch(() => null);
  if (known.view?.instructionId !== id) return;
  if (code && code.instructionId === id) {
    known.code = code;
    kept.write({code});
    look();
  } else if (tries > 0) setTimeout(() => fetchCode(id, tries - 1), 1000);
}

// --- telling -------------------------------------------------------------------------------------------------

node('acknowledge').addEventListener('click', () => receipts.acknowledged());
node('read').addEventListener('click', readAloud);
node('sound').addEventListener('click', async () => {
  await allowSound();
  signal('GO');
  look();
});
node('goods').addEventListener('click', () => ask('EXTRA_GOODS', 'askGoods'));
node('breakdown').addEventListener('click', () => ask('BREAKDOWN', 'askBreakdown'));
node('no').addEventListener('click', () => ask(null));
node('yes').addEventListener('click', async () => {
  const kind = asking?.kind;
  ask(null);
  const status = await post(`${base}/incident`, {kind});
  node('answer').textContent = status === 204 ? words.says.reported : words.says.failed;
});
node('language').addEventListener('change', (event) => {
  kept.write({language: event.target.value});
  look();
});

function ask(kind, question) {
  asking = kind && {kind, question};
  node('answer').textContent = '';
  look();
  (asking ? node('no') : node('goods')).focus();
}

/** Browsers have service workers only where the line is safe: HTTPS, or this machine itself. */
async function keepPage() {
  if (!navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register(`${STATIC}/worker.js`, {scope: '/driver/'});
    const ready = await navigator.serviceWorker.ready;
    ready.active.postMessage({keep: location.href.split('#')[0]});
  } catch { /* then the page works with a network only */ }
}

async function start() {
  stayAwake();
  keepPage();
  languages = await fetch(`${STATIC}/languages.json`).then((answer) => answer.json());
  node('language').replaceChildren(...Object.entries(languages).map(([code, name]) => {
    const option = element('option', name);
    option.value = code;
    option.lang = code;
    return option;
  }));
  document.addEventListener('visibilitychange', () => { drawn = ''; look(); });
  setInterval(look, LOOK_MS);
  look();
}

start();
