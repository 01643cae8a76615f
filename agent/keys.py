"""Keys: made, read and checked. Secrets come from files of mode 0600 or systemd credentials, never from TOML."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from agent.domain.signed import public_key
from agent.errors import ConfigError


def make_key(path: Path, public_path: Path) -> None:
    """Write a new Ed25519 private key (0600) and its public half.

    An existing private key is left alone; its public half is written again if that is missing.

    Raises:
        ConfigError: the existing key cannot be used, see `read_private_key`.
    """
    if path.exists():
        key = read_private_key(path)
        if public_path.exists():
            return
    else:
        key = Ed25519PrivateKey.generate()
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(_pem(key))
    public_path.parent.mkdir(parents=True, exist_ok=True)
    public_path.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


CREDENTIAL = "credential:"
"""Before the name of a secret that systemd hands over (`LoadCredential=`), instead of a path."""


def secret_file(name: str, folder: Path, what: str = "secret") -> Path:
    """The file that holds a secret: in systemd's credentials, or at a path relative to `folder`.

    Args:
        name: `credential:NAME`, or a path.
        folder: Of the configuration file.
        what: What it is, for people.

    Raises:
        ConfigError: there are no credentials, or the file is missing or open to others.
    """
    if name.startswith(CREDENTIAL):
        return _credential(name.removeprefix(CREDENTIAL))
    path = folder / name
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"{path}: {what} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"{path}: mode {mode:o} lets others read the {what}: expected 600")
    return path


def _credential(name: str) -> Path:
    """Systemd keeps the folder private; the files' own mode may show an access list as a group's right."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        raise ConfigError(f"{CREDENTIAL}{name}: no $CREDENTIALS_DIRECTORY: expected LoadCredential= in the unit file")
    if not name or "/" in name or name in (".", ".."):
        raise ConfigError(f"{CREDENTIAL}{name}: expected the name of a credential")
    path = Path(folder) / name
    if not path.is_file():
        raise ConfigError(f"{CREDENTIAL}{name}: not among the credentials: expected LoadCredential={name}:FILE")
    return path


def read_secret(name: str, folder: Path) -> str:
    """A password: the text of its file without the space around it.

    Raises:
        ConfigError: as `secret_file`, or no text.
    """
    path = secret_file(name, folder, "password")
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: password cannot be read: {error}") from error


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Ed25519 private key from PEM.

    Raises:
        ConfigError: not there, not readable, open to others, or another kind of key.
    """
    checked = path if _is_credential(path) else secret_file(str(path), Path(), "signing key")
    try:
        data = checked.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: signing key cannot be read: {error.strerror}") from error
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: no private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: {type(key).__name__}: expected an Ed25519 key")
    return key


def _is_credential(path: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(folder) and path.parent == Path(folder)


def jwk_of(key: Ed25519PrivateKey) -> OKPKey:
    """The same key for signing JWS."""
    return OKPKey.import_key(_pem(key))


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def read_public_key(path: Path) -> OKPKey:
    """Ed25519 public key from PEM.

    Raises:
        ConfigError: not there, or another kind of key.
    """
    try:
        return public_key(path.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no Ed25519 public key: {error}") from error


def read_public_keys(files: dict[str, str], folder: Path) -> dict[str, OKPKey]:
    """Public keys by key id; paths are relative to `folder`."""
    return {kid: read_public_key(folder / name) for kid, name in files.items()}
