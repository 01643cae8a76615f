"""WGS 84 to metres and back: Swiss LV95 at home, a local frame elsewhere.

Zones and fixes must go through the same function (design/detection.md section 3): mixing PROJ for one and
this formula for the other moved the border fix of two recorded tracks to the wrong side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Degrees = TypeVar("Degrees", float, npt.NDArray[np.float64])
"""One number, or an array of them."""

LV95_WEST, LV95_EAST, LV95_SOUTH, LV95_NORTH = 5.0, 11.5, 45.0, 48.5
"""Where swisstopo's approximate formula is used: at most 0.44 m from PROJ along border and approach lines."""


class Frame(Protocol):
    """A metric frame: east and north in metres."""

    @property
    def name(self) -> str:
        """Short name for messages."""
        ...

    def to_metres(self, latitude: Degrees, longitude: Degrees) -> tuple[Degrees, Degrees]:
        """WGS 84 degrees to (east_m, north_m)."""
        ...

    def to_degrees(self, east_m: float, north_m: float) -> tuple[float, float]:
        """(latitude, longitude) in WGS 84 degrees."""
        ...


def lv95(latitude: Degrees, longitude: Degrees) -> tuple[Degrees, Degrees]:
    """Degrees to LV95 metres.

    swisstopo, "Formulas and constants for the calculation of the Swiss projection", approximate solution.
    """
    phi = (latitude * 3600.0 - 169_028.66) * 1e-4
    lam = (longitude * 3600.0 - 26_782.5) * 1e-4
    lam2 = lam * lam
    phi2 = phi * phi
    east = 2_600_072.37 + lam * (211_455.93 - 10_938.51 * phi - 0.36 * phi2 - 44.54 * lam2)
    north = 1_200_147.07 + 308_807.95 * phi + lam2 * (3_745.25 - 194.56 * phi) + phi2 * (76.63 + 119.79 * phi)
    return east, north


def lv95_to_degrees(east_m: float, north_m: float) -> tuple[float, float]:
    """LV95 metres to (latitude, longitude): the inverse of `lv95` itself by Newton's method, to 1e-9 degrees.

    swisstopo's own inverse formula is a different approximation and does not undo `lv95` exactly.
    """
    latitude = 46.95 + (north_m - 1_200_000.0) / 111_200.0
    longitude = 7.44 + (east_m - 2_600_000.0) / 76_000.0
    for _ in range(6):
        east, north = lv95(latitude, longitude)
        d_east, d_north = east_m - east, north_m - north
        if abs(d_east) < 1e-5 and abs(d_north) < 1e-5:
            break
        step = 1e-4
        e_lat, n_lat = lv95(latitude + step, longitude)
        e_lon, n_lon = lv95(latitude, longitude + step)
        a, b = (e_lat - east) / step, (e_lon - east) / step
        c, d = (n_lat - north) / step, (n_lon - north) / step
        det = a * d - b * c
        latitude += (d * d_east - b * d_north) / det
        longitude += (a * d_north - c * d_east) / det
    return latitude, longitude


@dataclass(frozen=True)
class SwissFrame:
    """LV95 (EPSG:2056), approximate formula."""

    name: str = "LV95"

    to_metres = staticmethod(lv95)
    to_degrees = staticmethod(lv95_to_degrees)


@dataclass(frozen=True)
class LocalFrame:
    """Ellipsoidal equirectangular frame about a centre; about 0.3 % off at 20 km."""

    latitude: float
    longitude: float
    name: str = "LOCAL"

    @cached_property
    def _scale(self) -> tuple[float, float]:
        phi = math.radians(self.latitude)
        root = math.sqrt(1.0 - 0.006_694_379_990_14 * math.sin(phi) ** 2)  # WGS 84 e squared
        per_lat = math.radians(1.0) * 6_378_137.0 * (1.0 - 0.006_694_379_990_14) / root**3
        per_lon = math.radians(1.0) * 6_378_137.0 / root * math.cos(phi)
        return per_lat, per_lon

    def to_metres(self, latitude: Degrees, longitude: Degrees) -> tuple[Degrees, Degrees]:
        """Degrees to metres about the centre; longitude is unwrapped about it."""
        per_lat, per_lon = self._scale
        d_lon = (longitude - self.longitude + 180.0) % 360.0 - 180.0
        return d_lon * per_lon, (latitude - self.latitude) * per_lat

    def to_degrees(self, east_m: float, north_m: float) -> tuple[float, float]:
        """Metres about the centre to degrees."""
        per_lat, per_lon = self._scale
        longitude = (self.longitude + east_m / per_lon + 180.0) % 360.0 - 180.0
        return self.latitude + north_m / per_lat, longitude


SWISS = SwissFrame()


def frame_for(positions: list[tuple[float, float]]) -> Frame:
    """The frame for these (latitude, longitude) positions: LV95 if all lie where it holds, else a local."""
    if all(LV95_SOUTH <= lat <= LV95_NORTH and LV95_WEST <= lon <= LV95_EAST for lat, lon in positions):
        return SWISS
    latitude = sum(lat for lat, _ in positions) / len(positions)
    first = positions[0][1]
    offsets = [(lon - first + 180.0) % 360.0 - 180.0 for _, lon in positions]
    return LocalFrame(latitude, (first + sum(offsets) / len(offsets) + 180.0) % 360.0 - 180.0)


def metres_between(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Distance of two near positions, metres: equirectangular, under 0.6 % off within 100 km at our latitudes."""
    per_degree_m = 111_195.0  # mean radius 6,371.0088 km
    d_lon = (to_longitude - longitude + 180.0) % 360.0 - 180.0
    east_m = d_lon * per_degree_m * math.cos(math.radians((latitude + to_latitude) / 2))
    return math.hypot(east_m, (to_latitude - latitude) * per_degree_m)
