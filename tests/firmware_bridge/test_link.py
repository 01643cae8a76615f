from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_bridge.link import HELLO_EVERY_S, HostLink, LeaseRefused, LinkDown, LinkEvent, LinkUp, Phase
from firmware_bridge.link_messages import (
    Capability,
    Fault,
    FaultCode,
    FrameFault,
    FrameReader,
    Heartbeat,
    Hello,
    HelloReply,
    Lease,
    Log,
    NakMessage,
    Output,
    ResetCause,
    Sighting,
    encode_frame,
)
from firmware_bridge.outputs import Nak, OutputKind, OutputSettings, OutputState
from tests.firmware_bridge.link_world import SIGN, Device, World

GO, STOP, HOLD, DEFAULT = OutputState.GO, OutputState.STOP, OutputState.HOLD, OutputState.DEFAULT
STOP_AT_REST = (OutputSettings(OutputKind.SIGN, STOP),)
NewDevice = Callable[[], Device]


def world(new_device: NewDevice, outputs: tuple[OutputSettings, ...] = SIGN, **more: int) -> World:
    made = World(new_device(), outputs, **more)
    made.run(300)
    assert made.is_up
    return made


def downs(events: list[LinkEvent]) -> list[str]:
    return [event.reason for event in events if isinstance(event, LinkDown)]


# --- hello and configuration -----------------------------------------------------------------------------------------


def test_the_first_hello_brings_the_configuration_and_the_next_finds_it(new_device: NewDevice) -> None:
    here = world(new_device, STOP_AT_REST)
    (up,) = here.events[:1]
    assert isinstance(up, LinkUp) and up.configured and up.boot == 1 and up.outputs == 8
    assert Capability.SIGN_TEXT in up.capabilities and up.firmware.startswith("reference")
    here.host_restarts()
    here.run(300)
    again = [event for event in here.events if isinstance(event, LinkUp)][-1]
    assert not again.configured, "kept in flash"


def test_another_configuration_is_sent_and_taken(new_device: NewDevice) -> None:
    here = world(new_device)
    assert here.shows() is DEFAULT
    here.outputs = STOP_AT_REST
    here.host_restarts()
    here.run(300)
    assert here.shows() is STOP, "the default of the new configuration"


def test_after_a_restart_the_device_stands_at_the_sites_default_before_it_hears_anybody(new_device: NewDevice) -> None:
    here = world(new_device, STOP_AT_REST)
    here.decide(0, GO)
    here.run(100)
    assert here.shows() is GO
    here.down.cut = True
    here.device_restarts(ResetCause.BROWN_OUT)
    here.step()
    assert here.shows() is STOP


def test_no_output_where_the_configuration_does_not_hold(new_device: NewDevice) -> None:
    here = World(new_device())
    here.device.spoil_config(True)
    here.decide(0, GO)
    here.run(3_000)
    assert not here.is_up and here.shows() is DEFAULT
    assert set(downs(here.events)) == {"config_refused"} and len(downs(here.events)) > 5
    here.device.spoil_config(False)
    here.run(1_000)
    assert here.is_up and here.shows() is GO


def test_a_device_of_another_protocol_is_left_alone() -> None:
    link = HostLink(SIGN)
    link.opened(0.0, 0)
    assert link.to_send()[0] == 0, "ends whatever the device still holds"
    reply = HelloReply(1, 0, 7, 0, 0, 5, "new", "9", 0)
    (down,) = link.receive(encode_frame(reply), 0.1)
    assert isinstance(down, LinkDown) and down.reason == "no_common_protocol" and down.closed
    assert link.phase is Phase.CLOSED and not link.lease(0, STOP, 1_000, 0.1)


def test_a_device_refuses_a_host_of_another_protocol(new_device: NewDevice) -> None:
    device = new_device()
    device.feed(encode_frame(Hello(9, 2, 3, 0, 0)), 10)
    (reply,) = [one for one in FrameReader().feed(device.to_send()) if isinstance(one, HelloReply)]
    assert (reply.seq, reply.protocol) == (9, 0)


