from __future__ import annotations

import json
import re

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.domain.identifiers import UNIT_FORM
from agent.ingest.topics import Address, Kind, Topics, filter_faults, matches
from agent.ingest.wire import (
    MAX_BYTES,
    MAX_REPORTS,
    Inbound,
    Refused,
    UnitIncident,
    UnitReceipt,
    WitnessReport,
    decode_message,
    decode_positions,
    decode_watermark,
    encode_list,
    encode_owntracks,
    encode_report,
    encode_rows,
    encode_watermark,
    fix_of_report,
)
from firmware_bridge.messages import PositionReport
from zones.fix import Fix, FixType
from zones.plausibility import DetectionConfig, effective_accuracy_m

NOW_S = 1_795_000_000.0
TOPICS = Topics()
INBOUND = Inbound(TOPICS)
UNITS = st.from_regex(UNIT_FORM, fullmatch=True)
FIXES = st.builds(
    Fix,
    unit=UNITS,
    time_s=st.integers(1_700_000_000_000, 1_900_000_000_000).map(lambda ms: ms / 1000),
    latitude=st.integers(-900_000_000, 900_000_000).filter(bool).map(lambda e7: e7 / 1e7),
    longitude=st.integers(-1_800_000_000, 1_800_000_000).map(lambda e7: e7 / 1e7),
    received_s=st.just(NOW_S),
    seq=st.none() | st.integers(0, 2**63 - 1),
    boot_id=st.none() | UNITS,
    accuracy_m=st.integers(0, 100_000).map(lambda cm: cm / 100),
    speed_mps=st.none() | st.integers(0, 10_000).map(lambda cms: cms / 100),
    heading_deg=st.none() | st.integers(0, 36_000).map(lambda cdeg: cdeg / 100),
    fix_type=st.sampled_from([kind for kind in FixType if kind is not FixType.NONE]),
    satellites=st.none() | st.integers(0, 60),
    hdop=st.none() | st.floats(0, 50),
    authenticated=st.booleans(),
)


def one(unit: str = "U-1", **changes: object) -> Fix:
    fix = Fix(unit=unit, time_s=NOW_S - 1, latitude=47.61, longitude=8.55, received_s=NOW_S, seq=7, accuracy_m=5.0)
    return msgspec.structs.replace(fix, **changes)


