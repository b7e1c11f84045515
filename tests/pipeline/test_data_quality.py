"""The quality index, repairs and exchanges of a site, from the messages on."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from config.schemas import FAILED, PERIOD_VERDICT, QUALITY_PARTS, VERDICT_COUNT, conform
from monitors.data_quality import arrivals
from pipeline import quality
from pipeline.roll import Roller
from pipeline.settle import Settler

from .conftest import ENTERPRISE

MIDNIGHT = datetime(2026, 3, 1, 16, tzinfo=UTC)  # of Monday, 2 March, in Shanghai
DAY = date(2026, 3, 2)
QUARTER = timedelta(minutes=15)
E1, C1 = ("E-1", "active_import"), ("C-1", "feed")
JUDGED = {**PERIOD_VERDICT, "day": pl.Date()}


def derive(site) -> None:
    """What the services derive of the two days; validation as if one reading of E-1 had failed."""
    while Settler(site).once():
        pass
    Roller(site).once()
    zone = site.settings.site.zone
    names = {(row["meter"], row["register"]): row["register_key"] for row in site.register.names().to_dicts()}
    readings = site.readings().span(sorted(names.values()), MIDNIGHT - timedelta(days=1), MIDNIGHT + timedelta(days=9))
    came = arrivals(readings, zone)
    days = came.select("register_key", "day")
    site.derived.replace("arrivals", came, days)
    wrong = pl.col("register_key").is_in([names[E1]]).cast(pl.UInt32)
    counts = came.select("register_key", "day", "start", "readings")
    both = [counts.with_columns(verdict=pl.lit(verdict), readings=count) for verdict, count in (
        ("passed", pl.col("readings") - wrong), ("failed", wrong),
    )]
    site.derived.replace("verdict_counts", conform(pl.concat(both), VERDICT_COUNT), days)
    failed = pl.DataFrame({"register_key": [names[E1]], "start": [MIDNIGHT + QUARTER], "copy": [0], "day": [DAY], "broken_rules": ["rating"]})
    site.derived.replace("verdicts", conform(failed, FAILED), days)
    starts = conform(came.select("register_key", "day", "start").with_columns(verdict=pl.lit("passed")), pl.Schema(JUDGED))
    site.derived.replace("day_starts", starts, days)


@pytest.fixture
def week(site, deliver):
    """E-1 every 15 minutes of Monday, four hours of it late; C-1 of Monday's first half only. A reading and a message are refused."""
    for seq, (first, last, late) in enumerate([(0, 80, timedelta()), (80, 96, timedelta(hours=3))], start=1):
        rows = [(*E1, MIDNIGHT + QUARTER * slot, 10.0 + slot) for slot in range(first, last)]
        for part in range(0, len(rows), 8):
            deliver(100 * seq + part, rows[part:part + 8], received_at=rows[part + 7][2] + late)
    deliver(900, [(*C1, MIDNIGHT + QUARTER * slot, 1.0 + slot) for slot in range(48)], received_at=MIDNIGHT + timedelta(hours=12))
    deliver(901, [("X-9", "r", MIDNIGHT, 1.0)], received_at=MIDNIGHT + timedelta(hours=13))
    deliver(902, [], payload=b"no message", received_at=MIDNIGHT + timedelta(hours=14))
    site.register.apply({"meter": pl.DataFrame({
        "enterprise": [ENTERPRISE] * 2, "meter": ["E-1", "C-1"], "medium": ["electricity", "coal"], "calibration_due": ["2026-03-01", "2026-03-02"],
    })}, by="test", known_from=MIDNIGHT)
    derive(site)
    return site


def index(site, by: str, now: datetime = MIDNIGHT + timedelta(days=1)) -> list[dict[str, object]]:
    return quality.index(site, DAY, DAY, now, (by,), "span")[by].to_dicts()


def parts(row: dict[str, object]) -> list[tuple[object, object]]:
    return [(row[f"{part}_good"], row[f"{part}_total"]) for part in QUALITY_PARTS]