def test_hello_is_said_again_until_it_is_answered(new_device: NewDevice) -> None:
    here = World(new_device())
    here.down.cut = True
    here.run(3_000)
    said = 3.0 / HELLO_EVERY_S
    assert here.link.phase is Phase.GREETING and here.down.carried > said * 10
    here.down.cut = False
    here.run(400)
    assert here.is_up


def test_an_answer_to_an_earlier_hello_is_not_believed() -> None:
    link = HostLink(SIGN)
    link.opened(0.0, 0)
    late = encode_frame(HelloReply(1, 1, 7, 0, 0, 5, "d", "1", 0))
    link.opened(1.0, 0)
    assert link.receive(late, 1.1) == [] and link.phase is Phase.GREETING


# --- leases ----------------------------------------------------------------------------------------------------------


def test_a_decision_is_shown_within_a_few_frames_and_while_it_is_renewed(new_device: NewDevice) -> None:
    here = world(new_device)
    here.decide(0, GO)
    here.run(50)
    assert here.shows() is GO
    here.run(20_000)
    assert here.shows() is GO
    here.decide(0, STOP)
    here.run(50)
    assert here.shows() is STOP


def test_without_renewal_it_ends(new_device: NewDevice) -> None:
    here = world(new_device, STOP_AT_REST)
    here.decide(0, GO)
    here.run(100)
    here.deciding = False
    here.run(2_950)
    assert here.shows() is STOP and here.is_up, "the link lives, the one who decides does not"


def test_a_lane_text_goes_along(new_device: NewDevice) -> None:
    here = world(new_device)
    here.say(0, STOP, "LANE 2")
    here.run(50)
    assert here.device.text(0) == "LANE 2"
    here.say(0, DEFAULT)
    here.run(50)
    assert here.device.text(0) == ""


def test_a_milder_state_that_was_not_yet_heard_gives_way_at_once(new_device: NewDevice) -> None:
    here = world(new_device)
    here.down.cut = True
    here.say(0, GO)
    here.run(20)
    here.down.cut = False
    here.say(0, STOP)
    here.run(30)
    assert here.shows() is STOP, "without waiting for the acknowledgement of GO"


def test_what_lay_in_a_stalled_buffer_is_dead_on_arrival(new_device: NewDevice) -> None:
    here = world(new_device)
    here.down.stalled = True
    here.decide(0, GO)
    here.run(100)
    here.deciding = False
    here.run(3_500)
    here.down.stalled = False
    here.run(500)
    assert here.shows() is DEFAULT


def test_a_lease_for_another_start_is_refused_and_the_device_is_greeted_again(new_device: NewDevice) -> None:
    here = world(new_device)
    here.device_restarts()
    here.say(0, GO)
    here.run(60)
    assert here.shows() is DEFAULT
    assert downs(here.events) and downs(here.events)[0] in ("not_greeted", "device_restarted")
    here.decide(0, GO)
    here.run(400)
    assert here.shows() is GO and here.device.boot == 2


