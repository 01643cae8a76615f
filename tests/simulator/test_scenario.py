"""The scenario: same seed same run, everything in it, nothing that steps on another crossing."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.domain.identifiers import JRN_FORM, PERMIT_FORM, UNIT_FORM, MrnVerdict, judge_mrn
from simulator.equipment import Payload
from simulator.papers import WATCHED_CONSIGNEE, WATCHED_PLATE
from simulator.scenario import (
    PLANTED_CONSIGNEE,
    PLANTED_PLATE,
    WAVE_S,
    Behaviour,
    avl_units,
    expected_activations,
    ferry,
    make_scenario,
    serial_unit,
)
from simulator.scenario_files import read_tracks
from simulator.truth import activation_ground
from zones.catalogue import shipped_centre_lines, shipped_zone_set
from zones.events import Direction

ZONES, LINES = shipped_zone_set(), shipped_centre_lines()
START_S = 1_795_000_000.0
TRACKS = Path(__file__).parents[1] / "corpus" / "tracks" / "transplanted"


def scenario(seed=1, lorries=200, seconds=60.0, **more):
    return make_scenario(seed, lorries, START_S, ZONES, LINES, seconds, **more)


DEMO = scenario()
WITH_LISTENER = scenario(avl=True)


def facts_of(plan):
    return (
        plan.unit, plan.crossing, plan.direction, plan.behaviour, plan.payload, plan.receiver, plan.papers,
        plan.departs_s, plan.runs, plan.cruise_mps, plan.activation, plan.drive,
    )  # fmt: skip


@given(st.integers(0, 1_000), st.integers(1, 40))
@settings(max_examples=10, deadline=None)
def test_same_seed_same_run(seed, lorries):
    first, again = scenario(seed, lorries), scenario(seed, lorries)
    assert [facts_of(plan) for plan in first.lorries] == [facts_of(plan) for plan in again.lorries]


def test_start_time_shifts_the_run_and_changes_nothing_else():
    later = make_scenario(1, 200, START_S + 5.0, ZONES, LINES, 60.0)
    for plan, moved in zip(DEMO.lorries, later.lorries, strict=True):
        assert moved.departs_s == pytest.approx(plan.departs_s + 5.0)
        assert (moved.unit, moved.goods, moved.papers.valid) == (plan.unit, plan.goods, plan.papers.valid)


def test_every_crossing_both_directions_every_behaviour_every_format():
    lorries = WITH_LISTENER.lorries
    assert len({plan.crossing for plan in lorries}) == 64
    assert {plan.direction for plan in lorries} == {Direction.IN, Direction.OUT}
    assert {plan.behaviour for plan in lorries} == set(Behaviour)
    assert {plan.payload for plan in lorries} == set(Payload)
    assert any(plan.runs for plan in lorries)
    assert any(plan.journey is not None and plan.journey.empty for plan in lorries)
    assert {goods.procedure for plan in lorries for goods in plan.goods} == {
        "IMPORT", "EXPORT", "TRANSIT", "PERIODIC",
    }  # fmt: skip
    assert len([plan for plan in lorries if plan.receiver.interval_s >= 24.0]) >= 1


def test_procedures_are_within_the_competence_of_the_crossing():
    by_key = {(zone.crossing_key, zone.direction): zone for zone in ZONES.zones}
    for plan in DEMO.lorries:
        if plan.journey is None:
            continue
        zone = by_key[plan.journey.planned_crossing.crossing, plan.direction]
        for goods in plan.goods:
            trade = "IMPORT" if plan.direction is Direction.IN else "EXPORT"
            assert (trade if goods.procedure == "PERIODIC" else goods.procedure) in zone.competences
            assert goods.direction == plan.direction.value


def test_numbers_have_their_form_and_are_wrong_only_on_purpose():
    for plan in DEMO.lorries:
        assert UNIT_FORM.fullmatch(plan.unit)
        if plan.journey is None:
            continue
        assert JRN_FORM.fullmatch(plan.journey.jrn)
        good = {mrn for mrn, _ in plan.papers.valid}
        for goods in plan.goods:
            if goods.procedure == "PERIODIC":
                assert PERMIT_FORM.fullmatch(goods.mrn)
            elif goods.mrn in good:
                assert judge_mrn(goods.mrn) is MrnVerdict.GOOD
            else:
                assert plan.behaviour in (Behaviour.NOT_READY, Behaviour.PARTLY_READY)
                assert judge_mrn(goods.mrn) is MrnVerdict.BAD_CHECK_DIGIT


def test_runs_share_no_number():
    def numbers(run):
        units = {plan.unit for plan in run.lorries}
        journeys = {plan.journey.jrn for plan in run.lorries if plan.journey}
        return units | journeys | {goods.mrn for plan in run.lorries for goods in plan.goods}

    assert not numbers(DEMO) & numbers(scenario(run_id="2"))
    mrns = [goods.mrn for plan in DEMO.lorries for goods in plan.goods if goods.procedure != "PERIODIC"]
    assert len(mrns) == len(set(mrns))
    plates = [plan.papers.vehicle for plan in DEMO.lorries]
    assert len(plates) == len(set(plates))


def test_two_are_planted_from_twenty_lorries_on_and_early():
    plate, consignee = DEMO.lorries[PLANTED_PLATE], DEMO.lorries[PLANTED_CONSIGNEE]
    assert plate.papers.vehicle == WATCHED_PLATE
    assert consignee.goods[0].consignee.name == WATCHED_CONSIGNEE
    assert [plan.number for plan in DEMO.lorries if plan.planted] == [PLANTED_PLATE, PLANTED_CONSIGNEE]
    assert max(plate.entry_s, consignee.entry_s) < START_S + 5.0
    few = scenario(lorries=19)
    assert not any(plan.planted for plan in few.lorries)
    assert all(plan.papers.vehicle != WATCHED_PLATE for plan in few.lorries)


def test_first_lorry_enters_soon_and_most_before_second_45():
    entries = sorted(plan.entry_s - START_S for plan in DEMO.lorries if plan.entry_s is not None)
    assert entries[0] < 3.0
    assert sum(at_s < 45.0 for at_s in entries) > 0.95 * len(entries)


def test_roads_pass_their_own_activation_zone_once_and_no_foreign_one():
    ground = activation_ground(ZONES)
    for plan in DEMO.lorries:
        found = ground.passes(plan.road.points_m)
        own = [
            item.run for item in found if (item.zone.crossing, item.zone.direction) == (plan.crossing, plan.direction)
        ]
        assert {item.zone.crossing for item in found} <= {plan.crossing}, plan.unit
        if plan.behaviour in (Behaviour.TURNS_BACK, Behaviour.PARALLEL):
            assert not own, f"{plan.unit} {plan.behaviour}"
            assert plan.entry_s is None
        else:
            assert len(own) == 1, plan.unit
            assert own[0].from_m == pytest.approx(plan.activation.from_m, abs=0.1)
            assert plan.departs_s < plan.entry_s < plan.exit_s


def test_the_bay_lies_inside_the_confirmation_zone():
    by_key = {(z.crossing_key, z.direction): z for z in ZONES.zones if z.kind.value == "CONFIRMATION"}
    from simulator.truth import Ground

    for plan in DEMO.lorries[:128]:
        if plan.activation is None:
            continue
        (run,) = [i.run for i in Ground([by_key[plan.crossing, plan.direction]]).passes(plan.road.points_m)]
        assert run.from_m + 20.0 < plan.bay_m < run.to_m - 60.0, plan.crossing


def test_expected_is_what_the_true_paths_and_the_papers_say():
    end_s = START_S + 60.0
    for plan in DEMO.lorries:
        expected = expected_activations(plan, end_s)
        activates = plan.behaviour in (Behaviour.REGULAR, Behaviour.PARTLY_READY)
        assert bool(expected) == (activates and bool(plan.papers.valid) and plan.entry_s <= end_s), plan.unit
        assert {(item.mrn, item.version) for item in expected} <= set(plan.papers.valid)
    total = [item for plan in DEMO.lorries for item in expected_activations(plan, end_s)]
    assert sum(item.must for item in total) > 100


def test_an_entry_near_the_end_may_but_need_not_be_seen():
    plan = next(plan for plan in DEMO.lorries if plan.papers.valid and plan.behaviour is Behaviour.REGULAR)
    assert [item.must for item in expected_activations(plan, plan.entry_s + 1.0)] == [False] * len(plan.papers.valid)
    assert all(item.must for item in expected_activations(plan, plan.entry_s + plan.settle_s))
    assert expected_activations(plan, plan.entry_s - 1.0) == ()


def test_one_unit_is_on_the_serial_line():
    serial = [plan.unit for plan in DEMO.lorries if plan.payload is Payload.SERIAL]
    assert serial == [serial_unit("1", 200)]
    assert serial_unit("1", 2) is None


def test_one_vessel_lands_at_the_ferry_crossing():
    [vessel] = [plan for plan in DEMO.lorries if plan.payload is Payload.AIS]
    assert (vessel.unit, vessel.crossing) == (ferry("1", 200), "romanshorn")
    assert len(expected_activations(vessel, START_S + 60.0)) == 2
    assert ferry("1", 10) is None
    assert not [plan for plan in scenario(lorries=10).lorries if plan.payload is Payload.AIS]


def test_some_units_connect_by_themselves_if_there_is_a_listener_and_the_rest_is_the_same():
    own = [plan for plan in WITH_LISTENER.lorries if plan.payload is Payload.TELTONIKA]
    assert {plan.number: plan.unit for plan in own} == avl_units("1", 200)
    assert any(expected_activations(plan, START_S + 60.0) for plan in own)
    assert not any(plan.payload is Payload.TELTONIKA for plan in DEMO.lorries)
    for plan, other in zip(WITH_LISTENER.lorries, DEMO.lorries, strict=True):
        assert plan in own or facts_of(plan) == facts_of(other)
        assert (plan.crossing, plan.behaviour) == (other.crossing, other.behaviour)
    endless = scenario(lorries=30, seconds=None, avl=True)
    assert not any(plan.payload is Payload.TELTONIKA for plan in islice(endless.waves(), 60))


def test_an_endless_run_goes_on_with_lorries_of_its_own():
    endless = scenario(lorries=30, seconds=None)
    further = list(islice(endless.waves(), 60))
    assert [plan.number for plan in further] == list(range(30, 90))
    assert not {plan.unit for plan in further} & {plan.unit for plan in endless.lorries}
    assert min(plan.departs_s for plan in further) > START_S + WAVE_S / 3
    assert not any(plan.planted for plan in further)
    assert list(islice(DEMO.waves(), 1)) == []


def test_recorded_tracks_drive_lorries_with_papers_for_the_crossing_they_pass():
    tracks = read_tracks(TRACKS)
    run = scenario(seconds=None, tracks=tracks)
    assert len(run.lorries) == len(tracks) == 6
    for track, plan in zip(tracks, run.lorries, strict=True):
        assert track.name == f"munich_{plan.crossing}"
        assert plan.direction is Direction.IN
        gaps = [b.time_s - a.time_s for a, b in zip(track.fixes, track.fixes[1:], strict=False)]
        moved = [b.time_s - a.time_s for a, b in zip(plan.track, plan.track[1:], strict=False)]
        assert moved == pytest.approx(gaps, abs=1e-3), "its own timing"
        assert {fix.unit for fix in plan.track} == {plan.unit}
        assert START_S <= plan.track[0].time_s < START_S + 10.0
        (item,) = expected_activations(plan, run.last_track_s)
        assert item.must and item.crossing == plan.crossing


def test_a_track_that_passes_no_crossing_expects_nothing():
    track = read_tracks(TRACKS)[0]
    inland = replace(track, fixes=tuple(track.fixes[:20]))
    (plan,) = scenario(seconds=None, tracks=[inland]).lorries
    assert plan.journey is None
    assert expected_activations(plan, START_S + 10_000.0) == ()
