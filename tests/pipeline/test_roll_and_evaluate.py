from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.evaluate import Evaluator
from pipeline.rebuild import rebuilt
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site
from store.journal import HISTORY, LIVE

E1, C1 = ("E-1", "active_import"), ("C-1", "feed")
MIDNIGHT = datetime(2024, 12, 31, 16, tzinfo=UTC)  # local 2025-01-01


def catch_up(site: Site) -> None:
    while Settler(site).once():
        pass
    while Roller(site).once():
        pass


def hourly_year(deliver, *, hours: int = 365 * 24, kwh_per_h: float = 100.0, t_per_h: float = 1.0) -> None:
    at = [MIDNIGHT + timedelta(hours=hour) for hour in range(hours + 1)]
    for seq, first in enumerate(range(0, len(at), 500), start=1):
        part = list(enumerate(at))[first : first + 500]
        received = datetime(2026, 1, 2, tzinfo=UTC)
        deliver(seq, [(*E1, when, hour * kwh_per_h) for hour, when in part], received_at=received)
        deliver(seq + 100, [(*C1, when, hour * t_per_h) for hour, when in part], received_at=received)


def report(site: Site, output_t: float) -> None:
    at = datetime(2026, 1, 3, tzinfo=UTC)
    enterprise = site.register.enterprises()["enterprise"][0]
    rows = pl.DataFrame([
        {"enterprise": enterprise, "period": "2025", "figure": "output", "value": output_t, "unit": "t", "product": "calcium_carbide"},
        {"enterprise": enterprise, "period": "2025", "figure": "value_added_10k_cny", "value": 1000.0, "unit": None, "product": None},
    ])
    site.figures.apply(rows, maker="a", at=at)
    site.figures.check_all(checker="b", at=at)


def evaluate(site: Site, today: date = date(2026, 3, 1)) -> pl.DataFrame:
    Evaluator(site, lambda: datetime(today.year, today.month, today.day, 4, tzinfo=UTC)).once()
    verdicts = site.derived.read_result("verdicts")
    assert verdicts is not None
    return verdicts


def test_hours_and_days_follow_the_readings_in_the_parks_zone(site, deliver):
    deliver(1, [(*E1, MIDNIGHT, 0.0), (*E1, MIDNIGHT + timedelta(hours=1), 5.0), (*E1, MIDNIGHT + timedelta(hours=2), 9.0)])
    catch_up(site)
    hours = site.derived.read("hourly", date(2025, 1, 1), date(2025, 1, 1)).collect()
    assert hours["quantity"].to_list() == [5.0, 4.0]
    assert site.derived.read("daily", date(2025, 1, 1), date(2025, 1, 1)).collect()["quantity"].to_list() == [9.0]


def test_a_late_reading_changes_the_days_on_both_sides_of_its_gap(site, deliver):
    deliver(1, [(*E1, MIDNIGHT, 0.0), (*E1, MIDNIGHT + timedelta(days=4), 400.0)])
    catch_up(site)
    deliver(2, [(*E1, MIDNIGHT + timedelta(days=2), 300.0)], received_at=MIDNIGHT + timedelta(days=5))
    catch_up(site)
    days = site.derived.read("daily", date(2025, 1, 1), date(2025, 1, 4)).collect()
    assert days["quantity"].to_list() == pytest.approx([150.0, 150.0, 50.0, 50.0])


def a_day(deliver, seq: int, day: int, values: list[float]) -> None:
    at = [MIDNIGHT + timedelta(days=day, hours=hour, minutes=15) for hour in range(len(values))]
    deliver(seq, [(*E1, when, value) for when, value in zip(at, values, strict=True)], received_at=at[-1])


def daily(site: Site, first: int, last: int) -> list[float]:
    rows = site.derived.read("daily", date(2025, 1, 1) + timedelta(days=first), date(2025, 1, 1) + timedelta(days=last)).collect()
    return [round(quantity, 6) for quantity in rows["quantity"]]


