"""What watchers see of a running agent: its metrics. No plate, unit or position is a label."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4, 8, 15)
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2)


class Metrics:
    """Prometheus metrics of one agent, names as in design/experience.md section 7."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.fixes = Counter(
            "borderlane_fixes",
            "Position reports by source and result",
            ["source", "result"],
            registry=self.registry,
        )
        self.activations = Counter(
            "borderlane_activations", "Activations by answer of customs", ["result"], registry=self.registry
        )
        self.instructions = Counter(
            "borderlane_instructions", "Instructions by action", ["action"], registry=self.registry
        )
        self.fix_to_instruction = Histogram(
            "borderlane_fix_to_instruction_seconds",
            "From arrival of the settling fix until the broker has the first instruction",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.risk = Histogram(
            "borderlane_risk_seconds", "Risk request to answer", buckets=BUCKETS_S, registry=self.registry
        )
        self.commit = Histogram(
            "borderlane_journal_sync_seconds",
            "One transaction",
            buckets=COMMIT_BUCKETS_S,
            registry=self.registry,
        )
        self.refusals = Counter(
            "borderlane_refusals", "Refused input by source and reason", ["source", "reason"], registry=self.registry
        )
        self.alarms = Counter("borderlane_alarms", "Alarms by name", ["name"], registry=self.registry)
        self.disk_used = Gauge(
            "borderlane_disk_used_share", "How full the disk of the data folder is", registry=self.registry
        )
        self.outbox_pending = Gauge(
            "borderlane_outbox_pending", "Effects stored and not yet done", registry=self.registry
        )
        self.outbox_oldest = Gauge(
            "borderlane_outbox_oldest_seconds",
            "Age of the oldest effect not yet done",
            registry=self.registry,
        )
        self.link_up = Gauge("borderlane_link_up", "1 if the link is up", ["link"], registry=self.registry)
        self.connections = Gauge(
            "borderlane_listener_connections",
            "Open connections of telematics units",
            ["listener"],
            registry=self.registry,
        )
        self.frames = Gauge(
            "borderlane_listener_frames",
            "Frames and connections of telematics units by what became of them, since the start",
            ["listener", "result"],
            registry=self.registry,
        )
        self.mode = Gauge("borderlane_mode", "1 for each mode in force", ["mode"], registry=self.registry)
        self.zone_set = Gauge("borderlane_zone_set_info", "Zone set in force", ["version"], registry=self.registry)
        self.units = Gauge("borderlane_units", "Units known to the detector", registry=self.registry)

        self.output = Gauge(
            "borderlane_output",
            "1 for the state an output is measured to show",
            ["output", "state"],
            registry=self.registry,
        )
        self.output_fault = Gauge(
            "borderlane_output_fault", "1 if an output has a fault or no link", ["output"], registry=self.registry
        )

    def text(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
