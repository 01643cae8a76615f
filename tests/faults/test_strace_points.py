"""The kernel's own account of the crash points agrees with the shim's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.machinery import enumerate_in


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_killed_at_every_system_call_on_the_data_folder(
    count: Callable[[str], None], require: Callable[[str], str]
) -> None:
    require("strace")
    found = enumerate_in("strace_points", 5, timeout_s=3_500)
    assert found["bad"] == []
    assert found["each"]["pwrite64"] >= 200 and found["each"]["rename"] >= 2 and found["each"]["fdatasync"] >= 10
    count(f"strace: {found['points']} crash points {found['each']}, 0 bad")
