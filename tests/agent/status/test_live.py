"""agent/status/live.py: metrics under the names of the manual, with labels that name nobody."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from agent.status.live import BUCKETS_S, Metrics

NAMES = {
    "borderlane_fixes",
    "borderlane_activations",
    "borderlane_instructions",
    "borderlane_fix_to_instruction_seconds",
    "borderlane_risk_seconds",
    "borderlane_journal_sync_seconds",
    "borderlane_refusals",
    "borderlane_alarms",
    "borderlane_outbox_pending",
    "borderlane_disk_used_share",
    "borderlane_listener_connections",
    "borderlane_listener_frames",
    "borderlane_output",
    "borderlane_output_fault",
    "borderlane_outbox_oldest_seconds",
    "borderlane_link_up",
    "borderlane_mode",
    "borderlane_zone_set_info",
    "borderlane_units",
}
LABELS = {"output", "state", "source", "result", "action", "name", "link", "mode", "version", "le", "reason"}


def used() -> Metrics:
    metrics = Metrics()
    metrics.fixes.labels("mqtt", "accepted").inc(3)
    metrics.activations.labels("ACCEPTED").inc()
    metrics.instructions.labels("GO").inc()
    metrics.fix_to_instruction.observe(0.15)
    metrics.risk.observe(0.3)
    metrics.commit.observe(0.004)
    metrics.refusals.labels("serial", "bad_checksum").inc()
    metrics.alarms.labels("BREACH").inc()
    metrics.link_up.labels("broker").set(True)
    metrics.mode.labels("NORMAL").set(True)
    metrics.output.labels("sign-1", "GO").set(True)
    metrics.output_fault.labels("sign-1").set(False)
    metrics.zone_set.labels("2026-11-22.1").set(1)
    return metrics


def test_the_exposition_can_be_read_back_whole() -> None:
    families = {one.name: one for one in text_string_to_metric_families(used().text().decode())}
    assert {name for name in families if not name.endswith("_created")} == NAMES
    values = {sample.name: sample.value for sample in families["borderlane_fixes"].samples}
    assert values["borderlane_fixes_total"] == 3.0


def test_no_label_can_name_a_unit_a_plate_or_a_place() -> None:
    labels = {
        label
        for family in text_string_to_metric_families(used().text().decode())
        for sample in family.samples
        for label in sample.labels
    }
    assert labels == LABELS


def test_the_buckets_tell_whether_an_instruction_was_in_time() -> None:
    """Target 2 s, limit 8 s (contract section 6, invariant 4)."""
    assert {2, 8} <= set(BUCKETS_S) and list(BUCKETS_S) == sorted(BUCKETS_S)


def test_two_agents_in_one_process_do_not_count_for_each_other() -> None:
    one, other = Metrics(), Metrics()
    one.units.set(7)
    assert b"borderlane_units 7.0" in one.text() and b"borderlane_units 0.0" in other.text()