def report(**changes: object) -> dict[str, object]:
    fields = {"fixTime": 1_795_000_000_000, "latitude": 47.61, "longitude": 8.55, "seq": 1, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def by_json(body: object, topic: str = TOPICS.position("U-1"), inbound: Inbound = INBOUND) -> list[object]:
    return list(decode_message(inbound, topic, json.dumps(body).encode(), NOW_S))


def reason(items: list[object]) -> str:
    (item,) = items
    assert isinstance(item, Refused), item
    return item.reason


@given(UNITS)
@settings(max_examples=100)
def test_every_topic_is_read_as_it_was_built(name: str) -> None:
    built = {
        Kind.POSITION: TOPICS.position(name), Kind.POSITIONS: TOPICS.positions(name),
        Kind.WATERMARK: TOPICS.watermark(name), Kind.INSTRUCTION: TOPICS.instruction(name),
        Kind.RECEIPT: TOPICS.receipt(name), Kind.INCIDENT: TOPICS.incident(name),
        Kind.WITNESS: TOPICS.witness(name), Kind.STATUS: TOPICS.status(name),
        Kind.EVENTS: TOPICS.events(name),
        Kind.HEARTBEAT: TOPICS.heartbeat(name),
    }  # fmt: skip
    for kind, topic in built.items():
        assert TOPICS.parse(topic) == Address(kind, name)


@given(st.text(max_size=60))
@settings(max_examples=100)
def test_any_topic_is_read_or_refused(topic: str) -> None:
    address = TOPICS.parse(topic)
    assert address is None or UNIT_FORM.fullmatch(address.name)


def test_owntracks_topics_carry_unit_as_user_and_device() -> None:
    assert TOPICS.owntracks("haulier.lorry.7") == "owntracks/haulier/lorry.7"
    assert TOPICS.parse("owntracks/haulier/lorry.7") == Address(Kind.OWNTRACKS, "haulier.lorry.7")
    assert TOPICS.parse("owntracks/a.b/c") is None, "a.b/c and a/b.c would be the same unit"
    with pytest.raises(ValueError, match=re.escape("user.device")):
        TOPICS.owntracks("no-dot")


@given(FIXES, st.booleans())
@settings(max_examples=100)
def test_reports_come_back_from_json_and_messagepack(fix: Fix, packed: bool) -> None:
    payload = encode_report(fix, packed=packed)
    assert decode_message(INBOUND, TOPICS.position(fix.unit), payload, NOW_S) == [fix]


@given(st.lists(FIXES, max_size=5), st.booleans())
@settings(max_examples=60)
def test_batches_come_back_by_rising_time(fixes: list[Fix], packed: bool) -> None:
    payload = encode_list(fixes, packed=packed, with_unit=True)
    items = decode_message(INBOUND, TOPICS.positions("op"), payload, NOW_S)
    assert items == sorted(fixes, key=lambda fix: fix.time_s)


@given(st.lists(FIXES, min_size=1, max_size=5))
@settings(max_examples=100)
def test_rows_come_back_to_the_unit_of_their_last_digit(fixes: list[Fix]) -> None:
    items = decode_message(INBOUND, TOPICS.positions("op"), encode_rows(fixes), NOW_S)
    wanted = [
        msgspec.structs.replace(fix, boot_id=None, satellites=None, hdop=None, authenticated=False) for fix in fixes
    ]
    for item, fix in zip(items, sorted(wanted, key=lambda fix: fix.time_s), strict=True):
        assert isinstance(item, Fix)
        assert msgspec.structs.replace(item, latitude=0, longitude=0) == msgspec.structs.replace(
            fix, latitude=0, longitude=0
        )
        assert (item.latitude, item.longitude) == pytest.approx((fix.latitude, fix.longitude), abs=1e-7)


def test_one_row_and_rows_without_unit_pass_on_a_units_topic() -> None:
    row = msgspec.msgpack.decode(encode_rows([one()], with_unit=False))[0]
    for body in (row, [row], [[*row[:-1]]], row[:5]):
        (fix,) = decode_message(INBOUND, TOPICS.position("U-1"), msgspec.msgpack.encode(body), NOW_S)
        assert isinstance(fix, Fix)
        assert (fix.unit, fix.seq, fix.latitude, fix.longitude) == ("U-1", 7, 47.61, 8.55)


@pytest.mark.parametrize("time", ["2026-11-18T08:26:40.000Z", "2026-11-18T09:26:40+01:00", 1_794_990_400_000])
def test_both_forms_of_time_are_read(time: object) -> None:
    (fix,) = by_json(report(fixTime=time))
    assert isinstance(fix, Fix)
    assert fix.time_s == 1_794_990_400.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latitude": 91}, "$.latitude"),
        ({"latitude": "47"}, "$.latitude"),
        ({"longitude": -180.5}, "$.longitude"),
        ({"latitude": ...}, "latitude"),
        ({"fixTime": "2026-11-18T08:26:40"}, "timezone"),
        ({"fixTime": "yesterday"}, "RFC3339"),
        ({"fixTime": None}, "$.fixTime"),
        ({"seq": -1}, "$.seq"),
        ({"seq": 2**63}, "$.seq"),
        ({"speed": -1}, "$.speed"),
        ({"heading": 361}, "$.heading"),
        ({"bootId": "has space"}, "$.bootId"),
        ({"fixType": "5D"}, "fixType"),
        ({"latitude": 0, "longitude": 0}, "0/0"),
        ({"fixType": "NONE"}, "no position"),
        ({"unit": "U-2"}, "U-1"),
    ],
)
def test_bad_reports_are_refused_with_the_field_and_without_the_position(
    changes: dict[str, object], words: str
) -> None:
    (item,) = by_json(report(**changes))
    assert isinstance(item, Refused)
    assert words in item.detail
    assert "47.61" not in item.detail and "8.55" not in item.detail
    assert item.source == TOPICS.position("U-1")
    assert item.length == len(json.dumps(report(**changes))) and len(item.sha256) == 64


