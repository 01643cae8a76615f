"""Zones, roads, the customs line and tracks as SVG, for people who check a zone file or ask why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from zones.border_zone import BorderZone, Confidence, Ring, ZoneKind, ZoneSet
from zones.build import CentreLine
from zones.errors import ZoneError
from zones.events import Direction
from zones.fix import Fix
from zones.frame import Frame, frame_for, lv95_to_degrees
from zones.ribbon import point_at

PANEL_PX = 760.0
"""Longer side of one map panel."""
MAP_PX = 1_500.0
"""Width of the map of all crossings."""
MARGIN_PX = 16.0
HEAD_PX = 48.0
LEGEND_PX = 58.0
LEGEND_WIDTH_PX = 1_130.0
"""A narrower page would cut the legend of a crossing off."""
DETAIL_MARGIN_M = 150.0
"""Ground shown around activation and confirmation zones in the detail."""

_FILL = {ZoneKind.TRACKING: "#7aa6d6", ZoneKind.ACTIVATION: "#f2a33a", ZoneKind.CONFIRMATION: "#b5479b"}
_OPACITY = {ZoneKind.TRACKING: 0.16, ZoneKind.ACTIVATION: 0.38, ZoneKind.CONFIRMATION: 0.34}
_CONFIDENCE = {Confidence.HIGH: "#1b7f4b", Confidence.MEDIUM: "#c98a00", Confidence.LOW: "#c0392b"}
_TRACKS = ("#0b5394", "#783f04", "#274e13", "#741b47", "#434343")
_ORDER = tuple(ZoneKind)
_FONTS = "system-ui, Arial, Helvetica, 'DejaVu Sans', 'Liberation Sans', 'Noto Sans', sans-serif"
"""By name, since a renderer outside a browser may not know what this machine's sans-serif is."""

Position = tuple[float, float]
"""Longitude, latitude in degrees, as in a zone file."""


@dataclass(frozen=True)
class Mark:
    """A place with a few words, such as where an edge was crossed."""

    position: Position
    words: str


@dataclass(frozen=True)
class Surroundings:
    """What is drawn beside the zones."""

    border: tuple[Ring, ...] = ()
    """Parts of the customs line."""
    roads: tuple[CentreLine, ...] = ()
    tracks: tuple[tuple[Fix, ...], ...] = ()
    """Fixes of one unit each, in order of time."""
    marks: tuple[Mark, ...] = ()
    """Drawn over everything else."""


@dataclass(frozen=True)
class _View:
    """A panel: which ground it shows, and where on the page."""

    frame: Frame
    west_m: float
    north_m: float
    px_per_m: float
    left_px: float
    top_px: float
    width_px: float
    height_px: float

    def xy(self, position: Position) -> tuple[float, float]:
        """Page coordinates of a position."""
        east_m, north_m = self.frame.to_metres(position[1], position[0])
        x = self.left_px + (east_m - self.west_m) * self.px_per_m
        return x, self.top_px + (self.north_m - north_m) * self.px_per_m

    def near(self, x: float, y: float) -> bool:
        """True on the panel or within its own size around it."""
        return (
            abs(x - self.left_px - self.width_px / 2) <= 1.5 * self.width_px
            and abs(y - self.top_px - self.height_px / 2) <= 1.5 * self.height_px
        )


def draw_crossing(zone_set: ZoneSet, crossing: str, around: Surroundings | None = None) -> str:
    """One crossing: all its zones on the left, activation and confirmation close up on the right.

    Raises:
        ZoneError: The set has no such crossing.
    """
    around = around or Surroundings()
    zones = [zone for zone in zone_set.zones if zone.crossing_key == crossing]
    if not zones:
        raise ZoneError(f"crossing {crossing!r} is not in zone set {zone_set.version}")
    gates = [zone for zone in zones if zone.kind is not ZoneKind.TRACKING] or zones
    frame = frame_for([(latitude, longitude) for longitude, latitude in _positions(zones)])
    whole = _view(frame, _positions(zones), 100.0, MARGIN_PX, PANEL_PX)
    detail = _view(frame, _positions(gates), DETAIL_MARGIN_M, 2 * MARGIN_PX + whole.width_px, PANEL_PX)
    width = max(3 * MARGIN_PX + whole.width_px + detail.width_px, LEGEND_WIDTH_PX)
    height = HEAD_PX + max(whole.height_px, detail.height_px) + LEGEND_PX
    body = [_heading(crossing, zones, zone_set.version)]
    body += [_panel(view, zones, around, close) for view, close in ((whole, False), (detail, True))]
    return _page(width, height, [*body, _legend(height - LEGEND_PX + 14.0, around, confidences=False)])


