"""What can go wrong between us and telematics hardware, one kind for each who must act."""

from __future__ import annotations


class BridgeError(Exception):
    """Base of everything this package raises on purpose. Damaged input is no error: it is a `Refusal`."""


class PortUnavailable(BridgeError):  # noqa: N818 - reads as the fact it states
    """The port cannot be opened: try again later, tell the operator why.

    `reason` is one of `absent`, `no_permission`, `held`, `not_a_port`, `bad_settings`, `io_error`.
    """

    def __init__(self, path: str, reason: str, detail: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {detail}")


class PortLost(BridgeError):  # noqa: N818 - reads as the fact it states
    """The open port went away (unplugged, hung up, write refused): close it and open it again."""

    def __init__(self, path: str, detail: str) -> None:
        self.path = path
        super().__init__(f"{path}: {detail}")


class ListenerUnavailable(BridgeError):  # noqa: N818 - reads as the fact it states
    """The address cannot be listened on: held by another, or not ours. The operator must act."""
