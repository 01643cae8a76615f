"""Who drives where with which papers, and what must come out: pure, from seed and zone set.

Lorries, demo and report each make the same scenario again from the same arguments, so nothing but the
configuration is passed between them.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from agent.domain.declaration import GoodsDeclaration, TransportDeclaration
from simulator import ais_unit
from simulator.dice import Dice
from simulator.equipment import OPERATORS, Payload, payload_of, receiver_of
from simulator.gnss_error import Receiver
from simulator.papers import DeclaredLine, Papers, make_papers, plate_for
from simulator.routes import Drive, Road, approach, through
from simulator.truth import Expected, Ground, Pass, TimedPath, activation_ground
from zones.border_zone import BorderZone, ZoneSet
from zones.build import CentreLine
from zones.events import Direction
from zones.fix import Fix
from zones.frame import LocalFrame, lv95, lv95_to_degrees

FIRST_ENTRY_S = 1.5
"""First lorry enters its activation zone so long after the start: time for a fix or two before it."""
BUSY_SHARE = 0.72
"""Of a run of known length in which lorries enter: the rest is for answers, officers and driving on."""
WAVE_S = 90.0
"""An endless run sends the next lorry of a slot after this time: about as long as one is on the road."""
MAX_LEAD_S = 45.0
"""At most so long from setting out to the activation zone."""
MIN_LEAD_S = 1.5
BAY_M = 100.0
"""Control bay beyond the plaza; inside the confirmation zone (250 m), or obeying looks like a breach."""
ROAD_AFTER_M = 900.0
"""A lorry is gone so far beyond the plaza: past the end of the tracking zone (750 m)."""
CLEAR_OF_FOREIGN_M = 150.0
"""Roads that run through another crossing's activation zone are used only so far away from it (two do:
design/detection.md section 2, known strays)."""
ROOF_M = (-60.0, 180.0)
"""Yard roof about the plaza (choice)."""
TUNNELS = {"la-drossa": 3_141.0, "grand-st-bernard": 2_086.0}
"""Crossings behind a tunnel, and how far beyond the plaza the customs line is, metres."""
PORTAL_M = 480.0
"""The near portal lies so far before the plaza, the far one as far beyond the customs line (choice)."""
TURN_BEFORE_M = 150.0
"""A lorry that turns back does it so far before the activation zone."""
PARALLEL_OFFSETS_M = (300.0, -300.0, 380.0, -380.0)
"""Parallel roads: inside the tracking zone (500 m), outside the activation zone (at most 150 m)."""
PLANT_FROM_LORRIES = 20
"""From so many simulated lorries on, two are planted that must end in STOP (contract section 2)."""
PLANTED_PLATE, PLANTED_CONSIGNEE, SERIAL_LORRY = 1, 2, 3
"""Numbers of the lorries with the watch-list plate, the watch-list consignee and the serial receiver."""
AVL_LORRY, AVL_EVERY = 6, 25
"""Number of the first lorry whose unit connects by itself, and how many numbers to the next."""
TRACK_DIRECTION_DEG = 75.0
"""A recorded track passes a zone in its direction if its chord is within this of the zone's bearing."""
TRACK_STAGGER_S = 0.7
TRACK_SETTLE_S = 10.0
AFTER_TRACKS_S = 2.0
"""A run of recorded tracks ends so long after the last of them."""


class Behaviour(enum.Enum):
    """What a lorry does or has that matters to the outcome."""

    REGULAR = "REGULAR"
    UNKNOWN = "UNKNOWN"
    """No journey: HOLD for the unit."""
    NOT_READY = "NOT_READY"
    """Its only declaration has a wrong check digit: HOLD, nothing activated."""
    PARTLY_READY = "PARTLY_READY"
    """One declaration of two is wrong: the good one is activated, HOLD."""
    WRONG_CROSSING = "WRONG_CROSSING"
    """Its journey is for another crossing: HOLD, nothing activated."""
    SELF_REPORTS = "SELF_REPORTS"
    """The driver reports extra goods before the zone: STOP, nothing activated."""
    TURNS_BACK = "TURNS_BACK"
    """Turns before the activation zone: nothing."""
    PARALLEL = "PARALLEL"
    """Passes on another road through the tracking zone: nothing."""


