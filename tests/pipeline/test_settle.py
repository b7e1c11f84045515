import gzip
import json
import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import zstandard

from config import schemas
from config.errors import StoreUnavailableError
from config.schemas import SETTLEMENT, empty
from ingest.decode import decode
from pipeline import settle
from pipeline.loop import Loop
from pipeline.settle import Settler
from pipeline.site import Site
from store.journal import HISTORY, LIVE
from store.readings import Appended, judge

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
    loop = Loop("settle", Settler(site).once, 0.01, more=bool)
    loop.run(stop)
    assert len(calls) == 3
    assert loop.problem == ""
    assert site.waiting() == 0


def test_a_meter_registered_after_a_reading_arrived_does_not_count_for_it(site, deliver):
    deliver(1, [(*E1, NOON, 10.0)], received_at=datetime(2024, 11, 30, tzinfo=UTC))
    settle_all(site)
    assert site.ledger.totals().rejected == 1


# --- lanes --------------------------------------------------------------------------------------------------------------

def test_live_messages_are_settled_before_history_that_came_first(site, deliver):
    history = [deliver(seq, [(*E1, NOON - timedelta(days=seq), 10.0)], lane=HISTORY) for seq in (1, 2, 3)]
    live = [deliver(seq, [(*E1, NOON + timedelta(hours=seq), 10.0)]) for seq in (4, 5)]
    settle_all(site)
    assert site.ledger.settled(0, 10)["message"].to_list() == [*live, *history]
    assert site.readings().count() == 5


def test_a_live_message_waits_for_one_batch_of_history_at_most(site, deliver, monkeypatch):
    monkeypatch.setattr(settle, "BATCH_MESSAGES", 2)
    history = [deliver(seq, [(*E1, NOON - timedelta(days=seq), 10.0)], lane=HISTORY) for seq in range(1, 6)]
    settler = Settler(site)
    assert settler.once() == 2
    live = deliver(9, [(*E1, NOON, 10.0)])
    while settler.once():
        pass
    assert site.ledger.settled(0, 10)["message"].to_list() == [*history[:2], live, *history[2:]]


def test_history_gets_on_although_live_messages_never_end(site, deliver, monkeypatch):
    monkeypatch.setattr(settle, "BATCH_MESSAGES", 2)
    history = [deliver(seq, [(*E1, NOON - timedelta(days=seq), 10.0)], lane=HISTORY) for seq in range(1, 6)]
    settler, live = Settler(site), 0
    while site.ledger.cursor(HISTORY) < history[-1] and live < 9:
        live += 1
        deliver(10 + live, [(*E1, NOON + timedelta(minutes=live), 10.0)])
        settler.once()
    assert live == 3
    assert not settler.is_behind


def test_a_batch_that_its_bound_ended_is_followed_by_the_next_without_a_pause(site, deliver, monkeypatch):
    monkeypatch.setattr(settle, "BATCH_MESSAGES", 2)
    for seq in (1, 2, 3):
        deliver(seq, [(*E1, NOON - timedelta(days=seq), 10.0)])
    settler = Settler(site)
    assert (settler.once(), settler.is_behind) == (2, True)
    assert (settler.once(), settler.is_behind) == (1, False)


def test_what_is_decoded_ahead_is_settled_as_if_it_were_not(site, deliver, monkeypatch):
    monkeypatch.setattr(settle, "BATCH_MESSAGES", 2)
    messages = [deliver(seq, [(*E1, NOON + timedelta(minutes=seq % 5), 10.0 + seq % 3)]) for seq in range(1, 10)]
    settler = Settler(site)
    settler.once()
    with monkeypatch.context() as patch:
        patch.setattr(site.readings(), "append", lambda _rows: (_ for _ in ()).throw(StoreUnavailableError("store", "away")))
        with pytest.raises(StoreUnavailableError):
            settler.once()
    while settler.once():
        pass
    in_twos = site.ledger.settled(0, 20).drop("position")
    assert in_twos["message"].to_list() == messages
    again = Site(site.settings.model_copy(update={"site": site.settings.site.model_copy(update={"data_dir": site.data_dir / "again"})}))
    again.__dict__.update(database=site.database, journal=site.journal)
    monkeypatch.setattr(settle, "BATCH_MESSAGES", 100)
    settle_all(again)
    assert again.ledger.settled(0, 20).drop("position").equals(in_twos)
    again.ledger.close()
    again.fleet.close()
    again.readings().close()


