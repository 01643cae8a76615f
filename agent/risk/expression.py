"""Conditions of rules in CEL, for what access keys and bounds cannot say; bounded before they are ever evaluated.

A condition reads the declaration and, at the border, what is known of journey, vehicle, place and hour; fields have
the names of the messages. Time is bounded by what may be written, not by a clock: one quantifier over a list inside
no other, no list that grows, no pattern inside a quantifier, so the work follows the goods items of the declaration
(at most 999) and the length of the text. A condition that cannot be evaluated does not hold.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_origin, get_type_hints

import cel
import msgspec

from agent.domain.declaration import (
    DeclarationReference,
    DutyAndTax,
    GoodsDeclaration,
    GoodsItem,
    ImportData,
    Message,
    Party,
    PlannedCrossing,
    PreviousDocument,
    Seal,
    Trailer,
    TransportDeclaration,
    TransportEquipment,
    TransportMeans,
)

MAX_LENGTH = 512
"""Characters of one condition."""
MAX_QUANTIFIERS = 4
MAX_PATTERN = 64
"""Characters of a regular expression; counted repetition is refused, for it makes small patterns large."""
MAX_DEPTH = 24
"""Brackets inside each other."""
MAX_EXPRESSIONS = 20_000
"""Conditions of one book (design/risk.md section 1)."""

EARLY = ("declaration",)
"""Variables that are known when goods are declared."""
LATE = ("journey", "vehicle", "trailers", "crossing", "office", "indicators", "hour")
"""Variables that are known for certain only at the border."""
QUANTIFIERS = ("exists", "exists_one", "all")
FUNCTIONS = ("contains", "startsWith", "endsWith", "matches", "size", "int", "double", "string")
_OPERATORS = re.compile(r"[@_!?:<>=&|+\-*/%\[\]a-z]*[_@!][@_!?:<>=&|+\-*/%\[\]a-z]*")
_LITERAL = re.compile(r"""(?P<prefix>[A-Za-z]*)(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
_CALL = re.compile(r"(\.?)\s*\b([A-Za-z_]\w*)\s*\(")
_FIELD = re.compile(r"\.\s*([A-Za-z_]\w*)\b(?!\s*\()")
_INDICATOR = re.compile(r"\bindicators\s*\.\s*\w+")
_WHOLE = re.compile(r"\b(declaration|journey|vehicle|trailers|indicators)\b(?!\s*\.)")
_SIZE = re.compile(r"\b(?:size|has)\s*\(\s*[\w.\s]+\)")
_LOOSE = re.compile(r"\.\s*([A-Za-z_]\w*)\b(?!\s*(?:\[|\.|\())")
_MESSAGES: tuple[type[Message], ...] = (
    GoodsDeclaration, GoodsItem, Party, PreviousDocument, TransportDeclaration, TransportMeans, Trailer,
    TransportEquipment, Seal, PlannedCrossing, DeclarationReference, ImportData, DutyAndTax,
)  # fmt: skip


class ExpressionError(ValueError):
    """A condition that is refused: what, where, what was expected."""


class Expression:
    """A checked condition.

    Args:
        text: CEL.

    Raises:
        ExpressionError: not CEL, an unknown name, or more work than is bounded.
    """

    def __init__(self, text: str) -> None:
        _check_text(text)
        try:
            self._program = cel.compile(text)
        except ValueError as error:
            raise ExpressionError(f"{text!r}: not CEL: {_first_line(error)}") from error
        names = self._program.references()
        _check_functions(text, names["functions"])
        used = set(names["variables"]) - _bound(text)
        _check_variables(text, used)
        self.text = text
        self.late = not used.isdisjoint(LATE)
        """Whether it reads what is known only at the border."""

    def holds(self, context: cel.Context) -> bool | None:
        """Whether it holds; None if it cannot be evaluated, as when a field it reads was not declared."""
        try:
            return self._program.execute(context) is True
        except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError):
            return None


class Expressions:
    """The conditions of a book by number; each is compiled when it is first asked for.

    Args:
        texts: CEL, checked when the book was built.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        if len(texts) > MAX_EXPRESSIONS:
            raise ExpressionError(f"{len(texts)} conditions; at most {MAX_EXPRESSIONS}")
        self._texts = texts
        self._compiled: dict[int, Expression] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, number: int) -> Expression:
        found = self._compiled.get(number)
        if found is None:
            found = self._compiled[number] = Expression(self._texts[number])
        return found


def expression_context(declaration: GoodsDeclaration | None, late: Mapping[str, Any] | None = None) -> cel.Context:
    """What conditions are evaluated over; make one for a declaration and ask it of every condition.

    Args:
        declaration: Read as `declaration`; fields that were not declared are not there (`has` asks for them).
        late: Values of `LATE` variables, where they are known: messages, texts, numbers.
    """
    context = cel.Context()
    context.add_variable("declaration", {} if declaration is None else _plain(declaration))
    for name, value in (late or {}).items():
        context.add_variable(name, _plain(value))
    return context


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        got = ((name, getattr(value, field)) for field, name in _names(type(value)))
        return {name: one if type(one) in _SCALARS else _plain(one) for name, one in got if one is not None}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value


_SCALARS = frozenset({str, int, float, bool})


@cache
def _names(kind: type[Message]) -> tuple[tuple[str, str], ...]:
    """Attribute and message field name."""
    return tuple((one.name, one.encode_name) for one in msgspec.structs.fields(kind))


@cache
def known_fields() -> frozenset[str]:
    """Names that may stand behind a dot."""
    return frozenset(name for kind in _MESSAGES for _, name in _names(kind))


@cache
def list_fields() -> frozenset[str]:
    """Those of them that are lists."""
    kinds = (get_type_hints(kind) for kind in _MESSAGES)
    lists = {name for hints in kinds for name, hint in hints.items() if get_origin(hint) is tuple}
    return frozenset(name for kind in _MESSAGES for field, name in _names(kind) if field in lists)


# --- what may be written ---


def _check_text(text: str) -> None:
    if not text.strip() or len(text) > MAX_LENGTH:
        raise ExpressionError(f"{text[:40]!r}: {len(text)} characters; expected 1 to {MAX_LENGTH}")
    if '"""' in text or "'''" in text or "//" in _blanked(text):
        raise ExpressionError(f"{text!r}: expected texts in single or double quotes, and no comments")
    if any(one["prefix"] for one in _LITERAL.finditer(text)):
        raise ExpressionError(f"{text!r}: expected plain texts, without a letter before the quote")
    plain = _blanked(text)
    if _depth(plain) > MAX_DEPTH:
        raise ExpressionError(f"{text!r}: brackets inside each other; at most {MAX_DEPTH}")
    _check_calls(text, plain)
    _check_lists(text, plain)
    for name in _FIELD.findall(_INDICATOR.sub("indicators", plain)):
        if name not in known_fields():
            raise ExpressionError(f"{text!r}: field {name!r} is unknown, {_nearest(name, known_fields())}")


