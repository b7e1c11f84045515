import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import StoreFullError, StoreUnavailableError
from store.duckdb import DuckDbReadingStore
from store.readings import ReadingStore
from tests.contracts.reading_store import ReadingStoreContract, at, counts, readings
from tests.small_disk import small_disk


class TestDuckDbReadingStore(ReadingStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], ReadingStore]:
        return lambda: DuckDbReadingStore(tmp_path / "readings.duckdb")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_padded_span_is_what_one_would_pick_from_everything(tmp_path: Path, data: st.DataObject) -> None:
    quarters = st.integers(0, 60) | st.sampled_from([-3000, 3000])  # far beyond where neighbours are looked for at first
    rows = data.draw(st.lists(st.tuples(st.just(0), st.sampled_from([1, 2, 3, 9]), quarters, st.sampled_from([1.0, 2.0])), min_size=1, max_size=60))
    keys = data.draw(st.none() | st.lists(st.sampled_from([1, 2, 3, 9]), unique=True))
    begin = data.draw(st.integers(-10, 60))
    start, end, pad = at(begin), at(begin + data.draw(st.integers(0, 30))), data.draw(st.integers(0, 4))
    store = DuckDbReadingStore(tmp_path / f"{uuid.uuid4()}.duckdb")
    try:
        store.append(readings(*[(number, *row[1:]) for number, row in enumerate(rows)]))
        everything = store.span(keys, at(-4000), at(4000))
        assert everything.equals(everything.sort("register_key", "read_at", "copy"))
        read_at, of_register = pl.col("read_at"), "register_key"
        before = (read_at < start) & (pl.when(read_at < start).then(read_at).rank("dense", descending=True).over(of_register) <= pad)
        after = (read_at >= end) & (pl.when(read_at >= end).then(read_at).rank("dense").over(of_register) <= pad)
        expected = everything.filter(((read_at >= start) & (read_at < end)) | before | after)
        assert store.span(keys, start, end, pad=pad).equals(expected)
    finally:
        store.close()


def test_a_file_forgets_nothing_and_so_has_one_incarnation(tmp_path: Path) -> None:
    store = DuckDbReadingStore(tmp_path / "readings.duckdb")
    assert store.incarnation() == ""
    store.close()


def _held(path: Path) -> subprocess.Popen[str]:
    """Another process that has the file open until it is told to go."""
    code = f"import duckdb; db = duckdb.connect({str(path)!r}); print('open', flush=True); input(); db.close()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "open"
    return process


def test_a_file_that_another_process_holds_is_told_with_its_number_and_what_to_do(tmp_path: Path) -> None:
    with _held(tmp_path / "r.duckdb") as holder:
        with pytest.raises(StoreUnavailableError, match=rf"process {holder.pid} holds it.*running service"):
            DuckDbReadingStore(tmp_path / "r.duckdb")
        holder.communicate("go\n")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.duckdb").write_bytes(b"something else" * 1000)
    with pytest.raises(StoreUnavailableError, match=r"r\.duckdb"):
        DuckDbReadingStore(tmp_path / "r.duckdb")


def test_a_closed_store_is_not_opened_again_by_a_late_question(tmp_path: Path) -> None:
    store = DuckDbReadingStore(tmp_path / "r.duckdb")
    store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        store.count()


@pytest.mark.parametrize("moment", range(4))
def test_every_batch_that_was_answered_is_there_after_a_kill(tmp_path: Path, moment: int) -> None:
    code = (
        "import sys; from pathlib import Path; from store.duckdb import DuckDbReadingStore; from tests.contracts.reading_store import readings\n"
        f"store = DuckDbReadingStore(Path({str(tmp_path / 'r.duckdb')!r}))\n"
        "for batch in range(100000):\n"
        "    store.append(readings(*[(batch, key, batch, 1.0) for key in range(50)])); print(batch, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(2 + moment * 7):
            answered = int(process.stdout.readline())
        process.kill()
        answered = max([answered, *[int(line) for line in process.stdout.read().split("\n")[:-1]]])
    store = DuckDbReadingStore(tmp_path / "r.duckdb")
    found = store.span(None, at(0), at(200_000))
    assert found.height % 50 == 0
    assert found.height // 50 - 1 in (answered, answered + 1)
    assert counts(store.append(readings(*[(answered, key, answered, 1.0) for key in range(50)]))) == {answered: (50, 0, 0)}
    store.close()


def test_a_full_disk_is_told_and_nothing_is_half_stored_and_room_mends_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=8) as disk:
        store = DuckDbReadingStore(disk / "r.duckdb")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(3 << 20))
        batch = 0
        with pytest.raises(StoreFullError, match=r"r\.duckdb is full"):  # noqa: PT012 - which append it is depends on the disk
            for batch in range(2000):
                store.append(_random(batch))
        ballast.unlink()
        assert store.append(_random(batch)).stored == 5000
        assert store.count() == 5000 * (batch + 1)
        store.close()


def _random(batch: int) -> pl.DataFrame:
    """5,000 readings that do not compress."""
    rows = readings(*[(batch, key, batch, 1.0) for key in range(5000)])
    return rows.with_columns(value=pl.int_range(pl.len()).hash(batch).cast(pl.Float64))
