"""`borderlane instruction verify`: what an officer scans is good, expired, or not ours."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from typer.testing import CliRunner

from agent.delivery.pass_code import pack
from agent.domain.instruction import Instruction, Vehicle
from agent.domain.times import rfc3339
from agent.instruction.signing import sign_instruction
from agent.keys import jwk_of, make_key, read_private_key
from simulator.cli import tree

CLI = tree(["instruction"])


def signed(folder: Path, left_s: float) -> tuple[str, Path]:
    public = folder / "agent.pub.pem"
    make_key(folder / "agent.key.pem", public)
    now_s = time.time()
    instruction = Instruction(
        instruction_id="i", jrn="J-1", version=1, unit="u1", action="GO", customs_office="CH001251", lane=None,
        vehicle=Vehicle(identification_number="ZH 1", nationality="CH"), report_to_locations=(), deadline=None,
        reason_code="RELEASED", issued_at=rfc3339(now_s), expires_at=rfc3339(now_s + left_s), supersedes=None,
        activations=(), checkpoint=None,
    )  # fmt: skip
    return sign_instruction(instruction, jwk_of(read_private_key(folder / "agent.key.pem")), "box-1"), public


def test_good_as_code_and_as_jws(tmp_path: Path) -> None:
    token, public = signed(tmp_path, 600)
    for text in (pack(token), token + "\n"):
        result = CliRunner().invoke(CLI, ["instruction", "verify", "-", "--key", str(public)], input=text)
        assert result.exit_code == 0 and result.stdout.startswith("GOOD: GO for ZH 1 CH")
    (tmp_path / "code").write_text(pack(token))
    arguments = ["instruction", "verify", str(tmp_path / "code"), "--key", str(public), "--json"]
    document = msgspec.json.decode(CliRunner().invoke(CLI, arguments).stdout)
    assert document["ok"] and document["instruction"]["action"] == "GO"


def test_expired_foreign_and_damaged_are_not_good(tmp_path: Path) -> None:
    old, public = signed(tmp_path, -5)
    other = tmp_path / "other"
    other.mkdir()
    foreign, _ = signed(other, 600)
    for text, said in (
        (pack(old), "EXPIRED: GO"), (pack(foreign), "NOT GOOD: signature"), (pack(foreign)[:-3], "NOT GOOD: code"),
        ("hello", "NOT GOOD: signature"),
    ):  # fmt: skip
        result = CliRunner().invoke(CLI, ["instruction", "verify", "-", "--key", str(public)], input=text)
        assert result.exit_code == 1 and result.stdout.startswith(said), result.stdout


def test_no_key_is_wrong_usage(tmp_path: Path) -> None:
    arguments = ["instruction", "verify", "-", "--key", str(tmp_path / "none.pem")]
    assert CliRunner().invoke(CLI, arguments, input="x").exit_code == 2
