"""The host's side of the microcontroller link: hello, configuration, numbering, resending, heartbeat, leases.

Bytes in, events and bytes out; time is an argument (monotonic seconds). One message is outstanding at a time.
Nothing is kept over a new hello: whoever holds a decision says it again (design/firmware-bridge.md section 8).
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from firmware_bridge.link_messages import (
    OUTPUTS_SHIFT,
    PROTOCOL,
    Ack,
    AnyMessage,
    Capability,
    Config,
    ConfigEnd,
    Fault,
    Fix,
    FrameFault,
    FrameReader,
    Heartbeat,
    Hello,
    HelloReply,
    Lease,
    Log,
    Message,
    NakMessage,
    Output,
    Raw,
    Sighting,
    Watchdog,
    config_crc,
    encode_frame,
)
from firmware_bridge.outputs import (
    DeviceClock,
    Nak,
    OutputSettings,
    OutputState,
    ahead_ms,
    config_values,
    longest_ms,
    uptime_ms,
)

ACK_WITHIN_S = 0.05
REPEATS = 3
"""A message is sent so often again, with the same number; then the link is down."""
HELLO_EVERY_S = 0.25
GREETING_S = 5.0
"""Without an answer to HELLO for so long the port is opened again; boards that restart on opening need a while."""
HEARTBEAT_EVERY_S = 0.5
SILENT_AFTER_S = 1.5
"""Without a heartbeat for so long the link is down, on both sides."""
SEQUENCES = 256


class Phase(enum.Enum):
    """Where the link stands."""

    CLOSED = "closed"
    GREETING = "greeting"
    """HELLO is out."""
    CONFIGURING = "configuring"
    UP = "up"


@dataclass(frozen=True)
class LinkUp:
    """The device has answered and holds our configuration: say every decision again."""

    device: str
    firmware: str
    boot: int
    protocol: int
    capabilities: Capability
    outputs: int
    """How many the device has."""
    configured: bool
    """Whether it had to be given the configuration."""


@dataclass(frozen=True)
class LinkDown:
    """Nothing can be said to the device. `closed`: the port has to be opened again."""

    reason: str
    """`no_answer`, `no_heartbeat`, `no_hello_reply`, `no_common_protocol`, `config_refused`, `device_restarted` or
    `not_greeted`."""
    closed: bool
    detail: str = ""


@dataclass(frozen=True)
class LeaseRefused:
    """The device did not obey."""

    output: int | None
    """None for the watchdog."""
    reason: str


Report: TypeAlias = Output | Fault | Sighting
"""Numbered messages of the device: repeated until `HostLink.acknowledge`."""
LinkEvent: TypeAlias = LinkUp | LinkDown | LeaseRefused | Report | Fix | Raw | Log | FrameFault


@dataclass
class _Outstanding:
    message: Lease | Watchdog | Config | ConfigEnd
    due_s: float
    repeats: int = 0


class HostLink:
    """One device behind one port. Call `opened`, then `receive` and `tick`; send what `to_send` gives."""

    def __init__(self, outputs: tuple[OutputSettings, ...], *, session: int = 0) -> None:
        """`session` numbers our own starts, for the device's log."""
        self.outputs = outputs
        self.phase = Phase.CLOSED
        self.device: LinkUp | None = None
        """Who is there; None while the link is not up."""
        self.reader = FrameReader()
        self.refusals: Counter[str] = Counter()
        """NAKs by reason."""
        self.hellos = self.repeats = 0
        self._values = config_values(outputs)
        self._crc = config_crc(self._values)
        self._session = session
        self._sending = bytearray()
        self._settings: deque[Config | ConfigEnd] = deque()
        self._leases: dict[int | None, Lease | Watchdog] = {}
        """The newest for each output, by number; None is the watchdog."""
        self._outstanding: _Outstanding | None = None
        self._reply: HelloReply | None = None
        self._clock: DeviceClock | None = None
        self._seq = 0
        self._heard_seq: int | None = None
        self._acknowledged = False
        self._hello_due_s = self._heartbeat_due_s = self._silent_s = 0.0

    # --- what the shell does -------------------------------------------------------------------------------------

    def opened(self, now_s: float, time_ms: int) -> None:
        """The port is open (again); `time_ms` (UTC) is what the device may set its calendar by."""
        counted = self.reader
        self.reader = FrameReader()
        self.reader.crc_errors, self.reader.resyncs = counted.crc_errors, counted.resyncs
        self.reader.refused = counted.refused
        self._time_ms, self._opened_s = time_ms, now_s
        self._sending[:] = b"\0"  # ends whatever half frame the device still holds
        self._heartbeat_due_s = now_s
        self._greet(now_s)

    def closed(self) -> None:
        """The port has gone."""
        self.phase, self.device = Phase.CLOSED, None
        self._forget()
        self._sending.clear()

    def to_send(self) -> bytes:
        """Bytes for the line; each is given once."""
        data = bytes(self._sending)
        self._sending.clear()
        return data

    def due_s(self) -> float | None:
        """When `tick` is needed next; None while closed."""
        if self.phase is Phase.CLOSED:
            return None
        dues = [self._heartbeat_due_s, self._silent_s]
        if self.phase is Phase.GREETING:
            dues.append(self._hello_due_s)
        if self._outstanding is not None:
            dues.append(self._outstanding.due_s)
        return min(dues)

    def receive(self, data: bytes, now_s: float) -> list[LinkEvent]:
        """What these bytes say."""
        events: list[LinkEvent] = []
        for found in self.reader.feed(data):
            if self.phase is not Phase.CLOSED:
                events += self._heard(found, now_s)
        return events

    def tick(self, now_s: float) -> list[LinkEvent]:
        """Heartbeat, repeats, and the end of patience."""
        if self.phase is Phase.CLOSED:
            return []
        if now_s >= self._silent_s:
            greeting = self.phase is Phase.GREETING
            return self._down("no_hello_reply" if greeting else "no_heartbeat", f"silent: {self.phase.value}")
        if now_s >= self._heartbeat_due_s:
            self._heartbeat_due_s = max(self._heartbeat_due_s + HEARTBEAT_EVERY_S, now_s)
            self._send_heartbeat(now_s)
        if self.phase is Phase.GREETING and now_s >= self._hello_due_s:
            self._send_hello(now_s)
        return self._repeat(now_s)

    def lease(
        self,
        output: int,
        state: OutputState,
        lease_ms: int,
        now_s: float,
        *,
        decision_ref: int = 0,
        text: str = "",
    ) -> bool:
        """Let an output show a state for `lease_ms` from now; a newer lease replaces one still waiting.

        The end is fixed here, by whoever holds the decision: waiting and repeating do not move it. Without a link
        nothing is kept and the answer is False.
        """
        if self.phase is not Phase.UP or self._reply is None or self._clock is None:
            return False
        assert 0 < lease_ms <= longest_ms(state), "longer than the device may grant"
        can_text = Capability.SIGN_TEXT in self._capabilities(self._reply)
        self._leases[output] = Lease(
            output=output,
            state=state,
            boot=self._reply.boot,
            expires_uptime_ms=self._clock.lease_end_ms(now_s, lease_ms),
            decision_ref=decision_ref,
            text=text if can_text else "",
        )
        self._make_way(output, state)
        self._send_next(now_s)
        return True

    def watchdog(self, lease_ms: int, now_s: float, *, armed: bool = True) -> bool:
        """Let the device restart the host if `lease_ms` pass without another call; `armed` False ends that."""
        reply = self._reply
        if self.phase is not Phase.UP or reply is None or self._clock is None:
            return False
        if Capability.WATCHDOG not in self._capabilities(reply):
            return False
        end_ms = self._clock.lease_end_ms(now_s, lease_ms)
        self._leases[None] = Watchdog(boot=reply.boot, expires_uptime_ms=end_ms, armed=int(armed))
        self._send_next(now_s)
        return True

    def acknowledge(self, seq: int) -> None:
        """The report `seq` has done what it had to: the device may forget it."""
        if seq == self._heard_seq and self.phase in (Phase.CONFIGURING, Phase.UP):
            self._acknowledged = True
            self._send(Ack(acked=seq))

    # --- hello and configuration ---------------------------------------------------------------------------------

    def _greet(self, now_s: float) -> None:
        self.phase, self.device = Phase.GREETING, None
        self._forget()
        self.hellos += 1
        self._silent_s = now_s + GREETING_S
        self._send_hello(now_s)

    def _send_hello(self, now_s: float) -> None:
        self._hello_due_s = now_s + HELLO_EVERY_S
        time_ms = self._time_ms + int((now_s - self._opened_s) * 1000)
        self._send(Hello(self._hello_number, PROTOCOL, PROTOCOL, time_ms, self._crc))

    @property
    def _hello_number(self) -> int:
        """Tells a late answer to an earlier hello apart."""
        return self.hellos % SEQUENCES

    def _answered(self, reply: HelloReply, now_s: float) -> list[LinkEvent]:
        if reply.seq != self._hello_number:
            return []
        self._heard_seq = None  # the device has begun its numbers anew, for a repeated HELLO too
        if self.phase is not Phase.GREETING:
            return []
        if reply.protocol != PROTOCOL:
            return self._down("no_common_protocol", f"device {reply.device}: {reply.protocol}, expected {PROTOCOL}")
        self._reply, self._clock, self._seq = reply, DeviceClock(reply.uptime_ms, now_s), 0
        self._silent_s = now_s + SILENT_AFTER_S
        if reply.config_crc == self._crc:
            return [self._up(reply, configured=False)]
        self.phase = Phase.CONFIGURING
        self._settings.extend(Config(key=key, value=value) for key, value in sorted(self._values.items()))
        self._settings.append(ConfigEnd(config_crc=self._crc))
        self._send_next(now_s)
        return []

    def _up(self, reply: HelloReply, *, configured: bool) -> LinkUp:
        self.phase = Phase.UP
        self.device = LinkUp(
            reply.device,
            reply.firmware,
            reply.boot,
            reply.protocol,
            self._capabilities(reply),
            reply.capabilities >> OUTPUTS_SHIFT & 0xF,
            configured,
        )
        return self.device

    @staticmethod
    def _capabilities(reply: HelloReply) -> Capability:
        known = sum(Capability)
        return Capability(reply.capabilities & known)

    # --- hearing -------------------------------------------------------------------------------------------------

    def _heard(self, found: AnyMessage | FrameFault, now_s: float) -> list[LinkEvent]:
        match found:
            case FrameFault():
                if found.reason == "unknown_type" and found.seq is not None:
                    self._send(NakMessage(acked=found.seq, reason=Nak.UNKNOWN_TYPE))
                return [found]
            case HelloReply():
                return self._answered(found, now_s)
            case Heartbeat():
                return self._alive(found, now_s)
        if self.phase is Phase.GREETING:  # from before the device heard us
            return []
        match found:
            case Ack():
                return self._was_obeyed(found.acked, now_s)
            case NakMessage():
                return self._was_refused(found, now_s)
            case Output() | Fault() | Sighting():
                return self._report(found)
            case Fix() | Raw() | Log():
                return [found]
        return []  # only hosts say the others; a line that echoes is no device

    def _alive(self, heartbeat: Heartbeat, now_s: float) -> list[LinkEvent]:
        if self.phase is Phase.GREETING:  # alive, but from before the device heard us
            return []
        assert self._reply is not None and self._clock is not None
        went_back = ahead_ms(heartbeat.uptime_ms, self._clock.uptime_ms) < 0
        if heartbeat.boot != self._reply.boot or went_back:
            return self._again("device_restarted", f"start {heartbeat.boot} after {self._reply.boot}", now_s)
        self._silent_s = now_s + SILENT_AFTER_S
        self._clock = DeviceClock(heartbeat.uptime_ms, now_s)
        return []

    def _report(self, report: Report) -> list[LinkEvent]:
        """A numbered report is told once; a repeat only asks for its acknowledgement again."""
        if report.seq == self._heard_seq:
            if self._acknowledged:
                self._send(Ack(acked=report.seq))
            return []
        self._heard_seq, self._acknowledged = report.seq, False
        return [report]

    def _was_obeyed(self, seq: int, now_s: float) -> list[LinkEvent]:
        if self._outstanding is None or self._outstanding.message.seq != seq:
            return []
        was, self._outstanding = self._outstanding.message, None
        if isinstance(was, ConfigEnd) and self._reply is not None:
            return [self._up(self._reply, configured=True)]
        self._send_next(now_s)
        return []

    def _was_refused(self, nak: NakMessage, now_s: float) -> list[LinkEvent]:
        if self._outstanding is None or self._outstanding.message.seq != nak.acked:
            return []
        was, self._outstanding = self._outstanding.message, None
        reason = Nak(nak.reason).name if nak.reason in set(Nak) else f"reason {nak.reason}"
        self.refusals[reason] += 1
        if isinstance(was, Config | ConfigEnd):
            return self._down("config_refused", reason)
        if nak.reason in (Nak.NO_HELLO, Nak.WRONG_BOOT):
            return self._again("not_greeted", reason, now_s)
        self._send_next(now_s)
        return [LeaseRefused(was.output if isinstance(was, Lease) else None, reason)]

    # --- sending -------------------------------------------------------------------------------------------------

    def _make_way(self, output: int, state: OutputState) -> None:
        """What an output should no longer show is not repeated: the new state goes out at once."""
        waiting = None if self._outstanding is None else self._outstanding.message
        if isinstance(waiting, Lease) and waiting.output == output and waiting.state != state:
            self._outstanding = None

    def _send_next(self, now_s: float) -> None:
        if self._outstanding is not None:
            return
        message: Lease | Watchdog | Config | ConfigEnd
        if self._settings:
            message = self._settings.popleft()
        elif self._leases:
            message = self._leases.pop(next(iter(self._leases)))
        else:
            return
        numbered = _numbered(message, self._seq)
        self._seq = (self._seq + 1) % SEQUENCES
        self._outstanding = _Outstanding(numbered, now_s + ACK_WITHIN_S)
        self._send(numbered)

    def _repeat(self, now_s: float) -> list[LinkEvent]:
        waiting = self._outstanding
        if waiting is None or now_s < waiting.due_s:
            return []
        if waiting.repeats >= REPEATS:
            return self._down("no_answer", f"{type(waiting.message).__name__} sent {REPEATS + 1} times")
        waiting.repeats += 1
        self.repeats += 1
        waiting.due_s = now_s + ACK_WITHIN_S
        self._send(waiting.message)
        return []

    def _send_heartbeat(self, now_s: float) -> None:
        reader = self.reader
        self._send(Heartbeat(0, uptime_ms(now_s), self._session, reader.crc_errors, reader.resyncs, 0))

    def _send(self, message: Message) -> None:
        self._sending += encode_frame(message)

    # --- ends ----------------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._settings.clear()
        self._leases.clear()
        self._outstanding = self._reply = self._clock = self._heard_seq = None
        self._acknowledged = False

    def _down(self, reason: str, detail: str) -> list[LinkEvent]:
        self.closed()
        return [LinkDown(reason, closed=True, detail=detail)]

    def _again(self, reason: str, detail: str, now_s: float) -> list[LinkEvent]:
        """The port is good, but the device knows nothing of us: greet it anew."""
        self._greet(now_s)
        return [LinkDown(reason, closed=False, detail=detail)]


def _numbered(message: Lease | Watchdog | Config | ConfigEnd, seq: int) -> Lease | Watchdog | Config | ConfigEnd:
    return msgspec.structs.replace(message, seq=seq)
