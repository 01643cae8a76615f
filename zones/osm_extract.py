"""Shapes with given tags out of an OpenStreetMap extract (.osm, .osm.pbf and the packed forms), by osmium."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import osmium

from zones.errors import BuildError
from zones.imports import ForeignShape, Import
from zones.zone_file import MAX_ZONES

ENDINGS = (".osm", ".pbf", ".osm.gz", ".osm.bz2")
MAX_EXTRACT_BYTES = 1024 * 1024 * 1024
"""osmium keeps 16 bytes a node while it reads: about 2 GB for this much. Cut larger ones first."""
CUSTOMS_TAGS = ("barrier=border_control", "government=customs", "amenity=customs")
"""Taken without `--tag` (OpenStreetMap wiki: the pages of these tags)."""
MAX_NOTES = 20
_LINEAR = ("highway", "barrier", "railway", "waterway")
"""A closed way with one of these is a line that returns, such as a roundabout, unless it says `area=yes`."""

Tag = tuple[str, str | None]
"""Key and value; None: any value."""


def parse_tag(text: str) -> Tag:
    """`key=value`, `key=*` or `key`; ValueError otherwise."""
    key, equals, value = text.partition("=")
    if not key.strip() or (equals and not value.strip()):
        raise ValueError(f"tag {text!r}: expected key=value, or key for any value")
    return key.strip(), None if value.strip() in ("", "*") else value.strip()


@dataclass
class _Found:
    """What one pass has brought to light."""

    tags: tuple[Tag, ...]
    buffered: bool
    shapes: list[ForeignShape] = field(default_factory=list)
    awaited: dict[str, None] = field(default_factory=dict)
    """Closed ways and multipolygons that are still to come as areas; they come after the objects."""
    broken: list[str] = field(default_factory=list)
    narrow: int = 0
    """Lines and points that a zone cannot be made of without a buffer."""

    def wants(self, tags: Any) -> bool:
        """True if one of the tags is there."""
        return any(tags.get(key) is not None and value in (None, tags.get(key)) for key, value in self.tags)


def read_extract(path: Path, tags: Sequence[Tag], with_buffer: bool) -> Import:
    """Shapes of all objects with any of the tags.

    Args:
        path: Extract; the ending says in which form.
        tags: As from `parse_tag`.
        with_buffer: False leaves out nodes and open ways, and says how many.

    Raises:
        BuildError: The file cannot be read, or too much or nothing of it fits.
    """
    found = _Found(tuple(tags), with_buffer)
    try:
        if (size := path.stat().st_size) > MAX_EXTRACT_BYTES:
            raise BuildError(f"{path}: {size} bytes: at most {MAX_EXTRACT_BYTES} are read; cut a smaller extract")
        for entity in _entities(path, tags):
            if found.wants(entity.tags):
                _take(entity, found)
            if len(found.shapes) > MAX_ZONES:
                raise BuildError(f"{path}: over {MAX_ZONES} objects with these tags: name fewer tags")
    except (RuntimeError, osmium.InvalidLocationError, OSError) as error:
        raise BuildError(f"{path}: cannot be read as an OpenStreetMap extract: {error}") from error
    notes = _notes(found)
    if not found.shapes:
        wanted = ", ".join(key if value is None else f"{key}={value}" for key, value in tags)
        raise BuildError("; ".join((f"{path}: nothing usable with {wanted}", *notes)))
    return Import(tuple(found.shapes), notes)


def _entities(path: Path, tags: Sequence[Tag]) -> Iterator[Any]:
    keys = osmium.filter.KeyFilter(*{key for key, _ in tags})
    return iter(osmium.FileProcessor(str(path)).with_areas(keys).with_filter(keys))


def _take(entity: Any, found: _Found) -> None:
    """One object with a wanted tag: as a shape, or kept in mind until its area comes."""
    geometry = osmium.geom.GeoJSONFactory()
    if entity.is_area():
        label = f"{'way' if entity.from_way() else 'relation'} {entity.orig_id()}"
        if label in found.awaited:
            del found.awaited[label]
            _add(label, entity, geometry.create_multipolygon, found)
    elif entity.is_relation():
        if entity.tags.get("type") in ("multipolygon", "boundary"):
            found.awaited[f"relation {entity.id}"] = None
    elif entity.is_way() and _encloses(entity):
        found.awaited[f"way {entity.id}"] = None
    elif not found.buffered:
        found.narrow += 1
    elif entity.is_way():
        _add(f"way {entity.id}", entity, geometry.create_linestring, found)
    else:
        _add(f"node {entity.id}", entity, geometry.create_point, found)


def _encloses(way: Any) -> bool:
    if not way.is_closed():
        return False
    return way.tags.get("area") == "yes" or not any(way.tags.get(key) for key in _LINEAR)


def _add(label: str, entity: Any, create: Any, found: _Found) -> None:
    try:
        geometry = json.loads(create(entity))
    except (
        RuntimeError,
        ValueError,
        osmium.InvalidLocationError,
    ) as error:  # nodes outside the extract, a ring that cannot be closed
        found.broken.append(f"{label}: {error}")
        return
    found.shapes.append(
        ForeignShape(
            label=label,
            name=entity.tags.get("name") or label,
            geometry=geometry,
            opening_hours=entity.tags.get("opening_hours"),
            source=f"OpenStreetMap {label}, ODbL-1.0",
        )
    )


def _notes(found: _Found) -> tuple[str, ...]:
    broken = [*found.broken, *(f"{label}: its outline cannot be put together" for label in found.awaited)]
    notes = [f"left out: {each}" for each in broken[:MAX_NOTES]]
    if len(broken) > MAX_NOTES:
        notes.append(f"left out: {len(broken) - MAX_NOTES} more that cannot be put together")
    if found.narrow:
        notes.append(f"left out: {found.narrow} node(s) and line(s), since no --buffer-m is given")
    return tuple(notes)


__all__ = ["CUSTOMS_TAGS", "ENDINGS", "Tag", "parse_tag", "read_extract"]
