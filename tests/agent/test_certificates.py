"""agent/certificates.py and agent/tls.py: what a certificate proves, in real handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from agent.certificates import HOLDER_DAYS, TrialAuthority
from agent.config import TlsTable
from agent.domain.holder import Holder, Kind
from agent.errors import ConfigError
from agent.tls import Tls, open_tls, peer_holder

LORRY, AGENT = Holder("lorry.1"), Holder("box-1", Kind.AGENT)


def table(authority: TrialAuthority, holder: Holder, *, crl: bool = True) -> TlsTable:
    pair = authority.pair(holder)
    return TlsTable(
        ca=str(authority.certificate), crl=str(authority.crl) if crl else "",
        certificate=str(pair.certificate), key=str(pair.key),
    )  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> TrialAuthority:
    made = TrialAuthority(tmp_path / "tls")
    made.issue(AGENT)
    made.issue(LORRY)
    return made


async def greet(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[Holder | None, str]:
    """Whom the server sees, and the serial number that the client sees; OSError where one refuses the other."""
    seen: asyncio.Future[Holder | None] = asyncio.get_running_loop().create_future()

    async def meet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not seen.done():
            seen.set_result(peer_holder(writer.get_extra_info("ssl_object")))
        writer.write(b"x")
        writer.close()

    listening = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=server)
    try:
        port = listening.sockets[0].getsockname()[1]
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            try:
                if await reader.read() != b"x":  # TLS 1.3: a refusal comes after the client thinks it is in
                    raise ConnectionResetError
                serial = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
                return await seen, serial
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    finally:
        listening.close()
        await listening.wait_closed()


async def test_both_ends_know_each_other(authority: TrialAuthority, tmp_path: Path) -> None:
    agent, lorry = (Tls(table(authority, holder), tmp_path) for holder in (AGENT, LORRY))
    assert (await greet(agent.server, lorry.client))[0] == LORRY


async def test_without_a_certificate_the_other_end_is_nobody(authority: TrialAuthority, tmp_path: Path) -> None:
    anybody = ssl.create_default_context(cafile=str(authority.certificate))
    assert (await greet(Tls(table(authority, AGENT), tmp_path).server, anybody))[0] is None


async def test_a_unit_cannot_pass_for_a_service(authority: TrialAuthority, tmp_path: Path) -> None:
    false_agent, lorry = Tls(table(authority, LORRY), tmp_path), Tls(table(authority, LORRY), tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(false_agent.server, lorry.client)


async def test_foreign_ended_and_revoked_certificates_are_refused(authority: TrialAuthority, tmp_path: Path) -> None:
    agent = Tls(table(authority, AGENT), tmp_path)
    foreign = TrialAuthority(tmp_path / "foreign")
    foreign.issue(LORRY)
    theirs = msgspec.structs.replace(table(foreign, LORRY, crl=False), ca=str(authority.certificate))
    with pytest.raises(OSError):
        await greet(agent.server, Tls(theirs, tmp_path).client)
    late = TrialAuthority(authority.folder, dt.datetime.now(dt.UTC) - dt.timedelta(days=HOLDER_DAYS + 1))
    late.issue(Holder("ended"))
    with pytest.raises(OSError):
        await greet(agent.server, Tls(table(authority, Holder("ended"), crl=False), tmp_path).client)
    lorry = Tls(table(authority, LORRY, crl=False), tmp_path)
    assert (await greet(agent.server, lorry.client))[0] == LORRY
    assert authority.revoke(LORRY) == 1
    agent.reload()
    with pytest.raises(OSError):
        await greet(agent.server, lorry.client)


async def test_certificates_rotate_without_a_gap(authority: TrialAuthority, tmp_path: Path) -> None:
    agent, lorry = (Tls(table(authority, holder), tmp_path) for holder in (AGENT, LORRY))
    _, before = await greet(agent.server, lorry.client)
    authority.issue(AGENT)
    authority.issue(LORRY)
    holder, still = await greet(agent.server, lorry.client)
    agent.reload()
    _, after = await greet(agent.server, lorry.client)  # the lorry's old certificate is good beside its new one
    lorry.reload()
    assert (holder, still) == (LORRY, before) and after != before
    assert (await greet(agent.server, lorry.client))[0] == LORRY


def test_a_reload_of_bad_files_changes_nothing(authority: TrialAuthority, tmp_path: Path) -> None:
    agent = Tls(table(authority, AGENT), tmp_path)
    authority.pair(AGENT).certificate.write_text("torn")
    with pytest.raises(ConfigError, match="cannot be used together"):
        agent.reload()


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_missing_file_is_said(authority: TrialAuthority, tmp_path: Path, which: str) -> None:
    getattr(authority.pair(AGENT), which).unlink()
    with pytest.raises(ConfigError, match="box-1"):
        Tls(table(authority, AGENT), tmp_path)


def test_without_an_authority_there_is_no_tls(tmp_path: Path) -> None:
    assert open_tls(TlsTable(), tmp_path) is None


def test_keys_are_private_and_the_register_knows_everybody(authority: TrialAuthority) -> None:
    for key in authority.folder.rglob("*.key.pem"):
        assert key.stat().st_mode & 0o777 == 0o600, key
    again = TrialAuthority(authority.folder)
    assert [one.common_name for one in again.holders()] == ["agent:box-1", "lorry.1"]
    again.issue(LORRY)
    assert again.revoke(LORRY) == 2 and again.revoke(LORRY) == 0  # both certificates of its life
    assert again.revoked_names() == ("lorry.1",) and again.holders() == (AGENT,)
    again.issue(LORRY)
    assert not again.revoked_names() and LORRY in again.holders()
    assert len(list(x509.load_pem_x509_crl(again.crl.read_bytes()))) == 2
    assert "test CA" in x509.load_pem_x509_certificate(again.certificate.read_bytes()).subject.rfc4514_string()


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.cert.pem").write_text("no")
    (tmp_path / "ca.key.pem").write_text("no")
    with pytest.raises(ConfigError, match="no certificate authority"):
        TrialAuthority(tmp_path)