def test_one_bad_report_of_a_list_does_not_spoil_the_others() -> None:
    items = by_json([report(seq=1), report(seq=2, latitude=99), report(seq=3), 5])
    assert [item.seq for item in items if isinstance(item, Fix)] == [1, 3]
    assert [item.reason for item in items if isinstance(item, Refused)] == ["unreadable", "unreadable"]


@pytest.mark.parametrize(
    ("payload", "wanted"),
    [
        (b"", "unreadable"),
        (b"null", "unreadable"),
        (b"{", "unreadable"),
        (b'{"latitude": NaN}', "unreadable"),
        (b"\xff\xfe\x00", "unreadable"),
        (b"\x92\xc1\xc1", "unreadable"),
        (b"{" + b'"a":[' * 5_000, "unreadable"),
        (b" " * (MAX_BYTES + 1), "too_large"),
        (json.dumps([1] * (MAX_REPORTS + 1)).encode(), "too_many"),
        (b"\xc1\x03abc", "no_signing_key"),
    ],
)
def test_unreadable_payloads_are_one_refusal(payload: bytes, wanted: str) -> None:
    assert reason(list(decode_message(INBOUND, TOPICS.position("U-1"), payload, NOW_S))) == wanted


def test_a_full_batch_is_taken() -> None:
    fixes = [one(f"U-{n}", seq=n) for n in range(MAX_REPORTS)]
    assert len(decode_message(INBOUND, TOPICS.positions("op"), encode_rows(fixes), NOW_S)) == MAX_REPORTS


@given(st.binary(max_size=200), st.sampled_from(["", "{", "[", "\x91", "\xdc\x00\x02", "\x85", "\xc1\x02k1"]))
@settings(max_examples=200)
def test_any_bytes_are_answered(data: bytes, start: str) -> None:
    payload = start.encode("latin-1") + data
    for topic in (TOPICS.position("U-1"), TOPICS.positions("op"), TOPICS.receipt("U-1"), "owntracks/u/d"):
        items = decode_message(INBOUND, topic, payload, NOW_S)
        assert all(isinstance(item, Fix | Refused) for item in items)


def test_batches_need_a_unit_and_operators_speak_only_for_their_own() -> None:
    inbound = Inbound(TOPICS, operators={"op": frozenset({"U-1"}), "free": frozenset()})
    batch = [report(unit="U-1"), report(unit="U-2"), report()]
    items = by_json(batch, TOPICS.positions("op"), inbound)
    assert [getattr(item, "unit", None) or item.reason for item in items] == [
        "U-1", "unit_not_of_operator", "no_unit",
    ]  # fmt: skip
    assert [type(item) for item in by_json(batch, TOPICS.positions("free"), inbound)] == [Fix, Fix, Refused]
    assert reason(by_json([report(unit="U-1")], TOPICS.positions("other"), inbound)) == "unknown_operator"


@pytest.mark.parametrize(
    "topic", ["x", TOPICS.instruction("U-1"), TOPICS.status("box-1"), "borderlane/v1/units/a b/position", ""]
)
def test_topics_nobody_may_send_to_are_refused(topic: str) -> None:
    assert reason(by_json(report(), topic)) == "unknown_topic"


def signed(key: Ed25519PrivateKey, topic: str, body: bytes, key_id: bytes = b"k1") -> bytes:
    return b"\xc1" + bytes([len(key_id)]) + key_id + key.sign(topic.encode() + b"\0" + body) + body


