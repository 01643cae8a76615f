"""What a demo shows in the terminal: a live picture, or one line for each decision where there is no terminal."""

from __future__ import annotations

import time
from collections import Counter, deque
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

RECENT = 12
CROSSINGS = 14
STYLE = {"GO": "bold green", "GO_WITH_OBLIGATION": "bold cyan", "STOP": "bold red", "HOLD": "bold yellow"}
WORD = {"GO": "GO", "GO_WITH_OBLIGATION": "GO, REPORT", "STOP": "STOP", "HOLD": "HOLD"}
ALARMS_SHOWN = frozenset({"BREACH", "HOLD_LEFT", "LOST_UNDER_STOP"})


def decision_line(seconds: float, fact: dict[str, Any]) -> Text:
    """One instruction as a line."""
    action = str(fact.get("action"))
    place = f"{fact.get('crossing') or '-'} {fact.get('direction') or ''}".strip()
    line = Text(f"{seconds:6.1f} s  ")
    line.append(f"{WORD.get(action, action):<10}", STYLE.get(action, ""))
    line.append(f"  {place:<32} {fact.get('jrn') or fact.get('unit') or '':<22} {fact.get('reasonCode') or ''}")
    return line


def sign_text(fact: dict[str, Any]) -> Text:
    """What the sign at one crossing shows; dark is its default."""
    shows = str(fact.get("shows"))
    line = Text(f"sign {fact.get('crossing')} {fact.get('direction')}  ")
    line.append(f" {WORD.get(shows, 'dark')} ", f"{STYLE[shows]} reverse" if shows in STYLE else "dim reverse")
    return line


def fault_line(seconds: float, fact: dict[str, Any]) -> Text:
    """One fault that was played, as a line."""
    took_ms = fact.get("recoveredAfterMs")
    words = "not recovered" if took_ms is None else f"serving again after {took_ms / 1000:.1f} s"
    return Text(f"{seconds:6.1f} s  {fact['kind']}: {words}", "bold magenta")


class LineView:
    """Line after line, for pipes and logs; quiet says only where the control room is."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def tell(self, kind: str, fact: dict[str, Any]) -> None:
        """Take one fact."""
        seconds = time.monotonic() - self._began_s
        if kind == "serving":
            self._console.print(f"control room: {fact['url']}", highlight=False)
            if "trade" in fact:
                self._console.print(f"a carrier's page: {fact['trade']}", highlight=False, soft_wrap=True)
        elif kind == "instruction" and not self._quiet:
            self._console.print(decision_line(seconds, fact), soft_wrap=True)
        elif kind == "sign" and not self._quiet:
            self._console.print(Text(f"{seconds:6.1f} s  ").append_text(sign_text(fact)))
        elif kind == "fault" and not self._quiet:
            self._console.print(fault_line(seconds, fact))
        elif kind == "alarm" and not self._quiet and fact.get("name") in ALARMS_SHOWN:
            self._console.print(
                Text(f"{seconds:6.1f} s  {fact['name']:<10}  {fact.get('crossing')} {fact.get('text')}", "bold red")
            )


class LiveView:
    """Crossings, instructions, latencies and progress, drawn four times a second."""

    def __init__(self, console: Console, seconds: float | None) -> None:
        self._console, self._seconds = console, seconds
        self._began_s = time.monotonic()
        self._recent: deque[Text] = deque(maxlen=RECENT)
        self._crossings: dict[str, Counter[str]] = {}
        self._status: dict[str, Any] = {}
        self._sign: dict[str, Any] = {}
        self._url = ""
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._picture)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def tell(self, kind: str, fact: dict[str, Any]) -> None:
        """Take one fact."""
        seconds = time.monotonic() - self._began_s
        if kind == "serving":
            self._url = fact["url"]
            if "trade" in fact:
                self._console.print(f"a carrier's page: {fact['trade']}", highlight=False, soft_wrap=True)
        elif kind == "status" and fact:
            self._status = fact
        elif kind == "sign":
            self._sign = fact
        elif kind == "instruction":
            self._recent.append(decision_line(seconds, fact))
            self._at(fact)[str(fact.get("action"))] += 1
        elif kind == "fault":
            self._recent.append(fault_line(seconds, fact))
        elif kind == "detection" and fact.get("event") == "ENTERED":
            crossing = str(fact.get("zoneId", "")).split("/")[0]
            self._crossings.setdefault(crossing, Counter())["entered"] += "/activation" in str(fact.get("zoneId"))
        elif kind == "alarm" and fact.get("name") in ALARMS_SHOWN:
            self._recent.append(
                Text(f"{seconds:6.1f} s  {fact['name']}  {fact.get('crossing')} {fact.get('text')}", "bold red")
            )

    def _at(self, fact: dict[str, Any]) -> Counter[str]:
        return self._crossings.setdefault(str(fact.get("crossing") or "-"), Counter())

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = [self._headline(), self._board(), self._decisions()]
        if self._seconds is not None:
            done_s = min(self._seconds, time.monotonic() - self._began_s)
            parts.append(ProgressBar(total=self._seconds, completed=done_s))
        return Group(*parts)

    def _headline(self) -> Text:
        status = self._status
        latency = status.get("fixToInstructionMs") or {}
        line = Text("borderlane", "bold")
        line.append(f"   control room {self._url or '(starting)'}", "cyan")
        if status:
            line.append(f"\n{status['mode']}   vehicles {status['units']}   journeys {status['journeys']}   ")
            line.append(f"journal {status['journalEntries']} entries   outbox {status['outboxPending']}   ")
            line.append(f"fix to instruction p50 {latency.get('p50', '-')} ms, p99 {latency.get('p99', '-')} ms")
        if self._sign:
            line.append("\n").append_text(sign_text(self._sign))
        return line

    def _board(self) -> Table:
        table = Table("crossing", expand=True, pad_edge=False)
        columns = ("entered", "GO", "GO_WITH_OBLIGATION", "STOP", "HOLD")
        for column in columns:
            table.add_column(
                WORD.get(column, column), justify="right", style=STYLE.get(column, "").replace("bold ", "")
            )
        busiest = sorted(self._crossings.items(), key=lambda item: (-sum(item[1].values()), item[0]))
        for crossing, counts in busiest[:CROSSINGS]:
            table.add_row(crossing, *(str(counts[column] or "") for column in columns))
        total = sum((counts for counts in self._crossings.values()), Counter[str]())
        table.add_section()
        table.add_row(f"all {len(self._crossings)}", *(str(total[column] or "") for column in columns))
        return table

    def _decisions(self) -> Panel:
        return Panel(
            Group(*reversed(self._recent)) if self._recent else Text("waiting for the first lorry"),
            title="instructions",
        )
