"""What is wrong with rules that can be read: each finding names the rule and says what would mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from agent.risk.book import NOTHING, CompiledBook
from agent.risk.expression import MAX_EXPRESSIONS
from agent.risk.rule_index import (
    DENY,
    HEADER_FIELDS,
    ITEM_FIELDS,
    MAX_KEY_FIELDS,
    ONLY_IN,
    ONLY_OUT,
    RED,
    YELLOW,
    Question,
    Template,
    key_hash,
)
from simulator.customs.book import Dated, Rule
from simulator.customs.rule_rows import shared_keys
from simulator.customs.rule_source import Source

MAX_FAN_OUT = 64
"""Rules that may share one access key; more would decide the slowest answers (design/risk.md section 3)."""
MAX_POINTS_ALONE = 40
"""Of a rule without a floor: one indicator alone is no high risk (design/risk.md section 5)."""
MAX_SHARE = 0.01
"""Of a sample that one rule may hit."""
MAX_LISTED = 20
"""Rules named for one kind of finding; the rest is counted."""
SPLITTERS = tuple(name for name in (*ITEM_FIELDS, *HEADER_FIELDS) if name not in ("document", "indicator"))
"""Fields that may be added to an access key."""


@dataclass(frozen=True)
class Finding:
    """Something wrong with a rule.

    Attributes:
        kind: Short name, such as `fan-out`.
        rule: Its id; empty = of the whole book.
    """

    kind: str
    rule: str
    text: str


def lint(source: Source, book: CompiledBook, today: int, sample: Sequence[Question] = ()) -> list[Finding]:
    """Everything wrong with a book.

    Args:
        source: What it was compiled from.
        book: Compiled, whatever its fan-out.
        today: Days since 1970.
        sample: Declarations; what many of them would meet is found only with some.
    """
    kinds = (
        _fan_out(book, sample),
        _validity(source, book, today),
        _alone(book),
        _conditions(source),
        _never(source.rules),
        _contradictions(book),
        _broad(book, sample),
    )
    return [finding for kind in kinds for finding in _bounded(kind)]


def _bounded(found: Iterator[Finding]) -> Iterator[Finding]:
    """The first findings of a kind, and how many more there are."""
    more: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for one in found:
        if shown[one.kind] < MAX_LISTED:
            shown[one.kind] += 1
            yield one
        else:
            more[one.kind] += 1
    for kind, count in more.items():
        yield Finding(kind, "", f"{count} more of this kind")


def _fan_out(book: CompiledBook, sample: Sequence[Question]) -> Iterator[Finding]:
    rules = book.columns.rules
    for first, last in shared_keys(rules.keys, MAX_FAN_OUT):
        template = book.manifest.templates[int(rules.about["template"][first])]
        text = f"{last - first} rules share one key of {'+'.join(template)}: at most {MAX_FAN_OUT}; "
        yield Finding("fan-out", rules.ids[first], text + _split(book, template, int(rules.keys[first]), sample))


def _split(book: CompiledBook, template: Template, key: int, sample: Sequence[Question]) -> str:
    """Which further field splits the key best: the one of most even values where the key is met."""
    if len(template) >= MAX_KEY_FIELDS:
        return "it has no room for a further field: bound a number, or drop rules"
    number = book.manifest.templates.index(template)
    values: dict[str, Counter[str]] = {name: Counter() for name in SPLITTERS if name not in template}
    for question in sample:
        for facts in _facts(question):
            if all(name in facts for name in template):
                wanted = key_hash(book.salt, number, [facts[name] for name in template])
                if wanted == key:
                    for name, counted in values.items():
                        counted[facts.get(name, "")] += 1
    met = {name: counted for name, counted in values.items() if len(counted) > 1}
    if met:
        best = min(met, key=lambda name: (max(met[name].values()) / met[name].total(), name))
        share = max(met[best].values()) / met[best].total()
        return f"{best} splits it best: no value of it is met by more than {share:.0%} of the sample's declarations"
    longer = [one for one in book.manifest.templates if set(template) < set(one)]
    used = Counter(int(one) for one in book.columns.rules.about["template"])
    if not longer:
        return "a further field would split it; give a --sample to see which"
    best_longer = max(longer, key=lambda one: used[book.manifest.templates.index(one)])
    added = "+".join(name for name in best_longer if name not in template)
    return f"ask for {added} as well, as other rules of this book do; give a --sample to see what splits best"


def _facts(question: Question) -> Iterator[dict[str, str]]:
    """Plain values of the declaration with each of its goods items."""
    header = {name: value for name, value in question.header.items() if isinstance(value, str)}
    for item in question.items or ({},):
        yield header | {name: value for name, value in item.items() if isinstance(value, str)}


def _validity(source: Source, book: CompiledBook, today: int) -> Iterator[Finding]:
    rules, ahead = book.columns.rules, source.head.validity.longest_days
    last = rules.rows["to_day"].astype(np.int64)
    for row in np.flatnonzero(last < today).tolist():
        yield Finding("expired", rules.ids[row], f"expired {today - int(last[row])} days ago; drop or renew it")
    for row in np.flatnonzero(last > today + ahead).tolist():
        text = f"valid for {int(last[row]) - today} more days: at most {ahead} (book.toml: validity.longest_days)"
        yield Finding("validity", rules.ids[row], text)
    listed: list[Dated] = [*source.plates, *source.names, *source.phrases]
    for entry in listed:
        if entry.valid_to.toordinal() - _EPOCH < today:
            yield Finding("expired", entry.id, f"expired on {entry.valid_to}; drop or renew it")


def _alone(book: CompiledBook) -> Iterator[Finding]:
    rules = book.columns.rules
    heavy = (rules.rows["points"] > MAX_POINTS_ALONE) & ((rules.rows["flags"] & (YELLOW | RED | DENY)) == 0)
    for row in np.flatnonzero(heavy).tolist():
        text = f"{int(rules.rows['points'][row])} points without a floor: at most {MAX_POINTS_ALONE}"
        yield Finding("points", rules.ids[row], text)


def _conditions(source: Source) -> Iterator[Finding]:
    count = len(source.words.conditions)
    if count > MAX_EXPRESSIONS:
        yield Finding("conditions", "", f"{count} CEL conditions: at most {MAX_EXPRESSIONS}; use match and where")


def _never(rules: Sequence[Rule]) -> Iterator[Finding]:
    """Rules by hand that ask for two codes of which no goods can have both."""
    for rule in rules:
        codes = sorted((value for name, value in rule.match.items() if name.startswith("hs")), key=len)
        for short, long in pairwise(codes):
            if not long.startswith(short):
                yield Finding("dead", rule.id, f"no goods are of {short} and of {long}; it can never fire")


def _contradictions(book: CompiledBook) -> Iterator[Finding]:
    """Rules that ask for just the same at the same time: twice the same, or saying different things."""
    rules = book.columns.rules
    for first, last in shared_keys(rules.keys, 1):
        seen: dict[bytes, int] = {}
        for row in range(first, last):
            asked = _asked(book, row)
            other = seen.setdefault(asked, row)
            if other != row and _overlap(book, other, row):
                yield _same(book, other, row)


def _asked(book: CompiledBook, row: int) -> bytes:
    """What a rule asks for besides its key."""
    packed, about = book.columns.rules.rows[row], book.columns.rules.about[row]
    bounds = sorted(zip(packed["field"].tolist(), packed["low"].tolist(), packed["high"].tolist(), strict=True))
    flags = int(packed["flags"]) & (ONLY_IN | ONLY_OUT)
    return repr((bounds, flags, int(about["condition"]), int(about["template"]))).encode()


def _overlap(book: CompiledBook, one: int, other: int) -> bool:
    rows = book.columns.rules.rows
    return bool(rows["from_day"][one] <= rows["to_day"][other] and rows["from_day"][other] <= rows["to_day"][one])


def _same(book: CompiledBook, one: int, other: int) -> Finding:
    rules = book.columns.rules
    says = [
        (int(rules.rows["points"][row]), int(rules.rows["flags"][row]) & (YELLOW | RED | DENY)) for row in (one, other)
    ]
    if says[0] == says[1]:
        return Finding("duplicate", rules.ids[other], f"asks for and says the same as {rules.ids[one]}")
    text = f"asks for the same as {rules.ids[one]}, but says something else; give them one answer or a bound"
    return Finding("contradiction", rules.ids[other], text)


def _broad(book: CompiledBook, sample: Sequence[Question]) -> Iterator[Finding]:
    hits: Counter[int] = Counter()
    for question in sample:
        hits.update(_met(book, question))
    for row, count in hits.most_common():
        if count <= max(1, MAX_SHARE * len(sample)):
            return
        text = (
            f"would hit {count / len(sample):.1%} of the sample's {len(sample)} declarations: at most {MAX_SHARE:.0%}"
        )
        yield Finding("broad", book.columns.rules.ids[row], text)


def _met(book: CompiledBook, question: Question) -> Iterable[int]:
    """Rows that fit; a condition beside one may still keep it from firing."""
    about = book.columns.rules.about
    return (row for row in book.rules.fitting(question) if int(about["condition"][row]) == NOTHING)


_EPOCH = 719_163
"""Ordinal of 1970-01-01."""
