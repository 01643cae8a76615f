"""What rules are worth: hits and finds of each beside controls drawn by lot, and whether that is changing."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator

import msgspec

from simulator.customs.feedback import Count, Counters

RECENT = 1_000
"""The newest control results, beside which all earlier ones are held."""
ENOUGH_HITS = 30
"""Controls after which a rule's rate says something (design/risk.md section 8)."""
DRIFT_SIGMA = 3.0
"""Two rates so many standard errors apart have changed."""


class Use(msgspec.Struct, frozen=True, rename="camel"):
    """How often something led to a control, and how often that found something."""

    id: str
    hits: int
    finds: int
    rate: float | None
    """Finds per hit; null without a hit."""
    recent_hits: int
    recent_finds: int
    recent_rate: float | None
    below_random: bool = False
    """Enough hits, and finds rarer than by lot."""
    drift: bool = False
    """Its rate among the newest controls is not what it was before."""


class Usage(msgspec.Struct, frozen=True, rename="camel"):
    """Rules and list entries by hits, beside all controls and those drawn by lot."""

    results: int
    """Control results counted."""
    all: Use
    random: Use
    rules: tuple[Use, ...] = ()


def usage(now: Counters, earlier: Counters) -> Usage:
    """What the counts say.

    Args:
        now: All control results.
        earlier: Those before the newest `RECENT`.
    """
    drawn = _use("random", ("", "random"), now, earlier, None)
    base = drawn.rate if drawn.hits >= ENOUGH_HITS else None
    keys = (key for key in now.counts if key[0] == "rule")
    rules = [_use(key[1], key, now, earlier, base) for key in keys]
    rules.sort(key=lambda one: (-one.hits, -one.finds, one.id))
    return Usage(now.up_to, _use("all", ("", "all"), now, earlier, None), drawn, tuple(rules))


def _use(id_: str, key: tuple[str, str], now: Counters, earlier: Counters, base: float | None) -> Use:
    total, before = now.counts.get(key, Count()), earlier.counts.get(key, Count())
    recent = Count(total.seen - before.seen, total.found - before.found)
    rate = _rate(total)
    below = base is not None and rate is not None and total.seen >= ENOUGH_HITS and rate < base
    return Use(
        id_, total.seen, total.found, rate, recent.seen, recent.found, _rate(recent), below, _drifts(before, recent)
    )


def _rate(count: Count) -> float | None:
    return round(count.found / count.seen, 4) if count.seen else None


def _drifts(before: Count, recent: Count) -> bool:
    """Whether two shares differ by more than chance would."""
    if min(before.seen, recent.seen) < ENOUGH_HITS:
        return False
    pooled = (before.found + recent.found) / (before.seen + recent.seen)
    error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / before.seen + 1.0 / recent.seen))
    return error > 0.0 and abs(before.found / before.seen - recent.found / recent.seen) > DRIFT_SIGMA * error


HEAD = ("rule", "hits", "finds", "rate", "recent hits", "recent finds", "recent rate", "")


def rows(found: Usage) -> Iterator[tuple[str, ...]]:
    """The table, as people read it."""
    for one in (found.all, found.random, *found.rules):
        yield (
            one.id, str(one.hits), str(one.finds), _percent(one.rate), str(one.recent_hits), str(one.recent_finds),
            _percent(one.recent_rate), _remark(one),
        )  # fmt: skip


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def _remark(one: Use) -> str:
    said = ("finds less than the lot" * one.below_random, "changing" * one.drift)
    return ", ".join(word for word in said if word)


def table(found: Usage) -> str:
    """As text."""
    lines = [HEAD, *rows(found)]
    width = max(len(line[0]) for line in lines)
    return "\n".join(_line(line, width) for line in lines)


def _line(line: tuple[str, ...], width: int) -> str:
    return f"{line[0]:{width}}{''.join(one.rjust(13) for one in line[1:7])}  {line[7]}".rstrip()


def page(found: Usage, style: str) -> str:
    """As a plain page in the style (CSS) of the service's others: no script, nothing fetched from elsewhere."""
    head = "".join(f"<th>{html.escape(one)}</th>" for one in (*HEAD[:-1], "remark"))
    body = "".join("<tr>" + "".join(f"<td>{html.escape(one)}</td>" for one in row) + "</tr>" for row in rows(found))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Rules by hits and finds</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head><body>'
        f"<h1>Rules by hits and finds</h1><p>{found.results} control results. A rule is held beside controls drawn by "
        f"lot (<b>random</b>), the only unbiased measure; recent = the newest {RECENT}.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></body></html>"
    )
