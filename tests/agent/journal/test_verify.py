"""Every kind of damage at every place of 50 entries is found, and said where."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.journal import verify
from agent.journal.entry import Circumstances, EntryDraft, Link, Writer, build, follow, seal
from agent.journal.merkle import CompactRange, inclusion_proof, sign_checkpoint
from agent.journal.verify import MAX_FINDINGS, load_key, verify_entries, verify_export

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = [KEY.public_key()]
COUNT = 50
PLACES = range(COUNT)


def written(count=COUNT, salt="", key=KEY, agent="box-1"):
    writer, link, entries = Writer(agent, "k1", "boot", "0.1.0"), Link(), []
    for number in range(count):
        draft = EntryDraft("ACTIVATED", {"number": number, "salt": salt}, f"id-{number % 7}")
        body = build(draft, link, writer, Circumstances(), 1_000.0 + number, float(number))
        entries.append(seal(body, link, key, draft.activation_id))
        link = follow(entries[-1])
    return entries


def head_of(entries, size=None, key=KEY, agent="box-1"):
    tree = CompactRange()
    for entry in entries[:size]:
        tree = tree.append(entry.hash)
    return sign_checkpoint(agent, tree, key)


def pairs(entries):
    return [(entry.body, entry.signature) for entry in entries]


GOOD = written()
HEAD = head_of(GOOD)
REBUILT = written(salt="rebuilt")


def test_a_whole_journal_verifies_under_all_its_heads():
    result = verify_entries(pairs(GOOD), KEYS, [head_of(GOOD, size) for size in (0, 1, 33, 50)])
    assert result.verified
    assert (result.entries, result.covered) == (50, 50)


@pytest.mark.parametrize("place", PLACES)
def test_an_edited_entry_is_found_where_it_is(place):
    damaged = pairs(GOOD)
    body, signature = damaged[place]
    damaged[place] = (body.replace(b'"number":', b'"numbes":'), signature)
    result = verify_entries(damaged, KEYS)
    assert result.findings[0].where == place + 1
    assert "signature does not fit" in result.findings[0].what


@pytest.mark.parametrize("place", PLACES)
def test_an_entry_signed_again_by_the_agent_breaks_the_chain(place):
    damaged, link = pairs(GOOD), follow(GOOD[place - 1]) if place else Link()
    body = GOOD[place].body.replace(b'"number":', b'"numbes":')
    damaged[place] = (body, seal(body, link, KEY).signature)
    result = verify_entries(damaged, KEYS, [HEAD])
    assert not result.verified
    if place < COUNT - 1:
        assert (result.findings[0].where, "does not continue" in result.findings[0].what) == (place + 2, True)
    else:  # nothing follows the last one: only a checkpoint tells
        assert "rebuilt" in result.findings[0].what


@pytest.mark.parametrize("place", PLACES)
def test_a_deleted_entry_is_found(place):
    damaged = pairs(GOOD)
    del damaged[place]
    result = verify_entries(damaged, KEYS, [HEAD])
    assert not result.verified
    if place < COUNT - 1:
        assert result.findings[0].where == place + 1
        assert "was removed" in result.findings[0].what
    else:
        assert "the tail was cut" in result.findings[0].what


@pytest.mark.parametrize("place", PLACES)
def test_an_inserted_entry_is_found(place):
    damaged = pairs(GOOD)
    damaged.insert(place, damaged[(place + 25) % COUNT])
    result = verify_entries(damaged, KEYS)
    assert place + 1 in [finding.where for finding in result.findings]


@pytest.mark.parametrize("place", range(COUNT - 1))
def test_swapped_entries_are_found(place):
    damaged = pairs(GOOD)
    damaged[place], damaged[place + 1] = damaged[place + 1], damaged[place]
    result = verify_entries(damaged, KEYS)
    assert result.findings[0].where == place + 1


@pytest.mark.parametrize("place", PLACES)
def test_a_cut_tail_is_found_by_a_checkpoint(place):
    result = verify_entries(pairs(GOOD)[:place], KEYS, [HEAD])
    assert [finding.what for finding in result.findings] == [
        f"ends after {place} entries, but a checkpoint vouches for 50: the tail was cut"
    ]


@pytest.mark.parametrize("place", PLACES)
def test_a_journal_rebuilt_from_any_place_on_is_found_by_a_checkpoint(place):
    """By one who has the agent's key: signatures and chain are good then."""
    link, rebuilt = (follow(GOOD[place - 1]) if place else Link()), GOOD[:place]
    for entry in REBUILT[place:]:
        fields = json.loads(entry.body) | {"prev": link.prev}
        rebuilt.append(seal(json.dumps(fields).encode(), link, KEY))
        link = follow(rebuilt[-1])
    assert verify_entries(pairs(rebuilt), KEYS).verified
    result = verify_entries(pairs(rebuilt), KEYS, [HEAD])
    assert ["the journal was rebuilt" in finding.what for finding in result.findings] == [True]


def test_another_key_is_found_in_every_entry():
    result = verify_entries(pairs(GOOD), [Ed25519PrivateKey.generate().public_key()])
    assert result.found == COUNT


def test_after_a_rotation_both_keys_are_good():
    other = Ed25519PrivateKey.generate()
    mixed = GOOD[:20]
    link = follow(mixed[-1])
    for entry in GOOD[20:]:
        mixed.append(seal(entry.body, link, other))
        link = follow(mixed[-1])
    assert verify_entries(pairs(mixed), [*KEYS, other.public_key()]).verified
    assert verify_entries(pairs(mixed), KEYS).findings[0].where == 21


