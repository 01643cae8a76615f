from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from agent.domain.instruction import Action
from simulator.demo_view import CROSSINGS, RECENT, STYLE, WORD, LineView, LiveView, decision_line

GO = {
    "action": "GO",
    "crossing": "thayngen",
    "direction": "IN",
    "jrn": "J-1",
    "unit": "lorry-1",
    "reasonCode": "RELEASED",
}
STATUS = {
    "mode": "UPLINK_LOST",
    "units": 17,
    "journeys": 21,
    "journalEntries": 400,
    "outboxPending": 3,
    "fixToInstructionMs": {"p50": 41.5, "p99": 99.0, "max": 99.0},
}
ENTERED = {"event": "ENTERED", "zoneId": "thayngen/in/activation"}


def console() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=120, height=60, force_terminal=False), out


def live(seconds: float | None, *facts: tuple[str, dict[str, Any]]) -> str:
    """What the live view shows at its end."""
    screen, out = console()
    with LiveView(screen, seconds) as view:
        for kind, fact in facts:
            view.tell(kind, fact)
    return out.getvalue()


def row(shown: str, name: str) -> list[str]:
    """Entered, GO, GO and report, STOP, HOLD of one row of the table."""
    (line,) = (line for line in shown.splitlines() if line.strip("│ ").split("│")[0].strip() == name)
    return [cell.strip() for cell in line.strip("│").split("│")[1:]]


@pytest.mark.parametrize("action", list(Action))
def test_every_action_has_a_word_and_a_colour_in_one_line(action: Action) -> None:
    line = decision_line(3.25, {**GO, "action": action.name})
    assert re.match(rf" +3\.[23] s  {re.escape(WORD[action.name])} +thayngen IN +J-1 +RELEASED$", line.plain)
    assert [span.style for span in line.spans] == [STYLE[action.name]]


@pytest.mark.parametrize(
    ("missing", "shown"),
    [({"jrn": None}, "lorry-1"), ({"crossing": None, "direction": None}, " - "), ({"reasonCode": None}, "J-1")],
)
def test_a_line_says_what_it_can(missing: dict[str, Any], shown: str) -> None:
    assert shown in decision_line(0.0, {**GO, **missing}).plain
    assert "None" not in decision_line(0.0, {**GO, **missing}).plain


def test_without_a_terminal_there_is_a_line_for_each_decision_and_alarm() -> None:
    screen, out = console()
    with LineView(screen) as view:
        view.tell("serving", {"url": "http://127.0.0.1:8090/"})
        view.tell("status", STATUS)
        view.tell("instruction", GO)
        view.tell("alarm", {"name": "BREACH", "crossing": "thayngen", "text": "J-2 left under STOP"})
        view.tell("alarm", {"name": "UNDELIVERED", "crossing": "thayngen", "text": "not seen"})
        view.tell("detection", ENTERED)
    lines = out.getvalue().splitlines()
    assert lines[0] == "control room: http://127.0.0.1:8090/"
    assert [line.split()[2] for line in lines[1:]] == ["GO", "BREACH"]


def test_quiet_says_only_where_the_control_room_is() -> None:
    screen, out = console()
    with LineView(screen, quiet=True) as view:
        view.tell("instruction", GO)
        view.tell("serving", {"url": "http://127.0.0.1:8090/"})
        view.tell("alarm", {"name": "BREACH", "crossing": "thayngen", "text": "left"})
    assert out.getvalue() == "control room: http://127.0.0.1:8090/\n"


def test_the_live_view_shows_mode_figures_and_decisions() -> None:
    shown = live(
        None,
        ("serving", {"url": "http://127.0.0.1:8090/"}),
        ("status", STATUS),
        ("status", {}),  # an agent that did not answer leaves the last figures
        ("detection", ENTERED),
        ("instruction", GO),
        ("alarm", {"name": "BREACH", "crossing": "au", "text": "left under STOP"}),
    )
    assert "control room http://127.0.0.1:8090/" in shown
    assert "UPLINK_LOST   vehicles 17   journeys 21   journal 400 entries   outbox 3" in shown
    assert "p50 41.5 ms, p99 99.0 ms" in shown
    assert row(shown, "thayngen") == ["1", "1", "", "", ""], "one entered, one GO"
    assert "BREACH  au left under STOP" in shown
    assert "waiting for the first lorry" not in shown
    assert "waiting for the first lorry" in live(None)


def test_only_activation_zones_count_as_entered() -> None:
    zones = ("thayngen/in/tracking", "thayngen/in/activation", "thayngen/in/confirmation")
    shown = live(
        None,
        *(("detection", {"event": "ENTERED", "zoneId": zone}) for zone in zones),
        ("detection", {"event": "EXITED", "zoneId": "thayngen/in/activation"}),
    )
    assert row(shown, "thayngen") == row(shown, "all 1") == ["1", "", "", "", ""]


def test_the_live_view_stays_bounded_and_counts_all() -> None:
    count = 5 * CROSSINGS
    facts = [("instruction", {**GO, "crossing": f"crossing-{n:03d}", "jrn": f"J-{n:03d}"}) for n in range(count)]
    shown = live(None, *facts)
    assert len(re.findall(r"^│crossing-\d+ ", shown, re.MULTILINE)) == CROSSINGS
    assert len(re.findall(r"J-\d+", shown)) == RECENT and f"J-{count - 1:03d}" in shown
    assert row(shown, f"all {count}") == ["", str(count), "", "", ""]


def bars(seconds: float | None) -> list[str]:
    """Lines on a terminal that are nothing but a bar."""
    out = io.StringIO()
    with LiveView(
        Console(file=out, width=60, height=40, force_terminal=True, color_system="256", no_color=False), seconds
    ):
        pass
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).splitlines()
    return [line for line in lines if re.fullmatch("[━╸╺]+", line.strip())]


def test_a_progress_bar_only_where_the_length_is_known() -> None:
    assert bars(60.0) and not bars(None)


@pytest.mark.parametrize(("shows", "word"), [("GO", "GO"), ("STOP", "STOP"), ("HOLD", "HOLD"), ("DEFAULT", "dark")])
def test_the_sign_is_shown_as_its_lamps_are(shows: str, word: str) -> None:
    fact = {"crossing": "thayngen", "direction": "IN", "shows": shows}
    assert f"sign thayngen IN   {word} " in live(None, ("sign", {**fact, "shows": "STOP"}), ("sign", fact))
    screen, out = console()
    with LineView(screen) as view:
        view.tell("sign", fact)
    assert out.getvalue().split("s  ", 1)[1].split() == ["sign", "thayngen", "IN", word]
