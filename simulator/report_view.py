"""The report of a run for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulator.report import Finding

FINDINGS_SHOWN = 20


def report_view(report: Mapping[str, Any], findings: Sequence[Finding]) -> RenderableType:
    """First line = answer, then the counters, then what is not as it had to be."""
    return Group(_answer(report), _counters(report), *_listed(findings))


def _answer(report: Mapping[str, Any]) -> Text:
    activations, instructions = report["activations"], report["instructions"]
    told = sum(instructions[action] for action in ("GO", "GO_WITH_OBLIGATION", "STOP", "HOLD"))
    words = (
        f"{report['lorries']} lorries at {report['crossings']} crossings in {report['seconds']} s: "
        f"{activations['journal']} activations, {told} instructions"
    )
    if report["ok"]:
        return Text(f"ok: {words}", style="bold green")
    return Text(f"not ok: {words}", style="bold red")


def _counters(report: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name in ("fixes", "activations", "instructions"):
        shown = "  ".join(f"{key} {value}" for key, value in report[name].items())
        table.add_row(name, shown)
    latency = report["latencyMs"]["fixToInstruction"]
    table.add_row("fix to instruction", f"p50 {latency['p50']} ms  p99 {latency['p99']} ms  max {latency['max']} ms")
    journal = report["journal"]
    table.add_row("journal", f"{journal['entries']} entries, {'verified' if journal['verified'] else 'NOT VERIFIED'}")
    for fault in report["faults"]:
        table.add_row("fault", f"{fault['kind']} at {fault['at']} s: recovered {fault['recoveredAfterMs']} ms")
    if report["peakRssMb"]:
        table.add_row("peak memory", "  ".join(f"{key} {value} MB" for key, value in report["peakRssMb"].items()))
    return table


def _listed(findings: Sequence[Finding]) -> list[Text]:
    lines = [Text(f"{one.what}: {one.key}: {one.detail}", style="red") for one in findings[:FINDINGS_SHOWN]]
    if len(findings) > FINDINGS_SHOWN:
        lines.append(Text(f"... and {len(findings) - FINDINGS_SHOWN} more", style="red"))
    return lines