_SPECIAL = {
    5: (Behaviour.UNKNOWN, False),
    9: (Behaviour.NOT_READY, False),
    13: (Behaviour.WRONG_CROSSING, False),
    17: (Behaviour.SELF_REPORTS, False),
    21: (Behaviour.TURNS_BACK, False),
    25: (Behaviour.PARALLEL, False),
    29: (Behaviour.PARTLY_READY, False),
    33: (Behaviour.UNKNOWN, True),
    37: (Behaviour.SELF_REPORTS, True),
}
"""Number of a lorry modulo `SPECIAL_EVERY`: (behaviour, runs through whatever it is told)."""
SPECIAL_EVERY = 120
"""So that one lorry in 13 is special: a run of 60 has each kind, a run of 200 is mostly honest."""


@dataclass(frozen=True)
class LorryPlan:
    """One lorry: where it drives, how it speaks, what it carries, what it will do."""

    number: int
    unit: str
    crossing: str
    """Where it really crosses."""
    direction: Direction
    behaviour: Behaviour
    payload: Payload
    receiver: Receiver
    papers: Papers
    departs_s: float
    """UTC seconds, in the time of the run's clock."""
    runs: bool = False
    planted: bool = False
    operator: str | None = None
    road: Road | None = None
    """None: driven by a recorded track."""
    cruise_mps: float = 0.0
    bay_m: float = math.inf
    activation: Pass | None = None
    """Chainages at which its road is in the activation zone of its crossing and direction."""
    plaza_m: float = 0.0
    tunnel_m: tuple[float, float] | None = None
    track: tuple[Fix, ...] = ()
    """Recorded fixes, times moved to the run."""
    track_pass_s: tuple[float, float] | None = None
    """When the recorded track enters and leaves the activation zone."""

    @property
    def journey(self) -> TransportDeclaration | None:
        """Its transport declaration."""
        return self.papers.journey

    @property
    def goods(self) -> tuple[GoodsDeclaration, ...]:
        """Its goods declarations."""
        return self.papers.goods

    @cached_property
    def drive(self) -> Drive:
        """How it drives unless told otherwise: up to the bay, where it stops without a GO."""
        if self.behaviour is Behaviour.PARALLEL:
            return through(self.departs_s, self.cruise_mps)
        drive = approach(self.departs_s, self.cruise_mps, self.bay_m)
        if self.behaviour is Behaviour.TURNS_BACK:
            return drive.going(drive.time_at(self.bay_m - 0.5) + 6.0, 10.0)
        return drive.going(drive.start_s, self.cruise_mps) if self.runs else drive

    @property
    def entry_s(self) -> float | None:
        """When it truly enters the activation zone of its crossing; None if it never does."""
        if self.track:
            return None if self.track_pass_s is None else self.track_pass_s[0]
        return None if self.activation is None else self.drive.time_at(self.activation.from_m)

    @property
    def exit_s(self) -> float | None:
        """When it is truly at the end of that zone if no instruction changes its drive."""
        if self.track:
            return None if self.track_pass_s is None else self.track_pass_s[1]
        return None if self.activation is None else self.drive.time_at(self.activation.to_m)

    @property
    def settle_s(self) -> float:
        """After this time at the latest its entry is known to the agent."""
        return TRACK_SETTLE_S if self.track else self.receiver.settle_s

    @property
    def ends_s(self) -> float:
        """When a recorded track has ended; infinite for a simulated lorry, which may be told to wait."""
        return self.track[-1].time_s if self.track else math.inf


@dataclass(frozen=True)
class Track:
    """A recorded track: name of its file and its fixes in order."""

    name: str
    fixes: tuple[Fix, ...]


