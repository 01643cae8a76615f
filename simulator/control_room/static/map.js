// The map: basemap, zones, vehicles. Everything on it is in the tables too; without WebGL the page goes on without it.

import { styleOf, vehicleColours } from "./map_style.js";
import { STATE_BITS } from "./positions.js";
import { choose, chosenRow, store, watch } from "./store.js";
import { badge, legend, plateOf, STATES } from "./states.js";
import { theme, whenThemed } from "./theme.js";
import { $, html, render } from "./ui.js";
import { VehicleLayer, mercatorX, mercatorY } from "./vehicle_layer.js";
import { view } from "./view.js";
import { say, t } from "./words.js";

const COUNTRY = [[5.9, 45.78], [10.55, 47.84]];
const REACH_PIXELS = 14;
const ZOOM_AT_CROSSING = 12.2;
const TILE_PIXELS = 512;

let map = null;
let layer = null;

const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const shown = () => store.replayed ?? store.positions;

/** Put the map up; says so in its place if that cannot be. */
export async function showMap() {
  const place = $("#map");
  if (!document.createElement("canvas").getContext("webgl2")) return withoutMap();
  try {
    const library = await import("/static/vendor/maplibre-gl.mjs");
    library.setWorkerUrl("/static/vendor/maplibre-gl-worker.mjs"); // before the first map
    map = new library.Map({
      container: place, style: styleOf(theme()), bounds: COUNTRY, fitBoundsOptions: { padding: 24 }, attributionControl: false,
      dragRotate: false, pitchWithRotate: false, touchPitch: false, minZoom: 5, maxZoom: 18, maxBounds: [[2, 43], [15, 50]],
      fadeDuration: 0, locale: { "NavigationControl.ZoomIn": t("map.in"), "NavigationControl.ZoomOut": t("map.out"), "Map.Title": t("map.described") },
    });
    map.touchZoomRotate.disableRotation();
    map.keyboard.disableRotation();
    map.addControl(new library.NavigationControl({ showCompass: false }), "top-right");
    map.addControl(new library.ScaleControl({ maxWidth: 120 }), "bottom-left");
  } catch {
    return withoutMap();
  }
  layer = new VehicleLayer();
  map.on("style.load", dressMap);
  map.on("load", () => { place.dataset.ready = "yes"; toCrossing(); });
  map.on("click", pick);
  map.on("mousemove", hover);
  map.on("mouseout", () => { $("#tip").hidden = true; });
  whenThemed(() => map.setStyle(styleOf(theme())));
  watch(["positions", "replayed"], tick);
  watch(["chosen", "positions", "replayed"], markChosen);
  render(legend(), $("#legend"));
  return map;
}

function withoutMap() {
  map = null;
  document.body.classList.add("without-map");
  const note = $("#map-none");
  note.textContent = t("map.none");
  note.hidden = false;
}

function dressMap() {
  if (!map.getLayer("vehicles")) map.addLayer(layer, "chosen");
  const { colours, edge } = vehicleColours(theme());
  layer.dress(colours, edge);
  layer.show(shown());
  markChosen();
}

/** One tick: from the frame's bytes to the buffer that the next picture is drawn from. */
function tick() {
  const start = performance.now();
  layer.show(shown());
  performance.clearMeasures("tick");
  performance.measure("tick", { start });
}

/** The whole country, or the crossing that is filtered for. */
export function toCrossing() {
  if (!map) return;
  const name = view.get("crossing");
  const place = name && store.places?.get(name);
  if (place) map.easeTo({ center: place, zoom: ZOOM_AT_CROSSING, animate: !isCalm() });
  else map.fitBounds(COUNTRY, { padding: 24, animate: !isCalm() });
}

/** Bring a vehicle into view. @param {Record<string, any>} row */
export function toVehicle(row) {
  const index = store.positions?.find(row.handle) ?? -1;
  if (!map || index < 0) return;
  const center = [store.positions.longitude(index), store.positions.latitude(index)];
  map.easeTo({ center, zoom: Math.max(map.getZoom(), 13), animate: !isCalm() });
}

/** Keyboard's way into the map. */
export const focusMap = () => map?.getCanvas().focus();

function markChosen() {
  const index = shown()?.find(chosenRow()?.handle) ?? -1;
  const point = (at) => ({ type: "Feature", properties: {}, geometry: { type: "Point", coordinates: [shown().longitude(at), shown().latitude(at)] } });
  map?.getSource("chosen")?.setData({ type: "FeatureCollection", features: index < 0 ? [] : [point(index)] });
}

/** The vehicle at a place of the screen, or -1; the map is never turned, so one scale serves. */
function nearest(place) {
  const positions = shown();
  if (!positions) return -1;
  const scale = TILE_PIXELS * 2 ** map.getZoom();
  const at = map.unproject(place);
  const [x, y] = [mercatorX(at.lng), mercatorY(at.lat)];
  let [found, best] = [-1, (REACH_PIXELS / scale) ** 2];
  for (let index = 0; index < positions.count; index += 1) {
    const distance = (mercatorX(positions.longitude(index)) - x) ** 2 + (mercatorY(positions.latitude(index)) - y) ** 2;
    if (distance < best) [found, best] = [index, distance];
  }
  return found;
}

function pick(event) {
  const index = nearest(event.point);
  const row = index < 0 ? undefined : store.byHandle.get(shown().handle(index));
  choose(row?.id ?? null);
  if (row && event.originalEvent.detail > 1) $("#main").dispatchEvent(new CustomEvent("open-journey", { detail: row }));
}

function hover(event) {
  const tip = $("#tip");
  const index = nearest(event.point);
  tip.hidden = index < 0;
  if (index < 0) return;
  const positions = shown();
  const row = store.byHandle.get(positions.handle(index));
  const state = STATES[positions.state(index) & STATE_BITS] ?? "NONE";
  render(html`${badge(state)} <b>${row ? plateOf(row) : positions.handle(index)}</b>
    ${row && html`<span>${store.crossings.get(row.crossing) ?? row.crossing} ${say("direction", row.direction)}</span>
      <span>${say("reason", row.reasonCode)}</span>`}
    <span>${t("column.age")} ${positions.ageS(index).toFixed(0)} s</span>`, tip);
  const right = event.point.x > map.getContainer().clientWidth - 260;
  tip.style.left = `${event.point.x + (right ? -14 : 14)}px`;
  tip.style.top = `${event.point.y + 10}px`;
  tip.classList.toggle("left", right);
}