def test_a_unit_with_a_key_must_sign_and_a_signature_holds_for_its_topic_only() -> None:
    key, topic, body = Ed25519PrivateKey.generate(), TOPICS.position("U-1"), json.dumps(report()).encode()
    inbound = Inbound(TOPICS, signing_keys={"U-1": {"k1": key.public_key()}})
    good = signed(key, topic, body)

    def answer(payload: bytes, to: str = topic) -> list[object]:
        return list(decode_message(inbound, to, payload, NOW_S))

    assert [type(item) for item in answer(good)] == [Fix]
    assert reason(answer(body)) == "unsigned"
    assert reason(answer(good[:-1] + b" ")) == "bad_signature"
    assert reason(answer(signed(key, TOPICS.position("U-2"), body))) == "bad_signature"
    assert reason(answer(signed(key, topic, body, b"k2"))) == "bad_signature"
    assert reason(answer(good[:50])) == "bad_signature"
    assert reason(answer(good, TOPICS.position("U-2"))) == "no_signing_key"
    assert reason(answer(json.dumps([report(unit="U-1")]).encode(), TOPICS.positions("op"))) == "unsigned"


def test_units_of_an_operator_of_phones_are_phones_whatever_way_their_reports_come() -> None:
    units = frozenset({"U-1"})
    inbound = Inbound(
        TOPICS,
        traccar_topic="traccar",
        operators={"app": units, "fitted": frozenset({"U-2"}), "any": frozenset()},
        phone_operators=frozenset({"app", "any"}),
    )
    position = {"fixTime": "2026-11-18T08:26:40Z", "latitude": 47.6, "longitude": 8.5}
    traccar = {"device": {"uniqueId": "U-1"}, "position": position}

    def phones(message: object, topic: str) -> list[bool]:
        return [item.phone for item in by_json(message, topic, inbound) if isinstance(item, Fix)]

    assert phones([report(unit="U-1")], TOPICS.positions("app")) == [True]
    assert phones([report(unit="U-9")], TOPICS.positions("any")) == [True]
    assert phones([report(unit="U-2")], TOPICS.positions("fitted")) == [False]
    assert phones(report(), TOPICS.position("U-1")) == [True]
    assert phones(report(), TOPICS.position("U-2")) == [False]
    assert phones(traccar, "traccar") == [True]
    assert reason(by_json([report(unit="U-2")], TOPICS.positions("app"), inbound)) == "unit_not_of_operator"
    unknown = by_json([report(unit="U-1", accuracy=0)], TOPICS.positions("app"), inbound)
    assert [effective_accuracy_m(fix, DetectionConfig()) for fix in unknown if isinstance(fix, Fix)] == [30.0]


def test_owntracks_reports_become_fixes_of_user_and_device() -> None:
    fix = one("haulier.phone", time_s=NOW_S - 5, speed_mps=20.0, heading_deg=90.0, accuracy_m=8.1)
    (got,) = decode_message(INBOUND, TOPICS.owntracks(fix.unit), encode_owntracks(fix), NOW_S)
    assert isinstance(got, Fix)
    assert (got.unit, got.time_s, got.seq) == (fix.unit, fix.time_s, None)
    assert (got.speed_mps, got.heading_deg, got.accuracy_m) == pytest.approx((20.0, 90.0, 8.1), abs=0.01)
    assert got.phone
    assert decode_message(INBOUND, "owntracks/u/d", b'{"_type":"lwt","tst":1}', NOW_S) == []
    off = Inbound(TOPICS, owntracks=False)
    assert reason(list(decode_message(off, "owntracks/u/d", encode_owntracks(fix), NOW_S))) == "unknown_topic"


def test_platforms_on_configured_topics() -> None:
    inbound = Inbound(TOPICS, traccar_topic="traccar/+", flespi_topic="flespi")
    traccar = {
        "device": {"uniqueId": "T-1"},
        "position": {"fixTime": "2026-11-18T08:26:40Z", "latitude": 47.6, "longitude": 8.5, "valid": True},
    }
    (fix,) = by_json(traccar, "traccar/x", inbound)
    assert isinstance(fix, Fix) and fix.unit == "T-1"
    flespi = {"ident": "F-1", "timestamp": 1794990400.5, "position.latitude": 47.6, "position.longitude": 8.5}
    (fix,) = by_json([flespi], "flespi", inbound)
    assert isinstance(fix, Fix) and (fix.unit, fix.time_s) == ("F-1", 1794990400.5)
    assert reason(by_json({**flespi, "ident": "a/b"}, "flespi", inbound)) in (
        "no_unit",
        "bad_field",
        "bad_unit",
    )


