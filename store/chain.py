"""The walk along the chain of the journal, and what it finds."""

import sqlite3
from typing import NamedTuple

from store.segments import chain_value, digest_of, origin_of, rows_with_chain, version_of


class Break(NamedTuple):
    """A place where the journal is not what was written."""

    segment: str  # file name
    message: int  # first message concerned; 0 where the file cannot be read
    what: str


class ChainCheck(NamedTuple):
    """What `verify` found."""

    checked: int  # messages looked at
    broken: tuple[Break, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return not self.broken


class ChainWalk:
    """One walk along the chain."""

    def __init__(self, head_id: int, head_chain: bytes) -> None:
        self.head_id, self.head_chain = head_id, head_chain
        self.checked = 0
        self.broken: list[Break] = []
        self.last: tuple[int, bytes] | None = None  # id and chain of the row before; None: not known

    def segment(self, name: str, db: sqlite3.Connection) -> None:
        if not version_of(db):
            return
        origin = origin_of(db)
        if self.last is not None and self.last != origin:
            self.broken.append(Break(name, origin[0] + 1, f"the segment before ends at message {self.last[0]}, not at {origin[0]} as it did"))
        self.last = origin
        for row in rows_with_chain(db):
            self._row(name, *row)

    def _row(
        self, name: str, message: int, door: str, topic: str, identity: str | None, content_type: str | None, payload: bytes,
        received_us: int, retained: int, lane: int, mid: int, digest: bytes, chain: bytes,
    ) -> None:
        assert self.last is not None
        self.checked += 1
        last_id, last_chain = self.last
        if message != last_id + 1:
            self.broken.append(Break(name, last_id + 1, f"messages {last_id + 1} to {message - 1} are gone"))
        if not (isinstance(topic, str) and isinstance(payload, bytes)) or digest != digest_of(topic, payload):
            self.broken.append(Break(name, message, "topic or payload is not what was written"))
        elif chain != chain_value(last_chain, (message, door, topic, identity, content_type, received_us, mid, bool(retained)), lane, digest):
            self.broken.append(Break(name, message, "the row or the one before it is not what was written"))
        elif message == self.head_id and chain != self.head_chain:
            self.broken.append(Break(name, message, "the row is not the one that the head remembers"))
        self.last = (message, chain)

    def end(self, name: str, settled: int) -> None:
        last_id, expected = self.last[0] if self.last else 0, max(self.head_id, settled)
        if last_id < expected and (self.last or not self.broken):  # behind a file that cannot be read nothing is known
            self.broken.append(Break(name, last_id + 1, f"the tail is gone: messages {last_id + 1} to {expected} were written or settled"))