def draw_all(zone_set: ZoneSet, around: Surroundings | None = None) -> str:
    """Every zone of a set, with a mark and a name for each crossing."""
    around = around or Surroundings()
    lines = [position for ring in around.border for position in ring]
    positions = [*_positions(zone_set.zones), *lines]
    frame = frame_for([(latitude, longitude) for longitude, latitude in positions])
    view = _view(frame, positions, 4_000.0, MARGIN_PX, MAP_PX)
    count = f"{len(zone_set.crossings)} crossings, {len(zone_set.zones)} zones"
    body = [
        _text(MARGIN_PX, 30, f"Zone set {zone_set.version}: {count}", size=20, weight="600"),
        _panel(view, zone_set.zones, around, close=False),
        *_marks(view, zone_set),
    ]
    height = HEAD_PX + view.height_px + LEGEND_PX
    return _page(
        view.width_px + 2 * MARGIN_PX,
        height,
        [*body, _legend(height - LEGEND_PX + 14.0, around, confidences=True)],
    )


def _positions(zones: Iterable[BorderZone]) -> list[Position]:
    return [position for zone in zones for rings in zone.polygons for position in rings[0]]


def _view(frame: Frame, positions: Sequence[Position], margin_m: float, left_px: float, size_px: float) -> _View:
    """The panel that shows these positions and a margin; its longer side is `size_px`, none under a third."""
    metres = [frame.to_metres(latitude, longitude) for longitude, latitude in positions]
    west, east = min(m[0] for m in metres) - margin_m, max(m[0] for m in metres) + margin_m
    south, north = min(m[1] for m in metres) - margin_m, max(m[1] for m in metres) + margin_m
    size_m = max(east - west, north - south)
    width_m, height_m = max(east - west, size_m / 3.0), max(north - south, size_m / 3.0)
    west, north = (west + east - width_m) / 2.0, (south + north + height_m) / 2.0
    scale = size_px / size_m
    return _View(frame, west, north, scale, left_px, HEAD_PX, width_m * scale, height_m * scale)


def _panel(view: _View, zones: Sequence[BorderZone], around: Surroundings, close: bool) -> str:
    name = f"panel-{view.left_px:.0f}"
    width, height = view.width_px, view.height_px
    box = f'x="{view.left_px:.1f}" y="{view.top_px:.1f}" width="{width:.1f}" height="{height:.1f}"'
    parts = [_zone(view, zone) for zone in sorted(zones, key=lambda zone: _ORDER.index(zone.kind))]
    parts += [_path(view, ring, 'fill="none" stroke="#444" stroke-width="1.6"') for ring in around.border]
    parts += [_road(view, road) for road in around.roads]
    parts += [_track(view, fixes, at) for at, fixes in enumerate(around.tracks)]
    if close:
        parts += [_arrow(view, zone) for zone in zones if zone.kind is ZoneKind.ACTIVATION]
        parts += [_mark(view, mark) for mark in around.marks]
    return (
        f'<clipPath id="{name}"><rect {box}/></clipPath><rect {box} fill="#fbfaf6" stroke="#999"/>'
        f'<g clip-path="url(#{name})">{"".join(parts)}</g>{_scale_bar(view)}'
    )


def _zone(view: _View, zone: BorderZone) -> str:
    outlines = [[view.xy(position) for position in ring] for rings in zone.polygons for ring in rings]
    path = "".join(f"M{' '.join(f'{x:.1f},{y:.1f}' for x, y in ring[:-1])}Z" for ring in outlines)
    dash = ' stroke-dasharray="6 4"' if zone.direction is Direction.OUT else ""
    colour = _FILL[zone.kind]
    return (
        f'<path d="{path}" fill="{colour}" fill-opacity="{_OPACITY[zone.kind]}" fill-rule="evenodd" '
        f'stroke="{colour}" stroke-width="1.4"{dash}><title>{escape(_zone_words(zone))}</title></path>'
    )


def _zone_words(zone: BorderZone) -> str:
    bearing = "" if zone.bearing is None else f", bearing {zone.bearing:.0f}°"
    return f"{zone.id}{bearing}, confidence {zone.confidence.value}. {zone.source}".strip()


def _path(view: _View, positions: Sequence[Position], style: str) -> str:
    """Lines through positions; what lies far off the panel or under half a pixel on is left out."""
    pieces: list[list[str]] = [[]]
    last = (math.inf, math.inf)
    for x, y in map(view.xy, positions):
        if not view.near(x, y):
            pieces.append([])
        elif math.dist((x, y), last) >= 0.5 or not pieces[-1]:
            pieces[-1].append(f"{x:.1f},{y:.1f}")
            last = (x, y)
    drawn = "".join(f"M{' '.join(piece)}" for piece in pieces if len(piece) > 1)
    return f'<path d="{drawn}" {style}/>' if drawn else ""


