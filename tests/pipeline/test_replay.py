"""What lies in quarantine comes in again once its cause is mended: counted once, judged as of its arrival, and the same after a rebuild."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from config import settings as site_settings
from ingest import replay as ingest_replay
from pipeline.rebuild import rebuilt
from pipeline.replay import chosen, replay
from pipeline.settle import Settler
from pipeline.site import Site
from store.journal import HISTORY
from tests.pipeline.conftest import ENTERPRISE, GATEWAY, KNOWN_FROM, TOPIC

NOON = datetime(2025, 6, 1, 4, tzinfo=UTC)
E1, E9 = ("E-1", "active_import"), ("E-9", "active_import")
BALANCE = ("decoded", "stored", "duplicate", "conflicting", "rejected")


def settle_all(site: Site) -> None:
    settler = Settler(site)
    while settler.once():
        pass


def again(site: Site, *, force: bool = False, **filters):
    done = [replay(site, rows, by="someone", details={}) for rows in chosen(site, filters, force=force)]
    settle_all(site)
    return done


def register_e9(site: Site) -> None:
    meter = {"enterprise": ENTERPRISE, "meter": "E-9"}
    site.register.apply({
        "meter": pl.DataFrame([{**meter, "gateway": GATEWAY, "medium": "electricity"}]),
        "register": pl.DataFrame([{**meter, "register": "active_import", "unit": "kWh", "kind": "cumulative"}]),
    }, by="test", known_from=datetime.now(UTC))


def stored(site: Site) -> list[tuple]:
    names = site.register.names().select("register_key", "meter")
    found = site.readings().span(None, NOON - timedelta(days=9999), NOON + timedelta(days=9999)).join(names, on="register_key")
    return sorted(found.select("meter", "read_at", "value", "received_at", "message").rows())


def balance(site: Site) -> dict[str, int]:
    totals = site.ledger.totals()
    counted = {name: getattr(totals, name) for name in BALANCE}
    assert counted["decoded"] == sum(counted[name] for name in BALANCE[1:])
    assert totals.received == totals.decoded_messages + totals.undecodable
    return {**counted, "received": totals.received, "undecodable": totals.undecodable, "missing": totals.missing, "published": totals.published}


def test_a_reading_of_a_meter_registered_later_is_stored_and_its_neighbours_are_not_touched(site, deliver):
    message = deliver(1, [(*E1, NOON, 1.5), (*E9, NOON, 2.5), (*E1, NOON + timedelta(hours=1), 3.5)])
    settle_all(site)
    before = stored(site)
    register_e9(site)
    [done] = again(site, meter="E-9")
    [number] = done.messages
    arrived = NOON + timedelta(hours=1)
    assert stored(site) == sorted([*before, ("E-9", NOON, 2.5, arrived, number)])
    kept = site.journal.get(number)
    assert (kept.door, kept.topic, kept.lane) == ("replay", TOPIC, HISTORY)
    assert json.loads(kept.payload) == {"replay": message, "indexes": [1]}
    assert site.quarantine.get(message, 1)["replayed_as"] == number


def test_a_replay_is_no_publication_and_its_readings_count_in_their_balance(site, deliver):
    deliver(1, [(*E1, NOON, 1.5), (*E9, NOON, 2.5)])
    settle_all(site)
    assert balance(site) == {
        "decoded": 2, "stored": 1, "duplicate": 0, "conflicting": 0, "rejected": 1, "received": 1, "undecodable": 0, "missing": 0, "published": 1,
    }
    register_e9(site)
    again(site)
    assert balance(site) == {
        "decoded": 3, "stored": 2, "duplicate": 0, "conflicting": 0, "rejected": 1, "received": 1, "undecodable": 0, "missing": 0, "published": 1,
    }
    assert site.readings().count() == 2


def test_what_still_breaks_a_rule_is_set_aside_again_under_the_number_of_the_replay(site, deliver):
    message = deliver(1, [(*E1, NOON, 1.5), (*E9, NOON, 2.5)])
    settle_all(site)
    [done] = again(site)
    [number] = done.messages
    assert site.quarantine.get(number, 1)["reasons"] == ["unknown_meter"]
    register_e9(site)
    [second] = again(site)
    assert json.loads(site.journal.get(second.messages[0]).payload) == {"replay": message, "indexes": [1]}  # the original, not the replay
    assert site.readings().count() == 2


def test_nothing_is_replayed_twice_unless_forced_and_then_it_counts_as_a_duplicate(site, deliver):
    deliver(1, [(*E1, NOON, 1.5), (*E9, NOON, 2.5)])
    settle_all(site)
    register_e9(site)
    again(site)
    assert again(site) == []
    [forced] = again(site, force=True)
    assert forced.rows == 1
    assert balance(site)["duplicate"] == 1
    assert site.readings().count() == 2


def test_a_message_that_no_profile_could_read_comes_in_whole_with_its_sender_and_fills_its_gap(site, deliver, monkeypatch):
    deliver(1, [(*E1, NOON, 1.0)])
    rows = [{"meter": "E-1", "register": "active_import", "ts": (NOON + timedelta(hours=1)).isoformat(), "value": 2.0}]
    body = json.dumps({"v": 1, "epoch": "2025-01-01T00:00:00+08:00", "seq": 2, "readings": rows}).encode()
    with monkeypatch.context() as patch:  # a profile with a fault
        from ingest.profiles import PROFILES

        read = PROFILES["own_json"]
        patch.setitem(PROFILES, "own_json", lambda payload, sender: 1 // 0 if payload == body else read(payload, sender))
        broken = deliver(2, [], payload=body, received_at=NOON + timedelta(hours=1))
        deliver(3, [(*E1, NOON + timedelta(hours=2), 3.0)])
        settle_all(site)
    assert site.quarantine.get(broken, -1)["reasons"] == ["profile_failed"]
    assert balance(site)["missing"] == 1
    again(site, reason="profile_failed")
    assert [row[2] for row in stored(site)] == [1.0, 2.0, 3.0]
    assert balance(site) | {"missing": 0, "published": 3, "undecodable": 1, "received": 3} == balance(site)
    assert site.ledger.sequences()["contiguous_seq"].to_list() == [3]


def test_bytes_that_nobody_can_read_stay_unread_and_count_as_received_once(site, deliver):
    deliver(1, [], payload=b"{")
    settle_all(site)
    [done] = again(site)
    row = site.quarantine.get(done.messages[0], -1)
    assert (row["reasons"], row["raw"], row["topic"]) == (["not_json"], b"{", TOPIC)
    assert balance(site)["received"] == balance(site)["undecodable"] == 1


def test_a_wrong_clock_is_judged_by_the_arrival_not_by_the_replay(site, deliver):
    late = NOON + timedelta(hours=1)
    deliver(1, [(*E1, late, 1.0)], received_at=NOON)  # an hour ahead; by now it is no longer in the future
    settle_all(site)
    again(site)
    assert stored(site) == []
    mended = site_settings.build({"site": {"data_dir": site.data_dir}, "screen": {"clock_skew_s": 7200}})
    site.settings = mended
    again(site)
    assert [row[2:4] for row in stored(site)] == [(1.0, NOON)]


def test_a_rebuild_gives_what_the_replays_gave(site, deliver, tmp_path):
    deliver(1, [(*E1, NOON, 1.5), (*E9, NOON, 2.5)])
    settle_all(site)
    register_e9(site)
    again(site)
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    assert stored(shadow) == stored(site)
    assert len(stored(site)) == 2
    shadow.readings().close()


def test_a_crash_while_a_replay_is_settled_changes_nothing(site, deliver, monkeypatch):
    deliver(1, [(*E1, NOON, 1.5), (*E9, NOON, 2.5)])
    settle_all(site)
    register_e9(site)
    with monkeypatch.context() as patch:
        patch.setattr(site.ledger, "settle", lambda *_args, **_more: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            again(site)
    settle_all(site)
    assert balance(site)["stored"] == site.readings().count() == 2


def test_a_gateways_state_is_not_replayed(site, deliver):
    from store.journal import Arrival

    [state] = site.journal.append([Arrival("mqtt", TOPIC.replace("/readings", "/state"), None, None, b'{"v":1,"state":"maybe"}', NOON)])
    settle_all(site)
    [done] = again(site)
    assert (done.rows, done.messages, done.left) == (0, (), (state,))
    assert site.quarantine.get(state, -1)["replayed_as"] is None


def test_a_replay_whose_original_is_gone_says_so(site):
    from store.journal import Message

    lost = Message(7, "mqtt", TOPIC, None, None, b"", NOON, retained=False)
    site.journal.append([ingest_replay.arrival(lost, None, NOON)])
    settle_all(site)
    assert site.quarantine.page()["reasons"].to_list() == [["original_missing"]]


def test_all_rows_are_chosen_in_portions_that_divide_no_message(site, monkeypatch):
    monkeypatch.setattr("pipeline.replay._ROWS_AT_ONCE", 4)
    rows = [{"message": message, "index": index, "kind": "rejected", "reasons": ["x"]} for message in range(1, 6) for index in range(3)]
    site.quarantine.add(pl.DataFrame(rows))
    portions = list(chosen(site, {}))
    assert sum(portion.height for portion in portions) == 15
    numbers = [number for portion in portions for number in portion["message"].unique().to_list()]
    assert sorted(numbers) == [1, 2, 3, 4, 5]


def test_the_readings_beyond_the_quota_of_quarantine_come_in_by_their_message(site, deliver, monkeypatch):
    monkeypatch.setattr("store.quarantine.KEPT_A_DAY", 2)
    deliver(1, [(*E9, NOON + timedelta(minutes=minute), float(minute)) for minute in range(6)])
    settle_all(site)
    assert site.quarantine.counts().rows() == [("rest", "unknown_meter", 4), ("rejected", "unknown_meter", 2)]
    register_e9(site)
    again(site)
    assert [row[2] for row in stored(site)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_register_rows_known_at_the_arrival_are_not_asked_for_a_replay(site, deliver):
    deliver(1, [(*E1, NOON, 1.5)])
    settle_all(site)
    assert KNOWN_FROM < NOON
    site.register.apply({"register": pl.DataFrame([
        {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "unit": "kWh", "kind": "cumulative", "range_high": 1.0},
    ])}, by="test", known_from=datetime.now(UTC))
    original = site.journal.get(1)
    site.journal.append([ingest_replay.arrival(original, [0], datetime.now(UTC))])
    settle_all(site)
    assert site.quarantine.page()["reasons"].to_list() == [["value_within_range"]]


def test_a_flood_of_invented_meters_is_counted_and_makes_no_series(site, monkeypatch):
    monkeypatch.setattr("store.quarantine.KEPT_A_DAY", 1_000)
    from store.journal import Arrival

    def invented(seq: int) -> bytes:
        meters = [f"X-{seq}-{number}" for number in range(2_000)]
        columns = {"meter": meters, "register": ["r"] * 2_000, "ts": [int(NOON.timestamp()) * 1000] * 2_000, "value": [1.0] * 2_000}
        return gzip.compress(json.dumps({"v": 1, "epoch": "e", "seq": seq, **columns}).encode())

    site.journal.append([Arrival("mqtt", TOPIC, None, None, invented(seq), NOON) for seq in range(1, 6)])
    good = {"meter": "E-1", "register": "active_import", "ts": NOON.isoformat(), "value": 7.0}
    site.journal.append([Arrival("mqtt", TOPIC, None, None, json.dumps({"v": 1, "epoch": "e", "seq": 6, "readings": [good]}).encode(), NOON)])
    settle_all(site)
    assert balance(site) | {"decoded": 10_001, "stored": 1, "rejected": 10_000} == balance(site)
    assert site.quarantine.counts().rows() == [("rest", "unknown_meter", 9_000), ("rejected", "unknown_meter", 1_000)]
    assert site.quarantine.page(limit=5_000).height == 1_000 + 5
    assert site.register.names().height == 2
    assert [row[2] for row in stored(site)] == [7.0]
