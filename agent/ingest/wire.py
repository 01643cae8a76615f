"""JSON and MessagePack payloads of MQTT to domain values and back (contract section 5)."""

import hashlib
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Annotated, Any, TypeAlias, TypeVar, cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from agent.domain.identifiers import UNIT_FORM
from agent.domain.instruction import Receipt
from agent.domain.times import rfc3339
from agent.ingest.topics import OWNTRACKS, Address, Kind, matches
from agent.ingest.topics import Topics as Topics  # where others look for it
from firmware_bridge.messages import PositionReport, Refusal
from firmware_bridge.platform_json import (
    ACCURACY_68_TO_95,
    KMH_MPS,
    decode_flespi,
    decode_owntracks,
    decode_traccar,
)
from zones.fix import FIX_TYPE_WORDS, Fix, FixType, checked_fix

MAX_REPORTS = 500
"""Reports of one message (design/broker.md section 7)."""
MAX_BYTES = 256 * 1024
"""Bytes of one message (design/broker.md section 7); the brokers we start refuse more as well."""
MAX_SEQ = 2**63 - 1
"""What SQLite can hold."""

SIGNED_PREFIX = 0xC1
"""First byte of a signed payload; begins neither JSON nor MessagePack."""
SIGNATURE_BYTES = 64
"""Ed25519."""


@dataclass(frozen=True)
class Inbound:
    """What the configuration lets in."""

    topics: Topics = field(default_factory=Topics)
    owntracks: bool = True
    traccar_topic: str = ""
    flespi_topic: str = ""
    """Exact topics or filters with `+`; empty = not used."""
    operators: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Units each telematics platform may report, empty set = any. No entry at all: any operator may."""
    signing_keys: Mapping[str, Mapping[str, Ed25519PublicKey]] = field(default_factory=dict)
    """By unit, then key id: the keys of units that must sign their positions."""
    phone_operators: frozenset[str] = frozenset()
    """Of the operators: those whose units are phones, whatever way their reports come."""

    @cached_property
    def phone_units(self) -> frozenset[str]:
        """Units that are listed for an operator of phones."""
        return frozenset().union(*(self.operators.get(name, ()) for name in self.phone_operators))

    def filters(self) -> tuple[tuple[str, int], ...]:
        """Subscriptions of the agent: filter and QoS. Disjoint: brokers deliver once for each."""
        topics = self.topics
        wanted = [
            topics.position("+"), topics.positions("+"), topics.receipt("+"), topics.incident("+"),
            topics.witness("+"),
        ]  # fmt: skip
        if self.owntracks:
            wanted.append(f"{OWNTRACKS}/+/+")
        wanted += [topic for topic in (self.traccar_topic, self.flespi_topic) if topic]
        return tuple((topic, 1) for topic in wanted)


class Refused(msgspec.Struct, frozen=True):
    """A message, or one report of it, that was not taken. Holds no payload and no position."""

    reason: str
    """A word for counters, such as `unreadable`."""
    detail: str
    """What, where, and what was expected."""
    source: str
    """Where it came from: a topic, or `serial:<unit>`."""
    sha256: str
    length: int
    """Digest and length of the refused bytes."""


Degrees90 = Annotated[float, Meta(ge=-90, le=90)]
Degrees180 = Annotated[float, Meta(ge=-180, le=180)]
NotNegative = Annotated[float, Meta(ge=0)]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
BootId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Time = Annotated[datetime, Meta(tz=True)] | int | float
"""RFC 3339 or epoch milliseconds; either form is accepted."""
Text = Annotated[str, Meta(max_length=512)]


class ReportOnWire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Position report as a JSON or MessagePack map."""

    fix_time: Time
    latitude: Degrees90
    longitude: Degrees180
    unit: str | None = None
    seq: Seq | None = None
    boot_id: BootId | int | None = None
    accuracy: NotNegative | None = None
    speed: NotNegative | None = None
    heading: Annotated[float, Meta(ge=0, le=360)] | None = None
    satellites: Annotated[int, Meta(ge=0, le=255)] | None = None
    hdop: NotNegative | None = None
    fix_type: str | None = None
    authenticated: bool | None = None


