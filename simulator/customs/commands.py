"""`borderlane customs`: the customs service as a process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import structlog
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from agent.clock import Clock
from agent.config import (
    CHOICES,
    LOOPBACK,
    ClockTable,
    LogTable,
    NotNegative,
    Table,
    TlsTable,
    parse_tables,
    read_text,
)
from agent.errors import AlreadyRunning, ConfigError, JournalError, LinkError
from agent.journal.verify import load_key
from agent.keys import jwk_of, make_key, read_private_key
from agent.logs import configure
from agent.risk.book import CompiledBook
from agent.risk.book_file import settle
from agent.status.access import certificate_access
from agent.tls import open_tls
from agent.web import Runner, run
from simulator.customs.api import CustomsApi, Faults, customs_application
from simulator.customs.book import Book
from simulator.customs.models import SHIPPED, Learned, load_learned, shipped
from simulator.customs.office import Office
from simulator.customs.reference import places_of, read_crossings, reference_data
from simulator.customs.register import Register
from simulator.customs.rule_build import book_of
from simulator.customs.rule_source import shipped_rules
from simulator.customs.shelf import Shelf, stamp, take_or_last
from simulator.customs.store import Store
from zones.catalogue import shipped_bytes

KID = "authority-1"
KEY_FILE, PUBLIC_FILE = "authority.key.pem", "authority.pub.pem"
SWEEP_EVERY_S = 60.0
"""How often declarations that nobody activated are looked for, seconds of the service's clock."""
RESCORED_AT_ONCE = 20
"""Declarations scored anew in one transaction: some 10 ms."""
WATCH_EVERY_S = 2.0
"""How often the place of a compiled book is looked at."""
WARM_FROM = 20_000
"""Rules and phrases from which a book is worth warming."""
EXIT_CONFIG, EXIT_REACH = 2, 3


