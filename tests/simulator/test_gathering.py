"""What is read from log, register and metrics."""

from simulator.gathering import (
    assessment_facts,
    customs_activations,
    ended_s,
    fix_counts,
    officer_facts,
    published,
    read_log,
    started_s,
)


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