def test_receipts_incidents_and_witnesses() -> None:
    (receipt,) = by_json({"instructionId": "i", "version": 2, "delivered": 5, "language": "pl"}, TOPICS.receipt("U-1"))
    assert isinstance(receipt, UnitReceipt) and (receipt.unit, receipt.receipt.version) == ("U-1", 2)
    packed = msgspec.msgpack.encode({"kind": "EXTRA_GOODS", "text": "two pallets"})
    (incident,) = decode_message(INBOUND, TOPICS.incident("U-1"), packed, NOW_S)
    assert isinstance(incident, UnitIncident) and incident.incident.kind == "EXTRA_GOODS"
    (seen,) = by_json({"kind": "ANPR", "identificationNumber": "ZH1", "time": 5}, TOPICS.witness("cam-1"))
    assert isinstance(seen, WitnessReport) and seen.device == "cam-1"


@pytest.mark.parametrize("topic", [TOPICS.receipt("U-1"), TOPICS.incident("U-1"), TOPICS.witness("cam-1")])
@pytest.mark.parametrize("body", [{}, [], {"version": "x"}, {"kind": 5}])
def test_bad_messages_are_refused(topic: str, body: object) -> None:
    assert reason(by_json(body, topic)) == "unreadable"


def test_watermark_goes_there_and_back() -> None:
    payload = encode_watermark("b1", 17)
    assert json.loads(payload) == {"bootId": "b1", "upTo": 17}
    assert decode_watermark(payload).up_to == 17


def test_our_own_filters_are_good_and_match_their_topics() -> None:
    inbound = Inbound(TOPICS, traccar_topic="traccar", flespi_topic="flespi/+")
    filters = [name for name, _ in inbound.filters()]
    assert filter_faults(filters) == []
    for topic in (
        TOPICS.position("a"),
        TOPICS.receipt("a"),
        TOPICS.witness("a"),
        "owntracks/u/d",
        "flespi/x",
    ):
        assert sum(matches(name, topic) for name in filters) == 1


@pytest.mark.parametrize("bad", ["$share/g/x", "x/#", "borderlane/v1/units/U-1/position", "owntracks/+/phone"])
def test_filters_that_brokers_do_not_serve_well_are_named(bad: str) -> None:
    (fault,) = filter_faults([*(name for name, _ in INBOUND.filters()), bad])
    assert bad in fault


def test_lists_are_sorted_and_payload_bound_holds_for_direct_callers() -> None:
    body = json.dumps([report(fixTime=2_000, seq=2), report(fixTime=1_000, seq=1)]).encode()
    items = decode_positions(body, unit_from_topic="U-1", received_s=NOW_S, source="x")
    assert [item.seq for item in items if isinstance(item, Fix)] == [1, 2]
    over = decode_positions(b"[" * (MAX_BYTES + 1), unit_from_topic="U-1", received_s=NOW_S, source="x")
    assert reason(list(over)) == "too_large"


def test_recorded_reports_are_received_when_they_were_taken() -> None:
    taken = PositionReport(latitude=47.6, longitude=8.5, fix_time_ms=1_794_990_400_500, fix_type="3D", accuracy=4.0)
    fix = fix_of_report(taken, "track-1")
    assert fix == Fix("track-1", 1_794_990_400.5, 47.6, 8.5, 1_794_990_400.5, accuracy_m=4.0, fix_type=FixType.THREE_D)
    assert fix_of_report(taken, "track-1", NOW_S) == msgspec.structs.replace(fix, received_s=NOW_S)
    assert fix_of_report(msgspec.structs.replace(taken, fix_time_ms=None), "track-1") is None
    assert fix_of_report(msgspec.structs.replace(taken, fix_type="NONE"), "track-1") is None
