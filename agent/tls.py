"""TLS contexts from certificate files: mutual, 1.3 only, renewed in place without a broken connection."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import structlog

from agent.config import TlsTable
from agent.domain.holder import Holder, read_holder
from agent.errors import ConfigError
from agent.keys import secret_file

log = structlog.get_logger()


class Tls:
    """One identity as contexts: `client` to call others, `server` to be called.

    Both stay the same objects for good: `reload` puts renewed files into them, and each handshake from then on uses
    those. Connections that are open go on.
    """

    def __init__(self, table: TlsTable, folder: Path) -> None:
        """Read the files; paths are relative to `folder`.

        Raises:
            ConfigError: a file is missing, unreadable, open to others, or does not fit the others.
        """
        self.table, self.folder = table, folder
        self.client = _context(ssl.PROTOCOL_TLS_CLIENT)
        self.server = _context(ssl.PROTOCOL_TLS_SERVER)
        self.server.verify_mode = ssl.CERT_OPTIONAL
        self.server.num_tickets = 0  # whoever resumes a session is not asked for a certificate again, revoked or not
        self._fill(self.client, self.server)

    def reload(self) -> None:
        """Take renewed certificates, keys and lists.

        Raises:
            ConfigError: as on opening; nothing has changed then.
        """
        self._fill(_context(ssl.PROTOCOL_TLS_CLIENT), _context(ssl.PROTOCOL_TLS_SERVER))
        self._fill(self.client, self.server)
        log.info("certificates_read", certificate=self.table.certificate)

    def _fill(self, *contexts: ssl.SSLContext) -> None:
        table = self.table
        key = secret_file(table.key, self.folder)
        for context in contexts:
            try:
                context.load_verify_locations(self.folder / table.ca)
                if table.crl:
                    context.load_verify_locations(self.folder / table.crl)
                    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
                context.load_cert_chain(self.folder / table.certificate, key)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                files = ", ".join(filter(None, (table.ca, table.crl, table.certificate, table.key)))
                raise ConfigError(f"tls: {files}: cannot be used together: {error}") from error


def open_tls(table: TlsTable, folder: Path) -> Tls | None:
    """The identity that a configuration names; None if it names none.

    Raises:
        ConfigError: see `Tls`.
    """
    return Tls(table, folder) if table.ca else None


def peer_holder(connection: object) -> Holder | None:
    """Whom the other end of a connection has proved to be; None without a certificate or for a foreign name.

    Args:
        connection: An `ssl.SSLObject` or `SSLSocket`; anything else has no certificate.
    """
    if not isinstance(connection, ssl.SSLObject | ssl.SSLSocket):
        return None
    subject: Any = (connection.getpeercert() or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    return read_holder(names[0]) if len(names) == 1 else None


def _context(side: ssl._SSLMethod) -> ssl.SSLContext:
    """Nothing below 1.3, and no authority but the one we are given."""
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