@pytest.mark.parametrize("false", [0.0, 90_000.0])
def test_zeros_or_a_spike_of_days_add_nothing_once_the_register_is_back(site, deliver, tmp_path, false):
    true = [[24.0 * day + hour + 1000 for hour in range(24)] for day in range(9)]
    for day in range(9):
        a_day(deliver, day + 1, day, true[day] if not 2 <= day <= 5 else [false] * 24)
        catch_up(site)
    assert daily(site, 1, 7) == [24.0] * 7
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    assert shadow.derived.hashes() == site.derived.hashes()


def test_a_late_reading_inside_a_day_writes_that_day_alone_and_one_at_its_end_its_neighbour_too(site, deliver):
    for day in range(3):
        a_day(deliver, day + 1, day, [24.0 * day + hour + 1000 for hour in range(24)])
    catch_up(site)
    for seq, minutes, written in ((11, 12 * 60 + 30, {1}), (12, 5, {0, 1}), (13, 23 * 60 + 50, {1, 2})):
        before = site.derived.day_versions("hourly")
        late = MIDNIGHT + timedelta(days=1, minutes=minutes)
        deliver(seq, [(*E1, late, 1023.8 + minutes / 60)], received_at=MIDNIGHT + timedelta(days=4))
        catch_up(site)
        after = site.derived.day_versions("hourly")
        assert {(day - date(2025, 1, 1)).days for day in after if after[day] != before.get(day)} == written


@given(order=st.permutations(range(8)), cuts=st.sets(st.integers(1, 7)))
@hypothesis_settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_whatever_order_readings_arrive_live_equals_rebuilt(tmp_path_factory, new_site, arrive, order, cuts):
    folder = tmp_path_factory.mktemp("order")
    site = new_site(folder)
    values = [0.0, 30.0, 31.0, 0.0, 32.0, 95.0, 96.0, 140.0]  # a transient zero among them
    for seq, number in enumerate(order, start=1):
        arrive(site, seq, [(*E1, MIDNIGHT + timedelta(hours=11 * number), values[number])], received_at=datetime(2025, 2, 1, tzinfo=UTC))
        if seq in cuts:
            catch_up(site)
    catch_up(site)
    shadow = rebuilt(site, folder / "again", upto=site.ledger.cursors())
    assert shadow.derived.hashes() == site.derived.hashes()
    shadow.readings().close()


def test_a_year_of_hours_and_an_output_give_a_verdict_with_its_derivation(site, deliver):
    hourly_year(deliver)
    catch_up(site)
    report(site, 7000.0)
    verdict = evaluate(site).row(0, named=True)
    energy_kgce = 8760 * 100.0 * 0.1229 + 8760 * 1000.0 * 0.7143
    assert verdict["actual"] == pytest.approx(energy_kgce / 7000.0)
    assert (verdict["verdict"], verdict["standing"], verdict["closed"]) == ("complies", "unconfirmed", True)
    assert verdict["standard"] == "GB 21343-2023"
    assert "940" in verdict["derivation"]


def test_a_closed_year_with_missing_months_is_incomplete_not_compliant(site, deliver):
    hourly_year(deliver, hours=300 * 24)
    catch_up(site)
    report(site, 70000.0)
    verdict = evaluate(site).row(0, named=True)
    assert verdict["verdict"] == "incomplete"
    assert verdict["covered_ratio"] == pytest.approx(300 / 365, abs=1e-6)


def test_nothing_is_evaluated_twice_and_a_new_figure_is(site, deliver):
    deliver(1, [(*E1, MIDNIGHT, 0.0), (*E1, MIDNIGHT + timedelta(hours=1), 5.0)])
    catch_up(site)
    evaluator = Evaluator(site, lambda: datetime(2026, 3, 1, tzinfo=UTC))
    assert evaluator.once()
    assert not evaluator.once()
    report(site, 1.0)
    assert evaluator.once()


def test_everything_derived_again_from_the_journal_is_equal(site, deliver, tmp_path):
    hourly_year(deliver, hours=40 * 24)
    deliver(50, [], payload=b"not json")
    deliver(51, [(*E1, MIDNIGHT + timedelta(hours=3), 77.0)], received_at=datetime(2026, 1, 2, tzinfo=UTC))
    catch_up(site)
    report(site, 100.0)
    evaluate(site)
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    assert shadow.derived.hashes() == site.derived.hashes()
    shadow.readings().close()


