"""agent/keys.py: what is made, what is read, what is refused and why."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.domain.signed import sign, verify
from agent.errors import ConfigError
from agent.keys import jwk_of, make_key, read_private_key, read_public_key, read_public_keys, read_secret, secret_file


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    private, public = tmp_path / "keys" / "a.key.pem", tmp_path / "public" / "a.pub.pem"
    make_key(private, public)
    return private, public


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))


def public_pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def test_a_new_key_is_for_its_owner_only_and_its_halves_belong_together(made: tuple[Path, Path]) -> None:
    private, public = made
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    token = sign(b"text", jwk_of(read_private_key(private)), "a", "test")
    assert verify(token, read_public_keys({"a": public.name}, public.parent), "test") == b"text"


def test_an_existing_key_stays_and_a_lost_public_half_comes_back(made: tuple[Path, Path]) -> None:
    private, public = made
    before = private.read_bytes(), public.read_bytes()
    make_key(private, public)
    assert (private.read_bytes(), public.read_bytes()) == before
    public.unlink()
    make_key(private, public)
    assert (private.read_bytes(), public.read_bytes()) == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_that_others_may_touch_is_refused(made: tuple[Path, Path], mode: int) -> None:
    made[0].chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:o} lets others read the signing key: expected 600"):
        read_private_key(made[0])


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_for_its_owner_only_is_taken(made: tuple[Path, Path], mode: int) -> None:
    made[0].chmod(mode)
    assert isinstance(read_private_key(made[0]), Ed25519PrivateKey)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: b"", "no private key in PEM"),
        (lambda: b"not a key", "no private key in PEM"),
        (lambda: private_pem(Ed25519PrivateKey.generate(), b"secret"), "no private key in PEM"),
        (lambda: public_pem(Ed25519PrivateKey.generate()), "no private key in PEM"),
        (lambda: private_pem(ec.generate_private_key(ec.SECP256R1())), "expected an Ed25519 key"),
        (lambda: private_pem(x25519.X25519PrivateKey.generate()), "expected an Ed25519 key"),
    ],
)
def test_another_kind_of_private_key_is_refused(tmp_path: Path, content: Callable[[], bytes], said: str) -> None:
    path = tmp_path / "x.pem"
    path.write_bytes(content())
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=said) as error:
        read_private_key(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"",
        lambda: b"\xff\xfe not even text",
        lambda: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        lambda: public_pem(ec.generate_private_key(ec.SECP256R1())),
        lambda: public_pem(x25519.X25519PrivateKey.generate()),
        lambda: public_pem(rsa.generate_private_key(65_537, 2_048)),
    ],
)
def test_another_kind_of_public_key_is_refused(tmp_path: Path, content: Callable[[], bytes]) -> None:
    path = tmp_path / "x.pub.pem"
    path.write_bytes(content())
    with pytest.raises(ConfigError, match=r"x\.pub\.pem: no Ed25519 public key"):
        read_public_key(path)


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.pem: signing key cannot be read: No such file"):
        read_private_key(tmp_path / "gone.pem")
    with pytest.raises(ConfigError, match=r"gone\.pub\.pem"):
        read_public_keys({"authority-1": "gone.pub.pem"}, tmp_path)


def test_an_unusable_key_is_not_covered_up_by_a_new_one(tmp_path: Path) -> None:
    private = tmp_path / "a.key.pem"
    private.write_bytes(b"half a key")
    private.chmod(0o600)
    with pytest.raises(ConfigError):
        make_key(private, tmp_path / "a.pub.pem")
    assert private.read_bytes() == b"half a key"


def test_a_secret_is_a_private_file_beside_the_configuration(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    assert read_secret("password", tmp_path) == "open sesame"
    secret.chmod(0o640)
    with pytest.raises(ConfigError, match="mode 640 lets others read the password"):
        read_secret("password", tmp_path)


def test_systemd_hands_secrets_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agent.key").write_text("x")
    (tmp_path / "agent.key").chmod(0o440)  # as systemd's access list shows
    with pytest.raises(ConfigError, match=r"credential:agent\.key: no \$CREDENTIALS_DIRECTORY"):
        secret_file("credential:agent.key", tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret_file("credential:agent.key", Path("/elsewhere")) == tmp_path / "agent.key"
    with pytest.raises(ConfigError, match="LoadCredential=other:FILE"):
        secret_file("credential:other", tmp_path)


@pytest.mark.parametrize("name", ["", "..", "a/b", "../secret"])
def test_a_credential_is_no_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigError, match="expected the name of a credential"):
        secret_file(f"credential:{name}", tmp_path)


def test_a_signing_key_may_be_a_credential(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(made[0].parent))
    made[0].chmod(0o440)
    path = secret_file(f"credential:{made[0].name}", tmp_path)
    assert isinstance(read_private_key(path), Ed25519PrivateKey)