class RowOnWire(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Compact MessagePack row; nil = the unit does not say."""

    unit: str | None
    seq: Seq | None
    fix_time_ms: Annotated[int, Meta(ge=0)]
    latitude_e7: Annotated[int, Meta(ge=-900_000_000, le=900_000_000)]
    longitude_e7: Annotated[int, Meta(ge=-1_800_000_000, le=1_800_000_000)]
    accuracy_cm: Annotated[int, Meta(ge=0)] | None = None
    speed_cms: Annotated[int, Meta(ge=0)] | None = None
    heading_cdeg: Annotated[int, Meta(ge=0, le=36_000)] | None = None
    fix_type_code: Annotated[int, Meta(ge=0, le=int(max(FixType)))] | None = None


class Incident(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a unit reports besides positions (design/domain.md section 8)."""

    kind: Annotated[str, Meta(max_length=32)] | None = None
    """TRACTOR_CHANGE, TRAILER_CHANGE, EXTRA_GOODS or BREAKDOWN."""
    code: Annotated[str, Meta(max_length=8)] | None = None
    """Incident code of NCTS (code list CL019)."""
    text: Text = ""
    time: str | int | None = None
    location: dict[str, Any] | None = None
    transport_equipment: Annotated[tuple[dict[str, Any], ...], Meta(max_length=99)] = ()
    transhipment: dict[str, Any] | None = None
    endorsement: dict[str, Any] | None = None


class Witness(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a roadside reader or an officer saw (design/domain.md section 8)."""

    kind: Annotated[str, Meta(max_length=32)]
    """ANPR, DSRC, SEAL, BEACON, TABLET, OFFICER or TACHO_BORDER."""
    identification_number: Annotated[str, Meta(max_length=70)]
    time: str | int
    nationality: Annotated[str, Meta(max_length=3)] | None = None
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    lane: Annotated[str, Meta(max_length=35)] | None = None
    evidence_hash: Annotated[str, Meta(max_length=128)] | None = None


class Watermark(msgspec.Struct, frozen=True, rename="camel"):
    """Agent to unit: everything up to `up_to` is processed and its effects are on disk."""

    boot_id: str | None
    up_to: int


class UnitReceipt(msgspec.Struct, frozen=True):
    """A receipt and the unit that sent it."""

    unit: str
    receipt: Receipt


class UnitIncident(msgspec.Struct, frozen=True):
    """An incident and the unit that sent it."""

    unit: str
    incident: Incident


class WitnessReport(msgspec.Struct, frozen=True):
    """A sighting and the device that saw it."""

    device: str
    witness: Witness


Item: TypeAlias = Fix | UnitReceipt | UnitIncident | WitnessReport | Refused

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError)
"""What a decoder may raise on bytes from outside; RecursionError comes from deeply nested unknown fields."""

_json_report = msgspec.json.Decoder(ReportOnWire)
_json_list = msgspec.json.Decoder(list[msgspec.Raw])
_pack_report = msgspec.msgpack.Decoder(ReportOnWire)
_pack_list = msgspec.msgpack.Decoder(list[msgspec.Raw])
_pack_row = msgspec.msgpack.Decoder(RowOnWire)
_json_reports = msgspec.json.Decoder(list[ReportOnWire])
_pack_reports = msgspec.msgpack.Decoder(list[ReportOnWire])
_pack_rows = msgspec.msgpack.Decoder(list[RowOnWire])
_FIX_TYPES = tuple(FixType)
"""By code."""
_WORD_OF_FIX_TYPE = {code: word for word, code in FIX_TYPE_WORDS.items()}
_time_of = operator.attrgetter("time_s")


def decode_message(inbound: Inbound, topic: str, payload: bytes, received_s: float) -> list[Item]:
    """What one MQTT message says; what cannot be read becomes `Refused`, report by report. Never raises."""
    if len(payload) > MAX_BYTES:
        return [refused("too_large", f"{len(payload)} bytes: expected at most {MAX_BYTES}", topic, payload)]
    address = _addressed(inbound, topic)
    match address:
        case Address(Kind.POSITION, unit):
            body = _unsigned(inbound, unit, topic, payload)
            if isinstance(body, Refused):
                return [body]
            items = decode_positions(body, unit_from_topic=unit, received_s=received_s, source=topic)
            return list(_as_phones(items) if unit in inbound.phone_units else items)
        case Address(Kind.POSITIONS, operator):
            return list(_operator_positions(inbound, operator, topic, payload, received_s))
        case Address(Kind.OWNTRACKS | Kind.TRACCAR | Kind.FLESPI as kind, _):
            return list(_platform_positions(inbound, kind, topic, payload, received_s))
        case Address(Kind.RECEIPT, unit):
            receipt = _message(Receipt, topic, payload)
            return [receipt if isinstance(receipt, Refused) else UnitReceipt(unit, receipt)]
        case Address(Kind.INCIDENT, unit):
            return [_incident(unit, topic, payload)]
        case Address(Kind.WITNESS, device):
            witness = _message(Witness, topic, payload)
            return [witness if isinstance(witness, Refused) else WitnessReport(device, witness)]
    return [refused("unknown_topic", "expected a topic that units, operators or readers send to", topic, payload)]


def decode_positions(
    payload: bytes, *, unit_from_topic: str | None, received_s: float, source: str
) -> list[Fix | Refused]:
    """Position reports of one payload: JSON map or list, MessagePack map, list of maps, row or list of rows.

    Args:
        payload: The bytes as they came, without signature.
        unit_from_topic: The unit that the topic names; None for batches, where every report names its own.
        received_s: When the agent received it, UTC seconds.
        source: The topic, for refusals.

    Returns:
        Fixes by rising fix time (telematics units send newest first), then refusals in their order.
    """
    if len(payload) > MAX_BYTES:
        return [refused("too_large", f"{len(payload)} bytes: expected at most {MAX_BYTES}", source, payload)]
    sound = _sound_list(payload, unit_from_topic, received_s)
    if sound is not None:
        return cast("list[Fix | Refused]", sound)
    try:
        parts, decode = _parts(payload)
    except _UNREADABLE as error:
        return [refused("unreadable", _words(error), source, payload)]
    if len(parts) > MAX_REPORTS:
        detail = f"{len(parts)} reports: expected at most {MAX_REPORTS}"
        return [refused("too_many", detail, source, payload)]
    taken = [_one_report(part, decode, unit_from_topic, received_s, source) for part in parts]
    return _by_time(taken)


def _sound_list(payload: bytes, unit_from_topic: str | None, received_s: float) -> list[Fix] | None:
    """The fixes of a list in which every report is sound, read in one go, by rising fix time.

    None for all else: that is read part by part, and each fault is told.
    """
    try:
        reports = _whole_list(payload)
        if reports is None or len(reports) > MAX_REPORTS:
            return None
        fixes: list[Fix] = []
        for report in reports:
            unit = report.unit or unit_from_topic or ""
            if unit != unit_from_topic and (unit_from_topic is not None or not _is_unit(unit)):
                return None
            if isinstance(report, RowOnWire):
                fix = _fix_of_row(report, received_s, unit)
            else:
                fix = _fix_of_map(report, received_s, unit)
            if checked_fix(fix) is not None:
                return None
            fixes.append(fix)
    except _UNREADABLE:
        return None
    fixes.sort(key=_time_of)
    return fixes


def _whole_list(payload: bytes) -> Sequence[ReportOnWire | RowOnWire] | None:
    """A list of maps or of rows by its first element; decoding raises if one of the others differs."""
    if payload[:1] == b"[":
        return _json_reports.decode(payload)
    if not _is_array(payload):
        return None
    header = {0xDC: 3, 0xDD: 5}.get(payload[0], 1)
    first = payload[header : header + 1]
    if _is_array(first):
        return _pack_rows.decode(payload)
    return _pack_reports.decode(payload) if _is_map(first) else None


@lru_cache(maxsize=65_536)
def _is_unit(unit: str) -> bool:
    return UNIT_FORM.fullmatch(unit) is not None


def _by_time(items: Sequence[Fix | Refused]) -> list[Fix | Refused]:
    fixes = sorted((item for item in items if isinstance(item, Fix)), key=lambda fix: fix.time_s)
    return [*fixes, *(item for item in items if isinstance(item, Refused))]


_PartDecoder: TypeAlias = msgspec.json.Decoder[ReportOnWire] | msgspec.msgpack.Decoder[Any]


def _parts(payload: bytes) -> tuple[Sequence[bytes | msgspec.Raw], _PartDecoder | None]:
    """The reports of a payload, undecoded, and their decoder; None = look at each part's first byte."""
    first = payload.lstrip(b" \t\r\n")[:1]
    if first == b"{":
        return [payload], _json_report
    if first == b"[":
        return _json_list.decode(payload), _json_report
    if _is_map(payload):
        return [payload], _pack_report
    if _is_array(payload):
        parts = _pack_list.decode(payload)
        if parts and not (_is_array(parts[0]) or _is_map(parts[0])):
            return [payload], _pack_row  # one row, not a list of rows
        return parts, None
    raise ValueError("expected a JSON or MessagePack map or list")


def _is_map(data: bytes | msgspec.Raw) -> bool:
    first = bytes(memoryview(data)[:1])
    return bool(first) and (0x80 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF))


def _is_array(data: bytes | msgspec.Raw) -> bool:
    first = bytes(memoryview(data)[:1])
    return bool(first) and (0x90 <= first[0] <= 0x9F or first[0] in (0xDC, 0xDD))


def _one_report(
    part: bytes | msgspec.Raw,
    decode: _PartDecoder | None,
    unit_from_topic: str | None,
    received_s: float,
    source: str,
) -> Fix | Refused:
    decoder = decode or (_pack_row if _is_array(part) else _pack_report)
    try:
        report = decoder.decode(part)
        if isinstance(report, RowOnWire):
            fix = _fix_of_row(report, received_s, report.unit or "")
        else:
            fix = _fix_of_map(report, received_s, report.unit or "")
    except _UNREADABLE as error:
        return refused("unreadable", _words(error), source, part)
    return _checked(fix, unit_from_topic, source, part)


def _checked(fix: Fix, unit_from_topic: str | None, source: str, data: bytes | msgspec.Raw) -> Fix | Refused:
    """The fix under its topic's unit, or why it is not taken."""
    if unit_from_topic is None:
        if not UNIT_FORM.fullmatch(fix.unit):
            return refused("no_unit", "unit: expected 1 to 64 of A-Z a-z 0-9 . _ -", source, data)
    elif fix.unit not in ("", unit_from_topic):
        return refused("unit_mismatch", f"unit: expected {unit_from_topic!r} as in the topic", source, data)
    else:
        fix = msgspec.structs.replace(fix, unit=unit_from_topic)
    fault = checked_fix(fix)
    return refused("out_of_range", fault, source, data) if fault else fix


def _fix_of_map(report: ReportOnWire, received_s: float, unit: str) -> Fix:
    """Raises ValueError for a fixType word that is not in the contract."""
    word = report.fix_type
    if word is not None and word not in FIX_TYPE_WORDS:
        raise ValueError(f"fixType: expected one of {', '.join(FIX_TYPE_WORDS)}")
    time = report.fix_time
    return Fix(
        unit=unit,
        time_s=time.timestamp() if isinstance(time, datetime) else time / 1000.0,
        latitude=report.latitude,
        longitude=report.longitude,
        received_s=received_s,
        seq=report.seq,
        boot_id=None if report.boot_id is None else str(report.boot_id),
        accuracy_m=report.accuracy or 0.0,
        speed_mps=report.speed,
        heading_deg=report.heading,
        fix_type=FIX_TYPE_WORDS[word] if word else FixType.UNKNOWN,
        satellites=report.satellites,
        hdop=report.hdop,
        authenticated=bool(report.authenticated),
    )


def _fix_of_row(row: RowOnWire, received_s: float, unit: str) -> Fix:
    accuracy_cm, speed_cms, heading_cdeg = row.accuracy_cm, row.speed_cms, row.heading_cdeg
    return Fix(
        unit,
        row.fix_time_ms / 1000.0,
        row.latitude_e7 / 1e7,
        row.longitude_e7 / 1e7,
        received_s,
        row.seq,
        None,
        0.0 if accuracy_cm is None else accuracy_cm / 100.0,
        None if speed_cms is None else speed_cms / 100.0,
        None if heading_cdeg is None else heading_cdeg / 100.0,
        _FIX_TYPES[row.fix_type_code or 0],
    )


def fix_of_position(
    report: PositionReport, unit: str, received_s: float, source: str, *, phone: bool = False
) -> Fix | Refused:
    """A report of firmware_bridge as a fix of this unit, or why it is not one."""
    if report.fix_time_ms is None:
        return Refused("no_time", "fixTime: the protocol carried none", source, "", 0)
    fix = Fix(
        unit=unit,
        time_s=report.fix_time_ms / 1000.0,
        latitude=report.latitude,
        longitude=report.longitude,
        received_s=received_s,
        seq=report.seq,
        boot_id=report.boot_id,
        accuracy_m=report.accuracy or 0.0,
        speed_mps=report.speed,
        heading_deg=report.heading,
        fix_type=FIX_TYPE_WORDS.get(report.fix_type or "", FixType.UNKNOWN),
        satellites=report.satellites,
        hdop=report.hdop,
        authenticated=bool(report.authenticated),
        phone=phone,
    )
    return _checked(fix, unit, source, b"")


def fix_of_report(report: PositionReport, unit: str, received_s: float | None = None) -> Fix | None:
    """A recorded report as a fix, received when it was taken unless said; None if it cannot be used."""
    taken_s = (report.fix_time_ms or 0) / 1000.0
    fix = fix_of_position(report, unit, taken_s if received_s is None else received_s, "recording")
    return fix if isinstance(fix, Fix) else None


def _addressed(inbound: Inbound, topic: str) -> Address | None:
    if inbound.traccar_topic and matches(inbound.traccar_topic, topic):
        return Address(Kind.TRACCAR, "")
    if inbound.flespi_topic and matches(inbound.flespi_topic, topic):
        return Address(Kind.FLESPI, "")
    address = inbound.topics.parse(topic)
    if address and address.kind is Kind.OWNTRACKS and not inbound.owntracks:
        return None
    return address


def _operator_positions(
    inbound: Inbound, operator: str, topic: str, payload: bytes, received_s: float
) -> list[Fix | Refused]:
    if inbound.operators and operator not in inbound.operators:
        known = ", ".join(sorted(inbound.operators))
        return [refused("unknown_operator", f"expected one of {known}", topic, payload)]
    allowed = inbound.operators.get(operator, frozenset())
    items = decode_positions(payload, unit_from_topic=None, received_s=received_s, source=topic)
    taken = [_reportable(inbound, allowed, item, topic) for item in items]
    return _as_phones(taken) if operator in inbound.phone_operators else taken


def _as_phones(items: list[Fix | Refused]) -> list[Fix | Refused]:
    """The same fixes, as of phones: a report does not say what took it."""
    return [msgspec.structs.replace(item, phone=True) if isinstance(item, Fix) else item for item in items]


def _reportable(inbound: Inbound, allowed: frozenset[str], item: Fix | Refused, topic: str) -> Fix | Refused:
    """A fix only if this operator may speak for its unit."""
    if isinstance(item, Refused):
        return item
    if allowed and item.unit not in allowed:
        return Refused("unit_not_of_operator", f"unit {item.unit!r} is not listed for it", topic, "", 0)
    if item.unit in inbound.signing_keys:
        return Refused("unsigned", f"unit {item.unit!r} has a signing key: expected its signature", topic, "", 0)
    return item


_PLATFORMS = {Kind.OWNTRACKS: decode_owntracks, Kind.TRACCAR: decode_traccar, Kind.FLESPI: decode_flespi}


def _platform_positions(
    inbound: Inbound, kind: Kind, topic: str, payload: bytes, received_s: float
) -> list[Fix | Refused]:
    """Reports of an adapter; OwnTracks names the unit by its topic, the platforms in the report."""
    items: list[Fix | Refused] = []
    for event in _PLATFORMS[kind](payload, topic):
        if isinstance(event, Refusal):
            items.append(refused(event.reason, event.detail, topic, payload))
        elif not UNIT_FORM.fullmatch(event.unit or ""):
            items.append(refused("no_unit", "unit: expected 1 to 64 of A-Z a-z 0-9 . _ -", topic, payload))
        else:
            phone = kind is Kind.OWNTRACKS or event.unit in inbound.phone_units
            items.append(fix_of_position(event, event.unit or "", received_s, topic, phone=phone))
    return _by_time(items)


def _incident(unit: str, topic: str, payload: bytes) -> Item:
    incident = _message(Incident, topic, payload)
    if isinstance(incident, Refused):
        return incident
    if not (incident.kind or incident.code):
        return refused("unreadable", "expected `kind` or `code`", topic, payload)
    return UnitIncident(unit, incident)


M = TypeVar("M")


def _message(kind: type[M], topic: str, payload: bytes) -> M | Refused:
    """One JSON or MessagePack map of a kind."""
    try:
        if payload.lstrip(b" \t\r\n")[:1] == b"{":
            return msgspec.json.decode(payload, type=kind)
        if _is_map(payload):
            return msgspec.msgpack.decode(payload, type=kind)
        raise ValueError("expected a JSON or MessagePack map")
    except _UNREADABLE as error:
        return refused("unreadable", _words(error), topic, payload)


def _unsigned(inbound: Inbound, unit: str, topic: str, payload: bytes) -> bytes | Refused:
    """The payload behind its signature, if any; a unit with a key must sign, one without cannot."""
    keys = inbound.signing_keys.get(unit)
    if payload[:1] != bytes([SIGNED_PREFIX]):
        if keys:
            return refused("unsigned", "this unit has a signing key: expected its signature", topic, payload)
        return payload
    if not keys:
        return refused("no_signing_key", "signed, but no key is configured for this unit", topic, payload)
    return _verified(keys, topic, payload)


def _verified(keys: Mapping[str, Ed25519PublicKey], topic: str, payload: bytes) -> bytes | Refused:
    """Body of `C1 | length | key id | signature | body` if the signature over topic, 00 and body is good."""
    id_end = 2 + (payload[1] if len(payload) > 1 else 0)
    key_id = payload[2:id_end].decode("ascii", "replace")
    signature, body = payload[id_end : id_end + SIGNATURE_BYTES], payload[id_end + SIGNATURE_BYTES :]
    if len(signature) < SIGNATURE_BYTES:
        return refused("bad_signature", "signed payload ends inside its header", topic, payload)
    if key_id not in keys:
        return refused("bad_signature", f"key id {key_id!r} is not configured for this unit", topic, payload)
    try:
        keys[key_id].verify(signature, topic.encode() + b"\0" + body)
    except InvalidSignature:
        return refused("bad_signature", f"not signed by key {key_id!r} under this topic", topic, payload)
    return body


def refused(reason: str, detail: str, source: str, data: bytes | msgspec.Raw) -> Refused:
    """A refusal of these bytes, of which only digest and length are kept."""
    view = bytes(memoryview(data))
    return Refused(reason, detail, source, hashlib.sha256(view).hexdigest(), len(view))


def _words(error: BaseException) -> str:
    """msgspec names field and expectation, never the value; other decoders' words could quote the payload."""
    if isinstance(error, UnicodeDecodeError | RecursionError | OverflowError):
        return type(error).__name__
    return str(error)


def wire_report(fix: Fix, *, with_unit: bool = False) -> dict[str, Any]:
    """The fix as position report with the contract's names; what is unknown is left out. Time in epoch ms."""
    report = {
        "unit": fix.unit if with_unit else None,
        "seq": fix.seq,
        "bootId": fix.boot_id,
        "fixTime": round(fix.time_s * 1000),
        "latitude": fix.latitude,
        "longitude": fix.longitude,
        "accuracy": fix.accuracy_m or None,
        "speed": fix.speed_mps,
        "heading": fix.heading_deg,
        "satellites": fix.satellites,
        "hdop": fix.hdop,
        "fixType": _WORD_OF_FIX_TYPE.get(fix.fix_type),
        "authenticated": fix.authenticated or None,
    }
    return {name: value for name, value in report.items() if value is not None}


def encode_report(fix: Fix, *, packed: bool = False, with_unit: bool = False) -> bytes:
    """One position report: JSON with RFC 3339 time, or a MessagePack map with epoch milliseconds."""
    return _encoded(fix, packed, with_unit)


def encode_list(fixes: Sequence[Fix], *, packed: bool = False, with_unit: bool = False) -> bytes:
    """A list of position reports; `with_unit` for batches of an operator."""
    reports = [_mapped(fix, packed, with_unit) for fix in fixes]
    return msgspec.msgpack.encode(reports) if packed else msgspec.json.encode(reports)


def _encoded(fix: Fix, packed: bool, with_unit: bool) -> bytes:
    report = _mapped(fix, packed, with_unit)
    return msgspec.msgpack.encode(report) if packed else msgspec.json.encode(report)


def _mapped(fix: Fix, packed: bool, with_unit: bool) -> dict[str, Any]:
    report = wire_report(fix, with_unit=with_unit)
    if not packed:
        report["fixTime"] = rfc3339(fix.time_s)
    return report


def encode_rows(fixes: Sequence[Fix], *, with_unit: bool = True) -> bytes:
    """Compact MessagePack rows; `bootId`, `satellites`, `hdop` and `authenticated` have no place in them."""
    return msgspec.msgpack.encode([_row(fix, with_unit) for fix in fixes])


def _row(fix: Fix, with_unit: bool) -> RowOnWire:
    return RowOnWire(
        unit=fix.unit if with_unit else None,
        seq=fix.seq,
        fix_time_ms=round(fix.time_s * 1000),
        latitude_e7=round(fix.latitude * 1e7),
        longitude_e7=round(fix.longitude * 1e7),
        accuracy_cm=round(fix.accuracy_m * 100),
        speed_cms=None if fix.speed_mps is None else round(fix.speed_mps * 100),
        heading_cdeg=None if fix.heading_deg is None else round(fix.heading_deg * 100),
        fix_type_code=int(fix.fix_type),
    )


def encode_owntracks(fix: Fix) -> bytes:
    """OwnTracks `location`: whole seconds, km/h, 68 % radius; no seq."""
    body = {
        "_type": "location",
        "lat": fix.latitude,
        "lon": fix.longitude,
        "tst": int(fix.time_s),
        "acc": round(fix.accuracy_m / ACCURACY_68_TO_95) if fix.accuracy_m else None,
        "vel": None if fix.speed_mps is None else round(fix.speed_mps / KMH_MPS),
        "cog": None if fix.heading_deg is None else round(fix.heading_deg),
        "tid": fix.unit[-2:],
    }
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def encode_watermark(boot_id: str | None, up_to: int) -> bytes:
    """Payload of the topic `watermark`."""
    return msgspec.json.encode(Watermark(boot_id, up_to))


def decode_watermark(payload: bytes) -> Watermark:
    """For units: raises msgspec.MsgspecError if it is none."""
    return msgspec.json.decode(payload, type=Watermark)
