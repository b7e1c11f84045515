"""Gaps of a site become proposals, which count once a person has checked them, and only where nothing is measured."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from config.errors import BadInputError
from config.schemas import EVENT, INTERVAL, READING, WINDOW, conform
from monitors.editing import filled
from monitors.estimation import LINK, gaps
from monitors.intervals import counted, spread, uncovered
from pipeline.estimate import MAKER, PROPOSAL, proposals, propose

from .conftest import ENTERPRISE

MONDAY = datetime(2025, 3, 2, 16, tzinfo=UTC)  # 00:00 of 3 March in Shanghai
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = datetime(2025, 6, 1, tzinfo=UTC)
KEPT_DAYS = 60
LAST = date(2025, 5, 1)  # the last of them


def keys(site) -> dict[str, int]:
    return dict(site.register.names().select("meter", "register_key").iter_rows())


def keep(site, hidden, *, meter="E-1", factor=1.0):
    """Hours of KEPT_DAYS days, ten by night and a hundred by day; `hidden` maps an hour's number to the share of it that is covered."""
    key, rows = keys(site)[meter], []
    for place in range(KEPT_DAYS * 24):
        covered = hidden.get(place, 1.0)
        start = MONDAY + HOUR * place
        quantity = factor * (100.0 if 8 <= place % 24 < 18 else 10.0) + place % 7
        if covered:
            rows.append((key, start, start + HOUR, quantity * covered, "measured", covered, 0.0))
    hours = pl.DataFrame(rows, schema=INTERVAL, orient="row")
    day = pl.col("start").dt.convert_time_zone("Asia/Shanghai").dt.date()
    site.derived.replace("hourly", hours.with_columns(day=day), hours.select("register_key", day=day).unique())
    return hours


def span(row) -> tuple[float, float]:
    return (row["start"] - MONDAY) / HOUR, (row["end"] - MONDAY) / HOUR


GAP = 50 * 24


def test_a_gap_is_proposed_by_hours_with_unit_method_reason_and_interval(site):
    keep(site, {GAP + 9: 0, GAP + 10: 0, GAP + 11: 0.25})
    found = proposals(site, date(2025, 4, 1), LAST, now=NOW)
    assert found.schema == PROPOSAL
    row = found.row(0, named=True)
    assert found.height == 1
    assert (row["enterprise"], row["meter"], row["unit"], row["method"]) == (ENTERPRISE, "E-1", "kWh", "like_days")
    assert (span(row), row["estimated_h"]) == ((GAP + 9, GAP + 12), 2.75)
    assert row["low"] < row["quantity"] < row["high"]
    assert site.edits.rows().is_empty()


def test_what_is_proposed_waits_and_once_checked_fills_the_gap_by_the_estimate(site):
    hours = keep(site, {GAP + 9: 0, GAP + 10: 0, GAP + 11: 0.25})
    found = propose(site, date(2025, 4, 1), LAST, now=NOW, method="like_days").row(0, named=True)
    waiting = site.edits.waiting().row(0, named=True)
    assert (waiting["edit"], waiting["state"], waiting["kind"], waiting["maker"]) == (found["edit"], "waiting", "estimate", MAKER)
    assert (waiting["method"], waiting["reason"]) == ("like_days", f"{found['reason_zh']} / {found['reason']}")
    assert site.edits.effective().is_empty()
    site.edits.check([found["edit"]], checker="Li", at=NOW + DAY)
    open_hour = MONDAY + HOUR * (GAP + 11)
    uncovered = pl.concat([  # as the interval rules would give it: the last hour is covered from a quarter to twelve on
        gaps(hours).with_columns(end=pl.lit(open_hour + timedelta(minutes=45), INTERVAL["end"])),
    ])
    whole = filled(hours, uncovered, site.edits.effective(), "hour", "Asia/Shanghai")
    assert whole["quantity"].sum() - hours["quantity"].sum() == pytest.approx(found["quantity"], rel=1e-12)
    assert whole.filter(pl.col("start") == open_hour).select("covered_ratio", "quality").row(0) == (1.0, "estimated")
    # When readings come for the first hour, only the rest of the estimate counts.
    later = filled(hours, uncovered.with_columns(pl.col("start") + HOUR), site.edits.effective(), "hour", "Asia/Shanghai")
    assert later["quantity"].sum() - hours["quantity"].sum() == pytest.approx(found["quantity"] * 1.75 / 2.75, rel=1e-12)


def test_a_reset_register_gets_exactly_its_estimate_for_the_unknown_time(site):
    """From readings on: every twenty minutes, none between 10:20 and 12:40 of a day, after which the register begins again low."""
    key, zone, twenty = keys(site)["E-1"], "Asia/Shanghai", timedelta(minutes=20)
    lost, back = MONDAY + HOUR * (GAP + 10) + twenty, MONDAY + HOUR * (GAP + 12) + 2 * twenty
    instants = [MONDAY + twenty * place for place in range(KEPT_DAYS * 24 * 3 + 1)]
    shown = [(key, at, (place - (0 if at < back else 3600)) * 5.0) for place, at in enumerate(instants) if not lost < at < back]
    readings = conform(pl.DataFrame(shown, schema=["register_key", "read_at", "value"], orient="row").with_columns(copy=0, quality=0), READING)
    counting = counted(readings, site.register.registers(), pl.DataFrame(schema=EVENT), zone=zone)
    hours = spread(counting, "hour")
    day = pl.col("start").dt.convert_time_zone(zone).dt.date()
    site.derived.replace("hourly", hours.with_columns(day=day), hours.select("register_key", day=day).unique())
    found = propose(site, date(2025, 4, 1), LAST, now=NOW).row(0, named=True)
    assert found["estimated_h"] == pytest.approx(7 / 3)
    assert found["quantity"] == pytest.approx(15.0 * 7 / 3)
    site.edits.check([found["edit"]], checker="Li", at=NOW)
    open_ = uncovered(counting, pl.DataFrame([(key, MONDAY, instants[-1])], schema=WINDOW, orient="row"))
    assert open_.select("start", "end").rows() == [(lost, back)]
    for grain in ("hour", "day", "month"):
        before = spread(counting, grain)
        assert filled(before, open_, site.edits.effective(), grain, zone)["quantity"].sum() - before["quantity"].sum() == pytest.approx(35.0)