def test_what_comes_after_nothing_was_found_ahead_is_not_passed_over(site, deliver, monkeypatch):
    monkeypatch.setattr(settle, "BATCH_MESSAGES", 2)
    monkeypatch.setattr(settle, "FAR_BEHIND", 1)
    for seq in (1, 2):
        deliver(seq, [(*E1, NOON + timedelta(minutes=seq), 10.0)])
    settler = Settler(site)
    assert settler.once() == 2  # the batch is full; there is nothing ahead of it
    settler._ahead.batch.result()
    late = [deliver(seq, [(*E1, NOON + timedelta(minutes=seq), 10.0)]) for seq in (3, 4, 5)]
    deliver(6, [(*E1, NOON - timedelta(days=1), 10.0)], lane=HISTORY)
    while settler.once():
        pass
    assert set(late) <= set(site.ledger.settled(0, 20)["message"])
    assert site.ledger.totals().stored == 6


@pytest.mark.parametrize(("budget", "batches"), [(10**6, [6]), (498, [3, 3]), (497, [2, 2, 2]), (10, [1] * 6)])
def test_a_batch_is_bounded_by_the_bytes_of_its_messages_and_takes_one_at_least(site, deliver, monkeypatch, budget, batches):
    payload = json.dumps({"v": 1, "epoch": "e", "seq": 1, "meter": ["E-1"], "register": ["active_import"], "ts": [0], "value": [1.0]}).encode()
    monkeypatch.setattr(settle, "BATCH_BYTES", {LIVE: budget, HISTORY: budget})
    for _ in range(6):
        deliver(1, [], payload=payload.ljust(166))
    settler = Settler(site)
    assert [settler.once() for _ in batches] == batches
    assert settler.once() == 0


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_messages_count_as_what_they_unpack_to(site, deliver, monkeypatch, pack):
    monkeypatch.setattr(settle, "BATCH_BYTES", {LIVE: 200_000, HISTORY: 1})
    for _ in range(4):
        deliver(1, [], payload=pack(b" " * 100_000))
    settler = Settler(site)
    assert [settler.once() for _ in range(3)] == [2, 2, 0]


def test_a_lane_without_messages_does_not_stay_behind(site, deliver):
    deliver(1, [(*E1, NOON, 10.0)], lane=HISTORY)
    last = deliver(2, [(*E1, NOON + timedelta(hours=1), 11.0)], lane=HISTORY)
    settle_all(site)
    assert site.ledger.cursors() == {LIVE: last, HISTORY: last}
    live = deliver(3, [(*E1, NOON + timedelta(hours=2), 12.0)])
    settle_all(site)
    assert site.ledger.cursors() == {LIVE: live, HISTORY: live}
    assert site.ledger.totals().received == 3


def test_what_a_format_remembers_is_as_before_when_a_batch_is_repeated(site, deliver, monkeypatch):
    seen: list[dict[str, str]] = []

    def counting(messages, routes, *, max_payload_bytes, memory):
        seen.append(dict(memory))
        memory["messages"] = str(int(memory.get("messages", 0)) + len(messages))
        memory.pop("gone", None)
        return decode(messages, routes, max_payload_bytes=max_payload_bytes)

    monkeypatch.setattr("ingest.replay.decode", counting)
    site.ledger.settle(empty(SETTLEMENT), 0, memory={"gone": "x"})
    settler = Settler(site)
    deliver(1, [(*E1, NOON, 10.0)])
    with monkeypatch.context() as patch:
        patch.setattr(site.ledger, "settle", lambda *_args, **_named: (_ for _ in ()).throw(StoreUnavailableError("ledger", "locked")))
        with pytest.raises(StoreUnavailableError):
            settler.once()
    settler.once()
    deliver(2, [(*E1, NOON, 10.0)], lane=HISTORY)
    deliver(3, [(*E1, NOON, 10.0)])
    settler.once()
    Settler(site).once()
    assert seen == [{"gone": "x"}, {"gone": "x"}, {"messages": "1"}, {"messages": "2"}]  # the last: history looks up what live messages told
    assert (site.ledger.memory(LIVE), site.ledger.memory(HISTORY)) == ({"messages": "2"}, {"messages": "3"})


