"""docs/asyncapi.yaml against the code: topics, payload models, words, and messages that are really sent."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

import agent
from agent.activation.effects import EmitEvent, RaiseAlarm, SendNotice
from agent.clock import Clock
from agent.condition import Condition
from agent.domain.instruction import INSTRUCTION_TYPE, Instruction, Receipt
from agent.ingest.topics import Kind, Topics, matches
from agent.ingest.wire import (
    MAX_BYTES,
    MAX_REPORTS,
    Inbound,
    Incident,
    ReportOnWire,
    RowOnWire,
    Watermark,
    Witness,
    encode_watermark,
)
from agent.postings import postings
from agent.register import Register
from agent.status.live import Metrics
from agent.status.modes import Mode
from zones.catalogue import parse_zone_set, shipped_bytes

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "asyncapi.yaml"
MARK = "# From here on printed from the code"
NAMES = {"ReportOnWire": "PositionReport", "RowOnWire": "PositionRow"}
"""What the models are called to strangers."""
MODELS = (ReportOnWire, RowOnWire, Watermark, Instruction, Receipt, Incident, Witness)
ADDRESSES = {
    "position": Topics().position("{unit}"),
    "positions": Topics().positions("{operator}"),
    "watermark": Topics().watermark("{unit}"),
    "instruction": Topics().instruction("{unit}"),
    "receipt": Topics().receipt("{unit}"),
    "incident": Topics().incident("{unit}"),
    "witness": Topics().witness("{device}"),
    "status": Topics().status("{agent}"),
    "events": Topics().events("{agent}"),
    "heartbeat": Topics().heartbeat("{agent}"),
    "owntracks": Topics().owntracks("{user}.{device}"),
    "traccar": None,
    "flespi": None,
}


def told_types() -> set[str]:
    """Types of event that the agent's code emits."""
    types = {"ALARM", "NOTICE"}  # RaiseAlarm and SendNotice, in postings.py
    for file in Path(agent.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "emit":
                types |= _words(node.args[0])
            elif name == "EmitEvent":
                types |= {word for key in node.keywords if key.arg == "kind" for word in _words(key.value)}
    return types | {"TOUCH_SEEN", "BYPASSED"}  # at_the_border.py puts these into a name first


def _words(node: ast.expr) -> set[str]:
    return {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def printed_schemas() -> dict[str, Any]:
    """The schemas as they follow from the models and enumerations."""
    _, components = msgspec.json.schema_components(MODELS, ref_template="#/components/schemas/{name}")
    text = msgspec.json.encode(components).decode()
    for inner, outer in NAMES.items():
        text = text.replace(f"#/components/schemas/{inner}", f"#/components/schemas/{outer}")
        text = text.replace(f'"title":"{inner}"', f'"title":"{outer}"')
    schemas = {NAMES.get(name, name): schema for name, schema in msgspec.json.decode(text).items()}
    schemas["Mode"] = {"enum": [mode.name for mode in Mode]}
    schemas["EventType"] = {"enum": sorted(told_types())}
    return dict(sorted(schemas.items()))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    hand, _, _ = FILE.read_text("utf-8").partition(MARK)
    if os.environ.get("BORDERLANE_WRITE_DOCS") == "1":
        head = f"{MARK}: BORDERLANE_WRITE_DOCS=1 pytest tests/architecture/test_asyncapi.py\n"
        body = yaml.safe_dump({"schemas": printed_schemas()}, sort_keys=False, width=116, allow_unicode=True)
        FILE.write_text(hand + head + "".join(f"  {line}\n" for line in body.splitlines()), "utf-8")
    loaded = yaml.safe_load(FILE.read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def _resolved(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [one for value in part.values() for one in _references(value)]
    if isinstance(part, list):
        return [one for value in part for one in _references(value)]
    return []


def check(document: dict[str, Any], message: str, value: Any) -> None:
    """Hold a value against the payload of a message."""
    schema = document["components"]["messages"][message]["payload"] | {"components": document["components"]}
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)


def test_schemas_are_those_of_the_models(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"] == printed_schemas()


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = _references(document)
    assert len(references) > 30
    for reference in references:
        assert _resolved(document, reference), reference


def test_channels_are_the_topics_of_the_code(document: dict[str, Any]) -> None:
    assert {name: channel["address"] for name, channel in document["channels"].items()} == ADDRESSES
    assert set(ADDRESSES) == {kind.value for kind in Kind}


def test_parameters_are_those_in_the_address(document: dict[str, Any]) -> None:
    for name, channel in document["channels"].items():
        named = {level[1:-1] for level in (channel["address"] or "").split("/") if level.startswith("{")}
        assert named == channel.get("parameters", {}).keys(), name


def test_every_channel_is_used_and_in_the_right_direction(document: dict[str, Any]) -> None:
    """The agent receives exactly the topics it subscribes to."""
    inbound = Inbound(owntracks=True, traccar_topic="t/positions", flespi_topic="f/messages")
    filters = [name for name, _ in inbound.filters()]
    directions: dict[str, set[str]] = {name: set() for name in document["channels"]}
    for operation in document["operations"].values():
        directions[operation["channel"]["$ref"].rpartition("/")[2]].add(operation["action"])
    for name, channel in document["channels"].items():
        address = channel["address"]
        subscribed = address is None or any(matches(one, address) for one in filters)
        if name == "heartbeat":  # its own link hears it (mqtt_source.py)
            assert directions[name] == {"send", "receive"}
        else:
            assert directions[name] == ({"receive"} if subscribed else {"send"}), name


def test_instruction_is_described_as_it_is_signed(document: dict[str, Any]) -> None:
    message = document["components"]["messages"]["instruction"]
    assert message["x-jws-type"] == INSTRUCTION_TYPE
    assert message["x-jws-payload"] == {"$ref": "#/components/schemas/Instruction"}


def test_status_that_is_sent_fits(document: dict[str, Any]) -> None:
    name = "border_zones.geojson"
    register = Register.loaded(parse_zone_set(shipped_bytes(name), name), {})
    condition = Condition("box-1", "0.1.0", Clock(), register, Metrics())
    for message in (condition.message(), condition.last_message()):
        check(document, "status", msgspec.json.decode(message))


@pytest.mark.parametrize(
    "effect",
    [
        RaiseAlarm(name="BREACH", jrn="J-1", unit="U-1", crossing="thayngen", text="left"),
        RaiseAlarm(name="OFFICER_TASK", jrn=None, unit="U-1", crossing=None, text="unknown vehicle"),
        SendNotice(jrn="J-1", unit="U-1", code="NOT_READY", field="$.references[0]"),
        EmitEvent(kind="MODE", body={"mode": "UPLINK_LOST", "degraded": ["UPLINK_LOST"]}),
        EmitEvent(kind="UNIT_LOST", body={"unit": "U-1", "crossing": "thayngen"}),
    ],
)
def test_events_that_are_sent_fit(document: dict[str, Any], effect: Any) -> None:
    (row,) = postings(effect, "box-1", Topics(), 1_800_000_000.0).outbox
    assert row.target == Topics().events("box-1")
    check(document, "event", msgspec.json.decode(row.body))


def test_description_refuses_what_is_not_sent(document: dict[str, Any]) -> None:
    for wrong in (
        {"type": "ELSE", "time": "2026-11-22T10:00:00.000Z"},
        {"type": "MODE", "time": "2026-11-22T10:00:00.000Z", "mode": "FINE", "degraded": []},
        {"type": "DETECTION", "time": "2026-11-22T10:00:00.000Z"},
        {"type": "MODE"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check(document, "event", wrong)


def test_bounds_are_those_of_the_code(document: dict[str, Any]) -> None:
    summary = document["components"]["messages"]["positionReports"]["summary"]
    assert f"At most {MAX_REPORTS} reports and {MAX_BYTES // 1024} KiB" in summary


def test_watermark_and_report_fit(document: dict[str, Any]) -> None:
    check(document, "watermark", msgspec.json.decode(encode_watermark("b1", 7)))
    check(document, "positionReport", {"fixTime": 1_800_000_000_000, "latitude": 47.7, "longitude": 8.6})
    with pytest.raises(jsonschema.ValidationError):
        check(document, "positionReport", {"fixTime": 0, "latitude": 91, "longitude": 8.6})
