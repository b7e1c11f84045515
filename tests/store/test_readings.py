from datetime import UTC, datetime

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from config.schemas import INSTANT, READING, empty
from store.readings import Reach, judge
from tests.contracts.reading_store import readings

NOTHING = pl.DataFrame(schema={"register_key": pl.UInt32(), "first": INSTANT, "last": INSTANT})
batches = st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(-5, 5)), max_size=6), min_size=1, max_size=4)


@given(batches=batches, asked=st.lists(st.tuples(st.integers(0, 9), st.integers(-6, 6)), min_size=1, max_size=8))
def test_a_reach_knows_the_first_and_the_last_instant_of_each_register(
    batches: list[list[tuple[int, int]]], asked: list[tuple[int, int]]
) -> None:
    reach = Reach(NOTHING)
    for batch in batches:
        reach.widen(readings(*[(1, key, n, 1.0) for key, n in batch]))
    everything = readings(*[(1, key, n, 1.0) for batch in batches for key, n in batch])
    expected = everything.group_by("register_key").agg(first=pl.col("read_at").min(), last=pl.col("read_at").max()).sort("register_key")
    assert reach.spans().equals(expected)
    again = Reach(reach.spans())
    assert again.spans().equals(expected)
    last = {key: max(n for other, n in ((k, n) for batch in batches for k, n in batch) if other == key) for key in expected["register_key"]}
    below = [(key, n) for key, n in asked if key in last and n <= last[key]]
    assert again.repeats(readings(*[(2, key, n, 1.0) for key, n in asked])).equals(readings(*[(2, key, n, 1.0) for key, n in below]))


def test_a_reach_looked_at_before_is_not_changed_by_what_comes_later() -> None:
    reach = Reach(NOTHING)
    reach.widen(readings((1, 1, 0, 1.0)))
    before = reach.spans()
    reach.widen(readings((1, 1, 5, 1.0), (1, 1, -5, 1.0), (1, 3, 0, 1.0)))
    assert before["last"].to_list() == [datetime(2026, 3, 1, tzinfo=UTC)]
    assert reach.spans()["register_key"].to_list() == [1, 3]


def test_a_copy_that_a_server_has_lost_is_filled_in_and_no_other_is_overwritten() -> None:
    kept = readings((2, 1, 0, 2.0), (4, 1, 0, 4.0)).with_columns(copy=pl.Series([1, 3], dtype=pl.UInt8))
    new, again, appended = judge(readings((1, 1, 0, 1.0), (2, 1, 0, 2.0), (3, 1, 0, 3.0), (5, 1, 0, 5.0)), kept)
    assert new.select("message", "copy").rows() == [(1, 0), (3, 2), (5, 4)]
    assert again.select("message", "copy").rows() == [(2, 1)]
    assert appended.outcome.select("message", "stored", "conflicting").rows() == [(1, 1, 0), (2, 0, 1), (3, 0, 1), (5, 0, 1)]


def test_what_the_same_message_had_brought_comes_with_the_copy_it_is_and_another_message_s_does_not() -> None:
    rows = readings((1, 1, 0, 1.0), (1, 2, 0, 2.0), (2, 2, 0, 9.0))
    kept = judge(rows, empty(READING)).new
    for late in (rows, rows[:2]):
        new, again, _ = judge(late, kept)
        assert new.is_empty()
        assert again.sort("register_key", "copy").equals(kept.filter(pl.col("message").is_in(late["message"].implode())).sort("register_key", "copy"))
    new, again, appended = judge(readings((7, 1, 0, 1.0)), kept)
    assert (new.height, again.height, appended.duplicate) == (0, 0, 1)
