"""`tcewatch` with one protection switched off: what the fault tests must notice. Called with the name of the control first."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

import store.duckdb
import store.journal
from ingest.collector import Collector
from ingest.connection import Connection
from portal.cli.main import main
from store.journal import Journal
from store.readings import Appended, judge


def acknowledges_on_arrival() -> None:
    """The broker forgets a message before the journal has it."""
    original = Collector._advance

    def advance(self: Collector, connection: Connection) -> None:
        original(self, connection)
        connection.acknowledge([packet_id for packet_id, _ in self._pending if packet_id])
        self._pending = [(0, arrival) for _, arrival in self._pending]

    Collector._advance = advance


def does_not_sync() -> None:
    """A commit is in the memory of the machine, not on its disk."""
    original = store.journal.connect

    def connect(path: Path, **named: Any) -> Any:
        return original(path, **(named | {"synchronous": "NORMAL"}))

    store.journal.connect = connect


def forgets_redeliveries() -> None:
    """What the broker delivers again becomes a second message."""
    Journal._find = lambda *_: None


def answers_before_it_has_stored() -> None:
    """The cursor moves on over readings that are in memory only."""
    original = store.duckdb.DuckDbReadingStore.append
    held: list[pl.DataFrame] = []

    def behind(self: store.duckdb.DuckDbReadingStore, readings: pl.DataFrame) -> Appended:
        while held:
            original(self, held.pop())
        held.append(readings)
        return judge(readings, readings.clear()).appended

    store.duckdb.DuckDbReadingStore.append = behind


def takes_every_reading_for_new() -> None:
    """A batch that is settled again is stored again."""
    store.duckdb.judge = lambda readings, kept: judge(readings, kept.clear())


CONTROLS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (acknowledges_on_arrival, does_not_sync, forgets_redeliveries, answers_before_it_has_stored, takes_every_reading_for_new)
}

if __name__ == "__main__":
    CONTROLS[sys.argv.pop(1)]()
    main()
