"""What is read from log, register and metrics."""

from pathlib import Path

import pytest

from agent.errors import LinkError
from simulator.gathering import (
    assessment_facts,
    customs_activations,
    ended_s,
    fix_counts,
    gather,
    officer_facts,
    patiently,
    published,
    read_log,
    started_s,
)
from simulator.parts import PartFailed, free_ports
from simulator.report import Facts


def test_log_of_a_killed_process_is_read_up_to_the_cut(tmp_path):
    file = tmp_path / "lorry-log.jsonl"
    file.write_text(
        '{"event": "started", "at": 100.0, "startS": 100.5}\n'
        '{"event": "progress", "at": 105.0, "published": 40}\n'
        '{"event": "officer", "at": 120.0, "key": "J1", "code": "GO", "status": 200}\n'
        '{"event": "officer", "at": 121.0, "key": "J2", "code": "CONFORM", "mrn": "m", "status": 503}\n'
        '{"event": "progress", "publ'
    )
    lines = read_log(file)
    assert len(lines) == 4
    assert started_s(lines) == 100.5
    assert published(lines) == 40
    assert ended_s(lines[2:]) == 121.0
    assert ended_s([*lines[2:], {"event": "ended", "at": 119.0}]) == 119.0
    (fact,) = officer_facts(lines)
    assert (fact.key, fact.code, fact.mrn, fact.at_s) == ("J1", "GO", None, 120.0)


def test_nothing_started_nothing_published():
    assert started_s([]) is None
    assert published([]) == 0
    assert ended_s([]) is None


def test_refused_activations_do_not_count():
    row = {"activationId": "a", "mrn": "m", "jrn": "J", "crossing": "thayngen", "direction": "IN", "result": "ACCEPTED"}
    facts = customs_activations([row, {**row, "activationId": "b", "result": "REFUSED"}])
    assert [fact.activation_id for fact in facts] == ["a"]


def test_assessments_of_empty_runs_have_no_mrn():
    rows = [
        {"jrn": "J", "routing": "TO_ENTRY"},
        {"jrn": "J", "mrn": "m", "routing": "TO_CONTROL", "routingControlLocation": "ON_ENTRY"},
    ]
    first, second = assessment_facts(rows)
    assert (first.mrn, first.location) == (None, None)
    assert (second.mrn, second.routing, second.location) == ("m", "TO_CONTROL", "ON_ENTRY")


def test_fix_counts_add_up_over_sources():
    text = (
        "# HELP borderlane_fixes_total Position reports\n# TYPE borderlane_fixes_total counter\n"
        'borderlane_fixes_total{result="accepted",source="mqtt"} 12.0\n'
        'borderlane_fixes_total{result="accepted",source="serial"} 3.0\n'
        'borderlane_fixes_total{result="late",source="mqtt"} 1.0\n'
        "# TYPE borderlane_units gauge\nborderlane_units 7.0\n"
    )
    counts = fix_counts(text)
    assert (counts["accepted"], counts["late"], counts["refused"]) == (15, 1, 0)


async def _ask_nobody(folder: Path) -> Facts:
    log = folder / "lorry-log.jsonl"
    log.write_text("")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    return await gather(
        lorry_log=log, agent_data=folder, agent_key=folder, customs_url=url, agent_url=url, end_s=0.0, wall_seconds=1.0
    )


async def test_a_part_that_stays_away_is_named(tmp_path):
    with pytest.raises(LinkError, match=r"no report: activations and assessments of customs at http.*Cannot connect"):
        await patiently(lambda: _ask_nobody(tmp_path), lambda: None, patience_s=0.0)


async def test_a_part_that_has_ended_is_not_waited_for(tmp_path):
    def ended() -> None:
        raise PartFailed("agent ended with status 1")

    with pytest.raises(PartFailed):
        await patiently(lambda: _ask_nobody(tmp_path), ended)


async def test_what_is_missing_at_first_is_asked_for_again(tmp_path):
    facts = Facts(end_s=1.0, wall_seconds=1.0)
    tries = []

    async def gathering() -> Facts:
        tries.append(1)
        return facts if len(tries) == 3 else await _ask_nobody(tmp_path)

    assert await patiently(gathering, lambda: None, again_s=0.0) is facts
