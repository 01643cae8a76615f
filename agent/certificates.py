"""A certificate authority in a folder: for demos, tests and first trials, never for the road.

An operator brings certificates of its own authority; nothing but `borderlane init --tls`, `borderlane identity` and
the demo uses this one. Its folder holds the authority's key, one pair of files for each holder under the holder's
kind, the list of revoked certificates, and `register.jsonl`: every serial number that was ever issued.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.domain.holder import SERVING, Holder, read_holder
from agent.errors import ConfigError

AUTHORITY_NAME = "borderlane test CA - not for the road"
AUTHORITY_DAYS, HOLDER_DAYS = 365, 90
"""A holder's certificate lives 90 days at most (design/reliability.md section 7, S15)."""
BACKDATED = dt.timedelta(minutes=5)
"""So that a peer whose clock is behind takes a new certificate at once."""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the register."""

    serial: str
    """Hexadecimal."""
    name: str
    """Common name."""
    until: str
    revoked: str = ""
    """When, as RFC 3339; a line of its own, after that of the issue."""


@dataclass(frozen=True)
class Pair:
    """Certificate and private key of one holder, PEM."""

    certificate: Path
    key: Path


class TrialAuthority:
    """One folder's authority."""

    def __init__(self, folder: Path, now: dt.datetime | None = None) -> None:
        """Open it, or make it where there is none.

        Args:
            folder: Its own, mode 0700.
            now: UTC; None = now. Tests make certificates that have ended.

        Raises:
            ConfigError: the folder holds something else, or cannot be used.
        """
        self.folder = folder
        self._now = now or dt.datetime.now(dt.UTC)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.certificate.exists():
                self._key, self._own = self._read()
            else:
                self._key, self._own = self._make()
                self._write_crl(())
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from error

    @property
    def certificate(self) -> Path:
        """What everybody trusts."""
        return self.folder / "ca.cert.pem"

    @property
    def crl(self) -> Path:
        """Whom nobody trusts any longer."""
        return self.folder / "ca.crl.pem"

    @property
    def _register(self) -> Path:
        return self.folder / "register.jsonl"

    def pair(self, holder: Holder) -> Pair:
        """Where a holder's files are or will be."""
        folder = self.folder / holder.kind.value
        return Pair(folder / f"{holder.name}.cert.pem", folder / f"{holder.name}.key.pem")

    def issue(self, holder: Holder, hosts: Iterable[str] = (), days: float = HOLDER_DAYS) -> Pair:
        """A new key and certificate in place of those before, which stay good until they end or are revoked.

        Args:
            holder: Whom it names.
            hosts: Addresses and names at which a serving kind is found, besides loopback; not used for others.
            days: Life.
        """
        key, pair = ec.generate_private_key(ec.SECP256R1()), self.pair(holder)
        certificate = self._signed(holder, key.public_key(), (*LOOPBACK_NAMES, *hosts), days)
        pair.key.parent.mkdir(mode=0o700, exist_ok=True)
        _write(pair.key, _private(key), 0o600)
        _write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        until = certificate.not_valid_after_utc.isoformat()
        self._note([Issued(serial=f"{certificate.serial_number:x}", name=holder.common_name, until=until)])
        return pair

    def revoke(self, holder: Holder) -> int:
        """Every certificate that the holder has; how many there were."""
        live = [one for one in self._live() if one.name == holder.common_name]
        at = self._now.isoformat()
        self._note([msgspec.structs.replace(one, revoked=at) for one in live])
        self._write_crl([one for one in self._lines() if one.revoked])
        return len(live)

    def renew_crl(self) -> None:
        """The same list, good for another while."""
        self._write_crl([one for one in self._lines() if one.revoked])

    def holders(self) -> tuple[Holder, ...]:
        """Whoever has a certificate that is not revoked, by name."""
        found = (read_holder(name) for name in sorted({one.name for one in self._live()}))
        return tuple(holder for holder in found if holder is not None)

    def revoked_names(self) -> tuple[str, ...]:
        """Common names that had a certificate and have none now."""
        live = {one.name for one in self._live()}
        return tuple(sorted({one.name for one in self._lines() if one.revoked} - live))

    # --- inside -------------------------------------------------------------------------------------------------

    def _make(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs certificates, lists
        builder = (
            self._builder(_name(AUTHORITY_NAME), key.public_key(), _name(AUTHORITY_NAME), AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        certificate = builder.sign(key, hashes.SHA256())
        _write(self.folder / "ca.key.pem", _private(key), 0o600)
        _write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return key, certificate

    def _read(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        try:
            key = serialization.load_pem_private_key((self.folder / "ca.key.pem").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self.folder}: no certificate authority of ours: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{self.folder / 'ca.key.pem'}: {type(key).__name__}: expected a P-256 key")
        return key, certificate

    def _signed(
        self, holder: Holder, key: ec.EllipticCurvePublicKey, hosts: tuple[str, ...], days: float
    ) -> x509.Certificate:
        serving = holder.kind in SERVING
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serving else [])]
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # signs handshakes
        builder = (
            self._builder(_name(holder.common_name), key, self._own.subject, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(self._issuer_key(), critical=False)
        )
        if serving:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general_name, hosts))), False)
        return builder.sign(self._key, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name, days: float
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - BACKDATED)
            .not_valid_after(self._now + dt.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def _issuer_key(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def _write_crl(self, revoked: Iterable[Issued]) -> None:
        """Dated later than the list before, by a second at least: OpenSSL, which may hold both, takes the later."""
        issued, dated = dt.datetime.now(dt.UTC), self._now - BACKDATED
        if self.crl.exists():
            before = x509.load_pem_x509_crl(self.crl.read_bytes()).last_update_utc
            dated = max(issued - BACKDATED, before + dt.timedelta(seconds=1))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._own.subject)
            .last_update(dated)
            .next_update(dated + dt.timedelta(days=HOLDER_DAYS))
            .add_extension(x509.CRLNumber(int(issued.timestamp() * 1000)), critical=False)
            .add_extension(self._issuer_key(), critical=False)
        )
        for one in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(int(one.serial, 16))
            builder = builder.add_revoked_certificate(
                entry.revocation_date(dt.datetime.fromisoformat(one.revoked)).build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        _write(self.crl, signed.public_bytes(serialization.Encoding.PEM), 0o644)

    def _note(self, lines: Iterable[Issued]) -> None:
        with self._register.open("ab") as file:
            for line in lines:
                file.write(msgspec.json.encode(line) + b"\n")

    def _lines(self) -> list[Issued]:
        with contextlib.suppress(FileNotFoundError):
            try:
                return [msgspec.json.decode(line, type=Issued) for line in self._register.read_bytes().splitlines()]
            except msgspec.MsgspecError as error:
                raise ConfigError(f"{self._register}: {error}") from error
        return []

    def _live(self) -> list[Issued]:
        newest = {one.serial: one for one in self._lines()}
        return [one for one in newest.values() if not one.revoked]


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all: whoever reads while it is replaced finds the old one."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    new.replace(path)
