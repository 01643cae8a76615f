// The carrier's page: reads its journeys every few seconds. The token stands behind the # of the address, which no
// browser sends to a server, and goes out in a header only.

const AGAIN_MS = 5000;
const STATIC = '/static/trade_text';
const token = decodeURIComponent(location.hash.slice(1));
const node = (id) => document.getElementById(id);
let words = null;
let page = null;
let drawn = '';

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const ask = (path) => fetch(path, {headers: {Authorization: `Bearer ${token}`}, cache: 'no-store'});
const when = (time) => (time ? new Date(time).toLocaleString(words.code, {dateStyle: 'short', timeStyle: 'short'}) : '');
const place = (key) => key.split(/[-_]/).map((part) => part.charAt(0).toUpperCase() + part.slice(1)).join(' ');

async function speak(code) {
  words = await fetch(`${STATIC}/${code}.json`).then((answer) => answer.json());
  document.documentElement.lang = words.code;
  document.title = `${words.title} – borderlane`;
  node('title').textContent = words.title;
  node('language-label').textContent = words.language;
  node('language').value = words.code;
  node('link-title').textContent = words.link;
  node('link-text').textContent = words.linkText;
  node('link-close').textContent = words.close;
  node('heads').replaceChildren(...words.heads.map((head) => {
    const cell = element('th', head);
    cell.scope = 'col';
    return cell;
  }));
  drawn = '';
  draw();
}

function draw() {
  if (!words || !page) return;
  const picture = JSON.stringify([page, words.code]);
  if (picture === drawn) return;
  drawn = picture;
  node('carrier').textContent = page.carrier;
  node('journeys').hidden = page.journeys.length === 0;
  node('state').textContent = page.journeys.length ? (page.more ? words.more : '') : words.none;
  node('rows').replaceChildren(...page.journeys.map(row));
}

function row(one) {
  const line = element('tr');
  line.append(journey(one), where(one), state(one), result(one), obligations(one), driver(one));
  return line;
}

function journey(one) {
  const cell = element('td');
  cell.append(element('span', `${one.plate} ${one.nationality}`, 'strong'), element('br'), element('code', one.jrn, 'quiet'));
  return cell;
}

function where(one) {
  const cell = element('td', `${place(one.crossing)} ${one.direction === 'IN' ? '→ CH' : 'CH →'}`);
  cell.append(element('br'), element('span', when(one.expectedAt), 'quiet'));
  return cell;
}

function state(one) {
  const cell = element('td');
  cell.append(element('span', words.states[one.state] || one.state, one.state === 'READY' ? 'good' : 'bad'));
  if (one.faults.length) {
    const list = element('ul');
    for (const fault of one.faults) {
      const item = element('li');
      item.append(element('code', fault.field), `: ${fault.message}`);
      list.append(item);
    }
    cell.append(list);
  }
  return cell;
}

const result = (one) => element('td', one.result ? words.results[one.result] : words.undecided, one.result ? 'strong' : 'quiet');

function obligations(one) {
  const cell = element('td');
  if (!one.obligations.length) return cell;
  const list = element('ul');
  for (const owed of one.obligations) list.append(element('li', `${owed.places.join(', ')} (${owed.inspection})`));
  if (one.deadline) cell.append(element('span', `${words.by} ${when(one.deadline)}`, 'strong'));
  cell.append(list);
  return cell;
}

function driver(one) {
  const cell = element('td');
  if (one.state === 'CANCELLED' || one.state === 'EXPIRED') return cell;
  const button = element('button', words.link);
  button.type = 'button';
  button.setAttribute('aria-label', `${words.link}: ${one.plate}`);
  button.addEventListener('click', () => show(one));
  cell.append(button);
  return cell;
}

async function show(one) {
  const path = `/v1/trade/journeys/${encodeURIComponent(one.jrn)}/driver-link`;
  const [link, picture] = await Promise.all([ask(path), ask(`${path}.svg`)]);
  const address = node('link-address');
  if (!link.ok || !picture.ok) {
    address.textContent = words.noLink;
    address.removeAttribute('href');
    node('link-picture').hidden = true;
  } else {
    const {url} = await link.json();
    address.textContent = url;
    address.href = url;
    node('link-picture').hidden = false;
    node('link-picture').src = URL.createObjectURL(new Blob([await picture.arrayBuffer()], {type: 'image/svg+xml'}));
    node('link-picture').alt = url;
  }
  node('link').showModal();
}

node('link-close').addEventListener('click', () => node('link').close());
node('link').addEventListener('close', () => URL.revokeObjectURL(node('link-picture').src));
node('language').addEventListener('change', (event) => speak(event.target.value));

async function read() {
  try {
    const answer = await ask('/v1/trade/journeys');
    if (answer.status === 401) {
      page = null;
      node('journeys').hidden = true;
      node('state').textContent = words.refused;
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    page = await answer.json();
    draw();
  } catch {
    node('state').textContent = words.unreachable;
    drawn = '';
  }
  setTimeout(read, AGAIN_MS);
}

const known = ['de', 'fr', 'it', 'en'];
const spoken = (navigator.languages || []).map((one) => one.slice(0, 2)).find((one) => known.includes(one));
speak(spoken || 'en').then(read);
