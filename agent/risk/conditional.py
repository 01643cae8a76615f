"""May the authority's conditional answer be used now? (design/reliability.md section 5, line cut)

Only inside its own bounds, only where the authority has switched it on, and only while a revocation list that is
new enough is held. Whatever is unclear is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from agent.domain.declaration import Message
from agent.domain.instruction import CONDITIONAL_TYPE, REFERENCE_TYPE
from agent.domain.routing import ConditionalAnswer, RevocationList, Routing
from agent.domain.signed import BadSignature, OKPKey, sign, verify
from agent.domain.times import epoch_s

CONDITIONAL = "conditional"
"""Word of `whenCut` that switches it on; `hold` and whatever else is not known keep it off."""
CLOCK_SLACK_S = 60.0
"""A list issued so little in the future is still taken: clocks of two houses differ."""


class CrossingCut(Message, frozen=True):
    """What reference data say of one crossing, as far as it is needed here."""

    id: str
    when_cut: str = "hold"


class Reference(Message, frozen=True):
    """Reference data, as far as they are needed here."""

    version: str
    crossings: tuple[CrossingCut, ...] = ()
    revocations: RevocationList = RevocationList()


@dataclass(frozen=True)
class WhenCut:
    """What holds while the line is cut: where conditional answers count, and which are revoked."""

    crossings: frozenset[str] = frozenset()
    """Crossings where they are switched on."""
    list_number: int = -1
    """Number of the newest revocation list; -1 = none is held."""
    list_issued_s: float = 0.0
    revoked: frozenset[str] = frozenset()
    version: str = ""


def read_reference(body: bytes, keys: dict[str, OKPKey]) -> Reference:
    """Reference data that the signature covers; what stands beside it is not believed.

    Raises:
        BadSignature: unsigned, signed by another key, or no reference data.
    """
    try:
        token = msgspec.json.decode(body, type=_Signed).signature
        return msgspec.json.decode(verify(token, keys, REFERENCE_TYPE), type=Reference)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadSignature(f"no reference data: {error}") from error


class _Signed(msgspec.Struct, frozen=True):
    signature: str


def when_cut(reference: Reference) -> WhenCut:
    """The rules that reference data give.

    Raises:
        ValueError: the revocation list has a time that cannot be read.
    """
    revocations = reference.revocations
    return WhenCut(
        crossings=frozenset(one.id for one in reference.crossings if one.when_cut == CONDITIONAL),
        list_number=revocations.number if revocations.issued_at else -1,
        list_issued_s=epoch_s(revocations.issued_at) if revocations.issued_at else 0.0,
        revoked=frozenset(revocations.activation_ids),
        version=reference.version,
    )


def sign_conditional(answer: ConditionalAnswer, key: OKPKey, kid: str) -> ConditionalAnswer:
    """The answer with the authority's signature."""
    body = msgspec.json.encode(msgspec.structs.replace(answer, signature=None))
    return msgspec.structs.replace(answer, signature=sign(body, key, kid, CONDITIONAL_TYPE))


def verified_conditional(fields: dict[str, Any], keys: dict[str, OKPKey]) -> ConditionalAnswer:
    """The conditional answer that the signature covers, with that signature.

    Raises:
        BadSignature: unsigned, signed by another key, or the signed text is none.
    """
    token = fields.get("signature")
    if not isinstance(token, str):
        raise BadSignature("conditional answer without signature")
    try:
        answer = msgspec.json.decode(verify(token, keys, CONDITIONAL_TYPE), type=ConditionalAnswer)
        for text in (answer.issued_at, answer.not_before, answer.not_after):
            epoch_s(text)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadSignature(f"signed text is no conditional answer: {error}") from error
    return msgspec.structs.replace(answer, signature=token)


@dataclass(frozen=True)
class Crossed:
    """What was activated, where and when."""

    activation_id: str
    mrn: str | None
    version: int
    jrn: str | None
    crossing: str | None
    direction: str | None
    entered_s: float


def fault_of(answer: ConditionalAnswer, crossed: Crossed, cut: WhenCut, now_s: float) -> str | None:
    """Why a conditional answer may not be used, or None. Its signature has been checked when it came."""
    theirs = (answer.activation_id, answer.mrn, answer.version, answer.jrn, answer.crossing, answer.direction)
    ours = (crossed.activation_id, crossed.mrn, crossed.version, crossed.jrn, crossed.crossing, crossed.direction)
    if theirs != ours:
        return "OTHER_DECLARATION"
    if crossed.crossing not in cut.crossings:
        return "SWITCHED_OFF"
    if answer.routing != Routing.TO_ENTRY.value:
        return "NOT_POSITIVE"
    not_after_s = epoch_s(answer.not_after)
    if not epoch_s(answer.not_before) <= crossed.entered_s <= not_after_s or now_s > not_after_s:
        return "OUTSIDE_ITS_TIMES"
    if cut.list_number < max(0, answer.list_number):
        return "LIST_TOO_OLD"
    if not -CLOCK_SLACK_S <= now_s - cut.list_issued_s <= answer.list_max_age_s:
        return "LIST_TOO_OLD"
    return "REVOKED" if answer.activation_id in cut.revoked else None
