"""The detector over real recordings: two receivers on a motorway, delivery vans, a car at 1 and 15 s, a train."""

from __future__ import annotations

import csv
import gzip
import math
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import pytest

from zones.border_zone import BorderZone, ZoneSet
from zones.detector import Detector
from zones.events import DetectionEvent, Direction, EventName
from zones.fix import Fix
from zones.frame import LocalFrame
from zones.index import compile_index
from zones.tracks import read_track

TRACKS = Path(__file__).parents[1] / "corpus/tracks"


def rows(name):
    with (TRACKS / name).open() as lines:
        return [{key: float(value) for key, value in row.items() if key != "utc"} for row in csv.DictReader(lines)]


def passes(found):
    return Counter((e.event, e.zone_id) for e in found if isinstance(e, DetectionEvent))


def strip(frame, name, at, along, start_m, end_m, half_m):
    """A rectangle across the way: from `start_m` to `end_m` beyond a point, in the direction `along`."""
    east, north = along
    corners = [(start_m, -half_m), (end_m, -half_m), (end_m, half_m), (start_m, half_m), (start_m, -half_m)]
    ring = tuple(frame.to_degrees(at[0] + a * east + b * north, at[1] + a * north - b * east)[::-1] for a, b in corners)
    bearing = math.degrees(math.atan2(east, north)) % 360.0
    return BorderZone(id=name, polygons=((ring,),), direction=Direction.IN, bearing=bearing)


# --- two receivers and the truth, 58 s of motorway ---


def motorway():
    """The true path in metres by `boot_s`, and zones across it that begin where the car was at known times."""
    truth = rows("i280_car_truth_20hz.csv")
    frame = LocalFrame(truth[0]["lat"], truth[0]["lon"])
    path = [(row["boot_s"], *frame.to_metres(row["lat"], row["lon"])) for row in truth]
    zones, begins = [], {}
    for k in range(200, 1_000, 200):
        (t0, x0, y0), (_, x1, y1) = path[k], path[k + 20]
        length = math.hypot(x1 - x0, y1 - y0)
        name = f"z{k}"
        zones.append(strip(frame, name, (x0, y0), ((x1 - x0) / length, (y1 - y0) / length), 0.0, 80.0, 60.0))
        begins[name] = t0
    return compile_index(ZoneSet("i280", tuple(zones))), begins


@pytest.mark.parametrize(
    ("name", "accuracy_m", "within_s"), [("i280_car_ublox_10hz.csv", 4.0, 0.5), ("i280_car_phone_0.5hz.csv", 0.0, 2.5)]
)
def test_two_receivers_enter_when_the_car_did(name, accuracy_m, within_s):
    index, begins = motorway()
    detector = Detector(index)
    found = []
    for row in rows(name):
        t = row["boot_s"]
        found += detector.feed(
            Fix("u", t, row["lat"], row["lon"], t, accuracy_m=accuracy_m, speed_mps=row["speed_mps"])
        )
    assert passes(found) == {(event, zone): 1 for event in EventName for zone in begins}
    for event in found:
        if event.event is EventName.ENTERED:
            assert event.time == pytest.approx(begins[event.zone_id], abs=within_s)
            assert event.direction is Direction.IN


# --- delivery vans ---

VANS = LocalFrame(47.5, 8.5)


