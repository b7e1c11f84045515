"""A full disk under a real InfluxDB: it answers with an error, shows the rows all the same, and forgets them at its next start (issue 23126)."""

import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

import store.influxdb
from config.errors import StoreUnavailableError
from config.settings import InfluxSettings
from store.influxdb import InfluxReadingStore
from store.readings import Judged, judge
from tests.contracts.influxd_server import InfluxServer
from tests.contracts.reading_store import names, readings
from tests.small_disk import small_disk

pytestmark = pytest.mark.needs("influxd")
ROWS = 2000


def batch(number: int) -> pl.DataFrame:
    """Readings that do not compress."""
    rows = readings(*[(number, key, number, 1.0) for key in range(ROWS)])
    return rows.with_columns(value=pl.int_range(pl.len()).hash(number).cast(pl.Float64))


def open_store(server: InfluxServer) -> InfluxReadingStore:
    settings = {"url": server.url, "org": server.org, "bucket": server.bucket, "token": server.token}
    return InfluxReadingStore(InfluxSettings.model_validate(settings), names)


@pytest.fixture
def full(program: Callable[[str], Path], tmp_path: Path) -> Iterator[tuple[InfluxServer, int]]:
    """A server whose disk was full and has room again, and the number of the batch that met the full disk."""
    with small_disk(tmp_path / "disk", megabytes=24) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(18 << 20))
        server = InfluxServer(program("influxd"), disk)
        store, number = open_store(server), 0
        with pytest.raises(StoreUnavailableError, match="no space left"):  # noqa: PT012 - which append it is depends on the disk
            for number in range(300):
                store.append(batch(number))
        assert store.count() > number * ROWS, "the server does not show what it could not keep: the test shows nothing"
        store.close()
        ballast.unlink()
        yield server, number
        server.stop()


def answered_and_kept(server: InfluxServer, number: int) -> tuple[int, int]:
    """Rows that `append` has answered for after one retry by another process of ours, and what a restart leaves of them."""
    store, answered = open_store(server), number * ROWS
    with contextlib.suppress(StoreUnavailableError):
        answered += store.append(batch(number)).stored
    server.kill()
    server.start()
    kept = store.count()
    store.close()
    return answered, kept


def test_rows_that_only_a_query_shows_count_once_they_are_written_again(full: tuple[InfluxServer, int]) -> None:
    answered, kept = answered_and_kept(*full)
    assert kept >= answered > 0


def test_the_control_that_believes_the_query_loses_rows(full: tuple[InfluxServer, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def believing(rows: pl.DataFrame, kept: pl.DataFrame) -> Judged:
        return judge(rows, kept)._replace(again=rows.clear())

    monkeypatch.setattr(store.influxdb, "judge", believing)
    answered, kept = answered_and_kept(*full)
    assert kept < answered


def test_what_the_server_forgets_after_its_204_is_there_again_once_a_new_incarnation_is_served(full: tuple[InfluxServer, int]) -> None:
    # A log with a torn end: the server cuts it at its start, wrongly, and what it then writes behind the cut is gone at the next one.
    server, number = full
    server.restart()
    store = open_store(server)
    for late in (batch(number), batch(number + 1)):
        assert store.append(late).stored == ROWS
    before = store.incarnation()
    server.kill()
    server.start()
    every = pl.concat([batch(n) for n in range(number + 2)])
    assert store.count() < every.height, "the server has kept everything: the test shows nothing"
    assert store.incarnation() != before
    assert store.append(every).stored == store.count() == every.height
    store.close()


def test_a_backup_after_the_restart_begins_a_new_log_that_forgets_nothing(full: tuple[InfluxServer, int]) -> None:
    # The remedy of the operator guide: `influx backup` makes the server write out what its torn log holds.
    server, number = full
    server.restart()
    wanted = urllib.request.Request(f"{server.url}/api/v2/backup/shards/1", headers={"Authorization": f"Token {server.token}"})
    with urllib.request.urlopen(wanted, timeout=30) as backup:
        assert backup.read()
    store = open_store(server)
    for late in (batch(number), batch(number + 1)):
        assert store.append(late).stored == ROWS
    server.kill()
    server.start()
    assert store.count() == (number + 2) * ROWS
    store.close()
