// Keeps the page for the time without a network: its files, and the page itself under every address it was opened at.
// What stands is never kept here; it is heard or it is not known.
const CACHE = 'borderlane-driver-@STAMP@';
const FILES = [/* files */];
const PATIENCE_MS = 2500;

self.addEventListener('install', (event) => {
  const addresses = FILES.map((name) => (name === 'page.html' ? null : `/driver/static/${name}`)).filter(Boolean);
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(addresses)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const old = (names) => names.filter((name) => name.startsWith('borderlane-driver-') && name !== CACHE);
  event.waitUntil(caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name))))
    .then(() => self.clients.claim()));
});

/** The first page was loaded before this worker was there: it asks to be kept. */
self.addEventListener('message', (event) => {
  const {keep} = event.data || {};
  if (typeof keep === 'string' && new URL(keep).origin === location.origin) {
    event.waitUntil(caches.open(CACHE).then((cache) => cache.add(keep)));
  }
});

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== location.origin) return;
  if (event.request.mode === 'navigate') event.respondWith(page(event.request));
  else if (url.pathname.startsWith('/driver/static/')) event.respondWith(file(event.request));
});

async function page(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request.url, {ignoreSearch: true});
  const asked = fetch(request).then(async (answer) => {
    if (answer.ok) await cache.put(request.url, answer.clone());
    else if (answer.status === 404 || answer.status === 410) await cache.delete(request.url);  // it opens nothing any more
    return answer.status >= 500 && kept ? kept.clone() : answer;
  });
  if (!kept) return asked;
  const impatient = new Promise((resolve) => setTimeout(() => resolve(kept.clone()), PATIENCE_MS));
  return Promise.race([asked.catch(() => kept), impatient]);
}

async function file(request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(request, {ignoreSearch: true})) || fetch(request);
}