def test_heads_and_entries_of_another_agent_are_found():
    foreign = head_of(GOOD, agent="box-2")
    assert "another agent" in verify_entries(pairs(GOOD), KEYS, [foreign]).findings[0].what
    mixed = pairs(GOOD)[:1] + pairs(written(agent="box-2"))[1:2]
    assert any("several agents" in finding.what for finding in verify_entries(mixed, KEYS).findings)


def test_findings_are_bounded_but_counted():
    result = verify_entries([(b"{}", b"")] * 300, KEYS)
    assert len(result.findings) == MAX_FINDINGS
    assert result.found == 600  # signature and number of each


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=70)), min_size=1, max_size=5))
def test_no_bytes_stop_the_check_or_pass_it(rubbish):
    assert not verify_entries(rubbish, KEYS).verified


# Exports.


def export_lines(entries, activation=None, checkpoint=HEAD):
    header = {
        "export": "borderlane/journal/1",
        "agent": "box-1",
        "activation": activation,
        "checkpoint": checkpoint,
    }
    lines = [json.dumps(header)]
    for entry in entries:
        line = {"body": entry.body.decode(), "sig": base64.b64encode(entry.signature).decode()}
        if activation is not None:
            proof = inclusion_proof([good.hash for good in GOOD], entry.seq - 1)
            line["proof"] = [base64.b64encode(step).decode() for step in proof]
        lines.append(json.dumps(line))
    return [line.encode() + b"\n" for line in lines]


def test_an_export_verifies():
    result = verify_export(export_lines(GOOD), KEYS, [head_of(GOOD, 10)])
    assert result.verified
    assert (result.entries, result.covered) == (50, 50)


@pytest.mark.parametrize("place", range(1, COUNT + 1))
def test_an_export_with_a_line_cut_or_changed_does_not_verify(place):
    lines = export_lines(GOOD)
    assert not verify_export(lines[:place], KEYS).verified
    assert not verify_export([*lines[:place], *lines[place + 1 :]], KEYS).verified
    assert not verify_export([*lines[:place], b"{]\n", *lines[place + 1 :]], KEYS).verified


@given(st.data())
def test_no_changed_byte_of_an_export_goes_unseen(data):
    lines = export_lines(GOOD[:3], checkpoint=head_of(GOOD, 3))
    line = data.draw(st.integers(1, 3))
    start = lines[line].index(b'"body"') + 9
    place = data.draw(st.integers(start, lines[line].index(b'", "sig"') - 1))
    flipped = bytearray(lines[line])
    flipped[place] ^= 1 << data.draw(st.integers(0, 6))
    lines[line] = bytes(flipped)
    assert not verify_export(lines, KEYS).verified


@pytest.mark.parametrize("lines", [[], [b"{}\n"], [b"\xff\xfe"], [b"[" * 100_000]])
def test_what_is_no_export_is_refused(lines):
    assert "line 1" in verify_export(lines, KEYS).findings[0].what


def test_one_activation_is_proved_by_inclusion():
    mine = [entry for entry in GOOD if entry.activation_id == "id-3"]
    result = verify_export(export_lines(mine, "id-3"), KEYS, [HEAD])
    assert result.verified
    assert (result.entries, result.covered) == (len(mine), len(mine))


def test_a_proof_with_anything_changed_does_not_verify():
    mine = [entry for entry in GOOD if entry.activation_id == "id-3"]
    lines = export_lines(mine, "id-3")
    swapped = json.loads(lines[1]) | {"proof": json.loads(lines[2])["proof"]}
    foreign = [entry for entry in REBUILT if entry.activation_id == "id-3"]
    assert not verify_export([lines[0], json.dumps(swapped).encode()], KEYS).verified
    assert not verify_export(export_lines(foreign, "id-3"), KEYS).verified
    assert not verify_export(export_lines(mine, "id-3", checkpoint=None), KEYS).verified
    assert not verify_export(lines, KEYS, [head_of(REBUILT)]).verified


def test_an_entry_younger_than_the_head_stands_by_its_signature_alone():
    lines = export_lines(GOOD[48:], "id-x", checkpoint=head_of(GOOD, 40))
    result = verify_export(lines, KEYS)
    assert (result.verified, result.entries, result.covered) == (True, 2, 0)


def pem_of(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def test_the_file_runs_alone_without_the_product(tmp_path: Path):
    """A copy of the one file, outside the project, checks an export."""
    alone = tmp_path / "verify.py"
    alone.write_bytes(Path(verify.__file__).read_bytes())
    (tmp_path / "key.pem").write_bytes(pem_of(KEY))
    (tmp_path / "head").write_text(HEAD, "utf-8")
    (tmp_path / "good.jsonl").write_bytes(b"".join(export_lines(GOOD)))
    (tmp_path / "cut.jsonl").write_bytes(b"".join(export_lines(GOOD)[:-1]))

    def run(name):
        command = [sys.executable, "-I", alone, tmp_path / name, "--key", tmp_path / "key.pem"]
        command += ["--checkpoint", tmp_path / "head"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)

    good, cut = run("good.jsonl"), run("cut.jsonl")
    assert (good.returncode, good.stdout) == (0, "verified: 50 entries, 50 under a checkpoint\n"), good.stderr
    assert (cut.returncode, "the tail was cut" in cut.stdout) == (1, True), cut.stderr


def test_a_key_of_another_kind_is_refused():
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    with pytest.raises(ValueError, match="expected an Ed25519 public key"):
        load_key(pem_of(X25519PrivateKey.generate()))
