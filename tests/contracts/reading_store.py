"""What every ReadingStore promises, one test each. An adapter's test class says how to open a store that starts empty."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.schemas import READING, conform
from store.readings import Appended, ReadingStore

T0 = datetime(2026, 3, 1, tzinfo=UTC)
ARRIVED = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
REGISTERS = range(2000)  # keys that have names
_example = itertools.count(100, 3)  # registers of its own for each example of a property

Row = tuple[int, int, int, float]  # message, register_key, quarter hours since T0, value


def names() -> pl.DataFrame:
    """register_key, enterprise, meter, register of REGISTERS."""
    return pl.DataFrame({"register_key": pl.Series(REGISTERS, dtype=pl.UInt32)}).with_columns(
        enterprise=pl.lit("91150000EXAMPLE0") + (pl.col("register_key") // 100).cast(pl.String),
        meter=pl.format("M-{}", "register_key"), register=pl.lit("active_import"),
    )


def at(quarters: int) -> datetime:
    return T0 + quarters * QUARTER


def readings(*rows: Row) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema={"message": pl.Int64, "register_key": pl.UInt32, "n": pl.Int64, "value": pl.Float64}, orient="row")
    return conform(
        frame.with_columns(read_at=pl.lit(T0) + pl.col("n") * QUARTER, copy=pl.lit(0), quality=pl.lit(0), received_at=pl.lit(ARRIVED)), READING
    )


def counts(appended: Appended) -> dict[int, tuple[int, int, int]]:
    return {message: (stored, duplicate, conflicting) for message, stored, duplicate, conflicting in appended.outcome.iter_rows()}


def kept(store: ReadingStore, keys: Sequence[int] | None = None) -> list[tuple[int, int, int, float, int]]:
    """(register_key, quarter, copy, value, message) of everything."""
    frame = store.span(keys, T0 - timedelta(days=3000), T0 + timedelta(days=3000))
    return frame.select("register_key", ((pl.col("read_at") - T0) / QUARTER).cast(pl.Int64), "copy", "value", "message").rows()


class Model:
    """The rule in plain words: what a store must answer, computed one row after the other."""

    def __init__(self) -> None:
        self.copies: dict[tuple[int, int], list[tuple[float, int]]] = {}

    def append(self, rows: Sequence[Row]) -> dict[int, tuple[int, int, int]]:
        outcome: dict[int, list[int]] = {}
        own: set[tuple[int, int, int, float]] = set()
        for message, key, n, value in rows:
            counted = outcome.setdefault(message, [0, 0, 0])
            copies = self.copies.setdefault((key, n), [])
            known = [copy for copy, (other, _) in enumerate(copies) if other == value]
            if not known:
                copies.append((value, message))
                counted[2 if len(copies) > 1 else 0] += 1
            elif copies[known[0]][1] == message and (message, key, n, value) not in own:
                counted[2 if known[0] else 0] += 1  # the message again: as the first time
            else:
                counted[1] += 1
            own.add((message, key, n, value))
        return {message: (stored, duplicate, conflicting) for message, (stored, duplicate, conflicting) in outcome.items()}

    def kept(self) -> list[tuple[int, int, int, float, int]]:
        return sorted((key, n, copy, value, message) for (key, n), copies in self.copies.items() for copy, (value, message) in enumerate(copies))


batches = st.lists(  # of messages, of readings of two registers at four instants: repeats and conflicts abound
    st.lists(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.sampled_from([1.0, 2.5, 0.1 + 0.2])), min_size=1, max_size=4),
        min_size=1, max_size=4,
    ),
    min_size=1, max_size=4,
)


class ReadingStoreContract:
    """Subclass, and give `open_store`: each call opens the same store; it starts empty for each test."""

    @pytest.fixture
    def store(self, open_store: Callable[[], ReadingStore]) -> Iterator[ReadingStore]:
        store = open_store()
        yield store
        store.close()

    def test_new_readings_are_stored_and_counted_for_each_message(self, store: ReadingStore) -> None:
        appended = store.append(readings((1, 1, 0, 10.0), (1, 2, 0, 20.0), (2, 1, 1, 11.0)))
        assert counts(appended) == {1: (2, 0, 0), 2: (1, 0, 0)}
        assert (appended.stored, appended.duplicate, appended.conflicting, appended.refused.height) == (3, 0, 0, 0)
        assert kept(store) == [(1, 0, 0, 10.0, 1), (1, 1, 0, 11.0, 2), (2, 0, 0, 20.0, 1)]

    def test_a_reading_comes_back_as_it_went_in(self, store: ReadingStore) -> None:
        values = [0.1 + 0.2, 1e22, 5e-324, -17803.4, 123456789012.123, 0.0, 1.7976931348623157e308, 1e-7]
        given_rows = readings(*[(7, 1, n, value) for n, value in enumerate(values)]).with_columns(
            quality=pl.lit(2, pl.UInt8), read_at=pl.col("read_at") + timedelta(microseconds=1),
        )
        store.append(given_rows)
        assert store.span([1], at(0), at(100)).equals(given_rows)

    def test_the_copy_that_a_reading_comes_with_means_nothing(self, store: ReadingStore) -> None:
        rows = readings((1, 1, 0, 10.0), (1, 2, 0, 20.0))
        store.append(rows.with_columns(copy=pl.Series([None, 7], dtype=pl.UInt8)))
        assert kept(store) == [(1, 0, 0, 10.0, 1), (2, 0, 0, 20.0, 1)]

    def test_an_empty_append_changes_nothing(self, store: ReadingStore) -> None:
        assert store.append(readings()).stored == 0
        assert store.count() == 0
        assert store.span(None, at(0), at(1), pad=2).schema == READING
        assert store.latest().schema == READING

    def test_the_same_message_again_changes_nothing_and_counts_the_same(self, store: ReadingStore) -> None:
        batch = readings((1, 1, 0, 10.0), (2, 1, 0, 10.0), (3, 1, 0, 12.0), (3, 1, 1, 13.0), (3, 1, 1, 13.0))
        first, again = store.append(batch), store.append(batch)
        assert counts(first) == counts(again) == {1: (1, 0, 0), 2: (0, 1, 0), 3: (1, 1, 1)}
        assert store.count() == 3

    def test_a_value_that_another_message_has_brought_is_a_duplicate(self, store: ReadingStore) -> None:
        store.append(readings((1, 1, 0, 10.0)))
        assert counts(store.append(readings((2, 1, 0, 10.0)))) == {2: (0, 1, 0)}
        assert kept(store) == [(1, 0, 0, 10.0, 1)]

    def test_another_value_for_an_instant_is_kept_as_a_further_copy(self, store: ReadingStore) -> None:
        store.append(readings((1, 1, 0, 10.0)))
        assert counts(store.append(readings((2, 1, 0, 11.0)))) == {2: (0, 0, 1)}
        assert counts(store.append(readings((3, 1, 0, 12.0)))) == {3: (0, 0, 1)}
        assert kept(store) == [(1, 0, 0, 10.0, 1), (1, 0, 1, 11.0, 2), (1, 0, 2, 12.0, 3)]

    def test_a_value_that_a_copy_has_is_a_duplicate(self, store: ReadingStore) -> None:
        store.append(readings((1, 1, 0, 10.0)))
        store.append(readings((2, 1, 0, 11.0)))
        assert counts(store.append(readings((3, 1, 0, 11.0), (4, 1, 0, 10.0)))) == {3: (0, 1, 0), 4: (0, 1, 0)}

    def test_repeats_within_one_batch_obey_the_same_rules_in_row_order(self, store: ReadingStore) -> None:
        appended = store.append(readings((1, 1, 0, 10.0), (2, 1, 0, 11.0), (3, 1, 0, 10.0), (4, 1, 0, 11.0), (5, 1, 0, 12.0)))
        assert counts(appended) == {1: (1, 0, 0), 2: (0, 0, 1), 3: (0, 1, 0), 4: (0, 1, 0), 5: (0, 0, 1)}
        assert kept(store) == [(1, 0, 0, 10.0, 1), (1, 0, 1, 11.0, 2), (1, 0, 2, 12.0, 5)]

    def test_the_same_reading_twice_in_one_message_is_stored_once_also_when_the_message_comes_again(self, store: ReadingStore) -> None:
        twice = readings((1, 1, 0, 10.0), (1, 1, 0, 10.0))
        assert counts(store.append(twice)) == counts(store.append(twice)) == {1: (1, 1, 0)}

    def test_late_readings_fill_in_wherever_they_belong(self, store: ReadingStore) -> None:
        store.append(readings((1, 1, 10, 10.0), (1, 1, 30, 30.0)))
        assert counts(store.append(readings((2, 1, 20, 20.0), (2, 1, -500, 1.0), (2, 1, 10, 10.0)))) == {2: (2, 1, 0)}
        assert [row[1] for row in kept(store)] == [-500, 10, 20, 30]

    def test_a_store_opened_again_knows_what_it_holds(self, open_store: Callable[[], ReadingStore]) -> None:
        store = open_store()
        store.append(readings((1, 1, 0, 10.0), (1, 2, 5, 50.0)))
        store.close()
        store = open_store()
        assert counts(store.append(readings((1, 1, 0, 10.0), (2, 1, 0, 10.0), (2, 2, 5, 51.0), (2, 2, 6, 60.0)))) == {1: (1, 0, 0), 2: (1, 1, 1)}
        assert store.count() == 4
        store.close()

    def test_a_span_holds_its_start_and_not_its_end(self, store: ReadingStore) -> None:
        store.append(readings(*[(1, 1, n, float(n)) for n in range(6)]))
        assert store.span([1], at(2), at(4))["value"].to_list() == [2.0, 3.0]
        assert store.span([1], at(2), at(2)).is_empty()
        assert store.span([1], at(2) + timedelta(microseconds=1), at(4) + timedelta(microseconds=1))["value"].to_list() == [3.0, 4.0]

    def test_a_span_is_of_the_registers_asked_for(self, store: ReadingStore) -> None:
        store.append(readings((1, 1, 0, 1.0), (1, 2, 0, 2.0), (1, 3, 0, 3.0)))
        assert store.span([1, 3], at(0), at(1))["register_key"].to_list() == [1, 3]
        assert store.span(None, at(0), at(1))["register_key"].to_list() == [1, 2, 3]
        assert store.span([], at(0), at(1)).is_empty()
        assert store.span([4], at(0), at(1), pad=1).is_empty()

    def test_a_span_of_very_many_registers_is_of_those_alone(self, store: ReadingStore) -> None:
        store.append(readings(*[(1, key, 0, float(key)) for key in REGISTERS]))
        keys = list(range(0, 2000, 3))
        assert store.span(keys, at(0), at(1))["register_key"].to_list() == keys

    @pytest.mark.parametrize(("pad", "expected"), [(0, [4, 5]), (1, [3, 4, 5, 6]), (2, [2, 3, 4, 5, 6, 7]), (100, list(range(10)))])
    def test_padding_adds_instants_before_and_after(self, store: ReadingStore, pad: int, expected: list[int]) -> None:
        store.append(readings(*[(1, 1, n, float(n)) for n in range(10)]))
        assert store.span([1], at(4), at(6), pad=pad)["value"].to_list() == expected

    def test_padding_reaches_each_register_s_own_neighbours_however_far_away(self, store: ReadingStore) -> None:
        year = 4 * 24 * 365
        store.append(readings((1, 1, -3 * year, 1.0), (1, 1, -2 * year, 2.0), (1, 1, 2 * year, 3.0), (1, 2, -1, 4.0), (1, 2, 0, 5.0), (1, 2, 9, 6.0)))
        assert kept_rows(store.span([1, 2], at(0), at(1), pad=1)) == [(1, -2 * year), (1, 2 * year), (2, -1), (2, 0), (2, 9)]
        assert kept_rows(store.span(None, at(0), at(1), pad=1)) == [(1, -2 * year), (1, 2 * year), (2, -1), (2, 0), (2, 9)]

    def test_padding_counts_instants_and_brings_all_their_copies(self, store: ReadingStore) -> None:
        store.append(readings((1, 1, 0, 1.0), (1, 1, 1, 2.0), (2, 1, 1, 2.5), (3, 1, 1, 2.75), (4, 1, 2, 3.0)))
        assert store.span([1], at(2), at(3), pad=1)["value"].to_list() == [2.0, 2.5, 2.75, 3.0]
        assert store.span([1], at(0), at(1), pad=1)["value"].to_list() == [1.0, 2.0, 2.5, 2.75]

    def test_as_of_an_instant_only_what_had_arrived_is_there_each_copy_by_itself(self, store: ReadingStore) -> None:
        arrived = [ARRIVED, ARRIVED + timedelta(hours=2), ARRIVED + timedelta(hours=1), ARRIVED + timedelta(hours=3)]
        rows = readings((1, 1, 0, 1.0), (2, 1, 1, 2.0), (3, 1, 1, 2.5), (4, 1, 3, 4.0))
        store.append(rows.with_columns(received_at=pl.Series(arrived, dtype=rows.schema["received_at"])))

        def known(as_of: datetime, *, pad: int = 0) -> list[float]:
            return list(store.span([1], at(1), at(2), pad=pad, as_of=as_of)["value"])

        assert known(ARRIVED + timedelta(minutes=59)) == []
        assert known(ARRIVED + timedelta(hours=1)) == [2.5], "the first copy arrived later than the second"
        assert known(ARRIVED + timedelta(hours=2)) == [2.0, 2.5]
        assert known(ARRIVED + timedelta(hours=2), pad=1) == [1.0, 2.0, 2.5], "padding counts what was known"
        assert known(ARRIVED + timedelta(hours=3), pad=1) == [1.0, 2.0, 2.5, 4.0]
        assert store.span(None, at(0), at(9), pad=1, as_of=ARRIVED - timedelta(microseconds=1)).is_empty()

    def test_latest_is_the_first_copy_at_the_last_instant_of_each_register(self, store: ReadingStore) -> None:
        store.append(readings((1, 1, 5, 1.0), (1, 2, 3, 2.0), (2, 1, 5, 1.5), (3, 1, 4, 9.0), (3, 2, 1000, 7.0)))
        assert store.latest().select("register_key", "value", "copy").rows() == [(1, 1.0, 0), (2, 7.0, 0)]
        assert store.latest([2])["value"].to_list() == [7.0]

    def test_an_incarnation_lasts_as_long_as_nothing_is_forgotten(self, open_store: Callable[[], ReadingStore]) -> None:
        store = open_store()
        before = store.incarnation()
        store.append(readings((1, 1, 0, 10.0)))
        assert store.incarnation() == before
        store.close()
        other = open_store()
        assert other.incarnation() == before
        other.close()

    def test_nothing_is_deleted_by_itself(self, store: ReadingStore) -> None:
        assert store.keeps_for() is None

    def test_copies_beyond_what_can_be_numbered_are_refused_and_said_so(self, store: ReadingStore) -> None:
        rows = [(message, 1, 0, float(message)) for message in range(1, 259)]
        appended = store.append(readings(*rows))
        assert (appended.stored, appended.duplicate, appended.conflicting, appended.refused.height) == (1, 0, 255, 2)
        assert appended.refused["message"].to_list() == [257, 258]
        assert appended.refused["reason"].unique().to_list() == ["too_many_copies"]
        again = store.append(readings(*rows))
        assert (counts(again), again.refused.height, store.count()) == (counts(appended), 2, 256)

    def test_a_reader_sees_whole_batches_while_another_thread_appends(self, store: ReadingStore) -> None:
        failures: list[BaseException] = []

        def append() -> None:
            try:
                for batch in range(15):
                    store.append(readings(*[(batch, key, batch, 1.0) for key in range(20)]))
            except BaseException as error:  # noqa: BLE001 - told by the test
                failures.append(error)

        thread = threading.Thread(target=append)
        thread.start()
        while thread.is_alive():
            frame = store.span(None, at(0), at(100), pad=1)
            self.check_seen(frame)
        thread.join()
        assert not failures
        assert store.count() == 300

    def check_seen(self, frame: pl.DataFrame) -> None:
        """What a reader may see of batches of 20 that are just being appended."""
        assert frame.height % 20 == 0

    @given(batches=batches, repeated=st.data())
    @settings(max_examples=20, suppress_health_check=[  # the classes of all adapters inherit it, and each example has registers of its own
        HealthCheck.differing_executors, HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
    ])
    def test_any_repetition_of_batches_counts_and_keeps_as_the_rule_says(
        self, store: ReadingStore, batches: list[list[list[tuple[int, int, float]]]], repeated: st.DataObject
    ) -> None:
        base = next(_example) % 1900
        first_message = base * 10_000
        model, message = Model(), first_message
        sent: list[list[Row]] = []
        for batch in batches:
            rows: list[Row] = []
            for content in batch:
                message += 1
                rows += [(message, base + key, n, value) for key, n, value in content]
            sent.append(rows)
            assert counts(store.append(readings(*rows))) == model.append(rows)
        # A crash: the last batches come again, cut differently.
        again = [row for rows in sent[repeated.draw(st.integers(0, len(sent) - 1)) :] for row in rows]
        before = model.kept()
        assert counts(store.append(readings(*again))) == model.append(again)
        assert kept(store, [base, base + 1]) == model.kept() == before


def kept_rows(frame: pl.DataFrame) -> list[tuple[int, int]]:
    return frame.select("register_key", ((pl.col("read_at") - T0) / QUARTER).cast(pl.Int64)).rows()
