"""One report for each time stamp, as early as the stream allows."""

from __future__ import annotations

import datetime
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.epochs import MAX_SENTENCES, SILENCE_S, Epochs, Observation
from firmware_bridge.fix_gate import Evidence
from firmware_bridge.messages import PositionReport, Refusal

DAY = datetime.date(2026, 12, 1)
DAY_MS = 86_400_000
MIDNIGHT_MS = (DAY - datetime.date(1970, 1, 1)).days * DAY_MS


def rmc(time_ms: int, date: datetime.date | None = DAY, **more: object) -> Observation:
    values = {"latitude": 47.0, "longitude": 8.0, "evidence": Evidence.VALID} | more
    return Observation(kind="RMC", time_of_day_ms=time_ms, date=date, **values)


def gga(time_ms: int, **more: object) -> Observation:
    values = {"latitude": 47.5, "longitude": 8.5, "evidence": Evidence.PLAIN, "satellites": 8} | more
    return Observation(kind="GGA", time_of_day_ms=time_ms, **values)


def gsa(mode: int = 3) -> Observation:
    return Observation(kind="GSA", nav_mode=mode)


VTG = Observation(kind="VTG", speed_mps=3.0, heading_deg=10.0)


def file_events(*seen: Observation) -> list[PositionReport | Refusal]:
    epochs = Epochs()
    return [event for one in seen for event in epochs.add(one)] + epochs.end()


def test_sentences_of_one_time_become_one_report():
    [report] = file_events(rmc(1000, speed_mps=5.0, heading_deg=80.0), gga(1000, hdop=1.0), gsa(3))
    assert report == PositionReport(
        latitude=47.5,
        longitude=8.5,
        fix_time_ms=MIDNIGHT_MS + 1000,
        accuracy=8.0,
        speed=5.0,
        heading=80.0,
        satellites=8,
        hdop=1.0,
        fix_type="3D",
    )


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["GLL", "RMC", "GNS", "GGA"], 3),
        (["GGA", "GNS", "RMC", "GLL"], 0),
        (["RMC", "GNS", "GLL"], 1),
        (["GLL", "RMC"], 1),
        (["GGA", "GGA"], 1),  # the last value wins
    ],
)
def test_position_comes_from_the_best_sentence(kinds, expected):
    seen = [
        Observation(
            kind=kind,
            time_of_day_ms=5,
            date=DAY,
            latitude=40.0 + n,
            longitude=8.0,
            evidence=Evidence.VALID,
        )
        for n, kind in enumerate(kinds)
    ]
    assert file_events(*seen)[0].latitude == 40.0 + expected


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ([gga(1000)], "no_date"),
        ([rmc(0, latitude=0.0, longitude=0.0)], "bad_position"),
        ([rmc(0), gga(0, satellites=0)], "zero_satellites"),
        ([rmc(0), gga(0, evidence=Evidence.SIMULATED)], "simulated"),
        ([rmc(0), gga(0, evidence=Evidence.MANUAL)], "manual"),
    ],
)
def test_refused(seen, reason):
    assert [event.reason for event in file_events(*seen)] == [reason]


@pytest.mark.parametrize(
    "seen",
    [
        [rmc(0, evidence=Evidence.NO_FIX), gga(0)],
        [rmc(0), gga(0), gsa(1), gsa(1)],
        [rmc(0, latitude=None, longitude=None)],
        [VTG, gsa()],
    ],
)
def test_no_fix_is_silence(seen):
    assert file_events(*seen) == []


def test_one_constellation_without_a_fix_spoils_nothing():
    assert file_events(rmc(0), gga(0), gsa(3), gsa(1))[0].fix_type == "3D"


def test_stated_accuracy_wins_over_hdop_and_only_at_its_own_time():
    gst = Observation(kind="GST", time_of_day_ms=0, accuracy_m=2.5)
    late = Observation(kind="GST", time_of_day_ms=77, accuracy_m=99.0)
    [report] = file_events(rmc(0), gga(0, hdop=1.0), gst, late)
    assert report.accuracy == 2.5


def test_date_is_carried_and_passes_midnight():
    times = [DAY_MS - 1000, 0, 1000]
    events = file_events(rmc(DAY_MS - 2000), *[gga(time) for time in times])
    assert [event.fix_time_ms - MIDNIGHT_MS for event in events] == [DAY_MS - 2000 + n * 1000 for n in range(4)]


def test_zda_of_the_next_day_does_not_move_the_open_epoch():
    zda = Observation(kind="ZDA", time_of_day_ms=0, date=DAY + datetime.timedelta(days=1))
    events = file_events(rmc(DAY_MS - 1000), zda, gga(0))
    assert [event.fix_time_ms - MIDNIGHT_MS for event in events] == [DAY_MS - 1000, DAY_MS]


