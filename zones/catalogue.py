"""Zone files on disk and in the package; the only file access of `zones`."""

from __future__ import annotations

import json
import os
from functools import cache
from importlib import resources
from pathlib import Path

from zones.border_zone import Ring, ZoneSet
from zones.build import CentreLine, centre_lines
from zones.errors import Fault, ZoneFileError
from zones.zone_file import MAX_FILE_BYTES, encode_zone_set, parse_zone_set, zone_set_digest

SHIPPED = "zones/data/border_zones.geojson"
"""Name of the shipped set in messages."""


def read_zone_file(path: Path) -> ZoneSet:
    """Read and check one zone file.

    Raises:
        ZoneFileError: The file cannot be read, or its content is refused; every fault is listed.
    """
    return parse_zone_set(read_zone_bytes(path), str(path))


def read_zone_bytes(path: Path) -> bytes:
    """The bytes of a zone file, for its digest; ZoneFileError if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ZoneFileError(str(path), (Fault("file", f"cannot be read: {error.strerror}"),)) from error
    if len(data) > MAX_FILE_BYTES:
        raise ZoneFileError(str(path), (Fault("file", f"over {MAX_FILE_BYTES} bytes are not read"),))
    return data


def write_zone_file(zone_set: ZoneSet, path: Path) -> None:
    """Write a set; readers see the old file or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(encode_zone_set(zone_set))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def shipped_bytes(name: str) -> bytes:
    """A data file of this package, e.g. `geo/crossings.geojson`."""
    return resources.files("zones").joinpath("data", *name.split("/")).read_bytes()


@cache
def shipped_zone_set() -> ZoneSet:
    """The 64 crossings that come with the package."""
    return parse_zone_set(shipped_bytes("border_zones.geojson"), SHIPPED)


@cache
def shipped_centre_lines() -> dict[str, CentreLine]:
    """Inbound centre line of each shipped crossing, by crossing key."""
    return centre_lines(
        shipped_bytes("geo/crossings.geojson"),
        shipped_bytes("geo/approach_roads.geojson"),
        shipped_bytes("geo/approach_roads_osm.geojson"),
    )


@cache
def shipped_border_lines() -> tuple[Ring, ...]:
    """The customs line as positions (longitude, latitude), simplified to about 3 m; not closed."""
    lines: list[Ring] = []
    for feature in json.loads(shipped_bytes("geo/border.geojson"))["features"]:
        if feature["properties"]["role"] == "customs_line":
            geometry = feature["geometry"]
            parts = [geometry["coordinates"]] if geometry["type"] == "LineString" else geometry["coordinates"]
            lines += [tuple((longitude, latitude) for longitude, latitude in part) for part in parts]
    return tuple(lines)


__all__ = [
    "encode_zone_set",
    "parse_zone_set",
    "read_zone_bytes",
    "read_zone_file",
    "shipped_border_lines",
    "shipped_bytes",
    "shipped_centre_lines",
    "shipped_zone_set",
    "write_zone_file",
    "zone_set_digest",
]
