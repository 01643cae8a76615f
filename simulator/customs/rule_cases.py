"""Rule books tried before they go live: cases with what must come out, and two books over the same declarations."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent.domain.declaration import GoodsDeclaration, Party
from agent.domain.identifiers import vehicle_key
from agent.errors import ConfigError
from simulator.customs.book import Book, Subject
from simulator.customs.feedback import NO_COUNTERS
from simulator.customs.models import Learned
from simulator.customs.score import Learning, Scored, scored
from simulator.customs.suggest import nearest

MAX_REPLAYED = 1_000_000
CROSSING, OFFICE = "thayngen", None
"""Where a case crosses that does not say."""


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[case]]` of a file in `tests/`, or a declaration to explain: what is assessed, and what must come out.

    Attributes:
        declaration: A goods declaration with the names of the interface (camelCase).
        vehicle: `identificationNumber` and `nationality`.
        at: When it is at the border; a time without zone is UTC.
        channel: Colour that must come out.
        fires, silent: Rules and list entries that must, or must not, be among the reasons.
    """

    name: str = "declaration"
    declaration: GoodsDeclaration
    vehicle: dict[str, str] = {}
    carrier: str | None = None
    crossing: str = CROSSING
    office: str | None = OFFICE
    direction: Literal["IN", "OUT"] | None = None
    at: datetime.datetime | None = None
    indicators: dict[str, Any] = {}
    channel: Literal["green", "yellow", "red"] | None = None
    fires: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


class _CaseFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    case: tuple[Case, ...]


class Labelled(msgspec.Struct, frozen=True):
    """A declaration of a replay, and what a control of it found, where that is known."""

    declaration: GoodsDeclaration
    found: bool | None = None


@dataclass(frozen=True)
class Replay:
    """What a book does with declarations.

    Attributes:
        share: Of them, how many it selects for a control.
        hit_rate: Of the selected ones whose finding is known, how many had one; None = none is known.
    """

    declarations: int
    selected: int
    known: int
    found: int

    @property
    def share(self) -> float:
        """Control rate."""
        return self.selected / self.declarations if self.declarations else 0.0

    @property
    def hit_rate(self) -> float | None:
        """Finds among selected declarations whose finding is known."""
        return self.found / self.known if self.known else None


def read_cases(folder: Path) -> list[Case]:
    """The cases of a rule book folder.

    Raises:
        ConfigError: every fault, one a line.
    """
    cases: list[Case] = []
    faults: list[str] = []
    for path in sorted((folder / "tests").glob("*.toml")):
        try:
            cases += msgspec.convert(tomllib.loads(path.read_text("utf-8")), _CaseFile).case
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError, msgspec.ValidationError) as error:
            faults.append(f"{path}: {error}")
    if faults:
        raise ConfigError("\n".join(faults))
    return cases


def read_case(path: Path) -> Case:
    """A declaration to explain: JSON of a `Case`, or of a goods declaration alone.

    Raises:
        ConfigError: neither.
    """
    try:
        raw = msgspec.json.decode(path.read_bytes())
        if isinstance(raw, Mapping) and "declaration" not in raw:
            return Case(declaration=msgspec.convert(raw, GoodsDeclaration))
        known = [one.name for one in msgspec.structs.fields(Case)]
        for key in raw if isinstance(raw, Mapping) else ():
            if key not in known:
                raise ConfigError(f"{path}: {key}: unknown key, {nearest(key, known)}")
        return msgspec.convert(raw, Case)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def read_replay(path: Path) -> list[Labelled]:
    """JSON Lines: goods declarations, or objects of `declaration` and `found`.

    Raises:
        ConfigError: a line that is neither, by its number.
    """
    found: list[Labelled] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.append(_labelled(path, number, line))
                if len(found) > MAX_REPLAYED:
                    raise ConfigError(f"{path}: at most {MAX_REPLAYED} declarations")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return found


def _labelled(path: Path, number: int, line: bytes) -> Labelled:
    try:
        raw = msgspec.json.decode(line)
        if isinstance(raw, Mapping) and "declaration" in raw:
            return msgspec.convert(raw, Labelled)
        return Labelled(msgspec.convert(raw, GoodsDeclaration))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}:{number}: {error}") from error


def subject_of(case: Case, now: datetime.datetime) -> Subject:
    """What is assessed in a case."""
    at = case.at or now
    at = at if at.tzinfo is not None else at.replace(tzinfo=datetime.UTC)
    goods = case.declaration
    plate, nation = (case.vehicle.get(name, "") for name in ("identificationNumber", "nationality"))
    return Subject(
        activation_id="",
        mrn=goods.mrn or "",
        version=goods.version,
        jrn="",
        crossing=case.crossing,
        office=case.office,
        direction=case.direction or goods.direction,
        activated_s=at.timestamp(),
        vehicle=vehicle_key(plate, nation),
        goods=goods,
        carrier=None if case.carrier is None else Party(name=case.carrier),
        indicators=case.indicators,
    )


def scored_case(case: Case, book: Book, learned: Learned, now: datetime.datetime) -> Scored:
    """The card of a case, before anything was learned and with no lot drawn."""
    learning = Learning.of(learned.model, learned.prior, NO_COUNTERS)
    return scored(subject_of(case, now), book, learning, drawn=False)


def failures(cases: Iterable[Case], book: Book, learned: Learned, now: datetime.datetime) -> Iterator[str]:
    """What does not come out as the cases say."""
    for case in cases:
        card = scored_case(case, book, learned, now).card
        ids = {reason.id for reason in card.reasons}
        if case.channel is not None and card.channel != case.channel:
            why = ", ".join(f"{one.id} {one.points:+d}" for one in card.reasons[:5]) or "nothing"
            yield f"{case.name}: {card.channel} with {card.score} points ({why}): expected {case.channel}"
        yield from (f"{case.name}: {one} did not fire" for one in case.fires if one not in ids)
        yield from (f"{case.name}: {one} fired" for one in case.silent if one in ids)


def replay(declarations: Sequence[Labelled], book: Book, learned: Learned, now: datetime.datetime) -> Replay:
    """What a book would select of declarations, and what was found in those."""
    selected = [
        one
        for one in declarations
        if scored_case(Case(declaration=one.declaration), book, learned, now).card.channel != "green"
    ]
    known = [one for one in selected if one.found is not None]
    return Replay(len(declarations), len(selected), len(known), sum(bool(one.found) for one in known))