def _road(view: _View, road: CentreLine) -> str:
    """The centre line and a ring at the plaza."""
    positions = [_swapped(lv95_to_degrees(*point)) for point in road.points_m]
    x, y = view.xy(_swapped(lv95_to_degrees(*point_at(road.points_m, road.plaza_m))))
    plaza = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#fff" stroke="#222"><title>plaza</title></circle>'
    return _path(view, positions, 'fill="none" stroke="#222" stroke-width="1" stroke-opacity="0.7"') + plaza


def _swapped(position: tuple[float, float]) -> Position:
    return position[1], position[0]


def _track(view: _View, fixes: Sequence[Fix], at: int) -> str:
    colour = _TRACKS[at % len(_TRACKS)]
    positions = [(fix.longitude, fix.latitude) for fix in fixes]
    style = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"'
    return _path(view, positions, style) + "".join(_fix(view, fix, colour) for fix in fixes)


def _fix(view: _View, fix: Fix, colour: str) -> str:
    """A dot, and the circle that holds the true position 95 % of the time."""
    x, y = view.xy((fix.longitude, fix.latitude))
    if not view.near(x, y):
        return ""
    circle = ""
    if fix.accuracy_m > 0.0:
        circle = (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{fix.accuracy_m * view.px_per_m:.1f}" '
            f'fill="{colour}" fill-opacity="0.08" stroke="{colour}" stroke-opacity="0.4" stroke-width="0.8"/>'
        )
    return f'{circle}<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>'


def _mark(view: _View, mark: Mark) -> str:
    """A cross where it is, the words to its right."""
    x, y = view.xy(mark.position)
    cross = f"M{x - 5:.1f},{y - 5:.1f} {x + 5:.1f},{y + 5:.1f}M{x - 5:.1f},{y + 5:.1f} {x + 5:.1f},{y - 5:.1f}"
    return f'<path d="{cross}" stroke="#c00" stroke-width="2.2"/>' + _text(x + 9, y - 6, mark.words, 12, "600")


def _arrow(view: _View, zone: BorderZone) -> str:
    """Direction of travel through a zone, beside its middle, on the right of the road as traffic keeps."""
    if zone.bearing is None or zone.direction is None:
        return ""
    corners = [view.xy(position) for position in zone.polygons[0][0][:-1]]
    x = sum(corner[0] for corner in corners) / len(corners)
    y = sum(corner[1] for corner in corners) / len(corners)
    angle = math.radians(zone.bearing)
    along, aside = (math.sin(angle), -math.cos(angle)), (math.cos(angle), math.sin(angle))
    x, y = x + aside[0] * 16.0, y + aside[1] * 16.0
    x1, y1, x2, y2 = x - along[0] * 34.0, y - along[1] * 34.0, x + along[0] * 34.0, y + along[1] * 34.0
    return (
        f'<path d="M{x1:.1f},{y1:.1f} {x2:.1f},{y2:.1f}" stroke="#111" stroke-width="3" '
        f'marker-end="url(#head)"/>'
        + _text(x1 - along[0] * 14.0, y1 - along[1] * 14.0 + 4.0, zone.direction.value, 13, "700", "middle")
    )


def _scale_bar(view: _View) -> str:
    """A round length near a fifth of the panel."""
    wanted_m = view.width_px / 5.0 / view.px_per_m
    power = 10.0 ** math.floor(math.log10(wanted_m))
    length_m = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= wanted_m)
    x, y = view.left_px + 12.0, view.top_px + view.height_px - 12.0
    words = f"{length_m / 1_000:g} km" if length_m >= 1_000 else f"{length_m:g} m"
    end = x + length_m * view.px_per_m
    return (
        f'<path d="M{x:.1f},{y - 6:.1f} {x:.1f},{y:.1f} {end:.1f},{y:.1f} {end:.1f},{y - 6:.1f}" fill="none" '
        f'stroke="#111" stroke-width="1.6"/>{_text(x + 4, y - 6, words, 12)}'
    )


def _marks(view: _View, zone_set: ZoneSet) -> list[str]:
    """A dot for each crossing by confidence, and its name where there is room."""
    taken: list[tuple[float, float, float, float]] = []
    dots, names = [], []
    for crossing in zone_set.crossings:
        zones = [zone for zone in zone_set.zones if zone.crossing_key == crossing]
        x, y = _middle(view, zones)
        colour = _CONFIDENCE[zones[0].confidence]
        title = escape(f"{crossing}, confidence {zones[0].confidence.value}")
        dots.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" stroke="#fff"><title>{title}</title></circle>'
        )
        taken.append((x - 4, y - 4, x + 4, y + 4))
        names.append((x, y, crossing))
    return [_name(view, x, y, crossing, taken) for x, y, crossing in names] + dots