def test_the_index_of_a_day_by_hand(week):
    """C-1: 48 readings in one message at noon, 8 of the last two hours in time; half of the day came; verified until the day itself."""
    coal, power = index(week, "meter")
    assert (coal["meter"], coal["period"]) == ("C-1", "2026-03-02/2026-03-02")
    assert parts(coal) == [(48, 96), (1, 1), (8, 48), (0, 1), (48, 48), (49, 49)]
    assert parts(power) == [(96, 96), (0, 1), (80, 96), (0, 1), (95, 96), (97, 97)]
    assert (coal["state"], coal["missing"]) == ("complete", [])
    assert coal["index_ratio"] == pytest.approx((0.5 + 1 + 8 / 48 + 0 + 1 + 1) / 6)


def test_meters_and_what_no_meter_sent_add_up_to_enterprise_and_park(week):
    enterprise, = index(week, "enterprise")
    park, = index(week, "park")
    assert parts(enterprise) == parts(park) == [(144, 192), (1, 2), (88, 144), (0, 2), (143, 144), (146, 148)]
    assert (enterprise["meters"], park["park"], park["enterprise"]) == (2, "p1", None)


def test_a_bill_makes_the_figures_of_its_carrier_verifiable_and_the_enterprises_own_report_does_not(week):
    def enter(kind: str) -> None:
        days = {"first_day": "2026-02-03", "last_day": "2026-03-02"}
        row = {"enterprise": ENTERPRISE, "carrier": "electricity", "flow": "purchased", "kind": kind, **days, "quantity": 90.0, "unit": "kWh",
               "document": "no. 7"}
        week.reported.monthly.apply(pl.DataFrame([row]), maker="a", at=MIDNIGHT)
        week.reported.monthly.check_all(checker="b", at=MIDNIGHT)

    enter("report")
    assert [row["verifiability_good"] for row in index(week, "meter")] == [0, 0]
    enter("bill")
    assert [row["verifiability_good"] for row in index(week, "meter")] == [0, 1]


def test_registers_of_which_nothing_was_counted_are_unknown_and_not_zero(week):
    """As on a site whose tables were derived before arrivals were counted."""
    key = week.register.names().filter(meter="E-1")["register_key"].item()
    days = pl.DataFrame({"register_key": [key], "day": [DAY]}, schema_overrides={"register_key": pl.UInt32()})
    for table in ("arrivals", "verdict_counts"):
        week.derived.replace(table, week.derived.read(table, DAY, DAY).collect().clear(), days)
    coal, power = index(week, "meter")
    assert coal["state"] == "complete"
    assert (power["state"], power["missing"]) == ("incomplete", ["timeliness", "validity", "conformity"])
    assert (power["verifiability_good"], power["verifiability_total"]) == (0, 1)  # no second source: whatever the readings are
    enterprise, = index(week, "enterprise")
    assert [enterprise[f"{part}_unknown"] for part in QUALITY_PARTS] == [0, 0, 1, 0, 1, 1]
    assert (enterprise["timeliness_good"], enterprise["timeliness_total"]) == (8, 48)


def test_readings_that_could_not_be_judged_are_not_counted_as_valid(site, deliver):
    """On its first day a register has no history, and no rating is declared; who does not ask for these says so."""
    for part in range(12):
        deliver(part + 1, [(*C1, MIDNIGHT + QUARTER * (8 * part + slot), 8.0 * part + slot) for slot in range(8)])
    while Settler(site).once():
        pass
    Roller(site).once()
    coal, _ = index(site, "meter")
    assert (coal["validity_good"], coal["validity_total"], coal["validity_unknown"], "validity" in coal["missing"]) == (None, None, 1, True)
    asked = ("range", "rating", "resolution", "step_back", "frozen", "copied_pattern", "jump", "unit_scale")
    rules = [{"enterprise": ENTERPRISE, "rule": rule, "enabled": False} for rule in asked]
    site.register.apply({"rule": pl.DataFrame(rules)}, by="test", known_from=MIDNIGHT)
    Roller(site).once()
    coal, _ = index(site, "meter")
    assert (coal["validity_good"], coal["validity_total"], coal["validity_unknown"], "validity" in coal["missing"]) == (96, 96, 0, False)


