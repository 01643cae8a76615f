"""What units publish is what the agent reads, whatever the format."""

from dataclasses import replace

import pytest

from agent.ingest.wire import Inbound, Topics, decode_message
from simulator.equipment import Payload
from simulator.scenario import make_scenario
from simulator.telematics import BATCH_FIXES, LIST_FIXES, Outgoing, serial_report
from zones.catalogue import shipped_centre_lines, shipped_zone_set
from zones.fix import Fix, FixType

START_S = 1_795_000_000.0
PLAN = make_scenario(1, 1, START_S, shipped_zone_set(), shipped_centre_lines(), 60.0).lorries[0]


def plan_for(payload, number=0):
    operator = "alpenfleet" if payload in (Payload.ROWS, Payload.OPERATOR_JSON) else None
    return replace(PLAN, payload=payload, operator=operator, unit=f"fleet.u{number}")


def fix_of(plan, seq):
    return Fix(
        unit=plan.unit, time_s=START_S + seq, latitude=47.5 + seq * 1e-4, longitude=8.5, received_s=START_S + seq,
        seq=seq, accuracy_m=5.0, speed_mps=15.0, heading_deg=90.0, fix_type=FixType.THREE_D,
    )  # fmt: skip


def read(messages):
    """Fixes that the agent makes of published messages."""
    items = [item for one in messages for item in decode_message(Inbound(), one.topic, one.payload, START_S + 99.0)]
    assert all(isinstance(item, Fix) for item in items), items
    return items


@pytest.mark.parametrize("payload", [payload for payload in Payload if payload not in (Payload.SERIAL, Payload.AIS)])
def test_every_format_arrives_as_it_was_sent(payload):
    plan, outgoing = plan_for(payload), Outgoing(Topics())
    sent = [fix_of(plan, seq) for seq in range(1, 7)]
    messages = [message for fix in sent for message in outgoing.add(plan, fix)]
    messages += outgoing.flush_batches() + outgoing.flush_unit(plan.unit)
    got = sorted(read(messages), key=lambda fix: fix.time_s)
    assert sum(message.fixes for message in messages) == len(sent)
    assert [(fix.unit, fix.time_s) for fix in got] == [(fix.unit, fix.time_s) for fix in sent]
    for fix, original in zip(got, sent, strict=True):
        assert fix.latitude == pytest.approx(original.latitude, abs=1e-7)
        assert fix.longitude == pytest.approx(original.longitude, abs=1e-7)
        assert fix.accuracy_m == pytest.approx(original.accuracy_m, abs=1.0)
        assert fix.speed_mps == pytest.approx(original.speed_mps, abs=0.2)
        assert fix.seq == (None if payload is Payload.OWNTRACKS else original.seq)


def test_lists_wait_and_go_newest_first():
    plan, outgoing = plan_for(Payload.JSON_LIST), Outgoing(Topics())
    waiting = [outgoing.add(plan, fix_of(plan, seq)) for seq in range(1, LIST_FIXES)]
    assert not any(waiting)
    (message,) = outgoing.add(plan, fix_of(plan, LIST_FIXES))
    assert message.fixes == LIST_FIXES
    assert message.payload.index(b'"seq":2') < message.payload.index(b'"seq":1')


def test_a_slow_unit_does_not_wait_for_a_list():
    plan = plan_for(Payload.JSON_LIST)
    slow = replace(plan, receiver=replace(plan.receiver, interval_s=24.0))
    assert len(Outgoing(Topics()).add(slow, fix_of(slow, 1))) == 1


def test_batches_gather_units_of_one_platform_and_are_bounded():
    outgoing = Outgoing(Topics())
    plans = [plan_for(Payload.ROWS, number) for number in range(BATCH_FIXES)]
    at_once = [message for plan in plans for message in outgoing.add(plan, fix_of(plan, 1))]
    assert [message.fixes for message in at_once] == [BATCH_FIXES]
    assert {fix.unit for fix in read(at_once)} == {plan.unit for plan in plans}
    assert outgoing.flush_batches() == []


@pytest.mark.parametrize("payload", [Payload.JSON, Payload.MSGPACK, Payload.ROWS, Payload.OPERATOR_JSON])
def test_a_backlog_is_sent_again_in_pieces_oldest_first(payload):
    plan = plan_for(payload)
    backlog = [fix_of(plan, seq) for seq in range(1, 251)]
    messages = Outgoing(Topics()).again(plan, backlog)
    assert [message.fixes for message in messages] == [100, 100, 50]
    assert [fix.seq for fix in read(messages)] == list(range(1, 251))


def test_the_serial_receiver_speaks_the_same_fix():
    fix = fix_of(plan_for(Payload.SERIAL), 3)
    report = serial_report(fix)
    assert (report.latitude, report.longitude, report.fix_time_ms) == (fix.latitude, fix.longitude, 1_795_000_003_000)
