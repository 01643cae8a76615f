"""The device's side of the microcontroller link as a state machine, for firmware authors to read and port.

`firmware_bridge/reference/` holds the same machine in C. The only input besides bytes is the device's own uptime;
what an output must show is a pure consequence of both, and every way it can go wrong ends in the site's default.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from firmware_bridge.link_messages import (
    MAX_CONFIG_KEYS,
    OUTPUTS_SHIFT,
    PROTOCOL,
    Ack,
    AnyMessage,
    Capability,
    Config,
    ConfigEnd,
    Fault,
    FaultCode,
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
    ResetCause,
    Sighting,
    Watchdog,
    config_crc,
    encode_frame,
)
from firmware_bridge.outputs import (
    MAX_OUTPUTS,
    MISMATCH_MS,
    PERMISSIVE,
    RESTRICTIVE_AHEAD_MS,
    UPTIME_MODULUS,
    Nak,
    OutputKind,
    OutputSettings,
    OutputState,
    ahead_ms,
    lease_refusal,
    outputs_of,
)

FIRMWARE = "reference-py 1"
HEARTBEAT_EVERY_MS = 500
HOST_SILENT_MS = 1_500
REPORT_AGAIN_MS = 500
"""A numbered report goes out again until it is acknowledged; that never takes the link down."""
REPORT_EVERY_MS = 1_000
MAX_SIGHTINGS = 8
HANG_RESET_MS = 150
"""A hardware watchdog resets a hung controller within this; outputs are dark in reset."""
LAMP_MA = 350
CAPABILITIES = (
    Capability.SIGN_TEXT | Capability.LAMP_CURRENT | Capability.WATCHDOG | Capability.SIGHTINGS
) | MAX_OUTPUTS << OUTPUTS_SHIFT


@dataclass
class DeviceOutput:
    """One output and its lease."""

    settings: OutputSettings
    commanded: OutputState
    leased: bool = False
    expires_ms: int = 0
    decision_ref: int = 0
    text: str = ""
    stuck: OutputState | None = None
    """A lamp or arm that no longer follows."""
    mismatch_since_ms: int | None = None
    has_fault: bool = False
    fault_told: FaultCode = FaultCode.NONE
    reported: tuple[int, int, int] | None = None
    reported_ms: int = 0

    @property
    def measured(self) -> OutputState:
        """What the feedback contact says."""
        return self.commanded if self.stuck is None else self.stuck

    def fall(self) -> None:
        """To the site's default, at once."""
        self.commanded, self.leased = self.settings.default, False
        self.decision_ref, self.text = 0, ""

    def show(self, lease: Lease) -> None:
        """What the lease says; DEFAULT is the site's default."""
        state = OutputState(lease.state)
        self.commanded = self.settings.default if state is OutputState.DEFAULT else state
        self.leased, self.expires_ms = True, lease.expires_uptime_ms
        self.decision_ref, self.text = lease.decision_ref, lease.text


@dataclass(frozen=True)
class Kept:
    """What outlives a restart: in flash, in a real device."""

    boot: int = 0
    config: tuple[tuple[int, int], ...] = ()


@dataclass
class _Outstanding:
    message: Message
    due_ms: int


@dataclass
class _Counters:
    overruns: int = 0
    host_resets: int = 0


