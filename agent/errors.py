"""What can go wrong in the agent, one kind for each who must act."""

from __future__ import annotations


class AgentError(Exception):
    """Base of everything this package raises on purpose."""


class PeerError(AgentError):
    """The other side sent something wrong: refuse it, count it, carry on."""


class LinkError(AgentError):
    """Broker, port or service is out of reach: keep the work and try again."""


class JournalError(AgentError):
    """The journal cannot promise durability: stop accepting work at once."""


class JournalFull(JournalError):  # noqa: N818 - reads as the fact it states
    """There is no room to write: nothing is visible of what was tried, and the same may be tried again."""


class ConfigError(AgentError):
    """The configuration is wrong: the operator must mend the file. Names file, key, and what was expected."""


class AlreadyRunning(AgentError):  # noqa: N818 - reads as the fact it states
    """Another agent holds this data folder."""
