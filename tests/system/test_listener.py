"""Telematics units on the agent's own port, with real processes: killed before the answer, UDP, TLS, display."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from simulator.avl_unit import AvlUnit, encode_frame, encode_hello, encode_record, imei_of
from simulator.parts import free_ports
from tests.system.box import APPROACH, APPROACH_EVERY_S, INSIDE, Box, until
from zones.fix import Fix, FixType

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

WAIT_S = 30.0


def listener(port: int, units: dict[str, str], more: str = "private_network = true") -> str:
    known = ", ".join(f'"{imei}" = "{unit}"' for imei, unit in units.items())
    return f"\n[[listener]]\nport = {port}\nunits = {{ {known} }}\n{more}\n"


def approach(unit: str) -> list[Fix]:
    """Into the zone of Thayngen, the last fix of now."""
    now_s = time.time()
    last = len(APPROACH) - 1
    return [
        Fix(
            unit, now_s - (last - n) * APPROACH_EVERY_S, *place, now_s,
            accuracy_m=5.0, speed_mps=17.0, heading_deg=278.0, fix_type=FixType.THREE_D,
        )
        for n, place in enumerate(APPROACH)
    ]  # fmt: skip


def frame(fixes: list[Fix]) -> bytes:
    return encode_frame([encode_record(fix) for fix in fixes])


@asynccontextmanager
async def line(
    port: int, imei: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A unit's connection after the handshake."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None
    )
    try:
        writer.write(encode_hello(imei))
        async with asyncio.timeout(WAIT_S):
            assert await reader.readexactly(1) == b"\x01"
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def confirmed(port: int, imei: str, data: bytes, count: int, tls: ssl.SSLContext | None = None) -> None:
    async with line(port, imei, tls) as (reader, writer):
        writer.write(data)
        async with asyncio.timeout(WAIT_S):
            assert int.from_bytes(await reader.readexactly(4), "big") == count


async def only_once(box: Box, count: int) -> None:
    async def all_there() -> bool:
        return len(await box.customs_activations()) >= count

    await until(all_there, f"{count} activations at customs")
    at_customs = [row["activationId"] for row in await box.customs_activations()]
    assert sorted(at_customs) == sorted(box.journal_activations()) and len(at_customs) == len(set(at_customs)) == count


KILL_AFTER_S = (None, 0.0, 0.03)
"""From the frame to the kill; None = as soon as the activation is on disk, before the answer is read."""


async def test_killed_before_the_answer_there_is_one_effect_after_the_resend(box: Box) -> None:
    (port,) = free_ports(1)
    units = {imei_of(number): f"lorry-{number}" for number in range(1, len(KILL_AFTER_S) + 1)}
    box.configure({}, listener(port, units))
    await box.start_agent()
    for number, (after_s, (imei, name)) in enumerate(zip(KILL_AFTER_S, units.items(), strict=True), start=1):
        await box.expected(name, number=number)
        data, before = frame(approach(name)), len(box.journal_activations())
        async with line(port, imei) as (_reader, writer):
            writer.write(data)
            await writer.drain()
            if after_s is None:
                await until(lambda before=before: len(box.journal_activations()) > before, "activated", every_s=0.005)
            else:
                await asyncio.sleep(after_s)
            await box.kill_agent()
        await box.start_agent()
        for _ in range(2):
            await confirmed(port, imei, data, len(APPROACH))
        await only_once(box, 2 * number)
    status = await box.get("/v1/status")
    (own,) = status["listeners"].values()
    assert own["counts"]["accepted"] == 2
    await box.agent.stop()
    assert (await box.verify_journal())["verified"] is True


async def test_the_instruction_is_on_the_units_display_and_its_answer_is_the_receipt(box: Box) -> None:
    (port,) = free_ports(1)
    imei, texts = imei_of(1), list[str]()
    display = 'private_network = true\ndisplay = "show {text}"\nlanguage = "it"'
    box.configure({}, listener(port, {imei: "lorry-1"}, display))
    await box.start_agent()
    papers = await box.expected("lorry-1")
    assert papers.journey is not None
    unit = AvlUnit("127.0.0.1", port, imei, texts.append)
    for fix in approach("lorry-1"):
        unit.take(fix)
    unit.start()
    try:
        await until(lambda: texts, "a text on the display")
        assert texts == ["show PROSEGUIRE"]
        jrn = papers.journey.jrn

        async def receipted() -> bool:
            detail = await box.get(f"/v1/journeys/{jrn}")
            return [one["stage"] for one in detail["deliveries"]] == ["DELIVERED"]

        await until(receipted, "the unit's answer counts as delivered")
        assert box.journal("RECEIPT")[0]["unit"] == "lorry-1"
        assert unit.waiting == 0
    finally:
        await unit.close()


async def test_packets_by_udp_and_a_frame_refused_three_times(box: Box) -> None:
    (port,) = free_ports(1)
    imei = imei_of(1)
    box.configure({}, listener(port, {imei: "imei"}, "private_network = true\nudp = true"))
    await box.start_agent()
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    class Answers(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            heard.put_nowait(data)

    fix = Fix(imei, time.time(), *INSIDE, 0.0, accuracy_m=5.0, fix_type=FixType.THREE_D)
    body = frame([fix])[8:-4]
    spoilt = body[:-1] + b"\x07"
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Answers, remote_addr=("127.0.0.1", port))
    try:
        for content, count in ((spoilt, 0), (spoilt, 0), (spoilt, 1), (body, 1)):
            inner = b"\x00\x2a\x01\x05" + encode_hello(imei) + content
            transport.sendto(len(inner).to_bytes(2, "big") + inner)
            async with asyncio.timeout(WAIT_S):
                assert await heard.get() == b"\x00\x05\x00\x2a\x01\x05" + bytes((count,))
    finally:
        transport.close()
    assert await until(lambda: box.get(f"/v1/journeys/unit:{imei}"), "it stands in the zone")
    (own,) = (await box.get("/v1/status"))["listeners"].values()
    assert (own["counts"]["bad_count"], own["counts"]["given_up"], own["counts"]["accepted"]) == (3, 1, 1)
    log = box.agent.log_file.read_text()
    assert "47.74" not in log and str(INSIDE[1]) not in log, "no position in the log"


def make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "avl.crt.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = folder / "avl.key.pem"
    secret.touch(mode=0o600)
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


async def test_over_tls_where_the_line_is_not_private(box: Box) -> None:
    (port,) = free_ports(1)
    imei = imei_of(1)
    make_certificate(box.folder)
    box.configure({}, listener(port, {imei: "lorry-1"}, 'tls_certificate = "avl.crt.pem"\ntls_key = "avl.key.pem"'))
    await box.start_agent()
    tls = ssl.create_default_context(cafile=str(box.folder / "avl.crt.pem"))
    await confirmed(port, imei, frame(approach("lorry-1")), len(APPROACH), tls)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(encode_hello(imei))
    with suppress(ConnectionError):
        async with asyncio.timeout(WAIT_S):
            assert await reader.read(1) != b"\x01", "nobody is let in without TLS"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
