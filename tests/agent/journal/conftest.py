"""A store on a real file, with a clock that stands still until it is moved."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.clock import Clock
from agent.journal.store import ActivationRow, Commit, CursorRow, EntryDraft, OutboxRow, Store

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


class HandClock(Clock):
    """Moved by hand: its times are class attributes, as `Clock` itself is frozen."""

    at_s = 1_795_341_600.0

    def now_s(self):
        return type(self).at_s

    def monotonic_s(self):
        return type(self).at_s - 1_795_000_000.0


@pytest.fixture
def clock():
    HandClock.at_s = 1_795_341_600.0
    return HandClock()


@pytest.fixture
def open_store(tmp_path, clock):
    """Opens the store of the test's folder, again if asked; all are closed at the end."""
    opened = []

    def open_again(**changes):
        settings = {"agent_id": "box-1", "signing_key": KEY, "kid": "box-1.1", "software_version": "0.1.0"}
        store = Store.open(tmp_path / "data", clock=clock, **(settings | changes))
        opened.append(store)
        return store

    yield open_again
    for store in opened:
        store.close()


@pytest.fixture
def activation_batch():
    """Makes the commit of one activation: entry, activation, request to customs and cursor."""

    def make(name):
        row = ActivationRow(name, "26CH1", 1, "JRN-1", "thayngen", "IN", f"unit-{name}", 5, 6, name.encode())
        return Commit(
            cursors=(CursorRow(f"unit-{name}", "boot", 1, (), 5),),
            activations=(row,),
            entries=(EntryDraft("ACTIVATED", {"crossing": "thayngen"}, name),),
            effects=(OutboxRow("activation", "/v1/activations", name, name.encode()),),
        )

    return make