@dataclass(frozen=True)
class Scenario:
    """All lorries of a run, and what must come out."""

    seed: int
    run_id: str
    start_s: float
    seconds: float | None
    lorries: tuple[LorryPlan, ...]
    planner: Planner | None

    def waves(self) -> Iterator[LorryPlan]:
        """Further lorries of a run without end, by time of departure within about a wave."""
        if self.planner is None or self.seconds is not None:
            return iter(())
        planner = self.planner
        return (planner.plan(number) for number in itertools.count(len(self.lorries)))

    @property
    def end_s(self) -> float:
        """When nobody drives any more, UTC seconds; infinite for a run without end."""
        if self.seconds is not None:
            return self.start_s + self.seconds
        return math.inf if self.last_track_s is None else self.last_track_s + AFTER_TRACKS_S

    @property
    def last_track_s(self) -> float | None:
        """When the last recorded track ends; None if lorries are simulated."""
        ends = [plan.ends_s for plan in self.lorries if plan.track]
        return max(ends) if ends else None


def unit_id(run_id: str, number: int) -> str:
    """Name of a simulated unit; runs do not share units."""
    return f"{run_id}.L{number:04d}"


def serial_unit(run_id: str, lorries: int) -> str | None:
    """Unit whose receiver is on a serial line, for the agent's configuration; None if the run has none."""
    return unit_id(run_id, SERIAL_LORRY) if lorries > SERIAL_LORRY else None


def avl_units(run_id: str, lorries: int) -> dict[int, str]:
    """Units that connect by themselves, by number; none of an endless run's later waves is among them."""
    return {number: unit_id(run_id, number) for number in range(AVL_LORRY, lorries, AVL_EVERY)}


def ferry(run_id: str, lorries: int) -> str | None:
    """MMSI of the vessel on the agent's AIS receiver; None if the run has none."""
    return ais_unit.mmsi(run_id) if lorries >= ais_unit.FERRY_FROM_PLANS else None


def make_scenario(
    seed: int,
    lorries: int,
    start_s: float,
    zone_set: ZoneSet,
    centre_lines: Mapping[str, CentreLine],
    seconds: float | None = None,
    *,
    run_id: str = "1",
    tracks: Sequence[Track] = (),
    avl: bool = False,
    lines: Sequence[DeclaredLine] = (),
) -> Scenario:
    """The run of a seed.

    Args:
        seed: Same seed, same run (apart from times and ids).
        lorries: On the road at once; with `seconds` also in all. Not used with tracks.
        start_s: When the first lorry sets out, UTC seconds of the run's clock.
        zone_set: Zones in force.
        centre_lines: Inbound road of each crossing.
        seconds: Length of the run in time of its clock; None = without end.
        run_id: Makes journeys, declarations and units of this run unlike those of any other.
        tracks: Recorded tracks that drive lorries instead of simulated ones.
        avl: Whether the agent has a listener, so that some units connect by themselves.
        lines: Labelled declarations from which imports are drawn; none = made-up ordinary freight.
    """
    if tracks:
        ground = activation_ground(zone_set)
        plans = tuple(_track_plan(number, track, seed, run_id, start_s, ground) for number, track in enumerate(tracks))
        return Scenario(seed, run_id, start_s, seconds, plans, None)
    planner = Planner(seed, lorries, start_s, zone_set, centre_lines, seconds, run_id, avl=avl, lines=lines)
    plans = tuple(planner.plan(number) for number in range(lorries))
    return Scenario(seed, run_id, start_s, seconds, plans, planner)


def expected_activations(plan: LorryPlan, end_s: float) -> tuple[Expected, ...]:
    """Activations that must come of one lorry by the end of the run, and those that may.

    Declarations with a fault, journeys for another crossing and self-reported goods activate nothing
    (design/domain.md section 5, T6, T7, T11).
    """
    entry_s, journey = plan.entry_s, plan.journey
    silent = plan.behaviour in (Behaviour.WRONG_CROSSING, Behaviour.SELF_REPORTS)
    if journey is None or entry_s is None or silent or entry_s > end_s:
        return ()
    must = entry_s + plan.settle_s <= end_s
    return tuple(
        Expected(
            plan.unit,
            journey.jrn,
            mrn,
            version,
            plan.crossing,
            plan.direction.value,
            entry_s,
            must,
        )
        for mrn, version in plan.papers.valid
    )