@pytest.mark.parametrize(
    ("kind", "state", "ahead_ms", "reason"),
    [
        (OutputKind.SIGN, GO, 3_000, None),
        (OutputKind.SIGN, GO, 3_001, Nak.LEASE_TOO_LONG),
        (OutputKind.SIGN, STOP, 60_000, None),
        (OutputKind.SIGN, STOP, 60_001, Nak.LEASE_TOO_LONG),
        (OutputKind.SIGN, GO, 0, Nak.LEASE_EXPIRED),
        (OutputKind.SIGN, GO, -1, Nak.LEASE_EXPIRED),
        (OutputKind.SIGN, OutputState.OPEN, 1_000, Nak.STATE_NOT_ALLOWED),
        (OutputKind.SIGNAL_HEAD, HOLD, 1_000, Nak.STATE_NOT_ALLOWED),
        (OutputKind.SIGNAL_HEAD, GO, 1_000, None),
        (OutputKind.BARRIER, OutputState.OPEN, 3_000, None),
        (OutputKind.BARRIER, GO, 3_000, Nak.STATE_NOT_ALLOWED),
        (OutputKind.WATCHDOG, DEFAULT, 1_000, Nak.STATE_NOT_ALLOWED),
        (OutputKind.SIGN, 99, 1_000, Nak.STATE_NOT_ALLOWED),
    ],
)
@pytest.mark.parametrize("uptime_ms", [5_000, 2**32 - 700])
def test_what_a_device_grants(
    new_device: NewDevice,
    kind: OutputKind,
    state: OutputState,
    ahead_ms: int,
    reason: Nak | None,
    uptime_ms: int,
) -> None:
    default = OutputState.CLOSED if kind is OutputKind.BARRIER else DEFAULT
    here = world(new_device, (OutputSettings(kind, default),), uptime_ms=uptime_ms)
    device = here.device
    device.to_send()
    end_ms = (here.uptime_ms + ahead_ms) % 2**32
    device.feed(encode_frame(Lease(200, 0, state, device.boot, end_ms, 1)), here.uptime_ms)
    (answer,) = FrameReader().feed(device.to_send())
    assert (answer.reason if isinstance(answer, NakMessage) else None) == reason
    assert device.commanded() == [default if reason or state is DEFAULT else state]


def test_a_device_obeys_no_lease_for_another_start_and_none_before_its_configuration(new_device: NewDevice) -> None:
    here = world(new_device, STOP_AT_REST)
    device, end_ms = here.device, here.uptime_ms + 1_000
    device.to_send()
    device.feed(encode_frame(Lease(200, 0, GO, device.boot - 1, end_ms, 1)), here.uptime_ms)
    assert list(FrameReader().feed(device.to_send())) == [NakMessage(0, 200, Nak.WRONG_BOOT)]
    device.feed(encode_frame(Hello(9, 1, 1, 0, 12345)), here.uptime_ms)
    device.to_send()
    device.feed(encode_frame(Lease(0, 0, GO, device.boot, end_ms, 1)), here.uptime_ms)
    assert list(FrameReader().feed(device.to_send())) == [NakMessage(0, 0, Nak.NO_HELLO)]
    assert here.shows() is STOP


def test_a_lease_for_an_output_that_is_not_there_is_refused(new_device: NewDevice) -> None:
    here = world(new_device)
    here.say(3, STOP)
    here.run(50)
    assert LeaseRefused(3, "NO_SUCH_OUTPUT") in here.events and here.is_up


def test_a_barrier_never_opens_on_loss(new_device: NewDevice) -> None:
    here = world(new_device, (OutputSettings(OutputKind.BARRIER, OutputState.CLOSED),))
    here.decide(0, OutputState.OPEN)
    here.run(500)
    assert here.shows() is OutputState.OPEN
    here.unplug()
    here.run(1_600)
    assert here.shows() is OutputState.CLOSED


@pytest.mark.parametrize("outage", ["agent", "line", "silence from the device", "unplugged"])
def test_permissive_states_fall_1_5_s_after_the_last_heartbeat(new_device: NewDevice, outage: str) -> None:
    here = world(new_device)
    here.decide(0, GO)
    here.run(1_000)
    match outage:
        case "agent":
            here.host_alive = False
        case "line":
            here.down.cut = True
        case "silence from the device":
            here.up.cut = True
        case _:
            here.unplug()
    here.run(3_300)
    assert here.shows() is DEFAULT


def test_stop_outlives_the_agent_for_a_while_and_then_falls(new_device: NewDevice) -> None:
    here = world(new_device)
    here.decide(0, STOP)
    here.run(100)
    here.host_alive = False
    here.run(30_000)
    assert here.shows() is STOP
    here.run(30_000)
    assert here.shows() is DEFAULT


def test_a_new_agent_takes_go_away_until_it_decides_itself(new_device: NewDevice) -> None:
    here = world(new_device)
    here.decide(0, GO)
    here.run(500)
    here.decisions.clear()
    here.host_restarts()
    here.run(200)
    assert here.is_up and here.shows() is DEFAULT