@pytest.mark.parametrize("lanes", [(HISTORY, LIVE, LIVE), (LIVE, HISTORY, LIVE), (LIVE, LIVE, HISTORY), (HISTORY, LIVE, HISTORY)])
@pytest.mark.parametrize("pauses", [(), (0,), (0, 1)])
def test_rebuilding_settles_the_lanes_in_the_order_in_which_they_were_settled(site, deliver, tmp_path, lanes, pauses):
    """Which copy of an instant counts hangs on it: a value that comes again is the message that was settled first."""
    hourly_year(deliver, hours=48)
    for number, (lane, value) in enumerate(zip(lanes, (4901.0, 4902.0, 4901.0), strict=True)):
        deliver(90 + number, [(*E1, MIDNIGHT + timedelta(hours=49), value)], received_at=datetime(2026, 1, 2 + number, tzinfo=UTC), lane=lane)
        if number in pauses:
            catch_up(site)
    catch_up(site)
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    assert shadow.derived.hashes() == site.derived.hashes()
    assert shadow.ledger.totals() == site.ledger.totals()
    shadow.readings().close()


def test_a_table_altered_by_hand_is_not_equal_to_the_rebuilt_one(site, deliver, tmp_path):
    hourly_year(deliver, hours=48)
    catch_up(site)
    rows = site.derived.read("daily", date(2025, 1, 1), date(2025, 1, 1)).collect()
    site.derived.replace("daily", rows.with_columns(pl.col("quantity") + 1), rows.select("register_key", "day"))
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    live, again = site.derived.hashes(), shadow.derived.hashes()
    assert live["daily"] != again["daily"]
    assert live["hourly"] == again["hourly"]
    shadow.readings().close()


def test_a_changed_register_row_recomputes_its_days_and_live_equals_rebuilt(site, deliver, tmp_path):
    hourly_year(deliver, hours=48)
    catch_up(site)
    tables = {"register": pl.DataFrame([
        {"enterprise": site.register.names()["enterprise"][0], "meter": "E-1", "register": "active_import", "unit": "kWh", "kind": "cumulative",
         "multiplier": 10.0},
    ])}
    site.register.apply(tables, by="test", known_from=datetime(2026, 2, 1, tzinfo=UTC))
    catch_up(site)
    key = site.register.names().filter(meter="E-1")["register_key"][0]
    days = site.derived.read("daily", date(2025, 1, 1), date(2025, 1, 2)).filter(pl.col("register_key") == key).collect()
    assert days["quantity"].to_list() == pytest.approx([24_000.0, 24_000.0])
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    assert shadow.derived.hashes() == site.derived.hashes()
    shadow.readings().close()


def test_a_long_run_of_bad_readings_is_looked_beyond_so_that_live_equals_rebuilt(site, deliver, tmp_path):
    site.register.apply({"register": pl.DataFrame([
        {"enterprise": site.register.names()["enterprise"][0], "meter": "E-1", "register": "active_import", "unit": "kWh", "kind": "cumulative",
         "modulus": 1000.0},
    ])}, by="test", known_from=datetime(2024, 12, 2, tzinfo=UTC))
    arrived = datetime(2025, 3, 1, tzinfo=UTC)
    deliver(1, [(*E1, MIDNIGHT, 0.0), (*E1, MIDNIGHT + timedelta(days=9), 900.0)], received_at=arrived)
    deliver(2, [(*E1, MIDNIGHT + timedelta(hours=hour), 5000.0) for hour in range(1, 200)], received_at=arrived)  # at or above the modulus
    catch_up(site)
    deliver(3, [(*E1, MIDNIGHT + timedelta(days=8, hours=20), 899.0)], received_at=arrived)
    catch_up(site)
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    assert shadow.derived.hashes() == site.derived.hashes()
    shadow.readings().close()


# --- one test for each cause for which live was not what rebuilding gives ------------------------------------------------

KNOWN = datetime(2025, 2, 1, tzinfo=UTC)


def declare(site: Site, table: str, *rows: dict[str, object], meter: tuple[str, str] = E1) -> None:
    own = {"enterprise": site.register.names()["enterprise"][0], "meter": meter[0], "register": meter[1]}
    site.register.apply({table: pl.DataFrame([{**own, **row} for row in rows], infer_schema_length=None)}, by="test", known_from=KNOWN)


