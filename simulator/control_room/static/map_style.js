// Our own basemap as a MapLibre style: no tile server, a handful of GeoJSON files, calm colours, light and dark.

const PALETTE = {
  light: {
    abroad: "#e9ecec", land: "#faf9f5", water: "#c8dbe9", river: "#b4cfe2", border: "#8d7f95", customs: "#6d5b7b",
    motorway: "#e0b674", road: "#d9d3c6", approach: "#c9bfae", text: "#39434d", faint: "#737d86", halo: "#faf9f5",
    zones: { TRACKING: "#5c86b8", ACTIVATION: "#2262a3", CONFIRMATION: "#0d3f78" },
    vehicles: ["#59636d", "#0b66c3", "#00713f", "#00707c", "#e0a100", "#b3001e", "#b3001e"], edge: "#ffffff",
  },
  dark: {
    abroad: "#0e1318", land: "#19212a", water: "#10283a", river: "#1b3d57", border: "#6d6079", customs: "#9d8bb0",
    motorway: "#6e5a38", road: "#333c45", approach: "#3c4650", text: "#d5dce3", faint: "#8794a1", halo: "#131a21",
    zones: { TRACKING: "#5f8fc7", ACTIVATION: "#6fb1f3", CONFIRMATION: "#a9d2ff" },
    vehicles: ["#a7b2bd", "#56aaff", "#27c07c", "#33c2cf", "#ffc53a", "#ff4d62", "#ff4d62"], edge: "#0b1015",
  },
};
const FONT = ["DejaVu Sans, system-ui, sans-serif"];
const BOLD = ["bold DejaVu Sans, system-ui, sans-serif"];
const BASEMAP = ["countries", "customs_area", "lakes", "rivers", "cities", "roads_schematic", "roads_liechtenstein_osm"];
const GEO = ["crossings", "approach_roads", "approach_roads_osm"];
const ofKind = (kind) => ["==", ["get", "zone"], kind];
const byZoom = (...stops) => ["interpolate", ["linear"], ["zoom"], ...stops];

/** Red, green, blue from 0 to 1. @param {string} hex */
const channels = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255);

/** Colours of the vehicles and of their edge. @param {"light"|"dark"} theme */
export function vehicleColours(theme) {
  const { vehicles, edge } = PALETTE[theme];
  return { colours: vehicles.map(channels), edge: channels(edge) };
}

/** The style without vehicles. @param {"light"|"dark"} theme */
export function styleOf(theme) {
  const colour = PALETTE[theme];
  const source = (folder) => (name) => [name, { type: "geojson", data: `${location.origin}/static/${folder}/${name}.geojson` }];
  return {
    version: 8,
    sources: {
      ...Object.fromEntries([...BASEMAP.map(source("basemap")), ...GEO.map(source("geo"))]),
      zones: { type: "geojson", data: `${location.origin}/v1/zones` },
      chosen: { type: "geojson", data: { type: "FeatureCollection", features: [] } },
    },
    layers: [
      { id: "abroad", type: "background", paint: { "background-color": colour.abroad } },
      { id: "land", type: "fill", source: "countries", filter: ["in", ["get", "iso"], ["literal", ["CH", "LI"]]], paint: { "fill-color": colour.land } },
      { id: "rivers", type: "line", source: "rivers", paint: { "line-color": colour.river, "line-width": byZoom(6, 0.8, 12, 2.5) } },
      { id: "lakes", type: "fill", source: "lakes", paint: { "fill-color": colour.water } },
      { id: "countries", type: "line", source: "countries", paint: { "line-color": colour.border, "line-width": byZoom(6, 0.5, 12, 1), "line-opacity": 0.6 } },
      { id: "small-roads", type: "line", source: "roads_liechtenstein_osm", minzoom: 9, paint: { "line-color": colour.road, "line-width": byZoom(9, 0.6, 14, 3) } },
      { id: "motorways", type: "line", source: "roads_schematic", maxzoom: 11, paint: { "line-color": colour.motorway, "line-width": byZoom(6, 0.8, 11, 2), "line-opacity": 0.75 } },
      ...["approach_roads", "approach_roads_osm"].map((name) => ({ id: name, type: "line", source: name, layout: { "line-cap": "round", "line-join": "round" }, paint: { "line-color": colour.approach, "line-width": byZoom(7, 0.8, 11, 2.5, 15, 7) } })),
      { id: "customs-border", type: "line", source: "customs_area", paint: { "line-color": colour.customs, "line-width": byZoom(6, 1.2, 12, 2.4), "line-dasharray": [4, 1.5] } },
      ...zoneLayers(colour),
      { id: "crossings-dots", type: "circle", source: "crossings", maxzoom: 10.5, paint: { "circle-radius": byZoom(6, 2, 10, 4), "circle-color": colour.halo, "circle-stroke-color": colour.zones.ACTIVATION, "circle-stroke-width": 1.5 } },
      { id: "cities", type: "symbol", source: "cities", filter: ["step", ["zoom"], [">", ["get", "population"], 90000], 8, [">", ["get", "population"], 30000], 10, [">", ["get", "population"], 1500]],
        layout: { "text-field": ["get", "name"], "text-font": FONT, "text-size": byZoom(6, 10.5, 12, 13), "symbol-sort-key": ["-", ["get", "population"]], "text-padding": 6 },
        paint: { "text-color": colour.faint, "text-halo-color": colour.halo, "text-halo-width": 1.2 } },
      { id: "crossings-names", type: "symbol", source: "crossings", minzoom: 8.2,
        layout: { "text-field": ["get", "name"], "text-font": BOLD, "text-size": byZoom(8, 11, 14, 14), "text-offset": [0, 1.1], "text-anchor": "top", "text-padding": 3 },
        paint: { "text-color": colour.text, "text-halo-color": colour.halo, "text-halo-width": 1.6 } },
      { id: "chosen", type: "circle", source: "chosen", paint: { "circle-radius": 17, "circle-color": "rgba(0,0,0,0)", "circle-stroke-color": colour.text, "circle-stroke-width": 2.5 } },
    ],
  };
}

/** Three nested shapes for each crossing and direction: the nearer to the gate, the stronger. */
function zoneLayers(colour) {
  const kinds = [["TRACKING", 0.07, 1, [3, 2]], ["ACTIVATION", 0.14, 1.5, [1, 0]], ["CONFIRMATION", 0.26, 2, [1, 0]]];
  return kinds.flatMap(([kind, opacity, width, dash]) => [
    { id: `zone-${kind}`, type: "fill", source: "zones", minzoom: 7.5, filter: ofKind(kind), paint: { "fill-color": colour.zones[kind], "fill-opacity": opacity } },
    { id: `zone-${kind}-edge`, type: "line", source: "zones", minzoom: 7.5, filter: ofKind(kind), paint: { "line-color": colour.zones[kind], "line-width": byZoom(8, width * 0.5, 13, width), "line-dasharray": dash } },
  ]);
}