# --- what the device finds -------------------------------------------------------------------------------------------


def reports(here: World) -> list[Output]:
    return [event for event in here.events if isinstance(event, Output)]


def test_what_is_measured_is_reported_on_change_and_each_second(new_device: NewDevice) -> None:
    here = world(new_device)
    here.decide(0, GO)
    here.run(5_000)
    told = reports(here)
    assert 5 <= len(told) <= 14
    last = told[-1]
    assert (last.commanded, last.measured) == (GO, GO) and last.decision_ref > 0
    assert 0 < last.remaining_ms <= 3_000 and last.lamp_ma > 0


def test_a_dead_lamp_is_a_fault_and_go_is_given_up(new_device: NewDevice) -> None:
    here = world(new_device)
    here.device.stick(0, DEFAULT)
    here.decide(0, GO)
    here.run(1_500)
    assert here.shows() is DEFAULT
    assert [(event.output, event.code) for event in here.events if isinstance(event, Fault)] == [(0, FaultCode.LAMP)]
    assert LeaseRefused(0, "FAULT") in here.events
    assert any(told.commanded != told.measured for told in reports(here)), "the alarm of commanded and measured"
    here.device.stick(0, None)
    here.decide(0, STOP)
    here.run(1_000)
    assert [event.code for event in here.events if isinstance(event, Fault)][-1] == FaultCode.NONE
    here.decide(0, GO)
    here.run(100)
    assert here.shows() is GO, "STOP has shown that the lamp is good again"


def test_a_lamp_stuck_at_go_is_reported_within_a_second(new_device: NewDevice) -> None:
    here = world(new_device)
    here.device.stick(0, GO)
    here.decide(0, STOP)
    here.run(1_000)
    assert any((told.commanded, told.measured) == (STOP, GO) for told in reports(here))
    assert any(isinstance(event, Fault) and event.code == FaultCode.LAMP for event in here.events)


def test_brown_out_takes_everything_down(new_device: NewDevice) -> None:
    here = world(new_device, STOP_AT_REST)
    here.decide(0, GO)
    here.run(100)
    here.device.brown_out(True)
    here.run(50)
    assert here.shows() is STOP
    here.run(3_000)
    assert here.shows() is STOP and LeaseRefused(0, "FAULT") in here.events
    here.device.brown_out(False)
    here.run(1_500)
    assert here.shows() is GO
    codes = [event.code for event in here.events if isinstance(event, Fault)]
    assert codes == [FaultCode.POWER, FaultCode.NONE]


def test_the_watchdog_restarts_a_host_that_no_longer_says_it_lives(new_device: NewDevice) -> None:
    here = world(new_device, (*SIGN, OutputSettings(OutputKind.WATCHDOG)))
    assert here.link.watchdog(5_000, here.now_s)
    here.run(4_500)
    assert here.device.host_resets == 0
    here.host_alive = False
    here.run(1_000)
    assert here.device.host_resets == 1
    here.run(10_000)
    assert here.device.host_resets == 1, "once"


def test_a_watchdog_that_is_disarmed_stays_quiet(new_device: NewDevice) -> None:
    here = world(new_device, (OutputSettings(OutputKind.WATCHDOG),))
    here.link.watchdog(5_000, here.now_s)
    here.run(100)
    here.link.watchdog(5_000, here.now_s, armed=False)
    here.run(100)
    here.host_alive = False
    here.run(10_000)
    assert here.device.host_resets == 0


def test_a_watchdog_without_a_relay_is_refused(new_device: NewDevice) -> None:
    here = world(new_device)
    here.link.watchdog(5_000, here.now_s)
    here.run(50)
    assert LeaseRefused(None, "NO_SUCH_OUTPUT") in here.events


