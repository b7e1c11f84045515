import math
import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import StoreFullError, StoreUnavailableError
from config.schemas import conform
from store.derived import DERIVED, TABLES, DerivedTables
from tests.small_disk import small_disk

JUNE_1 = date(2026, 6, 1)
START = datetime(2026, 5, 31, 16, tzinfo=UTC)  # midnight in Shanghai


@pytest.fixture
def derived(tmp_path: Path) -> DerivedTables:
    return DerivedTables(tmp_path / "derived")


def hours(register_key: int, day: int, quantities: Sequence[float]) -> pl.DataFrame:
    start = [START + timedelta(days=day, hours=hour) for hour in range(len(quantities))]
    frame = pl.DataFrame({"start": start, "quantity": quantities}, schema={"start": pl.Datetime("us", "UTC"), "quantity": pl.Float64})
    return conform(
        frame.with_columns(
            register_key=pl.lit(register_key), end=pl.col("start") + timedelta(hours=1), quality=pl.lit("measured"),
            covered_ratio=pl.lit(1.0), estimated_ratio=pl.lit(0.0), day=pl.lit(june(day)),
        ), DERIVED,
    )


def june(day: int) -> date:
    return JUNE_1 + timedelta(days=day)


def pairs(*of: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame([(key, june(day)) for key, day in of], schema={"register_key": pl.UInt32, "day": pl.Date}, orient="row")


def values(derived: DerivedTables, first: int = -400, last: int = 400) -> list[tuple[int, date, float]]:
    return derived.read("hourly", june(first), june(last)).select("register_key", "day", "quantity").collect().rows()


def test_what_is_put_in_comes_back_by_day_register_and_hour(derived: DerivedTables) -> None:
    rows = pl.concat([hours(2, 0, [3.0]), hours(1, 0, [1.0, 2.0]), hours(1, 1, [4.0])])
    derived.replace("hourly", rows, pairs((1, 0), (2, 0), (1, 1)))
    found = derived.read("hourly", june(0), june(1)).collect()
    assert found.schema == DERIVED
    assert found.equals(rows.sort("day", "register_key", "start"))
    assert derived.days("hourly") == [june(0), june(1)]
    assert derived.days("daily") == []


def test_a_day_without_verdicts_has_a_file_only_if_it_had_some(derived: DerivedTables) -> None:
    failed = conform(pl.DataFrame({"register_key": [1], "start": [START], "value": [5.0], "day": [june(0)]}), TABLES["verdicts"])
    derived.replace("verdicts", failed, pairs((1, 0), (1, 1)))
    assert derived.days("verdicts") == [june(0)]
    derived.replace("verdicts", failed.clear(), pairs((1, 0), (1, 1)))
    assert derived.days("verdicts") == [june(0)]
    assert derived.read("verdicts", june(0), june(1)).collect().is_empty()
    derived.replace("flags", conform(failed.clear(), TABLES["flags"]), pairs((1, 1)))
    assert derived.days("flags") == [june(1)]  # it was looked for, and nothing found


def test_files_from_before_a_column_came_are_read_with_nulls(derived: DerivedTables, tmp_path: Path) -> None:
    rows = conform(pl.DataFrame({"register_key": [1], "start": [START], "low": [5.0], "grounds": [7], "day": [june(0)]}), TABLES["ranges"])
    derived.replace("ranges", rows, pairs((1, 0)))
    path = next((tmp_path / "derived" / "ranges").glob("*.parquet"))
    pl.read_parquet(path).drop("grounds").write_parquet(path)
    assert derived.read("ranges", june(0), june(0)).collect().select("low", "grounds").row(0) == (5.0, None)


def test_reading_holds_the_first_and_the_last_day(derived: DerivedTables) -> None:
    derived.replace("hourly", pl.concat([hours(1, day, [float(day)]) for day in range(5)]), pairs(*[(1, day) for day in range(5)]))
    assert [row[2] for row in values(derived, 1, 3)] == [1.0, 2.0, 3.0]
    assert [row[2] for row in values(derived, 4, 9)] == [4.0]
    assert values(derived, 9, 12) == values(derived, 3, 2) == []
    assert derived.read("hourly", june(9), june(12)).collect().schema == DERIVED


def test_replacing_takes_only_the_registers_and_days_that_were_computed_again(derived: DerivedTables) -> None:
    derived.replace("hourly", pl.concat([hours(key, day, [1.0, 1.0]) for key in (1, 2) for day in (0, 1)]), pairs((1, 0), (2, 0), (1, 1), (2, 1)))
    derived.replace("hourly", hours(1, 0, [5.0]), pairs((1, 0)))
    assert values(derived) == [
        (1, june(0), 5.0), (2, june(0), 1.0), (2, june(0), 1.0), (1, june(1), 1.0), (1, june(1), 1.0), (2, june(1), 1.0), (2, june(1), 1.0),
    ]


def test_a_day_computed_to_nothing_loses_its_rows(derived: DerivedTables) -> None:
    derived.replace("hourly", pl.concat([hours(1, 0, [1.0]), hours(2, 0, [2.0])]), pairs((1, 0), (2, 0)))
    derived.replace("hourly", hours(1, 0, []), pairs((1, 0), (3, 7)))
    assert values(derived) == [(2, june(0), 2.0)]


def test_doing_it_again_changes_nothing(derived: DerivedTables) -> None:
    rows = hours(1, 0, [0.1, 0.2])
    derived.replace("hourly", rows, pairs((1, 0)))
    before = derived.hashes()
    derived.replace("hourly", rows, pairs((1, 0)))
    assert derived.hashes() == before
    derived.replace("hourly", hours(1, 0, []), pairs())
    assert derived.hashes() == before


def test_hashes_tell_any_difference_and_no_history(tmp_path: Path) -> None:
    one, other = DerivedTables(tmp_path / "one"), DerivedTables(tmp_path / "other")
    rows = pl.concat([hours(key, day, [0.1 * key, 0.2]) for key in (1, 2, 3) for day in range(3)])
    one.replace("hourly", rows, pairs())
    for part in rows.sample(fraction=1, shuffle=True, seed=1).partition_by("register_key", "day"):
        other.replace("hourly", part, pairs())
    other.replace("hourly", hours(9, 0, []), pairs((9, 8)))  # a day that was computed and is empty
    assert one.hashes() == other.hashes()
    assert one.hashes(june(1)) == other.hashes(june(1)) != one.hashes()
    other.replace("hourly", hours(1, 0, [0.1, math.nextafter(0.2, 1)]), pairs())
    assert one.hashes()["hourly"] != other.hashes()["hourly"]
    assert one.hashes()["daily"] == other.hashes()["daily"]
    assert one.hashes(june(1)) == other.hashes(june(1))


def test_results_are_kept_whole_and_take_part_in_the_hashes(derived: DerivedTables) -> None:
    assert derived.read_result("verdicts") is None
    frame = pl.DataFrame({"enterprise": ["B", "A"], "actual": [1.5, None], "on": [JUNE_1, None], "closed": [True, False]})
    derived.write_result("verdicts", frame)
    first = derived.hashes()["results/verdicts"]
    found = derived.read_result("verdicts")
    assert found is not None
    assert found.equals(frame)
    derived.write_result("verdicts", frame.reverse())
    assert derived.hashes()["results/verdicts"] == first
    derived.write_result("verdicts", frame.with_columns(actual=2.5))
    assert derived.hashes()["results/verdicts"] != first
    derived.write_result("nothing", frame.clear())
    assert derived.hashes().keys() == {*TABLES, "results/verdicts", "results/nothing"}


def test_the_version_changes_with_each_change_and_only_then(derived: DerivedTables) -> None:
    seen = [derived.version("hourly")]
    for quantity in (1.0, 2.0, 1.0):
        derived.replace("hourly", hours(1, 0, [quantity]), pairs())
        assert derived.version("hourly") not in seen
        seen.append(derived.version("hourly"))
    derived.replace("hourly", hours(1, 0, [1.0]), pairs())
    assert derived.version("hourly") == seen[-1], "the same rows again are no change"
    assert derived.version("daily") == derived.version("results")


def test_a_reader_never_sees_half_a_day(derived: DerivedTables) -> None:
    derived.replace("hourly", hours(1, 0, [0.0] * 24), pairs())
    stop = threading.Event()

    def write() -> None:
        for n in range(60):
            derived.replace("hourly", hours(1, 0, [float(n)] * (24 + n)), pairs())
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not stop.is_set():
        found = derived.read("hourly", june(0), june(0)).collect()["quantity"]
        assert found.n_unique() == 1
        assert found.len() == 24 + int(found[0])
    thread.join()


def test_a_full_disk_is_told_and_leaves_what_stood(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        derived = DerivedTables(disk / "derived")
        derived.replace("hourly", hours(1, 0, [1.0]), pairs())
        noise = pl.DataFrame({"n": range(300_000)}).select(pl.col("n").hash().cast(pl.Float64))
        with pytest.raises(StoreFullError, match="is full"):
            derived.write_result("noise", noise)
        with pytest.raises(StoreFullError):
            derived.replace("hourly", pl.concat([hours(1, 0, [2.0]), hours(1, 1, noise["n"].to_list())]), pairs())
        assert values(derived) == [(1, june(0), 1.0)]
        assert derived.read_result("noise") is None
        assert list(disk.rglob("*.tmp")) == []
        derived.replace("hourly", hours(1, 0, [3.0]), pairs())
        assert values(derived) == [(1, june(0), 3.0)]


def test_a_folder_that_went_away_is_told(derived: DerivedTables, tmp_path: Path) -> None:
    (tmp_path / "derived" / "results").rmdir()
    with pytest.raises(StoreUnavailableError, match="folder is there"):
        derived.write_result("x", pl.DataFrame({"a": [1]}))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.lists(st.floats(0, 9), max_size=3)), max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_order_of_replacements_leaves_the_last_of_each_register_and_day(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, list[float]]]
) -> None:
    derived = DerivedTables(tmp_path_factory.mktemp("d"))
    expected: dict[tuple[int, int], list[float]] = {}
    for key, day, quantities in steps:
        derived.replace("hourly", hours(key, day, quantities), pairs((key, day)))
        expected[day, key] = quantities
    assert values(derived) == [(key, june(day), quantity) for (day, key), quantities in sorted(expected.items()) for quantity in quantities]
