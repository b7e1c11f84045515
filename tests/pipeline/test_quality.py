"""What a site knows of its gateways and of how complete their data are, from the messages on."""

import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from pipeline import quality
from pipeline.roll import Roller
from pipeline.settle import Settler
from store.journal import HISTORY, Arrival

from .conftest import ENTERPRISE, GATEWAY, TOPIC

NOON = datetime(2025, 6, 1, 4, tzinfo=UTC)  # in Shanghai
E1, C1 = ("E-1", "active_import"), ("C-1", "feed")
QUARTER = timedelta(minutes=15)


def settle(site) -> None:
    while Settler(site).once():
        pass
    Roller(site).once()


def say(site, kind: str, body: dict[str, object], at: datetime, *, gateway: str = GATEWAY, **how: int) -> None:
    topic = f"{TOPIC.rpartition('/')[0].replace(GATEWAY, gateway)}/{kind}"
    site.journal.append([Arrival("mqtt", topic, None, None, json.dumps({"v": 1, **body}).encode(), at, **how)])


def numbered(seq: int, at: datetime, value: float = 1.0) -> dict[str, object]:
    return {"epoch": "x", "seq": seq, "readings": [{"meter": "E-1", "register": "active_import", "ts": at.isoformat(), "value": value}]}


def test_the_state_of_a_gateway_and_its_clock_are_known_from_what_it_sent(site):
    say(site, "state", {"state": "online", "epoch": "x", "software": "vendor 2.1"}, NOON)
    for number in range(4):
        at = NOON + QUARTER * number
        say(site, "readings", numbered(number + 1, at + timedelta(hours=8)), at)
    settle(site)
    found = quality.gateways(site, NOON + timedelta(hours=1)).row(0, named=True)
    assert (found["enterprise"], found["gateway"], found["status"], found["software"]) == (ENTERPRISE, GATEWAY, "online", "vendor 2.1")
    assert (found["clock_offset_s"], found["clock_wrong"]) == (-28_800.0, True)
    assert site.ledger.totals().rejected == 4  # they lie in the future
    assert quality.gateways(site, NOON + timedelta(hours=9)).row(0, named=True)["status"] == "silent"


def test_of_a_gateway_that_is_not_registered_each_message_is_judged_and_its_count_leaves_no_gap(site):
    for seq in (1, 9):
        say(site, "readings", numbered(seq, NOON + QUARTER * seq), NOON + QUARTER * seq, gateway="GW-77")
    say(site, "backfill", {"lost": [{"epoch": "x", "from_seq": 2, "to_seq": 3}]}, NOON, gateway="GW-77")
    settle(site)
    totals = site.ledger.totals()
    assert (totals.received, totals.rejected, totals.missing) == (3, 2, 0)  # the meter is another gateway's
    assert site.ledger.sequences().is_empty()
    assert site.fleet.gateways().is_empty()
    assert quality.messages(site, date(2025, 6, 1), date(2025, 6, 1)).is_empty()


def test_the_same_of_a_registered_gateway_leaves_gaps(site):
    """The control of the one above."""
    for seq in (1, 9):
        say(site, "readings", numbered(seq, NOON + QUARTER * seq), NOON + QUARTER * seq)
    say(site, "backfill", {"lost": [{"epoch": "x", "from_seq": 2, "to_seq": 3}]}, NOON, lane=HISTORY)
    settle(site)
    assert site.ledger.totals().missing == 7
    found = quality.messages(site, date(2025, 6, 1), date(2025, 6, 1)).row(0, named=True)
    assert (found["due"], found["received"], found["missing"], found["lost"]) == (9, 2, 5, 2)


@pytest.fixture
def day(site, deliver):
    """A day of readings every 15 minutes of E-1, from noon to three; of these a half hour lacks. C-1 sends once."""
    rows = [(*E1, NOON + QUARTER * slot, 10.0 + slot) for slot in range(12) if slot not in {5, 6}]
    deliver(1, rows, received_at=NOON + timedelta(hours=3))
    deliver(2, [(*C1, NOON + timedelta(hours=2), 1.0)], received_at=NOON + timedelta(hours=3))
    settle(site)
    return site


def test_completeness_by_day_counts_from_the_first_reading_on_until_now(day):
    found = quality.readings_by_day(day, date(2025, 6, 1), date(2025, 6, 2), NOON + timedelta(hours=3))
    assert found.select("meter", "day", "due", "received").rows() == [
        ("C-1", date(2025, 6, 1), 4, 1), ("E-1", date(2025, 6, 1), 12, 10),
    ]
    next_day = quality.readings_by_day(day, date(2025, 6, 2), date(2025, 6, 2), datetime(2025, 6, 2, 16, tzinfo=UTC))
    assert next_day.select("due", "received").unique().rows() == [(96, 0)]


@pytest.mark.parametrize(("later", "windows"), [
    (timedelta(hours=3, minutes=44), [("E-1", 5, 6)]), (timedelta(hours=3, minutes=45), [("E-1", 5, 7)]),  # up to 13:30, to 13:45
    (timedelta(hours=5), [("C-1", 9, 12), ("E-1", 5, 7)]),
])
def test_windows_without_readings_are_told_when_they_are_two_hours_old(day, later, windows):
    found = quality.windows(day, NOON + later).sort("meter").select("meter", "start", "end").rows()
    assert [(meter, (start - NOON) // QUARTER, (end - NOON) // QUARTER) for meter, start, end in found] == windows
    assert quality.windows(day, NOON + later)["gateway"].unique().to_list() == [GATEWAY]


def test_a_register_that_is_read_every_hour_has_no_windows_between(site, deliver):
    deliver(1, [(*E1, NOON + timedelta(hours=hour), 10.0 + hour) for hour in range(8)], received_at=NOON + timedelta(hours=8))
    settle(site)
    assert quality.windows(site, NOON + timedelta(hours=9)).is_empty()


def test_a_gateway_of_another_format_is_asked_by_time_too(day):
    """Nothing but the register says which gateway a register belongs to."""
    found = quality.windows(day, NOON + timedelta(hours=5))
    assert set(found.columns) == {"enterprise", "gateway", "meter", "register", "start", "end"}
    assert found.schema["start"] == pl.Datetime("us", "UTC")


def test_stale_registers_are_told_with_their_names(day):
    found = quality.registers(day, NOON + timedelta(hours=5)).select("meter", "register", "stale").rows()
    assert sorted(found) == [("C-1", "feed", True), ("E-1", "active_import", True)]
    fresh = quality.registers(day, NOON + timedelta(hours=3)).select("meter", "stale").rows()
    assert sorted(fresh) == [("C-1", True), ("E-1", False)]
