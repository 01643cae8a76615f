"""A lorry drives through, customs answers: the whole proof of its activation in one file, checked three ways."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from agent.activation.events import RiskAnswered
from agent.journal.batch import INSTRUCTION, REQUEST, RISK_ANSWER
from agent.journal.commands import app
from agent.journal.reader import Reader
from agent.journal.verify import verify_export
from agent.keys import jwk_of
from agent.risk.exchange import sign_assessment, verified_assessment
from tests.agent.border import T0, assessment
from tests.agent.roadside import KEY, HandClock, Roadside, drive, expected

AUTHORITY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SCRIPT = Path(__file__).parents[3] / "docs" / "check_proof.py"
DAY_S = 86_400.0


def pem(path: Path, key: Ed25519PrivateKey) -> Path:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return path


async def cross(box: Roadside) -> str:
    """One lorry through the activation zone, answered GO; its activationId."""
    await box.take(events=(expected(),))
    await box.drive(drive())
    (activation,) = [row.activation_id for row in box.store._reader.activations()]
    state = box.register.instructions["JRN-1"]
    signed = sign_assessment(
        assessment(state, activation, "TO_ENTRY", box.clock.now_s()), jwk_of(AUTHORITY), "authority-1"
    )
    believed = verified_assessment(signed, {"authority-1": jwk_of(AUTHORITY)})
    answer = RiskAnswered("JRN-1", "box-1/JRN-1/1", (believed,), 0, (signed.signature or "",))
    await box.take(events=(answer,))
    await box.store.sign_head(at_once=True)
    return activation


@pytest.fixture
async def proof(tmp_path: Path) -> list[bytes]:
    """Lines of the export of one activation; keys lie beside the data folder."""
    box = Roadside(tmp_path / "data", HandClock(hand=[T0]))
    try:
        activation = await cross(box)
        done = CliRunner().invoke(app, ["export", "--data", str(tmp_path / "data"), "--activation", activation])
        assert done.exit_code == 0, done.output
    finally:
        box.store.close()
    pem(tmp_path / "agent.pem", KEY)
    pem(tmp_path / "authority.pem", AUTHORITY)
    return done.stdout.encode().splitlines(keepends=True)


def kinds(lines: list[bytes], name: str) -> list[Any]:
    return [fields[name] for fields in map(json.loads, lines) if name in fields]


def test_the_export_holds_the_whole_story(proof: list[bytes]) -> None:
    entries = [json.loads(body)["kind"] for body in kinds([one for one in proof if b'"sig"' in one], "body")]
    wanted = {"JOURNEY_FED", "DETECTED", "ACTIVATED", "RISK_ASKED", "RISK_ANSWERED", "INSTRUCTION_ISSUED"}
    assert wanted <= set(entries)
    assert {REQUEST, RISK_ANSWER, INSTRUCTION, "DETECTION"} <= set(kinds(proof, "paper"))
    activated = next(body for body in kinds(proof[1:], "body") if '"kind":"ACTIVATED"' in body)
    assert json.loads(activated)["zoneSetSha256"]


def test_it_is_proved_by_the_command_and_by_the_script_apart_from_it(proof: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "proof.jsonl"
    file.write_bytes(b"".join(proof))
    agent, authority = tmp_path / "agent.pem", tmp_path / "authority.pem"
    checked = CliRunner().invoke(
        app, ["verify", str(file), "--key", str(agent), "--authority-key", str(authority), "--json"]
    )
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["papers"] == len(kinds(proof, "paper"))
    apart = run_script(tmp_path, file, agent, authority)
    assert apart.returncode == 0 and "proved:" in apart.stdout, apart.stderr


def run_script(tmp_path: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)


def test_no_line_can_be_changed(proof: list[bytes], tmp_path: Path) -> None:
    """In each line in turn one character of its body is another."""
    keys, authority = [KEY.public_key()], [AUTHORITY.public_key()]
    assert verify_export(proof, keys, authority=authority).verified
    for number in range(1, len(proof)):
        fields = json.loads(proof[number])
        body = fields["body"]
        middle = len(body) // 2
        fields["body"] = body[:middle] + ("A" if body[middle] != "A" else "B") + body[middle + 1 :]
        changed = [*proof[:number], json.dumps(fields).encode() + b"\n", *proof[number + 1 :]]
        assert not verify_export(changed, keys, authority=authority).verified, fields
        (tmp_path / "changed.jsonl").write_bytes(b"".join(changed))
        if number in (1, len(proof) - 1, len(proof) - 3):
            apart = run_script(tmp_path, tmp_path / "changed.jsonl", tmp_path / "agent.pem", tmp_path / "authority.pem")
            assert apart.returncode == 1 and "NOT proved" in apart.stderr


def test_an_answer_or_instruction_of_another_signer_does_not_pass(proof: list[bytes]) -> None:
    keys, other = [KEY.public_key()], Ed25519PrivateKey.generate()
    assert not verify_export(proof, keys, authority=[other.public_key()]).verified
    assert not verify_export(proof, [other.public_key()]).verified
    stranger = {"paper": INSTRUCTION, "body": kinds(proof, "body")[-1]}
    assert not verify_export([*proof, json.dumps(stranger).encode()], keys).verified


async def test_papers_are_erased_when_their_time_is_over_and_the_journal_still_verifies(tmp_path: Path) -> None:
    """Day by day under a clock moved by hand: nothing stays that is over age (P5)."""
    box = Roadside(tmp_path / "data", HandClock(hand=[T0]))
    try:
        activation = await cross(box)
        assert b"47.74" not in b"".join(row.body for row in box.store._reader.activations())
        for day in range(1, 368):
            box.clock.move_to(T0 + day * DAY_S)
            while (await box.store.purge()).more:
                pass
            with Reader.open(tmp_path / "data") as reader:
                assert over_age(reader, box.clock.now_s()) == []
                assert bool(reader.papers("JRN-1")) == (day <= 365)
        done = CliRunner().invoke(app, ["export", "--data", str(tmp_path / "data"), "--activation", activation])
        lines = done.stdout.encode().splitlines()
        assert kinds(lines, "paper") == [] and verify_export(lines, [KEY.public_key()]).verified
    finally:
        box.store.close()
    assert msgspec.json.encode("JRN-1") in box.on_disk(), "the entries stay"


def over_age(reader: Reader, now_s: float) -> list[str]:
    """Tables that hold rows beyond their time."""
    now_ms = round(now_s * 1000)
    aged = {
        "telemetry": ("SELECT count(*) FROM telemetry WHERE at_ms < ?", DAY_S),
        "evidence_key": ("SELECT count(*) FROM evidence_key WHERE closed_ms < ?", DAY_S),
        "refusal": ("SELECT count(*) FROM refusal WHERE last_ms < ?", 30 * DAY_S),
        "paper": ("SELECT count(*) FROM paper WHERE at_ms < ?", 365 * DAY_S),
        "paper_key": ("SELECT count(*) FROM paper_key WHERE newest_ms < ?", 365 * DAY_S),
    }
    found = [name for name, (sql, age_s) in aged.items() if reader._value(sql, now_ms - round(age_s * 1000))]
    young = reader.events(0, 1)
    if young and now_s - T0 > 31 * DAY_S:
        found.append("event")
    return found
