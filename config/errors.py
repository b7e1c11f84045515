"""The error tree. A sentence is built once, in the class; what a user expects to see is a value, not an error.

TcewatchError
├── BadInputError            a file or request that cannot be used; lists every problem (exit 3)
├── SettingsError            the settings, all problems at once (exit 3)
├── NoRuleInForceError       a dated table has no row for a day
├── UnknownCodeError         a carrier, product, unit or table that no table names
├── ServiceUnavailableError  a broker, store or port that cannot be reached now; trying again may help (exit 4)
│   ├── StoreUnavailableError
│   ├── BrokerUnavailableError
│   ├── PortInUseError
│   └── ChannelUnavailableError
├── StoreFullError           the disk is full: nothing was written and nothing is acknowledged (exit 4)
└── JournalCorruptError      a journal segment does not match its hash chain
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path


class TcewatchError(Exception):
    """Root of everything that tcewatch raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where it stands, what it is, and what would be right."""

    where: str  # "readings.csv row 7 column value", "settings [mqtt] port"
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.remedy}"


class BadInputError(TcewatchError):
    """An input cannot be used; nothing of it was taken over."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        head = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}; nothing was written."
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class SettingsError(BadInputError):
    """The settings do not hold together; all problems at once."""


class NoRuleInForceError(TcewatchError):
    """A dated table has no entry for the day asked for."""

    def __init__(self, table: str, key: str, day: date, earliest: date | None) -> None:
        self.table, self.key, self.day, self.earliest = table, key, day, earliest
        first = f"its first row starts on {earliest}" if earliest else "none of its rows has a date of effect"
        super().__init__(
            f"Table {table} has no row for {key} in force on {day}; {first}. "
            "Add the edition with its source in the site's tables folder, or ask for another period."
        )


class UnknownCodeError(TcewatchError):
    """A code that no table names."""

    def __init__(self, kind: str, code: str, known: Sequence[str]) -> None:
        self.kind, self.code, self.known = kind, code, tuple(known)
        listed = ", ".join(sorted(self.known)[:12]) + (", ..." if len(self.known) > 12 else "")
        super().__init__(f"{kind} {code!r} is not known. Known are: {listed}. `tcewatch tables` lists them all.")


class ServiceUnavailableError(TcewatchError):
    """Something outside cannot be reached now; trying again may help."""


class StoreUnavailableError(ServiceUnavailableError):
    """Nothing was stored; trying again may help."""

    REMEDY = "Check that it runs and is reachable; what is not stored stays in the journal and is tried again."

    def __init__(self, where: str | Path, cause: object, remedy: str = REMEDY) -> None:
        self.where, self.cause = str(where), cause
        super().__init__(f"The store {where} cannot be used now ({cause}). {remedy}")


class BrokerUnavailableError(ServiceUnavailableError):
    """The MQTT broker does not answer or refuses the connection."""

    def __init__(self, host: str, port: int, cause: object) -> None:
        self.host, self.port, self.cause = host, port, cause
        super().__init__(
            f"The MQTT broker at {host}:{port} cannot be reached ({cause}). Check that it runs and that [mqtt] host, "
            "port, username and password in the settings are right; the connection is tried again every few seconds."
        )


class PortInUseError(ServiceUnavailableError):
    """Another program listens where we want to."""

    def __init__(self, what: str, host: str, port: int, setting: str) -> None:
        self.host, self.port = host, port
        super().__init__(
            f"The {what} cannot listen on {host}:{port}: the port is in use. Stop the other program or set {setting} to a free port."
        )


class ChannelUnavailableError(ServiceUnavailableError):
    """A notice could not be handed to its channel; it stays in the outbox and is tried again."""

    def __init__(self, channel: str, where: str | Path, cause: object) -> None:
        self.channel, self.where, self.cause = channel, str(where), cause
        super().__init__(
            f"Channel {channel} could not deliver to {where} ({cause}). Check that it can be written or reached; the notice stays in the "
            "outbox and is tried again."
        )


class StoreFullError(TcewatchError):
    """The disk is full: nothing was written, nothing is acknowledged, and it resumes by itself."""

    def __init__(self, path: Path, cause: object) -> None:
        self.path, self.cause = path, cause
        super().__init__(
            f"The disk that holds {path} is full ({cause}). No message is acknowledged until there is room: "
            "free some space; the broker keeps the messages meanwhile and the collector goes on by itself."
        )


class JournalCorruptError(TcewatchError):
    """A journal segment does not match its hash chain, or (message 0) is no database any more."""

    def __init__(self, path: Path, message: int) -> None:
        self.path, self.message = path, message
        fault = f"does not match its hash chain from message {message} on" if message else "cannot be read"
        super().__init__(
            f"Journal segment {path.name} {fault}. "
            "Set the segment aside, keep it as evidence, and ask the gateways for a back-fill of that day."
        )
