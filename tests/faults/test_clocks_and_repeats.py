"""Days sent again, readings that come late, and clocks that are wrong: figures stay what they are, and no instant moves."""

import hashlib
import itertools
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from pipeline.roll import Roller
from pipeline.settle import Settler
from store.journal import Arrival
from tests.faults.harness import ENTERPRISES, EPOCH, FIRST_INSTANT, Plant, check, make_plant, message, topic, wait_for

SHANGHAI = ZoneInfo("Asia/Shanghai")
CODE = ENTERPRISES[0]
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def derived(plant: Plant) -> str:
    """A hash of all hours and days."""
    span = FIRST_INSTANT.date() - timedelta(days=60), FIRST_INSTANT.date() + timedelta(days=60)
    text = "".join(plant.site.derived.read(name, *span).collect().sort(pl.all()).write_csv() for name in ("hourly", "daily"))
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.needs("mosquitto")
def test_a_day_sent_again_three_times_changes_no_figure(start_mosquitto, plant, fleet):
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port)
    works.connected("collect", "settle", "roll", "evaluate")
    day = [
        message(code, seq, [(code, "E-1", FIRST_INSTANT + timedelta(minutes=15 * seq), 10.0 * seq)])
        for seq in range(1, 97) for code in gateways.enterprises
    ]
    gateways.send(day)
    works.rest(len(day))
    wait_for(lambda: works.site.ledger.dirty().is_empty(), "rolling up")
    before = derived(works)
    for _ in range(3):
        gateways.again(day)
    works.rest(4 * len(day))
    wait_for(lambda: works.site.ledger.dirty().is_empty(), "rolling up")
    assert derived(works) == before
    wait_for(lambda: works.site.derived.read_result("energy") is not None, "evaluating")
    works.stop()
    found = check(works, gateways)
    works.site.close()
    assert works.rebuilt_equals_live()
    assert found.wrong == ()
    assert found.totals.duplicate == 3 * len(day)


# --- without a broker: what arrives when is what counts -----------------------------------------------------------------

@pytest.fixture
def dry(tmp_path: Path):
    one = make_plant(tmp_path, 1)
    yield one
    one.close()


def arrive(plant: Plant, seq: int, readings: list[tuple[datetime, float]], received_at: datetime) -> None:
    one = message(CODE, seq, [(CODE, "E-1", at, value) for at, value in readings], epoch=EPOCH)
    plant.site.journal.append([Arrival("mqtt", topic(CODE), None, None, one.payload, received_at)])


def settled_and_rolled(plant: Plant) -> None:
    settler, roller = Settler(plant.site), Roller(plant.site)
    while settler.once() or roller.once():
        pass


def golden(truth: list[tuple[datetime, float]]) -> dict[str, dict[object, float]]:
    """Consumption by local hour and day, from the differences of a register read each quarter of an hour."""
    hourly: dict[object, float] = {}
    daily: dict[object, float] = {}
    for (start, before), (_, after) in itertools.pairwise(truth):
        day = start.astimezone(SHANGHAI).date()
        hourly[start.replace(minute=0)] = hourly.get(start.replace(minute=0), 0.0) + after - before
        daily[day] = daily.get(day, 0.0) + after - before
    return {"hourly": hourly, "daily": daily}


@pytest.mark.parametrize("late", [timedelta(hours=6), timedelta(days=40)])
def test_late_readings_change_the_periods_they_belong_to_and_no_others(dry, late):
    begin = datetime(2026, 1, 30, 16, tzinfo=UTC)  # the last day of January in Shanghai, and the first two of February
    truth = [(begin + timedelta(minutes=15 * step), 100.0 + 3.0 * step) for step in range(3 * 96 + 1)]
    chance = random.Random(7)
    kept_back = {step for step in range(1, len(truth) - 1) if 40 < step < 140 or chance.random() < 0.2}
    for seq, step in enumerate(sorted(set(range(len(truth))) - kept_back), 1):
        arrive(dry, seq, [truth[step]], truth[step][0])
    settled_and_rolled(dry)
    days = truth[0][0].date(), truth[-1][0].date() + timedelta(days=1)
    before = dry.site.derived.read("hourly", *days).collect()
    belated = sorted(kept_back)
    chance.shuffle(belated)
    for seq, step in enumerate(belated, 1000):
        arrive(dry, seq, [truth[step]], truth[-1][0] + late)
    settled_and_rolled(dry)
    hours, per_day = (dry.site.derived.read(name, *days).collect() for name in ("hourly", "daily"))
    assert hours["quantity"].sum() == pytest.approx(before["quantity"].sum()), "energy is conserved"
    want = golden(truth)
    assert dict(hours.select("start", "quantity").iter_rows()) == pytest.approx(want["hourly"])
    assert {row["day"]: row["quantity"] for row in per_day.iter_rows(named=True)} == pytest.approx(want["daily"])
    assert set(hours["quality"].cast(pl.String)) == {"measured"}


@pytest.mark.parametrize(("clock", "reason"), [
    (NOW + timedelta(hours=8), "not_from_the_future"), (datetime(2099, 1, 1, tzinfo=UTC), "not_from_the_future"),
    (datetime(1970, 1, 1, tzinfo=UTC), "not_too_old"),
])
def test_a_gateway_with_a_wrong_clock_has_its_readings_set_aside_and_the_next_ones_kept(dry, clock, reason):
    arrive(dry, 1, [(clock, 5.0)], NOW)
    arrive(dry, 2, [(NOW, 6.0)], NOW + timedelta(seconds=1))
    settled_and_rolled(dry)
    kept = dry.site.readings().span(None, datetime(1960, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    assert kept.select("read_at", "value").rows() == [(NOW, 6.0)]
    totals = dry.site.ledger.totals()
    assert (totals.stored, totals.rejected, totals.missing) == (1, 1, 0)
    assert dry.site.quarantine.get(1, 0)["reasons"] == [reason]


# --- the platform's own clock -----------------------------------------------------------------------------------------

@pytest.mark.needs("mosquitto", "libfaketime")
@pytest.mark.parametrize("jump", ["-1h", "+1d"])
def test_a_jump_of_the_platforms_clock_ends_no_session_and_loses_nothing(start_mosquitto, plant, fleet, tmp_path, program, jump):
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port)
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(program("libfaketime")), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    works.connected("collect", "settle", environment=faked)
    gateways.say(20)
    works.rest(40)
    connects = works.connects()
    clock.write_text(jump)
    gateways.say(20)
    works.rest(80)
    clock.write_text("+0")
    gateways.say(20)
    works.rest(120)
    assert works.connects() == connects, "time-outs run on a clock that does not jump"
    arrivals = [one.received_at for one in works.site.journal.read(0, 1000)]
    assert max(arrivals) - min(arrivals) > timedelta(minutes=59), "the clock did not jump"
    works.stop()
    assert check(works, gateways).wrong == ()
