"""Room put aside, given up, put aside again."""

from __future__ import annotations

import pytest

from agent.journal import ballast as ballast_module
from agent.journal.ballast import FILE_NAME, FREE_TIMES, ROOM_BYTES, Ballast, free_bytes, used_share

SIZE = 1 << 20


def test_it_takes_up_real_room_and_gives_it_back(tmp_path):
    ballast = Ballast(tmp_path, SIZE)
    assert not ballast.there and ballast.keep() and ballast.there
    taken = (tmp_path / FILE_NAME).stat()
    assert (taken.st_size, taken.st_blocks * 512) == (SIZE, pytest.approx(SIZE, rel=0.1))
    assert ballast.keep(), "twice is harmless"
    assert ballast.release() and not ballast.there
    assert not ballast.release(), "there is nothing left to give up"


@pytest.mark.parametrize("free", [0, SIZE, FREE_TIMES * SIZE - 1])
def test_it_never_fills_the_disk_itself(tmp_path, monkeypatch, free):
    monkeypatch.setattr(ballast_module, "free_bytes", lambda _folder: free)
    ballast = Ballast(tmp_path, SIZE)
    assert not ballast.keep() and not ballast.there and not ballast.release()
    monkeypatch.setattr(ballast_module, "free_bytes", lambda _folder: FREE_TIMES * SIZE)
    assert ballast.keep()


def test_one_of_another_size_is_made_anew(tmp_path):
    assert Ballast(tmp_path, SIZE // 2).keep()
    larger = Ballast(tmp_path, SIZE)
    assert not larger.there and larger.keep() and (tmp_path / FILE_NAME).stat().st_size == SIZE


@pytest.mark.parametrize(("free", "room"), [(ROOM_BYTES - 1, False), (ROOM_BYTES, True)])
def test_without_a_size_there_is_only_room_or_none(tmp_path, monkeypatch, free, room):
    monkeypatch.setattr(ballast_module, "free_bytes", lambda _folder: free)
    ballast = Ballast(tmp_path, 0)
    assert ballast.keep() is room
    assert not ballast.there and not ballast.release() and list(tmp_path.iterdir()) == []


def test_a_disk_that_is_gone_has_no_room(tmp_path):
    assert (free_bytes(tmp_path / "gone"), used_share(tmp_path / "gone")) == (0, 0.0)
    assert free_bytes(tmp_path) > 0 and 0 < used_share(tmp_path) <= 1
