"""`borderlane journal` as a person or a program calls it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from agent.journal import database
from agent.journal.commands import app
from agent.journal.merkle import CompactRange, sign_checkpoint
from agent.journal.store import Commit, EntryDraft
from agent.journal.verify import leaf_hash


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def public_pem(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


@pytest.fixture
async def running(open_store, activation_batch):
    """Store of an agent with 12 entries, still open."""
    store = open_store()
    for number in range(4):
        await store.commit(activation_batch(f"id-{number}"))
        answer = EntryDraft("RISK_ANSWERED", {"routing": "GO", "text": "grün"}, f"id-{number}")
        await store.commit(Commit(entries=(answer, EntryDraft("MODE_CHANGED"))))
    return store


@pytest.fixture
def data(running, tmp_path):
    """Its data folder; the public key lies beside it."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    (tmp_path / "agent.pub.pem").write_bytes(public_pem(key))
    return tmp_path / "data"


def test_show_prints_the_newest_entries(data):
    lines = run("show", "--data", data, "--limit", 3).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["10", "11", "12"]
    assert "RISK_ANSWERED id-3  routing=GO text=grün" in lines[1]


def test_show_for_programs_prints_the_signed_bodies(data):
    bodies = [json.loads(line) for line in run("show", "--data", data, "--json", "--after", 2).stdout.splitlines()]
    assert [body["seq"] for body in bodies] == list(range(3, 13))
    mine = run("show", "--data", data, "--json", "--activation", "id-1").stdout.splitlines()
    assert [json.loads(line)["seq"] for line in mine] == [4, 5]


def test_verify_passes_a_sound_journal_while_the_agent_runs(data, tmp_path):
    result = run("verify", "--data", data, "--key", tmp_path / "agent.pub.pem", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (document["verified"], document["entries"], document["covered"]) == (True, 12, 1)
    assert "no checkpoint" in document["notes"][0]
    assert "--key proves who wrote it" in run("verify", "--data", data).stdout


def test_verify_says_what_is_wrong_and_where(running, data, tmp_path):
    running.close()
    path = data / database.FILE_NAME
    path.write_bytes(path.read_bytes().replace(b'"routing":"GO"', b'"routing":"NO"', 1))
    result = run("verify", "--data", data, "--key", tmp_path / "agent.pub.pem")
    assert result.exit_code == 1
    assert "signature does not fit" in result.stdout
    assert "NOT verified" in result.stdout
    document = json.loads(run("verify", "--data", data, "--json").stdout)
    assert (document["verified"], document["findings"][0]["entry"] in range(1, 13)) == (False, True)


def test_verify_finds_what_sqlite_itself_cannot_read(running, data, tmp_path):
    running.close()
    path = data / database.FILE_NAME
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // database.PAGE_BYTES):  # all but the first: headers of the trees
        content[page * database.PAGE_BYTES : page * database.PAGE_BYTES + 8] = b"\xff" * 8
    path.write_bytes(content)
    result = run("verify", "--data", data, "--key", tmp_path / "agent.pub.pem")
    assert result.exit_code == 1, result.output


def test_verify_with_another_key_fails(data, tmp_path):
    (tmp_path / "other.pem").write_bytes(public_pem(Ed25519PrivateKey.generate()))
    result = run("verify", "--data", data, "--key", tmp_path / "other.pem")
    assert result.exit_code == 1


def test_an_export_verifies_with_only_the_file_and_a_key(data, tmp_path):
    out, key = tmp_path / "export.jsonl", tmp_path / "agent.pub.pem"
    assert run("export", "--data", data, "--out", out).exit_code == 0
    assert out.read_text("utf-8") == run("export", "--data", data).stdout
    assert run("verify", out, "--key", key).exit_code == 0
    (tmp_path / "cut.jsonl").write_text("".join(out.read_text("utf-8").splitlines(True)[:-1]), "utf-8")
    assert run("verify", tmp_path / "cut.jsonl", "--key", key).exit_code == 0  # no head vouches for it yet


def test_a_head_held_elsewhere_finds_a_cut_export(data, tmp_path):
    out, key = tmp_path / "export.jsonl", tmp_path / "agent.pub.pem"
    run("export", "--data", data, "--out", out)
    (tmp_path / "cut.jsonl").write_text("".join(out.read_text("utf-8").splitlines(True)[:-1]), "utf-8")
    tree = CompactRange()
    for line in out.read_text("utf-8").splitlines()[1:]:
        tree = tree.append(leaf_hash(json.loads(line)["body"].encode()))
    signer = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    (tmp_path / "head").write_text(sign_checkpoint("box-1", tree, signer), "utf-8")
    assert run("verify", out, "--key", key, "--checkpoint", tmp_path / "head").exit_code == 0
    result = run("verify", tmp_path / "cut.jsonl", "--key", key, "--checkpoint", tmp_path / "head")
    assert (result.exit_code, "the tail was cut" in result.stdout) == (1, True)


def test_the_proof_of_one_activation_is_one_file(data, tmp_path):
    out, key = tmp_path / "proof.jsonl", tmp_path / "agent.pub.pem"
    assert run("export", "--data", data, "--activation", "id-0", "--out", out).exit_code == 0
    header, first, *_ = (json.loads(line) for line in out.read_text("utf-8").splitlines())
    assert header["activation"] == "id-0"
    assert json.loads(first["body"])["activationId"] == "id-0"
    document = json.loads(run("verify", out, "--key", key, "--json").stdout)
    assert (document["verified"], document["entries"], document["covered"]) == (True, 2, 1)
    changed = out.read_text("utf-8").replace("grün", "grau")
    out.write_text(changed, "utf-8")
    assert run("verify", out, "--key", key).exit_code == 1


def test_an_unknown_activation_is_said_to_be_unknown(data):
    result = run("export", "--data", data, "--activation", "nope")
    assert (result.exit_code, "no entry names activation 'nope'" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "--data", "{}/none"], "expected the data folder of an agent"),
        (["verify", "{}/none.jsonl", "--key", "{}/agent.pub.pem"], "cannot be read"),
        (["verify", "{}/agent.pub.pem"], "expected --key PUB.pem"),
        (["verify", "--data", "{}/data", "--key", "{}/none.pem"], "no Ed25519 public key"),
        (["verify", "--data", "{}/data", "--checkpoint", "{}/none"], "checkpoint cannot be read"),
        (["export", "--data", "{}/data", "--out", "{}/none/x"], "cannot be written"),
    ],
)
def test_wrong_usage_says_what_was_expected(data, tmp_path, arguments, words):
    result = run(*(argument.format(tmp_path) for argument in arguments))
    assert (result.exit_code, words in result.stderr) == (2, True), result.output


def test_a_database_by_another_name_is_not_mistaken_for_its_neighbour(data, tmp_path):
    other = data / "old.db"
    other.write_bytes((data / database.FILE_NAME).read_bytes())
    result = run("verify", other, "--key", tmp_path / "agent.pub.pem")
    assert (result.exit_code, "expected --data" in result.stderr) == (2, True)


def test_who_verifies_loads_no_broker_no_http_and_no_geometry():
    """`journal verify` is a light command: it starts quickly and needs few packages."""
    code = "import sys, agent.journal.commands; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"aiohttp", "shapely", "numpy", "paho", "joserfc", "structlog", "asyncio"}
    assert heavy & set(done.stdout.split()) == set()