# --- a store that forgets what it acknowledged ----------------------------------------------------------------------------

class Forgetful:
    """A reading store that keeps what it acknowledged in memory until `sync`, and loses the rest when it is started anew."""

    def __init__(self) -> None:
        self.durable, self.kept, self.starts, self.appends = [], [], 1, 0

    def append(self, readings: pl.DataFrame) -> Appended:
        self.appends += 1
        judged = judge(readings, pl.concat([schemas.empty(schemas.READING), *self.kept]))
        self.kept.append(judged.new)
        return judged.appended

    def sync(self) -> None:
        self.durable = list(self.kept)

    def start_anew(self) -> None:
        self.kept = list(self.durable)
        self.starts += 1

    def incarnation(self) -> str:
        return str(self.starts)

    def values(self) -> list[float]:
        return sorted(pl.concat([schemas.empty(schemas.READING), *self.kept])["value"])

    def close(self) -> None: ...


@pytest.fixture
def store(site, monkeypatch):
    """The site's store forgets, and seconds pass as `store.pass_s(...)` says."""
    store, now = Forgetful(), [1000.0]
    site._readings = store
    monkeypatch.setattr(settle.time, "monotonic", lambda: now[0])
    store.pass_s = lambda seconds: now.__setitem__(0, now[0] + seconds)
    return store


def hours(deliver, first, last, **others):
    for hour in range(first, last):
        deliver(hour + 1, [(*E1, NOON + timedelta(hours=hour), float(hour))], **others)


def drain(settler):
    while settler.once():
        pass


def test_what_a_store_lost_after_its_answer_is_written_again_and_counts_once(site, deliver, store):
    settler = Settler(site)
    drain(settler)
    hours(deliver, 0, 5)
    hours(deliver, 5, 8, lane=HISTORY)
    drain(settler)
    settled, totals = site.ledger.cursors(), site.ledger.totals()
    site.ledger.clear_dirty(site.ledger.dirty())
    store.start_anew()
    assert store.values() == [], store.values()
    store.pass_s(1)
    drain(settler)
    assert store.values() == [float(hour) for hour in range(8)]
    assert (site.ledger.cursors(), site.ledger.totals()) == (settled, totals)
    assert not site.ledger.dirty().is_empty()  # the days that may have been computed without


def test_what_came_while_the_store_was_away_is_not_passed_over_while_its_loss_is_made_good(site, deliver, store, monkeypatch):
    monkeypatch.setattr(settle, "FAR_BEHIND", 1, raising=False)
    settler = Settler(site)
    hours(deliver, 0, 3)
    drain(settler)
    store.start_anew()
    store.pass_s(1)
    hours(deliver, 3, 5)
    hours(deliver, 5, 7, lane=HISTORY)
    drain(settler)
    assert store.values() == [float(hour) for hour in range(7)]
    assert site.ledger.totals().received == 7


def test_what_the_store_lost_is_appended_again_in_the_order_of_settling(site, deliver, store):
    settler = Settler(site)
    drain(settler)
    deliver(1, [(*E1, NOON, 1.0)], lane=HISTORY)
    drain(settler)
    deliver(2, [(*E1, NOON, 2.0)])
    deliver(3, [(*E1, NOON, 1.0)])
    drain(settler)
    before = pl.concat(store.kept).sort("copy").drop("quality")
    store.start_anew()
    store.pass_s(1)
    drain(settler)
    assert pl.concat(store.kept).sort("copy").drop("quality").equals(before)