def at_day(day: float) -> datetime:
    return MIDNIGHT + timedelta(days=day)


def assert_as_rebuilt(site: Site, folder: Path) -> None:
    catch_up(site)
    shadow = rebuilt(site, folder, upto=site.ledger.cursors())
    live, again = site.derived.hashes(), shadow.derived.hashes()
    shadow.readings().close()
    assert live == again


def test_the_first_reading_makes_count_what_was_declared_before_there_was_any(site, deliver, tmp_path):
    declare(site, "event", {"at": at_day(10).isoformat(), "event": "reset", "opening_value": 5.0},
            {"at": at_day(12).isoformat(), "event": "change", "closing_value": 9.0, "opening_value": 0.0})
    catch_up(site)
    deliver(1, [(*E1, at_day(1), 1.0)], received_at=at_day(20))
    catch_up(site)
    assert daily(site, 10, 11) == [2.0, 2.0]
    assert_as_rebuilt(site, tmp_path / "again")


def test_what_is_declared_beyond_readings_that_do_not_count_is_looked_at(site, deliver, tmp_path):
    declare(site, "register", {"unit": "kWh", "kind": "cumulative", "range_high": 100.0})
    declare(site, "event", {"at": at_day(9).isoformat(), "event": "change", "closing_value": 50.0, "opening_value": 0.0})
    deliver(1, [(*E1, at_day(1), 10.0), *((*E1, at_day(5 + n / 24), 900.0) for n in range(6))], received_at=at_day(20))
    catch_up(site)
    assert daily(site, 1, 8) == [5.0] * 8
    deliver(2, [(*E1, at_day(3), 40.0)], received_at=at_day(21))
    catch_up(site)
    assert daily(site, 1, 8) == pytest.approx([15.0] * 2 + [10 / 6] * 6, abs=1e-5)
    assert_as_rebuilt(site, tmp_path / "again")


def test_a_late_reading_before_a_reset_changes_what_is_said_of_the_reading_after_it(site, deliver, tmp_path):
    """Without it there was nothing to compare with; the hours after the reset are the same."""
    declare(site, "event", {"at": at_day(5).isoformat(), "event": "reset", "opening_value": 5.0})
    deliver(1, [(*E1, at_day(9), 45.0), (*E1, at_day(9.25), 46.0)], received_at=at_day(20))
    catch_up(site)
    deliver(2, [(*E1, at_day(1), 900.0)], received_at=at_day(21))
    assert_as_rebuilt(site, tmp_path / "again")


def test_what_is_declared_of_a_register_without_readings_counts_no_more_beside_one_that_has_some(site, deliver, tmp_path):
    deliver(1, [(*C1, at_day(day), 10.0 * day) for day in range(5)], received_at=at_day(20))
    catch_up(site)
    declare(site, "event", {"at": at_day(1).isoformat(), "event": "reset", "opening_value": 5.0},
            {"at": at_day(3).isoformat(), "event": "change", "closing_value": 9.0, "opening_value": 0.0})
    assert_as_rebuilt(site, tmp_path / "again")
    key = site.register.names().filter(meter="E-1")["register_key"][0]
    assert site.derived.read("daily", date(2025, 1, 1), date(2025, 1, 9)).filter(pl.col("register_key") == key).collect().is_empty()


def test_readings_of_the_next_day_tell_that_a_count_was_lost(site, deliver, tmp_path):
    """The four that count come one by one, with spikes between them."""
    a_day(deliver, 1, 0, [0.0] * 23 + [1000.0])
    later = [1001.0, 5000.0, 1002.0, 5000.0, 1003.0, 5000.0, 1004.0, 1005.0, 1006.0, 1007.0]
    for hour, value in enumerate(later):
        deliver(2 + hour, [(*E1, at_day(1 + hour / 24), value)])
        if hour in (4, 6):
            catch_up(site)
    assert_as_rebuilt(site, tmp_path / "again")
    assert site.derived.read("flags", date(2025, 1, 1), date(2025, 1, 1)).collect()["flag"].to_list() == ["reset"]