class RiskTable(Table, frozen=True):
    """The rule book."""

    rules: str = ""
    """Rule book, relative to the configuration file: a folder of sources, or a compiled book; empty = built in."""
    book_key: str = ""
    """Public key (PEM) of who signs compiled books; empty = the one beside the first book, held to from then on."""
    conditional_crossings: tuple[str, ...] = ()
    """Crossings where a lorry may go on a conditional answer while the agent is cut off; none by default."""
    random_share: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Overrides the share of the book that is drawn by lot."""
    model: str = "default"
    """`default` (the additive pair card), `boosted`, or a folder written by `rules train`, relative to this file."""
    bays: dict[str, Annotated[int, Meta(ge=0)]] = msgspec.field(default_factory=dict)
    """Crossing to control bays that are free each hour; no bound for others."""


class FaultsTable(Table, frozen=True):
    """What a demo makes go wrong."""

    risk_delay_s: NotNegative = 0.0


class CustomsConfig(Table, frozen=True):
    """Configuration file of the customs service."""

    risk: RiskTable = RiskTable()
    faults: FaultsTable = FaultsTable()
    agents: dict[str, str] = msgspec.field(default_factory=dict)
    """Agent id to file of the public key with which it signs its journal, relative to this file."""
    tls: TlsTable = TlsTable()
    """Who the service is; with it every caller shows a certificate, whose kind is his role."""
    clock: ClockTable = ClockTable()
    log: LogTable = LogTable()


def load_customs_config(path: Path | None) -> CustomsConfig:
    """The configuration, or its defaults without a file.

    Raises:
        ConfigError: file, key and what was expected.
    """
    if path is None:
        return CustomsConfig()
    return parse_tables(read_text(path), str(path), CustomsConfig, CHOICES, os.environ)


def with_rules(config: CustomsConfig, rules: Path | None) -> CustomsConfig:
    """The configuration with another rule book."""
    if rules is None:
        return config
    risk = msgspec.structs.replace(config.risk, rules=str(rules.absolute()))
    return msgspec.structs.replace(config, risk=risk)


def configured_rules(config: CustomsConfig, folder: Path) -> Traversable:
    """Where the rule book is: a folder of sources, or a compiled book."""
    return folder / config.risk.rules if config.risk.rules else shipped_rules()


def configured_book(
    config: CustomsConfig, folder: Path, shelf: Shelf, now_s: float, *, or_last: bool = False
) -> tuple[CompiledBook, Book]:
    """The rule book that the configuration names, as it was compiled and as declarations meet it.

    Args:
        or_last: Go on with the book that was in force last where that is refused.

    Raises:
        ConfigError: any fault of the book.
    """
    public = folder / config.risk.book_key if config.risk.book_key else None
    take = partial(take_or_last, shelf) if or_last else shelf.take
    taken = take(configured_rules(config, folder), public, round(now_s * 1000))
    book, share = book_of(taken), config.risk.random_share
    return taken, book if share is None else replace(book, random_share=share)


def configured_model(config: CustomsConfig, folder: Path) -> Learned:
    """The model that the configuration names.

    Raises:
        ConfigError: no such folder, or a file in it is wrong.
    """
    name = config.risk.model
    if name in SHIPPED:
        return shipped(name)
    for file in SHIPPED.values():
        if (folder / name / file).is_file():
            return load_learned(folder / name, file)
    raise ConfigError(f"risk.model {name!r}: expected {', '.join(SHIPPED)}, or a folder written by rules train")


def agent_keys(config: CustomsConfig, folder: Path) -> dict[str, tuple[Ed25519PublicKey, ...]]:
    """Keys with which agents sign their journals.

    Raises:
        ConfigError: a file that is no Ed25519 public key.
    """
    keys: dict[str, tuple[Ed25519PublicKey, ...]] = {}
    for agent, name in config.agents.items():
        try:
            keys[agent] = (load_key((folder / name).read_bytes()),)
        except (OSError, ValueError) as error:
            raise ConfigError(f"agents.{agent}: {folder / name}: no Ed25519 public key: {error}") from error
    return keys


class CustomsService:
    """The running service: store, office and HTTP."""

    def __init__(
        self, data: Path, config: CustomsConfig, config_path: Path | None = None, rules: Path | None = None
    ) -> None:
        """Read rules and keys and open the register.

        Args:
            rules: Rule book in place of the configured one.

        Raises:
            ConfigError, AlreadyRunning, JournalError.
        """
        self._config_path = config_path
        self._rules = rules
        self._config = config = with_rules(config, rules)
        self._reloading = asyncio.Lock()
        self._folder = config_path.parent if config_path else Path()
        self._clock = Clock(config.clock.speedup, config.clock.origin_s)
        self._crossings = read_crossings(shipped_bytes("geo/crossings.geojson"))
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        make_key(data / KEY_FILE, data / PUBLIC_FILE)
        secret = read_private_key(data / KEY_FILE)
        self._key = jwk_of(secret)
        keys = agent_keys(config, self._folder)
        self._store = Store(data)
        try:
            self._shelf = Shelf(data, secret)
            now_s = self._clock.now_s()
            self._compiled, book = configured_book(config, self._folder, self._shelf, now_s, or_last=True)
        except BaseException:
            self._store.close()
            raise
        self._stamp = stamp(configured_rules(config, self._folder))
        conditional = frozenset(config.risk.conditional_crossings)
        register = Register(self._store, places_of(self._crossings))
        learned = configured_model(config, self._folder)
        self._office = Office(register, book, self._key, KID, keys, conditional, learned, config.risk.bays)
        self._office.register = self._office.scoring_register()
        self._from_s = self._clock.now_s()
        reference = reference_data(self._crossings, book.inspections, self._from_s, conditional)
        self._tls = open_tls(config.tls, self._folder)
        self._api = CustomsApi(self._office, self._clock, reference, Faults(config.faults.risk_delay_s))
        self._runner: Runner | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._warmer: asyncio.Task[None] | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> Runner:
        """Serve; port 0 = a free one.

        Raises:
            LinkError: the port cannot be had.
            ConfigError: others than this machine could reach it, and nobody would be asked who he is.
        """
        await self._store.write(partial(self._office.commit_draws, self._from_s))
        if host not in LOOPBACK and self._tls is None:
            raise ConfigError(f"--listen {host}: without [tls], expected one of {', '.join(LOOPBACK)}")
        application = customs_application(self._api, certificate_access if self._tls else None)
        self._runner = await run(application, host, port, self._tls.server if self._tls else None)
        self._sweeper = asyncio.create_task(self._sweep(), name="customs-expiry")
        self._watcher = asyncio.create_task(self._watch(), name="customs-book")
        self._start_warming()
        return self._runner

    async def stop(self) -> None:
        """Stop serving, finish what is under way, close the register."""
        self._stopping = True
        stopping = [one for one in (self._sweeper, self._watcher, self._warmer) if one is not None]
        for one in stopping:
            one.cancel()
        await asyncio.gather(*stopping, return_exceptions=True)
        await asyncio.gather(*self._tasks)
        if self._runner is not None:
            await self._runner.stop()
        self._store.close()

    async def reload(self) -> None:
        """Read configuration and rule book anew; a bad one changes nothing and says so."""
        log = structlog.get_logger()
        async with self._reloading:
            try:
                config = with_rules(load_customs_config(self._config_path), self._rules)
                self._stamp = stamp(configured_rules(config, self._folder))
                now_s = self._clock.now_s()
                taken, book = await asyncio.to_thread(configured_book, config, self._folder, self._shelf, now_s)
                if self._tls is not None:
                    self._tls.reload()
            except ConfigError as error:
                log.error("reload_refused", reason=str(error), rule_book=self._office.book.version)
                return
            self._put_in_force(config, taken, book)
        log.info("reloaded", rule_book=book.version)

    def _put_in_force(self, config: CustomsConfig, taken: CompiledBook, book: Book) -> None:
        old = self._office.book
        self._config, self._compiled = config, taken
        self._office.book = book
        self._office.bays = config.risk.bays
        self._office.conditional = frozenset(config.risk.conditional_crossings)
        self._api.faults = Faults(config.faults.risk_delay_s)
        self._api.reference = reference_data(
            self._crossings, book.inspections, self._clock.now_s(), self._office.conditional
        )
        if (book.version, book.lists_version) != (old.version, old.lists_version):
            self.spawn(self._revoke())
            self.spawn(self._rescore(book))
        self._start_warming()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the rest; it is finished before the service stops."""
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        """A compiled book that is put in the old one's place is taken."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            found = stamp(configured_rules(self._config, self._folder))
            if found is not None and found != self._stamp:
                await self.reload()

    def _start_warming(self) -> None:
        if self._warmer is not None:
            self._warmer.cancel()
        self._warmer = None
        if len(self._compiled.rules) + len(self._compiled.phrases) >= WARM_FROM:
            self._warmer = asyncio.create_task(self._warm(self._compiled), name="customs-warm")

    async def _warm(self, taken: CompiledBook) -> None:
        """Put hash table and automaton behind a large book, which answers from its files until then."""
        phrases = await asyncio.to_thread(taken.phrases.warmed)
        steps, rules = taken.rules.warming(), None
        while rules is None:
            rules = await asyncio.to_thread(next, steps)
        if taken is not self._compiled:
            return
        book = self._office.book
        self._office.book = replace(
            book, rules=replace(book.rules, index=rules), phrases=replace(book.phrases, index=phrases)
        )
        settle()
        structlog.get_logger().info("rule_book_warm", rule_book=book.version)

    async def _revoke(self) -> None:
        """What was answered beforehand under the old rules holds no longer."""
        now_s = self._clock.now_s()
        try:
            count = await self._store.write(partial(self._office.revoke_all, now_s))
        except JournalError as error:
            structlog.get_logger().error("revocation_failed", reason=str(error))
        else:
            structlog.get_logger().info("conditional_answers_revoked", count=count)

    async def _rescore(self, book: Book) -> None:
        """What waits for the border is scored under the new rules at once, in pieces that answers fit between."""
        at: tuple[str, str] | None = ("", "")
        count = 0
        try:
            while at is not None and self._office.book.version == book.version and not self._stopping:
                at = await self._store.write(partial(self._office.rescore, at, RESCORED_AT_ONCE, self._clock.now_s()))
                count += 1
        except JournalError as error:
            structlog.get_logger().error("rescoring_failed", reason=str(error))
        else:
            structlog.get_logger().info("rescored", rule_book=book.version, pieces=count)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_EVERY_S)
            now_s = self._clock.now_s()
            try:
                ended = await self._store.write(partial(self._office.register.expire, now_s))
                await self._store.write(partial(self._office.commit_draws, now_s))
            except JournalError as error:
                structlog.get_logger().error("expiry_failed", reason=str(error))
            else:
                if ended:
                    structlog.get_logger().info("declarations_expired", count=ended)


async def serve(service: CustomsService, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: service.spawn(service.reload()))
    try:
        runner = await service.start(host, port)
        structlog.get_logger().info("customs_listening", url=runner.url)
        await stopped.wait()
    finally:
        await service.stop()
    structlog.get_logger().info("customs_stopped")


def split_listen(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; `[::1]:8080` for IPv6.

    Raises:
        ConfigError: another form.
    """
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigError(f"--listen {text}: expected HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def customs(
    listen: Annotated[str, typer.Option(help="Address to serve at, HOST:PORT; port 0 = a free one.")],
    data: Annotated[Path, typer.Option(help="Folder of the register and the authority's key.")],
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    rules: Annotated[
        Path | None, typer.Option(help="Rule book: a folder of sources, or a compiled book; wins over the file.")
    ] = None,
) -> None:
    """The customs service: declarations, activation, risk assessment."""
    try:
        host, port = split_listen(listen)
        settings = load_customs_config(config)
        configure(settings.log.format, settings.log.level)
        service = CustomsService(data, settings, config, rules)
        asyncio.run(serve(service, host, port))
    except (ConfigError, AlreadyRunning) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_CONFIG) from error
    except (LinkError, JournalError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_REACH) from error
