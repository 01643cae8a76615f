"""`borderlane zones`: check, draw, build and compare zone files."""

from __future__ import annotations

import difflib
import enum
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from zones import catalogue
from zones.border_zone import ZoneKind, ZoneSet
from zones.build import build_zone_set
from zones.difference import difference
from zones.drawing import Surroundings, draw_all, draw_crossing
from zones.errors import BuildError, ZoneError, ZoneFileError
from zones.events import Direction
from zones.frame import SWISS, frame_for
from zones.imports import Import, ImportOptions, import_zones, read_shapes

PNG_ZOOM = 2.0
"""Pixels of a PNG for each of the SVG: small print stays readable."""
NOT_GOOD, WRONG_USAGE = 1, 2
"""Exit status of contract section 2."""

app = typer.Typer(name="zones", help="Zone files: check, draw, build, compare.", no_args_is_help=True)

ZoneFile = Annotated[
    Path | None,
    typer.Argument(exists=True, dir_okay=False, readable=True, help="Zone file; without it the shipped set."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of words.")]


@app.command()
def check(file: ZoneFile = None, as_json: Json = False) -> None:
    """Validate a zone file; lists every fault. Exit status 1 if it is not valid."""
    try:
        zone_set = _load(file)
    except ZoneFileError as error:
        _say_faults(error, as_json)
        raise typer.Exit(NOT_GOOD) from None
    if as_json:
        _say_json({"valid": True, **_facts(zone_set, file), "warnings": zone_set.warnings, "faults": []})
        return
    typer.echo(f"valid: {len(zone_set.crossings)} crossings, {len(zone_set.zones)} zones")
    for name, value in _facts(zone_set, file).items():
        if name not in ("crossings", "zones"):
            typer.echo(f"  {name}: {_words(value)}")
    for warning in zone_set.warnings:
        typer.echo(f"warning: {warning}", err=True)


@app.command()
def show(
    file: ZoneFile = None,
    out: Annotated[Path | None, typer.Option("--out", help="SVG or PNG file to write; without it a table.")] = None,
    crossing: Annotated[str | None, typer.Option("--crossing", help="Only this crossing, by its id.")] = None,
    as_json: Json = False,
) -> None:
    """List zones, or draw one crossing or all over the border."""
    zone_set = _load_or_exit(file)
    if crossing is not None and crossing not in zone_set.crossings:
        _refuse(f"--crossing {crossing}: not in this zone set; {_near(crossing, zone_set)}")
    if out is not None:
        _write_drawing(zone_set, crossing, out)
        if not as_json:
            typer.echo(f"drawn: {crossing or f'{len(zone_set.crossings)} crossings'} in {out}")
            return
    if as_json:
        _say_json({**_facts(zone_set, file), "list": _rows(zone_set, crossing), "out": out and str(out)})
        return
    typer.echo(f"{len(zone_set.crossings)} crossings, {len(zone_set.zones)} zones, version {zone_set.version}")
    for row in _rows(zone_set, crossing):
        bearing = "-" if row["bearing"] is None else f"{row['bearing']:.0f}°"
        office = row["customsOffice"] or "-"
        typer.echo(f"{row['id']:<52} {office:<9} {bearing:>5} {row['confidence']:<7} {row['source']}")


class TravelDirection(enum.Enum):
    """Directions a zone may have; UNKNOWN is for events alone."""

    IN = "IN"
    OUT = "OUT"


@app.command()
def build(
    out: Annotated[Path | None, typer.Option("--out", help="Zone file to write; without it: stdout.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="Version of the set; default: today.1")] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", exists=True, dir_okay=False, help="GeoJSON or OpenStreetMap extract of yours."),
    ] = None,
    kind: Annotated[
        ZoneKind | None, typer.Option("--zone", help="With --from: what the shapes become [ACTIVATION].")
    ] = None,
    crossing: Annotated[
        str | None, typer.Option("--crossing", help="With --from: crossing of all shapes, which may then overlap.")
    ] = None,
    office: Annotated[
        str | None, typer.Option("--customs-office", help="With --from: office number, e.g. CH002311.")
    ] = None,
    direction: Annotated[
        TravelDirection | None, typer.Option("--direction", help="With --from: IN or OUT; default: either.")
    ] = None,
    buffer_m: Annotated[
        float | None, typer.Option("--buffer-m", help="With --from: metres around lines and points.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", help="With --from an extract: key=value or key; again for more [customs tags]."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the zones of the 64 crossings, or with --from of your own shapes."""
    version = version or f"{datetime.now(UTC):%Y-%m-%d}.1"
    options = ImportOptions(
        kind=kind or ZoneKind.ACTIVATION,
        crossing=crossing,
        customs_office=office,
        direction=Direction(direction.value) if direction else None,
        buffer_m=buffer_m,
    )
    if source is None and (kind or tag or options != ImportOptions()):
        _refuse("--zone, --crossing, --customs-office, --direction, --buffer-m and --tag go with --from FILE")
    _put_out(_built(source, options, tag, version, as_json), out, as_json)


def _built(source: Path | None, options: ImportOptions, tags: list[str] | None, version: str, as_json: bool) -> ZoneSet:
    """The zones of the crossings, or of the operator's file; what is wrong with it ends the command."""
    try:
        return _crossings_set(version) if source is None else _imported_set(source, options, tags, version)
    except ZoneFileError as error:
        _say_faults(error, as_json)
    except BuildError as error:
        typer.echo(f"not built: {error}", err=True)
    raise typer.Exit(NOT_GOOD)


def _put_out(zone_set: ZoneSet, out: Path | None, as_json: bool) -> None:
    if out is None:
        typer.echo(catalogue.encode_zone_set(zone_set).decode(), nl=False)
        return
    try:
        catalogue.write_zone_file(zone_set, out)
    except OSError as error:
        _refuse(f"--out {out}: cannot be written: {error.strerror}")
    if as_json:
        _say_json({"built": True, **_facts(zone_set, out)})
        return
    typer.echo(f"built: {len(zone_set.crossings)} crossings, {len(zone_set.zones)} zones in {out}")


def _crossings_set(version: str) -> ZoneSet:
    names = ("crossings", "approach_roads", "approach_roads_osm", "border")
    data = [catalogue.shipped_bytes(f"geo/{name}.geojson") for name in names]
    built = build_zone_set(data[0], data[1], data[2], data[3], version)
    # The load check has the last word.
    return catalogue.parse_zone_set(catalogue.encode_zone_set(built), "built set")


def _imported_set(source: Path, options: ImportOptions, tags: list[str] | None, version: str) -> ZoneSet:
    """Zones from an operator's file; what was left out is said on stderr."""
    zone_set, imported = import_zones(_shapes(source, options, tags), options, str(source), version)
    for note in imported.notes:
        typer.echo(f"note: {note}", err=True)
    return zone_set


def _shapes(source: Path, options: ImportOptions, tags: list[str] | None) -> Import:
    if source.name.lower().endswith((".geojson", ".json")):
        if tags:
            _refuse("--tag goes with an OpenStreetMap extract; of a GeoJSON file all shapes are taken")
        return read_shapes(catalogue.read_zone_bytes(source), source.name)
    from zones import osm_extract  # osmium is loaded only where it is used

    if not source.name.lower().endswith(osm_extract.ENDINGS):
        _refuse(f"--from {source}: expected .geojson, .json or one of {', '.join(osm_extract.ENDINGS)}")
    try:
        wanted = [osm_extract.parse_tag(text) for text in tags or osm_extract.CUSTOMS_TAGS]
    except ValueError as error:
        _refuse(f"--tag: {error}")
    return osm_extract.read_extract(source, wanted, options.buffer_m is not None)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Zone file in force.")],
    new: ZoneFile = None,
    as_json: Json = False,
) -> None:
    """Compare two zone files. Exit status 1 if they differ, as with diff."""
    found = difference(_load_or_exit(old), _load_or_exit(new))
    if as_json:
        _say_json({"same": found.same, "added": found.added, "removed": found.removed, "changed": found.changed})
    else:
        counts = f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed"
        typer.echo("same zones" if found.same else counts)
        for sign, names in (("+", found.added), ("-", found.removed)):
            for name in names:
                typer.echo(f"{sign} {name}")
        for name, what in found.changed.items():
            typer.echo(f"~ {name}: {', '.join(what)}")
    if not found.same:
        raise typer.Exit(NOT_GOOD)


def _load(file: Path | None) -> ZoneSet:
    return catalogue.shipped_zone_set() if file is None else catalogue.read_zone_file(file)


def _load_or_exit(file: Path | None) -> ZoneSet:
    try:
        return _load(file)
    except ZoneFileError as error:
        _say_faults(error, as_json=False)
        raise typer.Exit(NOT_GOOD) from None


def _say_faults(error: ZoneFileError, as_json: bool) -> None:
    if as_json:
        faults = [{"feature": fault.feature, "what": fault.what, "where": fault.where} for fault in error.faults]
        _say_json({"valid": False, "file": error.source, "faults": faults})
        return
    typer.echo(f"not valid: {len(error.faults)} fault{'s' if len(error.faults) > 1 else ''} in {error.source}")
    for fault in error.faults:
        typer.echo(f"  {fault}", err=True)


def _say_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def _refuse(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(WRONG_USAGE)


def _facts(zone_set: ZoneSet, file: Path | None) -> dict[str, Any]:
    data = catalogue.shipped_bytes("border_zones.geojson") if file is None else catalogue.read_zone_bytes(file)
    zones = zone_set.zones
    kinds = {kind.value: sum(zone.kind is kind for zone in zones) for kind in ZoneKind}
    return {
        "file": catalogue.SHIPPED if file is None else str(file),
        "version": zone_set.version,
        "crossings": len(zone_set.crossings),
        "zones": len(zones),
        "kinds": kinds,
        "sha256": catalogue.zone_set_digest(data),
    }


def _words(value: object) -> str:
    return ", ".join(f"{count} {name}" for name, count in value.items()) if isinstance(value, dict) else str(value)


def _rows(zone_set: ZoneSet, crossing: str | None) -> list[dict[str, Any]]:
    return [
        {
            "id": zone.id,
            "crossing": zone.crossing_key,
            "customsOffice": zone.customs_office,
            "direction": zone.direction.value if zone.direction else None,
            "zone": zone.kind.value,
            "bearing": zone.bearing,
            "confidence": zone.confidence.value,
            "source": zone.source,
        }
        for zone in zone_set.zones
        if crossing in (None, zone.crossing_key)
    ]


def _near(crossing: str, zone_set: ZoneSet) -> str:
    near = difflib.get_close_matches(crossing, zone_set.crossings, n=3, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else f"expected one of {len(zone_set.crossings)} crossings"


def _write_drawing(zone_set: ZoneSet, crossing: str | None, out: Path) -> None:
    if out.suffix.lower() not in (".svg", ".png"):
        _refuse(f"--out {out}: only .svg and .png can be drawn")
    try:
        drawing = _drawing(zone_set, crossing)
        out.write_bytes(drawing.encode() if out.suffix.lower() == ".svg" else _png(drawing))
    except OSError as error:
        _refuse(f"--out {out}: cannot be written: {error.strerror}")
    except ZoneError as error:
        _refuse(str(error))


def _png(drawing: str) -> bytes:
    import resvg_py  # loaded only where it is used

    return bytes(resvg_py.svg_to_bytes(svg_string=drawing, zoom=PNG_ZOOM))


def _drawing(zone_set: ZoneSet, crossing: str | None) -> str:
    lines = catalogue.shipped_centre_lines()
    roads = tuple(line for key, line in lines.items() if key == crossing)
    positions = [(lat, lon) for zone in zone_set.zones for rings in zone.polygons for lon, lat in rings[0]]
    at_home = frame_for(positions) is SWISS  # elsewhere the Swiss line would only shrink the map
    around = Surroundings(border=catalogue.shipped_border_lines() if at_home else (), roads=roads)
    return draw_all(zone_set, around) if crossing is None else draw_crossing(zone_set, crossing, around)