class Planner:
    """Makes the plan of any lorry by its number; keeps the roads it has looked at."""

    def __init__(
        self,
        seed: int,
        lorries: int,
        start_s: float,
        zone_set: ZoneSet,
        centre_lines: Mapping[str, CentreLine],
        seconds: float | None,
        run_id: str,
        *,
        avl: bool = False,
        lines: Sequence[DeclaredLine] = (),
    ) -> None:
        self._declared = lines
        self._avl = frozenset(avl_units(run_id, lorries)) if avl else frozenset()
        self._seed, self._lorries, self._start_s = seed, lorries, start_s
        self._seconds, self._run_id = seconds, run_id
        self._lines = centre_lines
        self._ground = activation_ground(zone_set)
        self._by_key = {(zone.crossing_key, zone.direction): zone for zone in self._ground.zones}
        known = [crossing for crossing in centre_lines if (crossing, Direction.IN) in self._by_key]
        self._crossings = Dice(seed, "crossings").shuffled(known)
        self._stretches: dict[tuple[str, Direction], _Stretch] = {}

    def plan(self, number: int) -> LorryPlan:
        """The lorry of this number."""
        dice = Dice(self._seed, "lorry", number)
        behaviour, runs = self._behaviour(number)
        crossing, direction = self._place(number)
        zone = self._by_key[crossing, direction]
        stretch = self._stretch(crossing, direction)
        motorway = stretch.activation.length_m > 500.0
        cruise_mps = (dice.between(60.0, 80.0) if motorway else dice.between(40.0, 60.0)) / 3.6
        payload = self._payload(number, dice)
        if self._is_ferry(number):
            payload, cruise_mps = Payload.AIS, ais_unit.CRUISE_MPS
        quick = number <= SERIAL_LORRY or behaviour is Behaviour.SELF_REPORTS
        receiver = receiver_of(dice, payload, number, quick=quick)
        lead_s, departs_s = self._times(number, stretch, cruise_mps, behaviour, receiver)
        plain = LorryPlan(
            number=number,
            unit=ais_unit.mmsi(self._run_id) if payload is Payload.AIS else unit_id(self._run_id, number),
            crossing=crossing,
            direction=direction,
            behaviour=behaviour,
            payload=payload,
            receiver=receiver,
            papers=Papers(),
            departs_s=departs_s,
            runs=runs,
            planted=self._is_planted(number),
            operator=OPERATORS[number % 2] if payload in (Payload.ROWS, Payload.OPERATOR_JSON) else None,
            cruise_mps=cruise_mps,
        )
        plan = _on_road(plain, stretch, lead_s * cruise_mps, self._ground)
        return replace(plan, papers=self._papers(plan, zone, dice))

    def _payload(self, number: int, dice: Dice) -> Payload:
        if number == SERIAL_LORRY:
            return Payload.SERIAL
        return Payload.TELTONIKA if number in self._avl else payload_of(dice, number)

    def _behaviour(self, number: int) -> tuple[Behaviour, bool]:
        if self._is_planted(number) or number == SERIAL_LORRY or self._is_ferry(number):
            return Behaviour.REGULAR, False
        return _SPECIAL.get(number % SPECIAL_EVERY, (Behaviour.REGULAR, False))

    def _is_planted(self, number: int) -> bool:
        return self._lorries >= PLANT_FROM_LORRIES and number in (PLANTED_PLATE, PLANTED_CONSIGNEE)

    def _is_ferry(self, number: int) -> bool:
        enough = self._lorries >= ais_unit.FERRY_FROM_PLANS
        return number == ais_unit.FERRY and enough and ais_unit.FERRY_CROSSING in self._crossings

    def _place(self, number: int) -> tuple[str, Direction]:
        """Every crossing in turn, its directions by turns; the ferry lands where there is water."""
        if self._is_ferry(number):
            return ais_unit.FERRY_CROSSING, Direction.IN
        count = len(self._crossings)
        odd = (number // count + number) % 2
        return self._crossings[number % count], Direction.OUT if odd else Direction.IN

    def _times(
        self, number: int, stretch: _Stretch, cruise_mps: float, behaviour: Behaviour, receiver: Receiver
    ) -> tuple[float, float]:
        """(seconds from setting out to the activation zone, when it sets out).

        A unit that seldom reports sets out early enough to be seen before the zone.
        """
        slot, wave = number % self._lorries, number // self._lorries
        span_s = WAVE_S if self._seconds is None else max(self._seconds * BUSY_SHARE, FIRST_ENTRY_S + 1.0)
        share = slot / max(1, self._lorries - 1)
        entry_s = FIRST_ENTRY_S + share * (span_s - FIRST_ENTRY_S) + wave * WAVE_S
        room_s = stretch.before_m / cruise_mps
        if behaviour is not Behaviour.REGULAR:  # time to report goods, or to turn, before the zone
            entry_s = max(entry_s, min(20.0, room_s))
        if receiver.interval_s > 1.0:
            entry_s = max(entry_s, min(2.0 + 1.5 * receiver.interval_s, room_s))
        lead_s = max(MIN_LEAD_S, min(entry_s, room_s, MAX_LEAD_S))
        return lead_s, self._start_s + max(0.0, entry_s - lead_s)

    def _stretch(self, crossing: str, direction: Direction) -> _Stretch:
        key = (crossing, direction)
        if key not in self._stretches:
            line = self._lines[crossing].in_direction(direction)
            self._stretches[key] = _clear_stretch(line, self._by_key[key], self._ground)
        return self._stretches[key]

    def _papers(self, plan: LorryPlan, zone: BorderZone, dice: Dice) -> Papers:
        if plan.behaviour is Behaviour.UNKNOWN:
            return Papers(vehicle=plate_for(self._run_id, plan.number, dice))
        planned = zone
        if plan.behaviour is Behaviour.WRONG_CROSSING:
            count = len(self._crossings)
            elsewhere = self._crossings[(plan.number + count // 2) % count]
            planned = self._by_key[elsewhere, plan.direction]
        faulty = {Behaviour.NOT_READY: 1, Behaviour.PARTLY_READY: 2}.get(plan.behaviour, 0)
        return make_papers(
            self._run_id,
            plan.number,
            plan.unit,
            planned,
            plan.entry_s or plan.departs_s,
            dice,
            declarations=2 if plan.payload is Payload.AIS else None,
            faulty_of=faulty,
            watched_plate=plan.planted and plan.number == PLANTED_PLATE,
            watched_consignee=plan.planted and plan.number == PLANTED_CONSIGNEE,
            lines=self._declared,
        )


@dataclass(frozen=True)
class _Stretch:
    """The part of a crossing's road that meets no other crossing's activation zone."""

    road: Road
    activation: Pass
    plaza_m: float

    @property
    def before_m(self) -> float:
        """Room before the activation zone."""
        return self.activation.from_m


def _clear_stretch(line: CentreLine, zone: BorderZone, ground: Ground) -> _Stretch:
    road = Road(line.points_m)
    found = ground.passes(road.points_m)
    own = max((item.run for item in found if item.zone.id == zone.id), key=lambda run: run.length_m)
    foreign = [item.run for item in found if item.zone.crossing_key != zone.crossing_key]
    before = [run.to_m + CLEAR_OF_FOREIGN_M for run in foreign if run.to_m <= own.from_m]
    after = [run.from_m - CLEAR_OF_FOREIGN_M for run in foreign if run.from_m >= own.to_m]
    from_m = min(max(before, default=0.0), own.from_m - 60.0)
    to_m = min([*after, line.plaza_m + ROAD_AFTER_M, road.length_m])
    return _Stretch(road.part(from_m, to_m), Pass(own.from_m - from_m, own.to_m - from_m), line.plaza_m - from_m)


def _on_road(plan: LorryPlan, stretch: _Stretch, lead_m: float, ground: Ground) -> LorryPlan:
    """The plan with its road, which begins `lead_m` before the activation zone."""
    from_m = max(0.0, stretch.activation.from_m - lead_m)
    road = stretch.road.part(from_m, stretch.road.length_m)
    zone = Pass(stretch.activation.from_m - from_m, stretch.activation.to_m - from_m)
    plaza_m = stretch.plaza_m - from_m
    if plan.behaviour is Behaviour.PARALLEL:
        for offset_m in PARALLEL_OFFSETS_M:
            beside = road.beside(offset_m)
            if not ground.near(beside.points_m, 60.0):
                return replace(plan, road=beside, plaza_m=plaza_m)
        return _on_road(replace(plan, behaviour=Behaviour.TURNS_BACK), stretch, lead_m, ground)
    if plan.behaviour is Behaviour.TURNS_BACK:
        turn_m = max(20.0, zone.from_m - TURN_BEFORE_M)
        return replace(plan, road=road.turning_back(turn_m), bay_m=turn_m, plaza_m=plaza_m)
    return replace(
        plan,
        road=road,
        activation=zone,
        bay_m=plaza_m + BAY_M,
        plaza_m=plaza_m,
        tunnel_m=_tunnel(plan.crossing, plan.direction, plaza_m),
    )


def _tunnel(crossing: str, direction: Direction, plaza_m: float) -> tuple[float, float] | None:
    """(from, to) chainage without reception."""
    beyond_m = TUNNELS.get(crossing)
    if beyond_m is None:
        return None
    if direction is Direction.OUT:
        return plaza_m + PORTAL_M, plaza_m + beyond_m + PORTAL_M
    return plaza_m - beyond_m - PORTAL_M, plaza_m - PORTAL_M


def _track_plan(number: int, track: Track, seed: int, run_id: str, start_s: float, ground: Ground) -> LorryPlan:
    """A lorry that sends a recorded track, with papers for the crossing whose activation zone it passes."""
    dice = Dice(seed, "track", number)
    unit = f"{run_id}.{_unit_safe(track.name)}"[:64]
    departs_s = start_s + number * TRACK_STAGGER_S
    shift_s = departs_s - min(fix.time_s for fix in track.fixes)
    fixes = tuple(_moved_fix(fix, unit, seq, shift_s) for seq, fix in enumerate(track.fixes, 1))
    ordered = sorted(fixes, key=lambda fix: fix.time_s)
    path = TimedPath(tuple(lv95(fix.latitude, fix.longitude) for fix in ordered), tuple(fix.time_s for fix in ordered))
    crossed = _crossed(path, ground)
    if crossed is None:
        crossing, direction, pass_s, papers = "", Direction.UNKNOWN, None, Papers()
    else:
        zone, run = crossed
        pass_s = path.time_at(run.from_m), path.time_at(run.to_m)
        crossing, direction = zone.crossing_key, zone.direction or Direction.UNKNOWN
        papers = make_papers(run_id, number, unit, zone, pass_s[0], dice, declarations=1)
    return LorryPlan(
        number=number,
        unit=unit,
        crossing=crossing,
        direction=direction,
        behaviour=Behaviour.UNKNOWN if crossed is None else Behaviour.REGULAR,
        payload=Payload.JSON,
        receiver=Receiver(),
        papers=papers,
        departs_s=departs_s,
        track=fixes,
        track_pass_s=pass_s,
    )


def _moved_fix(fix: Fix, unit: str, seq: int, shift_s: float) -> Fix:
    return Fix(
        unit=unit,
        time_s=fix.time_s + shift_s,
        latitude=fix.latitude,
        longitude=fix.longitude,
        received_s=fix.time_s + shift_s,
        seq=seq,
        accuracy_m=fix.accuracy_m,
        speed_mps=fix.speed_mps,
        heading_deg=fix.heading_deg,
    )


def _crossed(path: TimedPath, ground: Ground) -> tuple[BorderZone, Pass] | None:
    """The activation zone that a track passes in the zone's direction; the longest way through if several."""
    fitting = [
        (item.zone, item.run)
        for item in ground.passes(path.points_m)
        if item.zone.bearing is None or _off_course_deg(path, item.run, item.zone.bearing) <= TRACK_DIRECTION_DEG
    ]
    return max(fitting, key=lambda item: item[1].length_m) if fitting else None


def _off_course_deg(path: TimedPath, run: Pass, bearing_deg: float) -> float:
    start = lv95_to_degrees(*path.place_at(run.from_m))
    end = lv95_to_degrees(*path.place_at(run.to_m))
    east_m, north_m = LocalFrame(*start).to_metres(*end)
    off_deg = (math.degrees(math.atan2(east_m, north_m)) - bearing_deg) % 360.0
    return min(off_deg, 360.0 - off_deg)


def _unit_safe(name: str) -> str:
    """A file's name as a unit id; a name of other letters only is told apart by its digest."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    return safe if safe == name else f"{safe[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