def standstills():
    """Runs of at least 20 fixes that move less than 0.8 m/s, nobody walking away: all within 15 m of their middle."""
    tracks = defaultdict(list)
    with gzip.open(TRACKS / "delivery_vans_200.csv.gz", "rt") as lines:
        for row in csv.DictReader(lines):
            tracks[row["track"]].append((float(row["t_s"]), float(row["x_m"]), float(row["y_m"])))
    for name, track in tracks.items():
        run = track[:1]
        for one in [*track[1:], (math.inf, math.inf, math.inf)]:
            if math.dist(run[-1][1:], one[1:]) < 0.8 * (one[0] - run[-1][0]) < math.inf:
                run.append(one)
                continue
            middle = tuple(sorted(row[axis] for row in run)[len(run) // 2] for axis in (1, 2))
            if len(run) >= 20 and all(math.dist(row[1:], middle) < 15.0 for row in run):
                yield name, middle, run
            run = [one]


def test_vans_that_stand_on_an_edge_make_at_most_one_event_whichever_way_it_runs():
    found_any = 0
    for name, middle, track in standstills():
        for k in range(24):
            angle = math.radians(15.0 * k)
            along = math.sin(angle), math.cos(angle)
            index = compile_index(ZoneSet("v", (strip(VANS, "z", middle, along, 0.0, 300.0, 300.0),)))
            detector = Detector(index)
            found = []
            for t, x, y in track:
                latitude, longitude = VANS.to_degrees(x, y)
                found += detector.feed(Fix("v", 1_790_000_000.0 + t, latitude, longitude, 1_790_000_000.0 + t))
            events = [item for item in found if isinstance(item, DetectionEvent)]
            assert len(events) <= 1, (name, k, events)
            found_any += 1
    assert found_any >= 24 * 3  # else the recording holds no standstill and this shows nothing


# --- a car at 1 s and the same drive at 15 s; a train ---


def test_every_fifteenth_fix_makes_the_same_passes():
    dense, sparse = (
        read_track((TRACKS / f"munich_car_{name}.csv").read_bytes(), f"{name}.csv") for name in ("1hz", "15s")
    )
    frame = LocalFrame(dense[0].latitude, dense[0].longitude)
    path = [frame.to_metres(fix.latitude, fix.longitude) for fix in dense]
    zones = []
    for k in range(150, len(path) - 150, 90):
        (x0, y0), (x1, y1) = path[k], path[k + 15]
        length = math.hypot(x1 - x0, y1 - y0)
        if 200.0 < length < 400.0:  # a straight way at speed: no halt, no bend at the edge
            zones.append(strip(frame, f"z{k}", (x0, y0), ((x1 - x0) / length, (y1 - y0) / length), 0.0, length, 80.0))
    assert len(zones) >= 3
    index = compile_index(ZoneSet("m", tuple(zones)))
    found = [passes(item for fix in track for item in Detector.feed(detector, fix))
             for track, detector in ((dense, Detector(index)), (sparse, Detector(index)))]  # fmt: skip
    assert found[0] == found[1]
    assert all(found[0][event, zone.id] >= 1 for event in EventName for zone in zones)


def test_outliers_of_a_phone_on_a_train_bring_no_entry():
    """3,085 m/s implied, accuracy 0 and up to hundreds of metres."""
    fixes = read_track((TRACKS / "swiss_train_phone.csv").read_bytes(), "train.csv")
    frame = LocalFrame(fixes[0].latitude, fixes[0].longitude)
    speeds = []
    for k in range(1, len(fixes)):
        one, other = fixes[k - 1], fixes[k]
        if other.time_s > one.time_s:
            step_m = math.dist(
                frame.to_metres(one.latitude, one.longitude), frame.to_metres(other.latitude, other.longitude)
            )
            speeds.append((step_m / (other.time_s - one.time_s), k))
    _, worst = max(speeds)
    at = frame.to_metres(fixes[worst].latitude, fixes[worst].longitude)
    index = compile_index(ZoneSet("t", (strip(frame, "outlier", at, (0.0, 1.0), -40.0, 40.0, 40.0),)))
    detector = Detector(index)
    found = [item for fix in fixes for item in detector.feed(fix)]
    around = [f for f in fixes if math.dist(frame.to_metres(f.latitude, f.longitude), at) < 40.0]
    assert len(around) <= 2  # the place was the outlier's alone
    assert passes(found) == Counter()
    assert datetime.fromtimestamp(fixes[worst].time_s).year >= 2015  # noqa: DTZ006 - a real time, not a default
