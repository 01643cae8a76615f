"""Node-RED flows that do what people build for geofencing: a turf function node, or a geofence node for each zone."""

from __future__ import annotations

import json
from pathlib import Path

from zones.border_zone import BorderZone, ZoneKind, ZoneSet

READY_TOPIC, COUNT_TOPIC = "bench/ready", "bench/count"
COUNT_EVERY = 50

FUNCTION = """
const turf = global.get('turf'), zones = global.get('zones');
const last = context.get('last') || new Map(); context.set('last', last);
const p = msg.payload, unit = msg.topic.split('/')[3], out = [];
let was = last.get(unit); if (!was) { was = new Set(); last.set(unit, was); }
for (const z of zones) {
  const b = z.box;
  const inside = p.longitude >= b[0] && p.longitude <= b[2] && p.latitude >= b[1] && p.latitude <= b[3]
    && turf([p.longitude, p.latitude], z.shape);
  if (inside && !was.has(z.id)) { was.add(z.id); out.push({payload: {event: 'ENTERED', unit, zone: z.id}}); }
  else if (!inside && was.has(z.id)) { was.delete(z.id); out.push({payload: {event: 'EXITED', unit, zone: z.id}}); }
}
return [out, msg];
"""
COUNT = f"""
const n = (context.get('n') || 0) + 1; context.set('n', n);
return n % {COUNT_EVERY} === 0 ? {{payload: n}} : null;
"""
SETTINGS = """
const turf = require('@turf/boolean-point-in-polygon');
module.exports = {
  flowFile: 'flow.json', uiHost: '127.0.0.1', httpAdminRoot: false, httpNodeRoot: false, telemetry: {enabled: false},
  logging: {console: {level: 'warn'}}, editorTheme: {projects: {enabled: false}}, credentialSecret: false,
  functionGlobalContext: {
    turf: turf.default || turf.booleanPointInPolygon,
    zones: JSON.parse(require('fs').readFileSync(__dirname + '/zones.json')),
  },
};
"""


def write_project(folder: Path, modules: Path, flow: list[dict[str, object]], zone_set: ZoneSet) -> None:
    """A Node-RED user folder with this flow; packages come from `modules`."""
    (folder / "flow.json").write_text(json.dumps(flow))
    (folder / "settings.js").write_text(SETTINGS)
    (folder / "package.json").write_text(json.dumps({"name": "bench", "dependencies": {"node-red-node-geofence": "*"}}))
    (folder / "zones.json").write_text(json.dumps([_shape(zone) for zone in zone_set.zones]))
    (folder / "node_modules").symlink_to(modules, target_is_directory=True)


def _shape(zone: BorderZone) -> dict[str, object]:
    polygons = zone.polygons
    lons = [lon for rings in polygons for ring in rings for lon, _ in ring]
    lats = [lat for rings in polygons for ring in rings for _, lat in ring]
    return {
        "id": zone.id,
        "box": [min(lons), min(lats), max(lons), max(lats)],
        "shape": {"type": "MultiPolygon", "coordinates": polygons},
    }


def turf_flow(host: str, port: int, topic: str) -> list[dict[str, object]]:
    """One function node that asks turf for every zone whose box holds the position."""
    function = {**_node("work", "function", [["events"], ["count"]]), "func": FUNCTION, "outputs": 2}
    return [*_ends(host, port, topic, first="work"), function]


def geofence_flow(host: str, port: int, topic: str, zone_set: ZoneSet) -> list[dict[str, object]]:
    """One geofence node for each inbound activation zone, in a row (side by side they copy each message)."""
    zones = [z for z in zone_set.zones if z.kind is ZoneKind.ACTIVATION and "/in/" in z.id]
    rename = {
        **_node("rename", "function", [["g0"]]),
        "func": "msg.payload = {lat: msg.payload.latitude, lon: msg.payload.longitude}; return msg;",
        "outputs": 1,
    }
    fences = [
        {
            **_node(f"g{k}", "geofence", [[f"g{k + 1}" if k + 1 < len(zones) else "count"]]),
            "name": zone.id, "mode": "polyline", "inside": "both", "rad": 0, "centre": {}, "floor": "", "ceiling": "",
            "points": [{"latitude": lat, "longitude": lon} for lon, lat in zone.polygons[0][0][:-1]],
        }
        for k, zone in enumerate(zones)
    ]  # fmt: skip
    return [*_ends(host, port, topic, first="rename"), rename, *fences]


def _node(name: str, kind: str, wires: list[list[str]]) -> dict[str, object]:
    return {"id": name, "type": kind, "z": "tab", "wires": wires, "x": 0, "y": 0}


def _ends(host: str, port: int, topic: str, first: str) -> list[dict[str, object]]:
    broker = {"id": "broker", "type": "mqtt-broker", "broker": host, "port": str(port), "protocolVersion": "4",
              "autoConnect": True, "cleansession": True, "keepalive": "60", "birthTopic": READY_TOPIC,
              "birthPayload": "1", "birthQos": "1"}  # fmt: skip
    source = {**_node("in", "mqtt in", [[first]]), "topic": topic, "qos": "1", "datatype": "json", "broker": "broker"}
    count = {**_node("count", "function", [["counted"]]), "func": COUNT, "outputs": 1}
    sinks = [
        {**_node(name, "mqtt out", []), "topic": to, "qos": "1", "retain": "", "broker": "broker"}
        for name, to in (("events", "bench/events"), ("counted", COUNT_TOPIC))
    ]
    return [{"id": "tab", "type": "tab", "label": "bench"}, broker, source, count, *sinks]
