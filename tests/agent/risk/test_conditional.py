"""A conditional answer counts inside its own bounds and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from agent.domain.instruction import ASSESSMENT_TYPE, REFERENCE_TYPE
from agent.domain.routing import ConditionalAnswer, RevocationList
from agent.domain.signed import BadSignature, sign
from agent.domain.times import rfc3339
from agent.risk.conditional import (
    Crossed,
    CrossingCut,
    Reference,
    WhenCut,
    fault_of,
    read_reference,
    sign_conditional,
    verified_conditional,
    when_cut,
)

T0 = 1_800_000_000.0
KEY = OKPKey.generate_key("Ed25519", private=True)
KEYS = {"authority-1": KEY}
ANSWER = ConditionalAnswer(
    activation_id="a1", mrn="26CH000000000001J4", version=2, jrn="JRN-1", crossing="thayngen", direction="IN",
    routing="TO_ENTRY", issued_at=rfc3339(T0 - 600), not_before=rfc3339(T0 - 600), not_after=rfc3339(T0 + 3_600),
    list_number=7, list_max_age_s=900.0,
)  # fmt: skip
CROSSED = Crossed("a1", "26CH000000000001J4", 2, "JRN-1", "thayngen", "IN", T0 - 5.0)
CUT = WhenCut(frozenset({"thayngen"}), 7, T0 - 60.0, frozenset({"other"}), "v1")


def test_inside_all_its_bounds_it_may_be_used() -> None:
    assert fault_of(ANSWER, CROSSED, CUT, T0) is None


@pytest.mark.parametrize(
    ("crossed", "fault"),
    [
        ({"activation_id": "a2"}, "OTHER_DECLARATION"),
        ({"mrn": "26CH000000000002J3"}, "OTHER_DECLARATION"),
        ({"version": 3}, "OTHER_DECLARATION"),
        ({"jrn": "JRN-2"}, "OTHER_DECLARATION"),
        ({"crossing": "bargen"}, "OTHER_DECLARATION"),
        ({"direction": "OUT"}, "OTHER_DECLARATION"),
        ({"entered_s": T0 - 601.0}, "OUTSIDE_ITS_TIMES"),
        ({"entered_s": T0 + 3_601.0}, "OUTSIDE_ITS_TIMES"),
    ],
)
def test_for_another_crossing_it_may_not(crossed: dict[str, object], fault: str) -> None:
    assert fault_of(ANSWER, replace(CROSSED, **crossed), CUT, T0) == fault  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cut", "fault"),
    [
        ({"crossings": frozenset({"bargen"})}, "SWITCHED_OFF"),
        ({"crossings": frozenset()}, "SWITCHED_OFF"),
        ({"list_number": 6}, "LIST_TOO_OLD"),
        ({"list_number": -1}, "LIST_TOO_OLD"),
        ({"list_issued_s": T0 - 901.0}, "LIST_TOO_OLD"),
        ({"list_issued_s": T0 + 61.0}, "LIST_TOO_OLD"),
        ({"revoked": frozenset({"a1"})}, "REVOKED"),
    ],
)
def test_without_a_list_that_is_new_enough_it_may_not(cut: dict[str, object], fault: str) -> None:
    assert fault_of(ANSWER, CROSSED, replace(CUT, **cut), T0) == fault  # type: ignore[arg-type]


def test_nothing_but_to_entry_lets_anybody_go() -> None:
    for routing in ("TO_CONTROL", "ENTRY_PENDING", "ENTRY_DENIED", "GO", ""):
        assert fault_of(msgspec.structs.replace(ANSWER, routing=routing), CROSSED, CUT, T0) == "NOT_POSITIVE"


@given(st.floats(-1e4, 1e4), st.integers(-1, 20), st.floats(-1e4, 1e4), st.booleans())
def test_whatever_is_held_it_is_used_only_inside_its_bounds(
    later_s: float, number: int, age_s: float, revoked: bool
) -> None:
    now_s = T0 + later_s
    cut = WhenCut(frozenset({"thayngen"}), number, now_s - age_s, frozenset({"a1"} if revoked else ()))
    if fault_of(ANSWER, replace(CROSSED, entered_s=now_s - 3.0), cut, now_s) is None:
        assert -600.0 <= later_s - 3.0 <= 3_600.0 and later_s <= 3_600.0
        assert number >= 7 and -60.0 <= age_s <= 900.0 and not revoked


def test_only_the_authoritys_signature_over_a_conditional_answer_counts() -> None:
    signed = msgspec.to_builtins(sign_conditional(ANSWER, KEY, "authority-1"))
    assert verified_conditional(signed, KEYS) == msgspec.structs.replace(ANSWER, signature=signed["signature"])
    assert verified_conditional(signed | {"crossing": "bargen"}, KEYS).crossing == "thayngen", "what is signed counts"
    body = msgspec.json.encode(ANSWER)
    bad = [
        {key: value for key, value in signed.items() if key != "signature"},
        signed | {"signature": sign(body, KEY, "authority-1", ASSESSMENT_TYPE)},  # a live answer is another thing
        signed | {"signature": sign(body, OKPKey.generate_key("Ed25519", private=True), "authority-1", "x")},
        signed | {"signature": signed["signature"][:-4] + "AAAA"},
        signed | {"signature": 7},
    ]
    for fields in bad:
        with pytest.raises(BadSignature):
            verified_conditional(fields, KEYS)


def reference_body(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "version": "v9",
        "crossings": (CrossingCut(id="thayngen", when_cut="conditional"), CrossingCut(id="bargen", when_cut="maybe")),
        "revocations": RevocationList(number=3, issued_at=rfc3339(T0), activation_ids=("a1",)),
        **changes,
    }
    unsigned = msgspec.json.encode(Reference(**fields))  # type: ignore[arg-type]
    token = sign(unsigned, KEY, "authority-1", REFERENCE_TYPE)
    return msgspec.json.encode({**msgspec.json.decode(unsigned), "signature": token})


def test_reference_data_say_where_and_what_is_revoked() -> None:
    cut = when_cut(read_reference(reference_body(), KEYS))
    assert cut == WhenCut(frozenset({"thayngen"}), 3, T0, frozenset({"a1"}), "v9")
    empty = when_cut(read_reference(reference_body(revocations=RevocationList()), KEYS))
    assert empty.list_number == -1, "a list that nobody issued is none"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"signature":"a.b.c"}', b"\xff", b'{"signature":7}'])
def test_what_is_no_reference_data_is_refused(body: bytes) -> None:
    with pytest.raises(BadSignature):
        read_reference(body, KEYS)
