"""The collector or the broker away: nothing is lost within what the broker keeps, and beyond that each gap is known and filled."""

import signal

import polars as pl
import pytest

from tests.faults.harness import Fleet, Plant, check, wait_for
from tests.faults.nemesis import close_gaps
from tests.small_disk import small_disk

pytestmark = pytest.mark.needs("mosquitto")
AS_SHIPPED = ("persistence true", "autosave_on_changes true", "autosave_interval 1000")


def missing(plant: Plant) -> set[tuple[str, int]]:
    ranges = plant.site.ledger.gaps().filter(~pl.col("lost")).select("enterprise", "from_seq", "to_seq").iter_rows()
    return {(code, seq) for code, first, last in ranges for seq in range(first, last + 1)}


def sent(fleet: Fleet) -> set[tuple[str, int]]:
    return {(one.enterprise, one.seq) for one in fleet.sent}


def received(plant: Plant, fleet: Fleet) -> set[tuple[str, int]]:
    seqs = {(one.enterprise, one.payload): one.seq for one in fleet.sent}
    return {(code := one.topic.split("/")[3], seqs[code, one.payload]) for one in plant.site.journal.read(0, 100_000)}


def test_a_collector_that_is_away_within_what_the_broker_keeps_loses_nothing(start_mosquitto, plant, fleet):
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port)
    works.connected("collect", "settle")
    gateways.say(10)
    works.rest(20)
    works.end("collect settle")
    gateways.say(550)  # more than the broker's own default keeps
    works.connected("collect", "settle")
    works.rest(1120)
    works.stop()
    assert check(works, gateways).wrong == ()


def test_a_collector_that_is_away_longer_knows_each_gap_and_has_it_filled(start_mosquitto, plant, fleet):
    broker = start_mosquitto("max_queued_messages 100")
    works, gateways = plant(broker.port), fleet(broker.port, answers=False)
    works.connected("collect", "settle")
    gateways.say(10)
    works.rest(20)
    works.end("collect settle")
    gateways.say(300)
    works.connected("collect", "settle")
    gateways.say(1)  # the next message shows what is missing before it
    works.rest()
    gone = sent(gateways) - received(works, gateways)
    assert len(gone) > 400
    assert missing(works) == gone, "the list of gaps is what was sent and did not come"
    gateways.fill(works.site.ledger.gaps())
    works.rest()
    works.stop()
    assert check(works, gateways, undisturbed=False).wrong == ()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_goes_and_comes_leaves_no_gap_that_is_not_filled(start_mosquitto, plant, fleet, how, monkeypatch):
    monkeypatch.setattr("ingest.simulate._CONFIRMED_WITHIN_S", 1.0)  # how soon the gateways notice a broker that went
    broker = start_mosquitto(*AS_SHIPPED)
    works, gateways = plant(broker.port), fleet(broker.port, per_second=300.0)
    works.connected("collect", "settle")
    gateways.flow()
    for _ in range(2):
        seen, before = works.site.journal.last_id(), works.connects()
        wait_for(lambda seen=seen: works.site.journal.last_id() > seen + 100, "messages")
        getattr(broker, how)()
        broker.start()
        wait_for(lambda seen=before: works.connects() >= seen + 2, "both sessions again")
    gateways.pause()
    close_gaps(works, gateways)
    works.stop()
    assert check(works, gateways, undisturbed=False).wrong == ()


def test_what_a_broker_with_a_full_disk_forgot_is_found_and_filled(start_mosquitto, plant, fleet, tmp_path):
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        broker = start_mosquitto("persistence true", "autosave_on_changes true", "autosave_interval 20", f"persistence_location {disk}/")
        works, gateways = plant(broker.port), fleet(broker.port, answers=False)
        works.connected("collect", "settle")
        gateways.say(10)
        works.rest(20)
        works.end("collect settle", signal.SIGKILL)
        gateways.say(30)
        (disk / "filler").write_bytes(bytes(1_000_000 - 150_000))
        gateways.say(700)  # the broker takes them all and can save them no more
        broker.kill()
        (disk / "filler").unlink()
        broker.start()
        works.connected("collect", "settle")
        gateways.say(1)
        works.rest()
        gone = sent(gateways) - received(works, gateways)
        assert gone, "the disk was not full"
        assert missing(works) == gone
        gateways.fill(works.site.ledger.gaps())
        works.rest()
        works.stop()
        assert check(works, gateways, undisturbed=False).wrong == ()
        broker.stop()