def test_what_is_not_due_yet_is_not_lacking(week):
    coal, power = index(week, "meter", MIDNIGHT + timedelta(hours=12))
    assert (coal["completeness_total"], power["completeness_total"]) == (48, 48)
    now = MIDNIGHT + timedelta(hours=23)
    named = [quality.index(week, first, date(2026, 3, 31), now, ("park",))["park"]["period"].to_list() for first in (DAY, date(2026, 3, 1))]
    assert named == [[f"{DAY}/{DAY}"], ["2026-03"]]


def test_a_derived_register_owes_no_readings(week):
    before = index(week, "enterprise")[0]["completeness_total"]
    row = {"enterprise": ENTERPRISE, "meter": "E-1", "register": "double", "unit": "kWh", "kind": "derived", "formula": "2 * E-1.active_import",
           "valid_from": "2026-01-01"}
    week.register.apply({"register": pl.DataFrame([row])}, by="test", known_from=MIDNIGHT)
    assert index(week, "enterprise")[0]["completeness_total"] == before
    now = MIDNIGHT + timedelta(days=1)
    assert "double" not in quality.readings_by_day(week, DAY, DAY, now)["register"]
    assert "double" not in quality.windows(week, now)["register"]
    assert quality.readings_by_day(week, DAY, DAY, now).height == 2


def test_a_meter_that_is_out_is_to_be_repaired_by_the_third_working_day(week):
    """C-1 lacks from Monday noon on: Thursday is the third working day. E-1 from the first slot of Tuesday on: Friday is."""
    instants = [MIDNIGHT + timedelta(days=days) for days in (1, 3.9, 4, 4.9, 5)]
    states = [{row["meter"]: row["state"] for row in quality.repairs(week, now).to_dicts()} for now in instants]
    assert states == [
        {"C-1": "open"}, {"C-1": "open", "E-1": "open"}, {"C-1": "overdue", "E-1": "open"}, {"C-1": "overdue", "E-1": "open"},
        {"C-1": "overdue", "E-1": "overdue"},
    ]


def test_a_report_is_told_with_the_outage_and_a_rebuild_gives_the_same(week):
    now = MIDNIGHT + timedelta(days=6)
    week.repairs.report(ENTERPRISE, "C-1", MIDNIGHT + timedelta(hours=20), "scale is broken", by="someone", now=now - timedelta(days=1))
    found = quality.repairs(week, now)
    assert [(row["meter"], row["state"], row["report"]) for row in found.to_dicts()] == [
        ("C-1", "reported", "scale is broken"), ("E-1", "overdue", None),
    ]
    derive(week)
    assert quality.repairs(week, now).equals(found)


def test_an_exchange_counts_from_its_first_entry_however_often_it_is_corrected(site):
    at = MIDNIGHT + timedelta(hours=10)
    event = {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "at": at.isoformat(), "event": "change", "closing_value": 5.0}
    site.register.apply({"event": pl.DataFrame([event])}, by="test", known_from=at + timedelta(hours=1))
    later = [event | {"closing_value": 6.0}, event | {"at": (at + QUARTER).isoformat(), "event": "reset"}]
    site.register.apply({"event": pl.DataFrame(later)}, by="test", known_from=at + timedelta(days=30))
    row, = quality.exchanges(site).to_dicts()
    assert (row["meter"], row["at"], row["entered_at"], row["in_time"]) == ("E-1", at, at + timedelta(hours=1), True)


def test_verifications_are_told_as_of_any_day(week):
    found = {row["meter"]: row["state"] for row in quality.verifications(week, date(2026, 3, 2)).to_dicts()}
    assert found == {"E-1": "overdue", "C-1": "due_soon"}