def _middle(view: _View, zones: Sequence[BorderZone]) -> tuple[float, float]:
    """Middle of the activation zones: at the plaza, since those of both directions meet there."""
    gates = [zone for zone in zones if zone.kind is ZoneKind.ACTIVATION] or list(zones)
    corners = [view.xy(position) for zone in gates for position in zone.polygons[0][0][:-1]]
    return sum(x for x, _ in corners) / len(corners), sum(y for _, y in corners) / len(corners)


def _name(view: _View, x: float, y: float, name: str, taken: list[tuple[float, float, float, float]]) -> str:
    """A name at the nearest free place around its dot, with a thin line to it when far off."""
    right_px = view.left_px + view.width_px
    width = 6.1 * len(name)
    for reach in (10.0, 22.0, 38.0, 56.0, 76.0, 100.0):
        for step in range(12):
            angle = math.pi * step / 6.0
            side = math.cos(angle)
            left = x + reach * side - (width if side < -0.1 else width / 2 if side < 0.1 else 0.0)
            base = y + reach * math.sin(angle) + 4.0
            box = (left - 1, base - 10, left + width + 1, base + 3)
            if box[0] < view.left_px or box[2] > right_px:
                continue
            if all(box[2] < t[0] or box[0] > t[2] or box[3] < t[1] or box[1] > t[3] for t in taken):
                taken.append(box)
                return _leader(x, y, reach, angle) + _text(left, base, name, 11)
    return ""


def _leader(x: float, y: float, reach: float, angle: float) -> str:
    if reach < 20.0:
        return ""
    end = x + (reach - 3.0) * math.cos(angle), y + (reach - 3.0) * math.sin(angle)
    return f'<path d="M{x:.1f},{y:.1f} {end[0]:.1f},{end[1]:.1f}" stroke="#888" stroke-width="0.7"/>'


def _heading(crossing: str, zones: Sequence[BorderZone], version: str) -> str:
    office = zones[0].customs_office or "no office number"
    facts = f"{office} · confidence {zones[0].confidence.value} · zone set {version} · {zones[0].source}"
    return _text(MARGIN_PX, 22, crossing, 18, "600") + _text(MARGIN_PX, 40, facts, 12)


def _legend(top: float, around: Surroundings, confidences: bool) -> str:
    items: list[tuple[str, Callable[[float], str]]] = [
        (f"{kind.value.lower()} zone", _swatch(_FILL[kind], _OPACITY[kind], top)) for kind in ZoneKind
    ]
    items += [
        ("inbound", _stroke("#666", "", 1.4, top)),
        ("outbound", _stroke("#666", "6 4", 1.4, top)),
        ("customs line", _stroke("#444", "", 2.2, top)),
        ("centre line", _stroke("#222", "", 0.9, top)),
    ]
    if confidences:
        items += [(f"confidence {c.value}", _dot(colour, top)) for c, colour in _CONFIDENCE.items()]
    if around.marks:
        items.append(("edge crossed", _stroke("#c00", "", 2.2, top)))
    if around.tracks:
        items.append(("track, 95 % circle", _stroke(_TRACKS[0], "", 2.0, top)))
    parts, x = [], MARGIN_PX
    for words, symbol in items:
        parts.append(symbol(x) + _text(x + 28.0, top + 11.0, words, 12))
        x += 40.0 + 6.6 * len(words)
    credit = "Customs line © OpenStreetMap contributors (ODbL). Zones are our own compilation, not official."
    return "".join(parts) + _text(MARGIN_PX, top + 34.0, credit, 11, colour="#555")


def _swatch(colour: str, opacity: float, top: float) -> Callable[[float], str]:
    return lambda x: (
        f'<rect x="{x:.1f}" y="{top:.1f}" width="22" height="13" fill="{colour}" fill-opacity="{opacity}" '
        f'stroke="{colour}"/>'
    )


def _stroke(colour: str, dash: str, width: float, top: float) -> Callable[[float], str]:
    return lambda x: (
        f'<path d="M{x:.1f},{top + 7:.1f} {x + 22:.1f},{top + 7:.1f}" stroke="{colour}" '
        f'stroke-width="{width}" stroke-dasharray="{dash or "none"}"/>'
    )


def _dot(colour: str, top: float) -> Callable[[float], str]:
    return lambda x: f'<circle cx="{x + 14:.1f}" cy="{top + 7:.1f}" r="4" fill="{colour}"/>'


def _text(
    x: float,
    y: float,
    words: str,
    size: int,
    weight: str = "400",
    anchor: str = "start",
    colour: str = "#111",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}" paint-order="stroke" stroke="#fbfaf6" stroke-width="2.5">{escape(words)}</text>'
    )


def _page(width: float, height: float, body: Sequence[str]) -> str:
    head = (
        '<defs><marker id="head" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="4" markerHeight="4" '
        'orient="auto"><path d="M0,0 10,5 0,10Z" fill="#111"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="{_FONTS}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{head}{chr(10).join(body)}</svg>\n'
    )