def test_a_repeat_of_what_the_store_lost_is_a_duplicate_all_the_same(site, deliver, store):
    settler = Settler(site)
    drain(settler)
    hours(deliver, 0, 3)
    drain(settler)
    store.start_anew()
    store.pass_s(1)
    hours(deliver, 0, 3)
    drain(settler)
    totals = site.ledger.totals()
    assert (totals.stored, totals.duplicate) == (3, 3)
    assert store.values() == [0.0, 1.0, 2.0]


def test_without_the_watermark_what_the_store_lost_stays_lost(site, deliver, store, monkeypatch):
    monkeypatch.setattr(Settler, "_look_at_store", lambda _self: None)
    settler = Settler(site)
    hours(deliver, 0, 5)
    drain(settler)
    store.start_anew()
    store.pass_s(1)
    hours(deliver, 5, 6)
    drain(settler)
    assert store.values() == [5.0]


def test_what_was_acknowledged_longer_ago_than_the_trail_is_not_appended_again(site, deliver, store):
    settler = Settler(site)
    hours(deliver, 0, 3)
    drain(settler)
    for _ in range(14):
        store.pass_s(5)
        drain(settler)
    store.sync()
    hours(deliver, 3, 5)
    drain(settler)
    store.start_anew()
    again = []
    original = store.append
    store.append = lambda readings: (again.extend(readings["value"]), original(readings))[1]
    store.pass_s(1)
    drain(settler)
    assert again == [3.0, 4.0]
    assert store.values() == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(("seconds", "expected"), [(59, [0.0, 1.0]), (61, [1.0])])
def test_the_watermark_trails_by_a_minute(site, deliver, store, seconds, expected):
    settler = Settler(site)
    drain(settler)
    store.pass_s(5)
    hours(deliver, 0, 1)
    drain(settler)
    store.pass_s(5)
    drain(settler)  # a point behind the first message
    hours(deliver, 1, 2)
    drain(settler)
    store.pass_s(seconds)
    drain(settler)
    store.start_anew()
    store.pass_s(1)
    drain(settler)
    assert store.values() == expected


def test_our_own_start_appends_again_too_from_the_watermark_that_the_ledger_keeps(site, deliver, store):
    settler = Settler(site)
    drain(settler)
    hours(deliver, 0, 4)
    drain(settler)
    store.start_anew()  # and so are we, on the same machine
    drain(Settler(site))
    assert store.values() == [0.0, 1.0, 2.0, 3.0]


def test_a_store_that_starts_anew_again_meanwhile_is_begun_again(site, deliver, store, monkeypatch):
    monkeypatch.setattr(settle, "BATCH_MESSAGES", 2)
    settler = Settler(site)
    drain(settler)
    hours(deliver, 0, 7)
    drain(settler)
    for _ in range(3):
        store.start_anew()
        store.pass_s(1)
        settler.once()
    hours(deliver, 7, 8)
    assert settler.once() == 2  # a batch of what is appended again, before the live message
    drain(settler)
    assert store.values() == [float(hour) for hour in range(8)]


def test_a_ledger_that_cannot_be_read_at_that_moment_delays_the_repetition_only(site, deliver, store, monkeypatch):
    settler = Settler(site)
    drain(settler)
    hours(deliver, 0, 3)
    drain(settler)
    store.start_anew()
    store.pass_s(1)
    with monkeypatch.context() as patch:
        patch.setattr(site.ledger, "get_state", lambda _name: (_ for _ in ()).throw(StoreUnavailableError("ledger", "locked")))
        with pytest.raises(StoreUnavailableError):
            settler.once()
    drain(settler)
    assert store.values() == [0.0, 1.0, 2.0]


def test_a_store_that_forgets_nothing_is_never_given_anything_again(site, deliver):
    hours(deliver, 0, 3)
    settle_all(site)
    assert all(site.ledger.get_state(f"watermark_{lane}") is None for lane in (LIVE, HISTORY))