def test_reports_wait_for_their_acknowledgement_without_taking_the_link_down(new_device: NewDevice) -> None:
    here = world(new_device)
    here.run(600)
    here.acknowledges = False
    here.events.clear()
    here.device.sight(1, "TG 123456", 5)
    here.run(5_000)
    (told,) = here.events
    assert here.is_up and isinstance(told, Output | Sighting), "one at a time, told once, however often repeated"
    here.link.acknowledge(told.seq)
    here.acknowledges = True
    here.run(2_500)
    assert [event.value for event in here.events if isinstance(event, Sighting)] == ["TG 123456"]


def test_more_sightings_than_there_is_room_lose_the_oldest_and_count_them(new_device: NewDevice) -> None:
    here = world(new_device)
    here.up.cut = True
    for number in range(12):
        here.device.sight(1, f"P-{number}", number)
    assert here.device.overruns == 4
    here.up.cut = False
    here.run(6_000)
    seen = [event.value for event in here.events if isinstance(event, Sighting)]
    assert seen == [f"P-{number}" for number in range(4, 12)]


# --- numbering, repeats, silence -------------------------------------------------------------------------------------


def test_a_lost_acknowledgement_makes_a_repeat_that_is_not_obeyed_twice(new_device: NewDevice) -> None:
    here = world(new_device)
    here.run(1_000)
    here.up.cut = True
    here.say(0, STOP)
    here.run(30)
    here.up.cut = False
    before = here.link.repeats
    here.run(200)
    assert here.link.repeats == before + 1 and here.is_up and here.shows() is STOP


def test_three_repeats_without_an_answer_and_the_link_is_down(new_device: NewDevice) -> None:
    here = world(new_device)
    here.run(1_000)
    here.up.cut = True
    here.say(0, STOP)
    here.run(220)
    assert downs(here.events) == ["no_answer"] and here.link.phase is Phase.CLOSED


def test_a_device_that_falls_silent_is_given_up_after_1_5_s(new_device: NewDevice) -> None:
    here = world(new_device)
    here.run(1_000)
    here.up.cut = True
    here.run(900)  # the last heartbeat may be half a second old
    assert downs(here.events) == []
    here.run(700)
    assert downs(here.events)[0] in ("no_heartbeat", "no_answer")


def test_nothing_is_kept_for_a_link_that_is_down(new_device: NewDevice) -> None:
    here = world(new_device)
    here.unplug()
    assert not here.say(0, GO) and not here.link.watchdog(1_000, here.now_s)
    here.replug()
    here.run(1_000)
    assert here.is_up and here.shows() is DEFAULT


def test_a_device_answers_what_it_does_not_know_with_nak(new_device: NewDevice) -> None:
    device = new_device()
    frame = encode_frame(Log(77, 1, "x"))
    unknown = bytes((0x93, 99, 77, 1))
    import zlib

    from cobs import cobs

    device.feed(frame, 0)
    assert device.to_send() == b"", "a device's own messages are passed over"
    device.feed(cobs.encode(unknown + zlib.crc32(unknown).to_bytes(4, "little")) + b"\0", 0)
    assert list(FrameReader().feed(device.to_send())) == [NakMessage(0, 77, Nak.UNKNOWN_TYPE)]


def test_a_host_answers_what_it_does_not_know_with_nak() -> None:
    import zlib

    from cobs import cobs

    link = HostLink(SIGN)
    link.opened(0.0, 0)
    link.to_send()
    unknown = bytes((0x93, 99, 77, 1))
    (fault,) = link.receive(cobs.encode(unknown + zlib.crc32(unknown).to_bytes(4, "little")) + b"\0", 0.0)
    assert isinstance(fault, FrameFault) and fault.reason == "unknown_type"
    assert list(FrameReader().feed(link.to_send())) == [NakMessage(0, 77, Nak.UNKNOWN_TYPE)]


def test_an_uptime_that_goes_back_is_a_restart_even_under_the_same_number() -> None:
    link = HostLink(())
    link.opened(0.0, 0)
    link.receive(encode_frame(HelloReply(1, 1, 7, 0, 0, 50_000, "d", "1", 0)), 0.1)
    assert link.phase is Phase.UP
    (down,) = link.receive(encode_frame(Heartbeat(0, 10, 7)), 0.2)
    assert isinstance(down, LinkDown) and down.reason == "device_restarted" and link.phase is Phase.GREETING