def test_a_time_for_which_an_estimate_waits_or_counts_is_not_proposed_again(site):
    keep(site, dict.fromkeys(range(GAP, GAP + 6), 0))
    first = propose(site, date(2025, 4, 1), LAST, now=NOW)
    assert first["edit"].null_count() == 0
    assert propose(site, date(2025, 4, 1), LAST, now=NOW).is_empty()
    site.edits.check(first["edit"].to_list(), checker="Li", at=NOW)
    assert propose(site, date(2025, 4, 1), LAST, now=NOW).is_empty()


def test_a_refused_estimate_can_be_proposed_by_another_method(site):
    keep(site, dict.fromkeys(range(GAP, GAP + 6), 0))
    first = propose(site, date(2025, 4, 1), LAST, now=NOW, method="linear")
    site.edits.refuse(first["edit"].to_list(), checker="Li", at=NOW, reason="the shift ran")
    assert propose(site, date(2025, 4, 1), LAST, now=NOW, method="like_days")["method"].to_list() == ["like_days"]


def test_who_asked_cannot_check(site):
    keep(site, {GAP: 0})
    made = propose(site, date(2025, 4, 1), LAST, now=NOW, maker="Li")["edit"].to_list()
    with pytest.raises(BadInputError, match="cannot check it too"):
        site.edits.check(made, checker="Li", at=NOW)


def test_gaps_are_cut_at_local_midnight_unless_they_are_interpolated(site):
    keep(site, dict.fromkeys(range(GAP + 20, GAP + 50), 0))
    cut = proposals(site, date(2025, 4, 1), LAST, now=NOW, method="like_days")
    assert [span(row) for row in cut.iter_rows(named=True)] == [(GAP + 20, GAP + 24), (GAP + 24, GAP + 48), (GAP + 48, GAP + 50)]
    whole = proposals(site, date(2025, 4, 1), LAST, now=NOW, method="linear")
    assert [span(row) for row in whole.iter_rows(named=True)] == [(GAP + 20, GAP + 50)]


def test_only_the_days_and_registers_that_are_asked_for_are_looked_at(site):
    keep(site, {GAP: 0, GAP + 48: 0})
    keep(site, {GAP: 0}, meter="C-1")
    day = date(2025, 3, 3) + timedelta(days=50)
    assert proposals(site, day, day, now=NOW)["meter"].to_list() == ["C-1", "E-1"]
    assert proposals(site, day, day, now=NOW, registers=[keys(site)["C-1"]])["meter"].to_list() == ["C-1"]
    assert proposals(site, day + DAY, day + DAY, now=NOW).is_empty()


def test_time_in_which_readings_may_still_come_is_no_gap_yet(site):
    keep(site, dict.fromkeys(range(GAP, GAP + 10), 0))
    found = proposals(site, date(2025, 4, 1), LAST, now=MONDAY + HOUR * (GAP + 7))
    assert [span(row) for row in found.iter_rows(named=True)] == [(GAP, GAP + 5)]


def test_nothing_is_proposed_before_a_register_began_or_after_it_ended(site):
    keep(site, {KEPT_DAYS * 24 - 1: 0.5, 0: 0.5})
    site.register.apply({"register": pl.DataFrame([{
        "enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "unit": "kWh", "kind": "cumulative", "valid_to": "2025-05-01",
    }])}, by="test", known_from=NOW)
    assert proposals(site, date(2025, 2, 1), date(2025, 5, 20), now=NOW).is_empty()


def test_a_linked_register_is_taken_where_it_fits_best(site):
    keep(site, dict.fromkeys(range(GAP, GAP + 12), 0))
    keep(site, {}, meter="C-1", factor=2.0)
    links = pl.DataFrame([(keys(site)["E-1"], keys(site)["C-1"], "C-1 / feed")], schema=LINK, orient="row")
    row = proposals(site, date(2025, 4, 1), LAST, now=NOW, method="linked", links=links).row(0, named=True)
    assert (row["method"], row["quantity"] is not None) == ("linked", True)
    assert "C-1 / feed" in row["reason"]


def test_a_gap_that_no_method_can_estimate_is_told_and_not_proposed(site):
    keep(site, dict.fromkeys(range(GAP, GAP + 6), 0))
    found = propose(site, date(2025, 4, 1), LAST, now=NOW, method="linked")
    assert found.select("quantity", "edit", "reason").rows() == [
        (None, None, "no linked register measured these hours, or too few common hours before"),
    ]
    assert site.edits.rows().is_empty()
