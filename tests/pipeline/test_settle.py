import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from config.errors import StoreUnavailableError
from pipeline.loop import Loop
from pipeline.settle import Settler
from pipeline.site import Site
from store.readings import Appended

NOON = datetime(2025, 6, 1, 4, tzinfo=UTC)
E1 = ("E-1", "active_import")


class DiesError(RuntimeError):
    """The process ended here."""


def settle_all(site: Site) -> None:
    while Settler(site).once():
        pass


def test_every_reading_of_a_good_message_is_stored_and_counted(site, deliver):
    deliver(1, [(*E1, NOON, 10.0), (*E1, NOON + timedelta(hours=1), 12.0)])
    settle_all(site)
    totals = site.ledger.totals()
    assert (totals.received, totals.decoded_messages, totals.decoded, totals.stored) == (1, 1, 2, 2)
    assert site.readings().count() == 2


def test_a_poison_message_goes_to_quarantine_with_its_bytes_and_the_next_one_is_stored(site, deliver):
    poison = deliver(1, [], payload=b'{"v":1,"readings":[')
    deliver(2, [(*E1, NOON, 10.0)])
    settle_all(site)
    row = site.quarantine.get(poison, -1)
    assert row is not None
    assert row["raw"] == b'{"v":1,"readings":['
    assert site.ledger.totals().undecodable == 1
    assert site.readings().count() == 1


def test_of_a_message_with_one_bad_reading_the_good_ones_are_stored_and_none_as_zero(site, deliver):
    rows = b'{"v":1,"epoch":"e","seq":1,"readings":[%s]}' % b",".join([
        b'{"meter":"E-1","register":"active_import","ts":"2025-06-01T12:00:00+08:00","value":10}',
        b'{"meter":"E-1","register":"active_import","ts":"2025-06-01T13:00:00+08:00","value":"11"}',
        b'{"meter":"E-1","register":"active_import","ts":"2025-06-01T14:00:00+08:00","value":null}',
        b'{"meter":"E-9","register":"active_import","ts":"2025-06-01T14:00:00+08:00","value":12}',
    ])
    message = deliver(1, [], payload=rows, received_at=NOON + timedelta(hours=3))
    settle_all(site)
    totals = site.ledger.totals()
    assert (totals.decoded, totals.stored, totals.rejected) == (4, 1, 3)
    assert site.readings().span(None, NOON - timedelta(days=1), NOON + timedelta(days=1))["value"].to_list() == [10.0]
    assert site.quarantine.get(message, 3)["reasons"] == ["unknown_meter"]


@pytest.mark.parametrize("step", ["mark_dirty", "quarantine", "append", "append_done", "settle"])
def test_a_crash_at_any_step_of_a_batch_repeats_it_and_changes_no_count(site, deliver, monkeypatch, step):
    deliver(1, [(*E1, NOON, 10.0), ("E-9", "x", NOON, 1.0)])
    deliver(2, [(*E1, NOON, 10.0), (*E1, NOON + timedelta(hours=1), 11.0)])
    deliver(3, [(*E1, NOON, 99.0)])
    store = site.readings()
    original = store.append

    def die(*_args: object, **_named: object) -> Appended:
        raise DiesError

    def append_then_die(readings: pl.DataFrame) -> Appended:
        original(readings)
        raise DiesError

    with monkeypatch.context() as patch:
        match step:
            case "quarantine":
                patch.setattr(site.quarantine, "add", die)
            case "append":
                patch.setattr(store, "append", die)
            case "append_done":
                patch.setattr(store, "append", append_then_die)
            case _:
                patch.setattr(site.ledger, step, die)
        with pytest.raises(DiesError):
            Settler(site).once()
    settle_all(site)
    totals = site.ledger.totals()
    assert (totals.received, totals.decoded) == (3, 5)
    assert (totals.stored, totals.duplicate, totals.conflicting, totals.rejected) == (2, 1, 1, 1)
    assert store.count() == 3  # both values of noon, the second as a copy


def test_the_same_readings_in_another_message_are_duplicates(site, deliver):
    """The control of the crash test: what is told apart is the message, so only the very same one counts again as stored."""
    deliver(1, [(*E1, NOON, 10.0)])
    settle_all(site)
    deliver(1, [(*E1, NOON, 10.0)])
    settle_all(site)
    assert (site.ledger.totals().stored, site.ledger.totals().duplicate) == (1, 1)


def test_a_store_that_is_away_is_waited_for_and_nothing_is_skipped(site, deliver, monkeypatch):
    deliver(1, [(*E1, NOON, 10.0)])
    store = site.readings()
    original, calls, stop = store.append, [], threading.Event()

    def away_twice(readings: pl.DataFrame) -> Appended:
        calls.append(1)
        if len(calls) < 3:
            raise StoreUnavailableError("influxdb", "connection refused")
        stop.set()
        return original(readings)

    monkeypatch.setattr(store, "append", away_twice)
    monkeypatch.setattr(stop, "wait", lambda _seconds: stop.is_set())
    loop = Loop("settle", Settler(site).once, 0.01, eager=True)
    loop.run(stop)
    assert len(calls) == 3
    assert loop.problem == ""
    assert site.waiting() == 0


def test_a_meter_registered_after_a_reading_arrived_does_not_count_for_it(site, deliver):
    deliver(1, [(*E1, NOON, 10.0)], received_at=datetime(2024, 11, 30, tzinfo=UTC))
    settle_all(site)
    assert site.ledger.totals().rejected == 1
