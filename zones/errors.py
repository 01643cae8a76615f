"""What can go wrong with zones, one kind for each who must act."""

from __future__ import annotations

from dataclasses import dataclass


class ZoneError(Exception):
    """Base of everything this package raises on purpose."""


@dataclass(frozen=True)
class Fault:
    """One fault of a zone file: which feature, what is wrong, where."""

    feature: str
    """Feature `id`, or `#n` by position where the id is missing."""
    what: str
    where: str = ""
    """Path inside the feature, coordinates, or a line; empty if the whole feature is meant."""

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.feature}: {self.what}{place}"


class ZoneFileError(ZoneError):
    """A zone file is refused whole; the author must mend every fault listed."""

    def __init__(self, source: str, faults: tuple[Fault, ...]) -> None:
        self.source = source
        self.faults = faults
        super().__init__(f"{source}: {len(faults)} fault(s): " + "; ".join(map(str, faults[:5])))


class TrackError(ZoneError):
    """A recorded track cannot be read; says file, line, and what was expected."""


class BuildError(ZoneError):
    """Crossings, roads or boundary do not give valid zones; the data must be mended."""