def test_zda_gives_the_date_of_its_own_epoch():
    zda = Observation(kind="ZDA", time_of_day_ms=500, date=DAY)
    assert [event.fix_time_ms for event in file_events(gga(500), zda)] == [MIDNIGHT_MS + 500]


def cycle(n: int, at_s: float, *kinds: str) -> list[tuple[Observation, float]]:
    make = {"RMC": rmc(n * 1000), "GGA": gga(n * 1000), "GSA": gsa(), "VTG": VTG}
    return [(make[kind], at_s + 0.001 * k) for k, kind in enumerate(kinds)]


def live(epochs: Epochs, *timed: tuple[Observation, float]) -> list[int]:
    """How many reports each observation brought."""
    return [len(epochs.add(seen, now_s)) for seen, now_s in timed]


def test_live_reports_after_silence_and_not_before():
    epochs = Epochs(live=True)
    live(epochs, *cycle(1, 10.0, "RMC", "GGA"))
    assert epochs.due_s() == pytest.approx(10.001 + SILENCE_S)
    assert epochs.tick(10.05) == []
    assert len(epochs.tick(10.2)) == 1
    assert epochs.due_s() is None


def test_any_byte_breaks_the_silence():
    epochs = Epochs(live=True)
    live(epochs, *cycle(1, 10.0, "RMC"))
    epochs.heard(10.09)
    assert epochs.tick(10.15) == []


def test_live_reports_with_the_closing_sentence_once_learned():
    epochs = Epochs(live=True)
    order = ("RMC", "GGA", "GSA", "GSA")
    got = [live(epochs, *cycle(n, 10.0 + n, *order)) for n in range(5)]
    assert got == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_sentence_after_its_report_is_dropped_and_the_end_learned_anew():
    epochs = Epochs(live=True)
    for n in range(3):
        live(epochs, *cycle(n, 10.0 + n, "RMC", "GGA"))
    got = [live(epochs, *cycle(n, 10.0 + n, "RMC", "GGA", "VTG")) for n in range(3, 8)]
    assert epochs.late == 1
    assert got[0] == [0, 1, 0]
    assert got[-1] == [0, 0, 1]


def test_untimed_sentence_after_a_pause_belongs_to_the_next_epoch():
    epochs = Epochs(live=True)
    for n in range(3):
        added = [event for seen, at_s in cycle(n, 10.0 + n, "VTG", "RMC") for event in epochs.add(seen, at_s)]
        [report] = added + epochs.tick(10.5 + n)
        assert (report.fix_time_ms - MIDNIGHT_MS, report.speed) == (n * 1000, 3.0)
    assert epochs.late == 0


def test_endless_sentences_of_one_time_stay_bounded():
    epochs = Epochs()
    for _ in range(10_000):
        epochs.add(gsa())
        epochs.add(rmc(0))
    assert len(epochs._open.seen) <= MAX_SENTENCES
    assert len(epochs.end()) == 1


OBSERVATIONS = st.one_of(
    st.builds(rmc, st.integers(0, 6).map(lambda n: n * 1000), st.sampled_from([DAY, None])),
    st.builds(gga, st.integers(0, 6).map(lambda n: n * 1000)),
    st.builds(gsa, st.integers(1, 3)),
    st.just(VTG),
    st.builds(
        lambda time_ms: Observation(kind="ZDA", time_of_day_ms=time_ms, date=DAY),
        st.sampled_from([0, 3000, 6000]),
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(OBSERVATIONS, st.sampled_from([0.001, 0.05, 0.2])), max_size=40), st.booleans())
def test_no_time_is_reported_twice_in_a_row_and_none_is_invented(steps, is_live):
    epochs, now_s, events = Epochs(live=is_live), 0.0, []
    for seen, wait_s in steps:
        now_s += wait_s
        events += epochs.tick(now_s) + epochs.add(seen, now_s)
    events += epochs.end()
    times = [event.fix_time_ms for event in events if isinstance(event, PositionReport)]
    sent = {seen.time_of_day_ms for seen, _ in steps if seen.kind in ("RMC", "GGA")}
    assert {time % DAY_MS for time in times} <= sent
    assert all(first != second for first, second in itertools.pairwise(times))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([("RMC", "GGA"), ("RMC", "GGA", "GSA"), ("GGA", "RMC")]), min_size=1, max_size=8))
def test_live_and_recorded_agree_when_cycles_are_separated_by_silence(orders):
    timed = [pair for n, order in enumerate(orders) for pair in cycle(n, 10.0 + n, *order)]
    epochs, out = Epochs(live=True), []
    for seen, now_s in timed:
        out += epochs.tick(now_s) + epochs.add(seen, now_s)
    recorded = file_events(*[seen for seen, _ in timed])
    times = [event.fix_time_ms for event in out + epochs.end()]
    assert times == [event.fix_time_ms for event in recorded]
