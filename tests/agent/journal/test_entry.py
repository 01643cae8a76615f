"""Bodies are signed as stored, chained by hash, and read back as written."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.entry import Circumstances, EntryDraft, Link, Writer, build, follow, parse, seal
from agent.journal.verify import ENTRY_CONTEXT, FIRST_PREV, leaf_hash, verify_entries

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WRITER = Writer("box-1", "box-1.1", "0f" * 16, "0.1.0")
NOW_S = 1_795_341_600.0

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FACTS = st.dictionaries(TEXT, st.one_of(st.integers(-(2**53), 2**53), TEXT, st.booleans(), st.none()), max_size=4)
DRAFTS = st.builds(EntryDraft, kind=TEXT, facts=FACTS, activation_id=st.none() | TEXT)


def write(drafts):
    link, entries = Link(), []
    for number, draft in enumerate(drafts):
        body = build(draft, link, WRITER, Circumstances(), NOW_S + number, float(number))
        entries.append(seal(body, link, KEY, draft.activation_id))
        link = follow(entries[-1])
    return entries


@given(st.lists(DRAFTS, max_size=12))
def test_what_is_written_verifies_and_reads_back(drafts):
    entries = write(drafts)
    result = verify_entries([(entry.body, entry.signature) for entry in entries], [KEY.public_key()])
    assert result.verified
    assert result.entries == len(drafts)
    for draft, entry in zip(drafts, entries, strict=True):
        body = parse(entry.body)
        assert (body.kind, body.facts, body.activation_id) == (draft.kind, draft.facts, draft.activation_id)
    assert [parse(entry.body).prev for entry in entries] == [FIRST_PREV, *(e.hash.hex() for e in entries)][
        : len(drafts)
    ]


def test_a_body_names_who_when_and_under_which_zones():
    held = Circumstances("2026-11-22.1", "ab" * 32, clock_bound_ms=40)
    draft = EntryDraft("ACTIVATED", {"crossing": "thayngen"}, "a" * 26, evidence_sha256="cd" * 32)
    fields = json.loads(build(draft, Link(), WRITER, held, NOW_S, 12.5))
    assert fields == {
        "seq": 1,
        "prev": FIRST_PREV,
        "agent": "box-1",
        "kid": "box-1.1",
        "bootId": "0f" * 16,
        "kind": "ACTIVATED",
        "at": "2026-11-22T10:00:00.000Z",
        "monotonicMs": 12500,
        "softwareVersion": "0.1.0",
        "activationId": "a" * 26,
        "atBoundMs": 40,
        "zoneSetVersion": "2026-11-22.1",
        "zoneSetSha256": "ab" * 32,
        "evidenceSha256": "cd" * 32,
        "facts": {"crossing": "thayngen"},
    }


def test_signature_and_hash_are_over_the_exact_body():
    entry = write([EntryDraft("AGENT_STARTED")])[0]
    KEY.public_key().verify(entry.signature, b"borderlane/journal/1\n" + entry.body)
    assert ENTRY_CONTEXT == b"borderlane/journal/1\n"
    assert entry.hash == leaf_hash(entry.body)


def test_too_many_facts_are_a_caller_bug():
    with pytest.raises(ValueError, match="expected at most"):
        build(EntryDraft("X", {"much": "x" * 1_000_000}), Link(), WRITER, Circumstances(), NOW_S, 0.0)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"seq": "1"}', b"\xff"])
def test_what_is_no_entry_is_refused(body):
    with pytest.raises(ValueError, match="no journal entry"):
        parse(body)
