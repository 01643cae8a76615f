"""What the ferry's transponder sends is what the agent's decoder reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.ais import AisDecoder
from firmware_bridge.messages import PositionReport
from simulator.ais_unit import INLAND, PARTICULARS_EVERY_S, SHIP, ais_sentences, mmsi
from zones.fix import Fix

TIME_S = 1_796_126_400.0


def test_each_run_has_its_own_ferry():
    assert mmsi("a") != mmsi("b")
    assert all(len(mmsi(run)) == 9 and mmsi(run).startswith("269") for run in ("a", "b", ""))


@given(
    st.floats(45, 48),
    st.floats(6, 10),
    st.none() | st.floats(0, 20),
    st.none() | st.floats(0, 360),
    st.integers(1, 3600),
    st.sampled_from([0.0, 4.0, 25.0]),
)
def test_position_comes_through(latitude, longitude, speed_mps, heading_deg, second, accuracy_m):
    fix = Fix(
        unit=mmsi("r"),
        time_s=TIME_S + second,
        latitude=latitude,
        longitude=longitude,
        received_s=TIME_S + second,
        accuracy_m=accuracy_m,
        speed_mps=speed_mps,
        heading_deg=heading_deg,
    )
    decoder = AisDecoder()
    [report] = decoder.feed(ais_sentences(fix)) + decoder.end()
    assert isinstance(report, PositionReport)
    assert (report.unit, report.utc_second) == (fix.unit, second % 60)
    assert (report.latitude, report.longitude) == pytest.approx((latitude, longitude), abs=2e-6)
    assert report.speed == (None if speed_mps is None else pytest.approx(speed_mps, abs=0.03))
    assert report.accuracy == (10.0 if accuracy_m == 4.0 else None)


def test_particulars_come_now_and_then():
    def vessels(time_s: float) -> dict:
        decoder = AisDecoder()
        decoder.feed(ais_sentences(Fix(mmsi("r"), time_s, 47.5, 9.4, time_s)))
        return decoder.vessels

    assert vessels(TIME_S + 3) == {}
    [vessel] = vessels(TIME_S // PARTICULARS_EVERY_S * PARTICULARS_EVERY_S).values()
    assert (vessel.name, vessel.eni, vessel.loaded) == (SHIP["shipname"], INLAND["vin"], True)
