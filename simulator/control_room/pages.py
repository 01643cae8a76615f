"""The files of the control-room page, as they are served: from memory, compressed once, checked by their digest."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""No inline script or style, nothing from elsewhere; the map reads its own pictures as blobs."""
MEDIA_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "json": "application/json",
    "geojson": "application/geo+json",
    "txt": "text/plain",
}
"""By suffix; other files of the folder are not served."""


@dataclass(frozen=True)
class Page:
    """One file."""

    content: bytes
    packed: bytes
    media_type: str
    tag: str

    def response(self, request: web.Request) -> web.Response:
        """The answer to one request: the file, compressed where that is understood, or that it has not changed."""
        headers = {**PAGE_HEADERS, "ETag": self.tag, "Vary": "Accept-Encoding"}
        if request.headers.get("If-None-Match") == self.tag:
            return web.Response(status=304, headers=headers)
        content = self.content
        if "gzip" in request.headers.get("Accept-Encoding", "") and len(self.packed) < len(content):
            headers["Content-Encoding"], content = "gzip", self.packed
        charset = "utf-8" if self.media_type.startswith("text/") else None
        return web.Response(body=content, content_type=self.media_type, charset=charset, headers=headers)


def read_pages() -> dict[str, Page]:
    """Every file of the page by its path below `static/`; the geography of the zones as `geo/...`."""
    found = dict(_read(files("simulator.control_room") / "static", ""))
    geo = files("zones") / "data" / "geo"
    for name in ("crossings", "approach_roads", "approach_roads_osm"):
        found[f"geo/{name}.geojson"] = _page(geo / f"{name}.geojson")
    return found


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, Page]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in MEDIA_TYPES:
            yield prefix + entry.name, _page(entry)


def _page(file: Traversable) -> Page:
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Page(content, gzip.compress(content, 6, mtime=0), MEDIA_TYPES[file.name.rpartition(".")[2]], tag)