# --- lossy lines -----------------------------------------------------------------------------------------------------

LOSSES = {
    "20 % of frames lost": {"lose_frames": 0.2},
    "1 bit in 10,000 bytes": {"flip_per_byte": 1e-4},
    "1 byte in 200 lost, 1 in 200 flipped": {"flip_per_byte": 5e-3, "lose_per_byte": 5e-3},
    "all twice": {"double_frames": 1.0},
}


@pytest.mark.parametrize("loss", LOSSES)
def test_lossy_lines_deliver_everything_once_and_nothing_wrong(new_device: NewDevice, loss: str) -> None:
    here = world(new_device, seed=7)
    for line in (here.up, here.down):
        for name, value in LOSSES[loss].items():
            setattr(line, name, value)
    plates = [f"PLATE-{number}" for number in range(60)]
    states = (STOP, HOLD, GO, STOP, HOLD)
    for number, plate in enumerate(plates):
        here.device.sight(1, plate, number)
        here.decide(0, states[number % len(states)])
        here.run(1_500)
        shown_within_ms = 0
        while here.shows() is not states[number % len(states)] and shown_within_ms < 3_000:
            here.run(100)
            shown_within_ms += 100
        assert here.shows() is states[number % len(states)]
    here.run(6_000)
    seen = [event.value for event in here.events if isinstance(event, Sighting)]
    assert sorted(set(seen)) == sorted(plates), "all delivered, none that was not sent"
    assert len(seen) - len(plates) <= len(downs(here.events)), "twice at most over a new hello"
    if loss != "1 bit in 10,000 bytes":
        assert here.link.repeats + len(downs(here.events)) + here.link.reader.crc_errors > 0 or "twice" in loss
    known = {DEFAULT, GO, STOP, HOLD}
    assert {told.commanded for told in reports(here)} <= known


def test_a_byte_at_a_time_is_the_same(new_device: NewDevice) -> None:
    device, link = new_device(), HostLink(SIGN)
    link.opened(0.0, 0)
    for _ in range(12):
        for byte in link.to_send():
            device.feed(bytes((byte,)), 1_000)
        device.tick(1_000)
        for byte in device.to_send():
            link.receive(bytes((byte,)), 0.01)
    assert link.phase is Phase.UP
    assert link.lease(0, GO, 2_000, 0.02)
    for byte in link.to_send():
        device.feed(bytes((byte,)), 1_010)
    assert device.commanded() == [GO]


# --- the property ----------------------------------------------------------------------------------------------------

CHANCE = st.sampled_from((0.0, 0.0, 0.05, 0.3, 1.0))
HAPPENINGS = (
    "nothing",
    "device_restarts",
    "device_hangs",
    "host_restarts",
    "unplug",
    "replug",
    "lamp_sticks",
    "brown_out",
)
LONG_MS = st.sampled_from((5_000, 3_100, 1_600, 700, 60))
CALM: dict[str, object] = {
    "happens": "nothing",
    "decision": GO,
    "deciding": True,
    "host_alive": True,
    "down_stalled": False,
    "up_stalled": False,
    "lose_down": 0.0,
    "lose_up": 0.0,
    "double": 0.0,
    "flip": 0.0,
}
ANYTHING: dict[str, st.SearchStrategy[object]] = {
    "happens": st.sampled_from(HAPPENINGS),
    "decision": st.sampled_from((GO, STOP, HOLD, DEFAULT, None)),
    "deciding": st.booleans(),
    "host_alive": st.booleans(),
    "down_stalled": st.booleans(),
    "up_stalled": st.booleans(),
    "lose_down": CHANCE,
    "lose_up": CHANCE,
    "double": CHANCE,
    "flip": st.sampled_from((0.0, 1e-3, 2e-2)),
}


