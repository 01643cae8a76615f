"""What watchers see of a running agent: its metrics. No plate, unit or position is a label."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4, 8, 15)
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2)


class Metrics:
    """Prometheus metrics of one agent, names as in design/experience.md section 7."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.fixes = counter("borderlane_fixes", "Position reports by source and result", ["source", "result"])
        self.activations = counter("borderlane_activations", "Activations by answer of customs", ["result"])
        self.instructions = counter("borderlane_instructions", "Instructions by action", ["action"])
        self.fix_to_instruction = histogram(
            "borderlane_fix_to_instruction_seconds",
            "From arrival of the settling fix until the broker has the first instruction",
            buckets=BUCKETS_S,
        )
        self.risk = histogram("borderlane_risk_seconds", "Risk request to answer", buckets=BUCKETS_S)
        self.commit = histogram("borderlane_journal_sync_seconds", "One transaction", buckets=COMMIT_BUCKETS_S)
        self.refusals = counter("borderlane_refusals", "Refused input by source and reason", ["source", "reason"])
        self.alarms = counter("borderlane_alarms", "Alarms by name", ["name"])
        self.disk_used = gauge("borderlane_disk_used_share", "How full the disk of the data folder is")
        self.outbox_pending = gauge("borderlane_outbox_pending", "Effects stored and not yet done")
        self.outbox_oldest = gauge("borderlane_outbox_oldest_seconds", "Age of the oldest effect not yet done")
        self.link_up = gauge("borderlane_link_up", "1 if the link is up", ["link"])
        self.connections = gauge(
            "borderlane_listener_connections", "Open connections of telematics units", ["listener"]
        )
        self.frames = gauge(
            "borderlane_listener_frames",
            "Frames and connections of telematics units by what became of them, since the start",
            ["listener", "result"],
        )
        self.mode = gauge("borderlane_mode", "1 for each mode in force", ["mode"])
        self.zone_set = gauge("borderlane_zone_set_info", "Zone set in force", ["version"])
        self.units = gauge("borderlane_units", "Units known to the detector")
        self.output = gauge("borderlane_output", "1 for the state an output is measured to show", ["output", "state"])
        self.output_fault = gauge("borderlane_output_fault", "1 if an output has a fault or no link", ["output"])

    def text(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