@dataclass
class DeviceFirmware:
    """One device from one start to the next; `restarted()` is the next."""

    kept: Kept = Kept()
    device: str = "reference"
    reset_cause: ResetCause = ResetCause.POWER
    uptime_ms: int = 0
    outputs: list[DeviceOutput] = field(default_factory=list)
    greeted: bool = False
    """A host has said HELLO in a protocol we know, and its heartbeat is there."""
    ready: bool = False
    """And we hold its configuration: leases are obeyed."""
    wrong_config_crc: bool = False
    """Fault switch: a flash that keeps nothing right."""
    power_low: bool = False
    """Fault switch: brown-out. Everything falls, nothing permissive is obeyed."""
    counters: _Counters = field(default_factory=_Counters)
    _reader: FrameReader = field(default_factory=FrameReader)
    _sending: bytearray = field(default_factory=bytearray)
    _staged: dict[int, int] = field(default_factory=dict)
    _host_heard_ms: int = 0
    _heartbeat_due_ms: int = 0
    _last_seq: int | None = None
    _last_answer: Message | None = None
    _seq: int = 0
    _outstanding: _Outstanding | None = None
    _sightings: deque[Sighting] = field(default_factory=deque)
    _watchdog_ms: int | None = None
    _power_told: bool = False

    def __post_init__(self) -> None:
        """Start: what is in flash says how the outputs stand, before anything is heard."""
        self.kept = Kept((self.kept.boot + 1) % UPTIME_MODULUS, self.kept.config)
        self._heartbeat_due_ms = self.uptime_ms
        self._configure()

    # --- what the shell does -------------------------------------------------------------------------------------

    def feed(self, data: bytes, uptime_ms: int) -> None:
        """Bytes from the line."""
        self.uptime_ms = uptime_ms
        self._expire()
        for found in self._reader.feed(data):
            self._heard(found)

    def tick(self, uptime_ms: int) -> None:
        """Every 10 ms, and from nothing that could wait for the host."""
        self.uptime_ms = uptime_ms
        self._expire()
        self._watch_lamps()
        self._watch_host()
        self._beat()
        self._report()

    def to_send(self) -> bytes:
        """Bytes for the line; each is given once."""
        data = bytes(self._sending)
        self._sending.clear()
        return data

    def restarted(self, cause: ResetCause = ResetCause.COMMAND, uptime_ms: int = 0) -> DeviceFirmware:
        """The device after a reset: only flash is left."""
        after = DeviceFirmware(self.kept, self.device, cause, uptime_ms, wrong_config_crc=self.wrong_config_crc)
        for old, new in zip(self.outputs, after.outputs, strict=False):
            new.stuck = old.stuck
        return after

    def sight(self, kind: int, value: str, time_ms: int) -> None:
        """Something was read; the oldest of more than `MAX_SIGHTINGS` waiting ones is lost, and counted."""
        if len(self._sightings) >= MAX_SIGHTINGS:
            under_way = self._outstanding is not None and isinstance(self._outstanding.message, Sighting)
            del self._sightings[int(under_way)]
            self.counters.overruns += 1
        self._sightings.append(Sighting(kind=kind, time_ms=time_ms, value=value))

    def log(self, text: str) -> None:
        """A line for people."""
        self._send(Log(text=text))

    # --- falling -------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """Leases that have ended, and the host that is no longer there."""
        if self.greeted and ahead_ms(self.uptime_ms, self._host_heard_ms) >= HOST_SILENT_MS:
            self.greeted = self.ready = False
            self._drop_permissive()
        for output in self.outputs:
            if output.leased and (self.power_low or ahead_ms(output.expires_ms, self.uptime_ms) <= 0):
                output.fall()

    def _drop_permissive(self) -> None:
        for output in self.outputs:
            if output.commanded in PERMISSIVE:
                output.fall()

    def _watch_lamps(self) -> None:
        for output in self.outputs:
            if output.measured == output.commanded:
                output.mismatch_since_ms = None
                output.has_fault &= output.commanded is OutputState.DEFAULT  # darkness proves no lamp
            elif output.mismatch_since_ms is None:
                output.mismatch_since_ms = self.uptime_ms
            elif ahead_ms(self.uptime_ms, output.mismatch_since_ms) >= MISMATCH_MS:
                output.has_fault = True
                if output.commanded in PERMISSIVE:
                    output.fall()

    def _watch_host(self) -> None:
        if self._watchdog_ms is not None and ahead_ms(self._watchdog_ms, self.uptime_ms) <= 0:
            self._watchdog_ms = None
            self.counters.host_resets += 1

    # --- hearing -------------------------------------------------------------------------------------------------

    def _heard(self, found: AnyMessage | FrameFault) -> None:
        match found:
            case Hello():
                self._hello(found)
            case Heartbeat():
                self._host_heard_ms = self.uptime_ms
            case Ack() | NakMessage():
                self._acknowledged(found.acked)
            case Config() | ConfigEnd() | Lease() | Watchdog():
                self._once(found)
            case FrameFault(seq=int(seq)) if found.reason in ("unknown_type", "bad_fields"):
                reason = Nak.UNKNOWN_TYPE if found.reason == "unknown_type" else Nak.BAD_FIELDS
                self._send(NakMessage(acked=seq, reason=reason))

    def _hello(self, hello: Hello) -> None:
        """Everything of an earlier conversation is forgotten; nothing permissive outlives it."""
        self._drop_permissive()
        self._staged.clear()
        self._last_seq, self._seq, self._outstanding = None, 0, None
        common = hello.min_protocol <= PROTOCOL <= hello.max_protocol
        crc = self._config_crc()
        self._host_heard_ms = self.uptime_ms
        self.greeted = common
        self.ready = common and crc == hello.config_crc
        self._power_told = False
        for output in self.outputs:
            output.reported, output.fault_told = None, FaultCode.NONE
        self._send(
            HelloReply(
                hello.seq,
                PROTOCOL if common else 0,
                self.kept.boot,
                crc,
                self.reset_cause,
                self.uptime_ms,
                self.device,
                FIRMWARE,
                CAPABILITIES,
            )
        )

    def _once(self, message: Config | ConfigEnd | Lease | Watchdog) -> None:
        """Obey a numbered message once; a repeat gets the same answer again."""
        if message.seq != self._last_seq or self._last_answer is None:
            nak = self._obey(message)
            seq = message.seq
            self._last_answer = Ack(acked=seq) if nak is None else NakMessage(acked=seq, reason=nak)
            self._last_seq = seq
        self._send(self._last_answer)

    def _obey(self, message: Config | ConfigEnd | Lease | Watchdog) -> Nak | None:
        if not self.greeted:
            return Nak.NO_HELLO
        match message:
            case Config():
                return self._stage(message)
            case ConfigEnd():
                return self._take_config(message)
            case Lease():
                return self._lease(message) if self.ready else Nak.NO_HELLO
            case Watchdog():
                return self._arm(message) if self.ready else Nak.NO_HELLO

    # --- configuration -------------------------------------------------------------------------------------------

    def _stage(self, config: Config) -> Nak | None:
        if len(self._staged) >= MAX_CONFIG_KEYS and config.key not in self._staged:
            return Nak.CONFIG_MISMATCH
        self._staged[config.key] = config.value
        return None

    def _take_config(self, end: ConfigEnd) -> Nak | None:
        staged, self._staged = self._staged, {}
        if config_crc(staged) != end.config_crc or self.wrong_config_crc:
            return Nak.CONFIG_MISMATCH
        try:
            outputs_of(staged)
        except ValueError:
            return Nak.BAD_FIELDS
        self.kept = Kept(self.kept.boot, tuple(sorted(staged.items())))
        self._configure()
        self.ready = True
        return None

    def _configure(self) -> None:
        self.outputs = [DeviceOutput(one, one.default) for one in outputs_of(dict(self.kept.config))]

    def _config_crc(self) -> int:
        return config_crc(dict(self.kept.config)) ^ (0xFFFF_FFFF if self.wrong_config_crc else 0)

    # --- leases --------------------------------------------------------------------------------------------------

    def _lease(self, lease: Lease) -> Nak | None:
        if lease.boot != self.kept.boot:
            return Nak.WRONG_BOOT
        if lease.output >= len(self.outputs):
            return Nak.NO_SUCH_OUTPUT
        output = self.outputs[lease.output]
        if lease.state not in set(OutputState):
            return Nak.STATE_NOT_ALLOWED
        state = OutputState(lease.state)
        ahead = ahead_ms(lease.expires_uptime_ms, self.uptime_ms)
        nak = lease_refusal(output.settings.kind, state, ahead)
        if nak is None and state in PERMISSIVE and (output.has_fault or self.power_low):
            nak = Nak.FAULT
        if nak is None:
            output.show(lease)
        return nak

    def _arm(self, watchdog: Watchdog) -> Nak | None:
        if watchdog.boot != self.kept.boot:
            return Nak.WRONG_BOOT
        if all(output.settings.kind is not OutputKind.WATCHDOG for output in self.outputs):
            return Nak.NO_SUCH_OUTPUT
        if not watchdog.armed:
            self._watchdog_ms = None
            return None
        ahead = ahead_ms(watchdog.expires_uptime_ms, self.uptime_ms)
        if not 0 < ahead <= RESTRICTIVE_AHEAD_MS:
            return Nak.LEASE_EXPIRED if ahead <= 0 else Nak.LEASE_TOO_LONG
        self._watchdog_ms = watchdog.expires_uptime_ms
        return None

    # --- speaking ------------------------------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        self._sending += encode_frame(message)

    def _beat(self) -> None:
        if ahead_ms(self.uptime_ms, self._heartbeat_due_ms) >= 0:
            self._heartbeat_due_ms = (self.uptime_ms + HEARTBEAT_EVERY_MS) % UPTIME_MODULUS
            reader = self._reader
            self._send(
                Heartbeat(0, self.uptime_ms, self.kept.boot, reader.crc_errors, reader.resyncs, self.counters.overruns)
            )

    def _acknowledged(self, seq: int) -> None:
        waiting = self._outstanding
        if waiting is None or waiting.message.seq != seq:
            return
        if isinstance(waiting.message, Sighting) and self._sightings:
            self._sightings.popleft()
        self._outstanding = None
        self._report()

    def _report(self) -> None:
        """One report is under way at a time, and repeated until the host has done with it."""
        if not self.greeted:
            return
        waiting = self._outstanding
        if waiting is None:
            message = self._next_report()
            if message is None:
                return
            numbered = msgspec.structs.replace(message, seq=self._seq)
            self._seq = (self._seq + 1) % 256
            waiting = self._outstanding = _Outstanding(numbered, self.uptime_ms)
        if ahead_ms(self.uptime_ms, waiting.due_ms) >= 0:
            waiting.due_ms = (self.uptime_ms + REPORT_AGAIN_MS) % UPTIME_MODULUS
            self._send(waiting.message)

    def _next_report(self) -> Message | None:
        return self._power_report() or self._output_report() or next(iter(self._sightings), None)

    def _power_report(self) -> Fault | None:
        if self.power_low == self._power_told:
            return None
        self._power_told = self.power_low
        return Fault(output=0xFF, code=FaultCode.POWER if self.power_low else FaultCode.NONE, uptime_ms=self.uptime_ms)

    def _output_report(self) -> Fault | Output | None:
        for number, output in enumerate(self.outputs):
            code = FaultCode.LAMP if output.has_fault else FaultCode.NONE
            if code != output.fault_told:
                output.fault_told = code
                return Fault(output=number, code=code, uptime_ms=self.uptime_ms)
            now = (output.commanded, output.measured, output.decision_ref)
            due = ahead_ms(self.uptime_ms, output.reported_ms) >= REPORT_EVERY_MS
            if self.ready and (now != output.reported or due):
                output.reported, output.reported_ms = now, self.uptime_ms
                return self._state_of(number, output)
        return None

    def _state_of(self, number: int, output: DeviceOutput) -> Output:
        remaining = max(0, ahead_ms(output.expires_ms, self.uptime_ms)) if output.leased else 0
        return Output(
            output=number,
            commanded=output.commanded,
            measured=output.measured,
            decision_ref=output.decision_ref,
            remaining_ms=remaining,
            lamp_ma=0 if output.measured is OutputState.DEFAULT else LAMP_MA,
        )