def _blanked(text: str) -> str:
    """The condition with every quoted text emptied, each character where it was."""
    return _LITERAL.sub(lambda one: one["prefix"] + '"' + " " * (len(one["text"]) - 2) + '"', text)


def _depth(plain: str) -> int:
    depth = deepest = 0
    for char in plain:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _check_calls(text: str, plain: str) -> None:
    spans = list(_quantified(plain))
    if len(spans) > MAX_QUANTIFIERS:
        raise ExpressionError(f"{text!r}: {len(spans)} quantifiers; at most {MAX_QUANTIFIERS}")
    for begin, end in spans:
        inside = {name for _, name in _CALL.findall(plain[begin:end])}
        for bad in sorted(inside & {*QUANTIFIERS, "matches"}):
            raise ExpressionError(f"{text!r}: {bad} inside a quantifier; expected it outside, where it runs once")
        whole = [*_WHOLE.findall(plain[begin:end]), *(set(_FIELD.findall(plain[begin:end])) & list_fields())]
        if whole:
            raise ExpressionError(f"{text!r}: {whole[0]} inside a quantifier; expected fields of its element")
    for dot, name in _CALL.findall(plain):
        if name not in (*FUNCTIONS, *QUANTIFIERS, "has", "in"):
            expected = _nearest(name, (*FUNCTIONS, *QUANTIFIERS, "has"))
            raise ExpressionError(f"{text!r}: {dot}{name}() is not offered, {expected}")
    _check_patterns(text)


def _check_lists(text: str, plain: str) -> None:
    """Lists and whole messages are neither added nor compared: that would cost all that is in them."""
    rest = _SIZE.sub("", plain)
    loose = [name for name in _LOOSE.findall(rest) if name in list_fields()] + _WHOLE.findall(rest)
    if loose:
        raise ExpressionError(f"{text!r}: {loose[0]} as a whole; expected its size, a quantifier, an element or field")


def _quantified(plain: str) -> Iterator[tuple[int, int]]:
    """Where the arguments of each quantifier stand."""
    for call in _CALL.finditer(plain):
        if call[1] and call[2] in QUANTIFIERS:
            depth, at = 1, call.end()
            while at < len(plain) and depth:
                depth += (plain[at] in "([{") - (plain[at] in ")]}")
                at += 1
            yield call.end(), at


def _check_patterns(text: str) -> None:
    for call in _CALL.finditer(_blanked(text)):
        if call[2] != "matches":
            continue
        literal = _LITERAL.match(text[call.end() :].lstrip())
        if literal is None:
            raise ExpressionError(f"{text!r}: matches: expected a quoted pattern")
        pattern = literal["text"][1:-1]
        if len(pattern) > MAX_PATTERN or "{" in pattern:
            raise ExpressionError(f"{text!r}: pattern of at most {MAX_PATTERN} characters, without {{ }}, expected")


def _bound(text: str) -> set[str]:
    """Names that a quantifier binds to the elements of its list."""
    plain = _blanked(text)
    bound = set()
    for begin, end in _quantified(plain):
        name = plain[begin:end].split(",", 1)[0].strip()
        if name in (*EARLY, *LATE):
            raise ExpressionError(f"{text!r}: {name!r} already means something; expected another name for an element")
        bound.add(name)
    return bound


def _check_functions(text: str, functions: Iterable[str]) -> None:
    for name in functions:
        if name not in FUNCTIONS and not _OPERATORS.fullmatch(name):
            raise ExpressionError(f"{text!r}: {name}() is not offered, {_nearest(name, FUNCTIONS)}")


def _check_variables(text: str, used: set[str]) -> None:
    for name in sorted(used - {*EARLY, *LATE}):
        raise ExpressionError(f"{text!r}: {name!r} is unknown, {_nearest(name, (*EARLY, *LATE))}")


def _nearest(name: str, known: Iterable[str]) -> str:
    listed = sorted(known)
    close = difflib.get_close_matches(name, listed, 1)
    return f"perhaps {close[0]!r}" if close else f"expected one of {', '.join(listed)}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
