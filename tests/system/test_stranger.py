"""A stranger with mosquitto_pub and mosquitto_sub against the running demo, by what the README says."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from simulator.demo_files import Ports
from simulator.parts import free_ports
from tests.system.box import ports_in_a_row, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

README = Path(__file__).parent.parent.parent / "README.md"
README_PORTS = Ports(8090, 8091, 8092, 8093)
"""Those of `make demo ARGS="--port 8090"`."""


@dataclass(frozen=True)
class Running:
    """A demo that serves."""

    ports: Ports
    agent_key: Path

    async def journey(self, key: str) -> Any:
        """What the agent knows under a key."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.ports.agent}/v1/journeys/{key}") as answer,
        ):
            return await answer.json() if answer.status == 200 else None


@asynccontextmanager
async def running_demo(folder: Path) -> AsyncIterator[Running]:
    """`borderlane demo` on ports of its own, stopped at the end."""
    ports = Ports(*free_ports(4, ports_in_a_row()))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator.cli", "demo", "--port", str(ports.room), "--lorries", "5",
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(40):
            while not (line := await process.stdout.readline()).startswith(b"control room:"):
                assert line, "the demo ended"
        (key,) = folder.glob("borderlane-*/keys/agent.pub.pem")
        yield Running(ports, key)
    finally:
        process.terminate()
        await process.communicate()


def try_it() -> str:
    """The lines that the README tells people to type."""
    section = README.read_text().split("## Try it by hand", 1)[1]
    block = re.search(r"```(?:sh)?\n(.*?)```", section, re.DOTALL)
    assert block is not None, "README.md has no lines to try"
    return block[1]


def documents(text: str) -> list[dict[str, Any]]:
    """JSON documents one after another."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def opened(token: bytes, key_file: Path) -> dict[str, Any]:
    """Payload of a JWS, checked by RFC 7515 and 8037 with nothing of our own code."""
    key = load_pem_public_key(key_file.read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    header, payload, signature = token.strip().split(b".")
    try:
        key.verify(_plain(signature), header + b"." + payload)
    except InvalidSignature:
        pytest.fail("the signature is not good")
    assert json.loads(_plain(header))["alg"] == "Ed25519"
    return dict(json.loads(_plain(payload)))


def _plain(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


async def shell(*words: str) -> bytes:
    """Standard output of a program that must end well."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out


async def the_readmes_lines_do_what_it_says(demo: Running) -> None:
    lines = try_it()
    assert len(lines.strip().splitlines()) == 5
    for there, here in zip(vars(README_PORTS).values(), vars(demo.ports).values(), strict=True):
        lines = lines.replace(str(there), str(here))
    declared, stranger, expected = documents((await shell("bash", "-c", lines)).decode())
    assert declared["state"] == "READY" and declared["ruleFailures"] == []
    assert (stranger["action"], stranger["reasonCode"], stranger["jrn"]) == ("HOLD", "UNKNOWN_VEHICLE", None)
    assert (expected["action"], expected["reasonCode"], expected["jrn"]) == ("GO", "EMPTY_RELEASED", "MY-1")
    assert expected["vehicle"] == {"identificationNumber": "ZH 123456", "nationality": "CH"}


async def a_signed_instruction_comes_and_is_receipted(demo: Running) -> None:
    place = ["-h", "127.0.0.1", "-p", str(demo.ports.broker), "-q", "1"]
    topic = "borderlane/v1/units/stranger-7"
    waiting = asyncio.create_task(shell("mosquitto_sub", *place, "-C", "1", "-t", f"{topic}/instruction"))
    await asyncio.sleep(0.5)
    entered_s = time.monotonic()
    report = {"fixTime": round(time.time() * 1000), "latitude": 47.7416, "longitude": 8.724, "accuracy": 8}
    await shell("mosquitto_pub", *place, "-t", f"{topic}/position", "-m", json.dumps(report))
    told = opened(await waiting, demo.agent_key)
    assert time.monotonic() - entered_s < 8.0
    assert (told["action"], told["reasonCode"], told["jrn"]) == ("HOLD", "UNKNOWN_VEHICLE", None)
    assert (told["unit"], told["version"], told["customsOffice"]) == ("stranger-7", 1, "CH002471")

    receipt = {
        "instructionId": told["instructionId"],
        "version": 1,
        "delivered": told["issuedAt"],
        "displayed": told["issuedAt"],
        "acknowledged": None,
        "language": "de",
    }
    await shell("mosquitto_pub", *place, "-t", f"{topic}/receipt", "-m", json.dumps(receipt))

    async def counted() -> bool:
        journey = await demo.journey("unit:stranger-7")
        return bool(journey["deliveries"][0]["stage"] == "DISPLAYED")

    await until(counted, "the receipt is counted")


async def test_a_stranger_with_mosquittos_clients(tmp_path: Path, require: Callable[[str], str]) -> None:
    for program in ("mosquitto_pub", "mosquitto_sub", "curl", "bash"):
        require(program)
    async with running_demo(tmp_path) as demo:
        await the_readmes_lines_do_what_it_says(demo)
        await a_signed_instruction_comes_and_is_receipted(demo)
