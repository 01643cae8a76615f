"""Vessels out of an AIS receiver on a real terminal pair: those with a journey, dated by their reception."""

from __future__ import annotations

import pyais
import pytest

from agent.ingest.ais_source import AisVessels
from agent.ingest.wire import Refused
from tests.agent.ingest.ports import heard
from zones.fix import Fix

NOW_S = 1_796_126_425.4
FERRY, STRANGER = "269000001", "211234560"
PLACE = {"lat": 47.57, "lon": 9.3833, "speed": 10.0, "course": 200.0, "accuracy": 1, "second": 24}


def said(kind: int = 1, mmsi: str = FERRY, **fields: object) -> bytes:
    message = {"msg_type": kind, "mmsi": mmsi, **PLACE, **fields}
    return "".join(line + "\r\n" for line in pyais.encode_dict(message, talker_id="AI")).encode()


def receiver(path: str) -> AisVessels:
    return AisVessels("mast", path, baud=38_400, has_journey={FERRY}.__contains__, now_s=lambda: NOW_S)


async def test_vessel_with_a_journey_is_a_unit_dated_by_reception(port: tuple[int, str]) -> None:
    theirs, path = port
    one, two = await heard(receiver(path), 2, theirs, said() + said(second=59))
    assert isinstance(one, Fix) and isinstance(two, Fix)
    assert (one.unit, one.time_s, one.received_s) == (FERRY, NOW_S - 1.4, NOW_S)
    assert two.time_s == NOW_S - 26.4  # the last time with that second
    assert (one.latitude, one.longitude, one.accuracy_m) == (47.57, 9.3833, 10.0)
    assert one.speed_mps == pytest.approx(5.14444)
    assert (one.heading_deg, one.authenticated, one.seq) == (200.0, False, None)


async def test_others_are_left_out_at_once(port: tuple[int, str]) -> None:
    theirs, path = port
    source = receiver(path)
    data = said(mmsi=STRANGER) + said(9) + said(21, name="BUOY") + said(27) + said(18)
    [item] = await heard(source, 1, theirs, data)
    assert isinstance(item, Fix) and item.unit == FERRY
    assert source.left_out == {"no_journey": 1, "no_vessel": 3}


async def test_report_without_a_second_and_damage_are_refused_without_position(port: tuple[int, str]) -> None:
    theirs, path = port
    late, damaged = await heard(receiver(path), 2, theirs, said(second=62) + said().replace(b",A,", b",B,"))
    assert isinstance(late, Refused) and isinstance(damaged, Refused)
    assert (late.reason, damaged.reason) == ("no_time", "bad_checksum")
    assert late.source == damaged.source == "ais:mast"
    assert "47.57" not in late.detail + damaged.detail


async def test_particulars_are_kept_with_the_vessel(port: tuple[int, str]) -> None:
    theirs, path = port
    source = receiver(path)
    inland = {"dac": 200, "fid": 10, "vin": "07000123", "length": 71.4, "loaded": 1}
    await heard(source, 1, theirs, said(8, **inland) + said())
    assert source.vessels[FERRY].eni == "07000123"
    assert source.vessels[FERRY].loaded is True