BROKEN: dict[str, object] = {
    "deciding": False,
    "host_alive": False,
    "down_stalled": True,
    "up_stalled": True,
    "lose_down": 1.0,
    "lose_up": 1.0,
    "decision": None,
}


def _stretch(**parts: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """A good line and GO renewed, but for these."""
    return st.fixed_dictionaries({name: st.just(value) for name, value in CALM.items()} | parts | {"ms": LONG_MS})


STRETCH = st.one_of(
    *(_stretch(**{name: st.just(value)}) for name, value in BROKEN.items()),
    _stretch(happens=ANYTHING["happens"]),
    _stretch(happens=ANYTHING["happens"], deciding=ANYTHING["deciding"], down_stalled=ANYTHING["down_stalled"]),
    _stretch(**ANYTHING),
)
SETTLED = {**CALM, "ms": 300}


def live_through(here: World, stretch: dict[str, object]) -> None:
    here.down.lose_frames, here.up.lose_frames = float(stretch["lose_down"]), float(stretch["lose_up"])  # type: ignore[arg-type]
    here.down.stalled, here.up.stalled = bool(stretch["down_stalled"]), bool(stretch["up_stalled"])
    here.down.double_frames = here.up.double_frames = float(stretch["double"])  # type: ignore[arg-type]
    here.down.flip_per_byte = here.up.flip_per_byte = float(stretch["flip"])  # type: ignore[arg-type]
    here.deciding, here.host_alive = bool(stretch["deciding"]), bool(stretch["host_alive"])
    match stretch["happens"]:
        case "lamp_sticks" if here.device.commanded():
            here.device.stick(0, STOP)
        case "brown_out":
            here.device.brown_out(True)
        case "nothing" | "lamp_sticks":
            here.device.brown_out(False)
            if here.device.commanded():
                here.device.stick(0, None)
        case name:
            getattr(here, str(name))()
    decision = stretch["decision"]
    if isinstance(decision, OutputState):
        here.decide(0, decision)
    else:
        here.decisions.clear()
    here.run(int(stretch["ms"]))  # type: ignore[call-overload]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stretches=st.lists(st.tuples(STRETCH, st.booleans()), min_size=3, max_size=14),
    uptime_ms=st.sampled_from((0, 5_000, 2**31 - 4_000, 2**32 - 4_000)),
    seed=st.integers(0, 2**16),
)
def test_go_never_outlives_its_right_whatever_happens(
    new_device: NewDevice, stretches: list[tuple[dict[str, object], bool]], uptime_ms: int, seed: int
) -> None:
    here = World(new_device(), STOP_AT_REST, seed=seed, uptime_ms=uptime_ms)
    here.run(300)
    for stretch, settles in stretches:  # `World.check` looks after every 10 ms
        if settles:
            here.replug()
            live_through(here, SETTLED)
        live_through(here, stretch)
    here.replug()
    live_through(here, {**CALM, "decision": STOP, "ms": 8_000})
    here.decide(0, GO)
    here.run(200)
    assert here.is_up and here.shows() is GO, "and a good line brings it back"


def test_the_check_of_the_property_would_notice(new_device: NewDevice) -> None:
    here = world(new_device)
    here.decide(0, GO)
    here.run(100)
    assert here.shows() is GO
    here._permitted[0] = (here.now_ms - 3_010, here.device.boot)
    with pytest.raises(AssertionError, match="longer than 3 s"):
        here.check()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=400), max_size=20))
def test_noise_never_moves_an_output(new_device: NewDevice, pieces: list[bytes]) -> None:
    device = new_device()
    for number, piece in enumerate(pieces):
        device.feed(piece, number * 10)
        device.tick(number * 10)
        assert device.commanded() == []


def test_boots_of_one_device_rise(new_device: NewDevice) -> None:
    device = new_device()
    boots = []
    for _ in range(4):
        boots.append(device.boot)
        device = device.restarted(ResetCause.COMMAND, 0)
    assert all(later == earlier + 1 for earlier, later in pairwise(boots))
