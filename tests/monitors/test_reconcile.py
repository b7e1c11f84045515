import calendar
import io
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from config import coal_equivalents, data_rules, schemas
from monitors.energy import energy, sum_energy
from monitors.figure_rules import in_force
from monitors.reconcile import by_days, corrections, reconcile, stock_balance

RULES = data_rules.figure_rules()
COAL = "raw_coal"


def figure(kind: str, flow: str, first: str, last: str, quantity: float, **others: object) -> dict[str, object]:
    return {
        "enterprise": "E", "carrier": COAL, "flow": flow, "kind": kind, "first_day": date.fromisoformat(first), "last_day": date.fromisoformat(last),
        "quantity": quantity, "unit": "t",
    } | others


def figures(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schemas.MONTHLY_FIGURE)


def opening(day: str, quantity: float) -> dict[str, object]:
    return figure("stock_taking", "opening_stock", day, day, quantity)


def closing(day: str, quantity: float) -> dict[str, object]:
    return figure("stock_taking", "closing_stock", day, day, quantity)


def receipt(day: str, quantity: float, **others: object) -> dict[str, object]:
    return figure("receipt", "purchased", day, day, quantity, **others)


def metered(period: str, quantity: float | None, *, covered: float = 1.0, **others: object) -> pl.DataFrame:
    row = {"enterprise": "E", "period": period, "carrier": COAL, "quantity": quantity, "unit": "t", "flow": "consumed", "use": "fuel",
           "covered_ratio": covered, "estimated_ratio": 0.0}
    return pl.DataFrame([row | others], schema=schemas.QUANTITY)


def metered_days(first: str, amounts: list[float], **others: object) -> pl.DataFrame:
    start = date.fromisoformat(first)
    return pl.concat([metered(str(start + timedelta(ahead)), amount, **others) for ahead, amount in enumerate(amounts)])


def bill(first: str, last: str, quantity: float, **others: object) -> dict[str, object]:
    return figure("bill", "consumed", first, last, quantity, **others)


MARCH = ("2025-03-01", "2025-03-31")


# --- tolerance ---

@pytest.mark.parametrize(("quantity", "within"), [(95.0, True), (94.99, False), (105.0, True), (105.01, False), (100.0, True)])
def test_a_month_may_differ_from_its_figure_by_5_percent_of_it(quantity: float, within: bool) -> None:
    row = reconcile(figures(bill(*MARCH, 100.0)), metered("2025-03", quantity), RULES).row(0, named=True)
    assert row["within"] is within
    assert row["difference"] == pytest.approx(quantity - 100.0)
    assert row["difference_ratio"] == pytest.approx((quantity - 100.0) / 100.0)
    assert row["tolerance_ratio"] == 0.05
    assert "at most 5 %" in row["tolerance_source"]


def test_the_tolerance_is_a_row_that_a_site_can_set_for_a_carrier() -> None:
    own = pl.DataFrame([{"rule": "tolerance_ratio", "carrier": COAL, "value": 0.02, "valid_from": date(2025, 4, 1), "source": "contract"}])
    rules = pl.concat([RULES, schemas.conform(own, schemas.FIGURE_RULE)])
    both = figures(bill(*MARCH, 100.0), bill("2025-04-01", "2025-04-30", 100.0))
    found = reconcile(both, pl.concat([metered("2025-03", 97.0), metered("2025-04", 97.0)]), rules)
    assert found.select("within", "tolerance_source").rows()[1] == (False, "contract")
    assert found["within"].to_list() == [True, False]


def test_a_figure_of_nothing_is_met_only_by_nothing() -> None:
    for quantity, within in ((0.0, True), (0.1, False)):
        row = reconcile(figures(bill(*MARCH, 0.0)), metered("2025-03", quantity), RULES).row(0, named=True)
        assert (row["within"], row["difference_ratio"]) == (within, None)


def test_units_of_one_kind_are_converted_and_others_are_not_compared() -> None:
    found = reconcile(figures(bill(*MARCH, 0.1, unit="kt")), metered("2025-03", 100.0), RULES).row(0, named=True)
    assert (found["figure_quantity"], found["unit"], found["within"]) == (pytest.approx(100.0), "t", True)
    found = reconcile(figures(bill(*MARCH, 100.0, unit="m3")), metered("2025-03", 100.0), RULES).row(0, named=True)
    assert (found["figure_quantity"], found["within"]) == (None, None)
    assert found["missing"] == "no definition links the units of the figures and the meter"
    assert found["counts"] == "metered"


# --- bills and months ---

def test_a_bill_that_spans_months_shows_in_each_of_them() -> None:
    # 11 January to 9 February: 30 days, 3000 in all; 21 of them in January = 2100, 9 in February = 900.
    days = metered_days("2025-01-01", [100.0] * 59)
    found = reconcile(figures(bill("2025-01-11", "2025-02-09", 3000.0, document="B1")), days, RULES)
    assert found.select("period", "figure_quantity", "figure_days", "days", "split", "metered_quantity", "within").rows() == [
        ("2025-01", pytest.approx(2100.0), 21, 31, True, pytest.approx(2100.0), True),
        ("2025-02", pytest.approx(900.0), 9, 28, True, pytest.approx(900.0), True),
    ]
    assert found["documents"].unique().to_list() == ["B1"]
    assert found["counts"].to_list() == ["metered", "metered"]
    assert found["counted_quantity"].to_list() == [pytest.approx(3100.0), pytest.approx(2800.0)]


@given(start=st.integers(0, 300), days=st.integers(1, 400), quantity=st.floats(0.01, 1e9))
def test_the_months_of_a_bill_add_up_to_it(start: int, days: int, quantity: float) -> None:
    first = date(2024, 1, 1) + timedelta(start)
    found = reconcile(figures(bill(str(first), str(first + timedelta(days - 1)), quantity)), schemas.empty(schemas.QUANTITY), RULES)
    assert found["figure_quantity"].sum() == pytest.approx(quantity, rel=1e-12)
    assert found["figure_days"].sum() == days
    assert (found["counts"] == "bill").fill_null(value=False).to_list() == (found["figure_days"] == found["days"]).to_list()


def test_a_part_of_a_month_is_compared_with_the_meter_on_the_same_days_only() -> None:
    days = metered_days("2025-03-01", [10.0] * 10 + [99.0] * 21)
    row = reconcile(figures(bill("2025-03-01", "2025-03-10", 100.0)), days, RULES).row(0, named=True)
    assert (row["metered_quantity"], row["within"]) == (pytest.approx(100.0), True)
    row = reconcile(figures(bill("2025-03-01", "2025-03-10", 100.0)), metered("2025-03", 2179.0), RULES).row(0, named=True)
    assert (row["metered_quantity"], row["within"]) == (None, None)
    assert row["missing"] == "no metered quantity for these days; quantities by month are not divided"


def test_figures_of_one_kind_add_up_and_kinds_stay_apart() -> None:
    rows = figures(bill(*MARCH, 60.0, document="1"), bill(*MARCH, 40.0, document="2"), figure("report", "consumed", *MARCH, 120.0))
    found = reconcile(rows, metered("2025-03", 100.0), RULES)
    assert found.select("kind", "figure_quantity", "documents", "within").rows() == [
        ("bill", pytest.approx(100.0), "1; 2", True), ("report", pytest.approx(120.0), None, False),
    ]


@pytest.mark.parametrize(("rows", "findings"), [
    ([bill(*MARCH, 60.0, document="A1"), bill(*MARCH, 60.0, document="A-1")], ["figures_overlap"]),
    ([bill("2025-03-01", "2025-03-16", 60.0, document="1"), bill("2025-03-16", "2025-03-31", 60.0, document="2")], ["figures_overlap"]),
    ([bill("2025-03-01", "2025-03-15", 60.0, document="1"), bill("2025-03-16", "2025-03-31", 60.0, document="2")], [None]),
    ([bill(*MARCH, 60.0), figure("report", "consumed", *MARCH, 60.0)], [None, None]),
    ([bill("2025-02-16", "2025-03-15", 60.0, document="1"), bill("2025-03-15", "2025-04-15", 60.0, document="2")], [None, "figures_overlap", None]),
    ([receipt("2025-03-04", 30.0, document="1"), receipt("2025-03-04", 20.0, document="2")], [None]),
])
def test_figures_of_one_kind_that_say_something_of_one_day_are_told(rows: list[dict[str, object]], findings: list[str | None]) -> None:
    assert reconcile(figures(*rows), metered("2025-03", 100.0), RULES)["findings"].to_list() == findings


def test_deliveries_on_some_days_are_the_whole_month() -> None:
    found = reconcile(figures(receipt("2025-03-04", 30.0, document="1"), receipt("2025-03-20", 20.0, document="2")),
                      metered("2025-03", 50.0, flow="purchased"), RULES).row(0, named=True)
    assert (found["figure_quantity"], found["figure_days"], found["metered_quantity"], found["within"]) == (50.0, 31, 50.0, True)


def test_without_figures_there_is_nothing_to_compare() -> None:
    assert reconcile(figures(), metered("2025-03", 1.0), RULES).equals(schemas.empty(schemas.RECONCILIATION))
    assert reconcile(figures(), schemas.empty(schemas.QUANTITY), RULES).is_empty()


# --- which one counts ---

@pytest.mark.parametrize(("covered", "counts", "quality"), [(0.9, "metered", "measured"), (0.8999, "bill", "estimated")])
def test_the_metered_quantity_counts_where_it_covers_nine_tenths(covered: float, counts: str, quality: str) -> None:
    row = reconcile(figures(bill(*MARCH, 103.0)), metered("2025-03", 100.0, covered=covered), RULES).row(0, named=True)
    assert (row["counts"], row["counted_quality"]) == (counts, quality)
    assert row["counted_quantity"] == pytest.approx(100.0 if counts == "metered" else 103.0)
    assert row["within"] is (True if counts == "metered" else None)
    assert row["why"].startswith(f"metered covers {covered * 100:.1f} % of the days (needs 90.0 %)")


def test_days_without_a_row_are_not_covered() -> None:
    days = metered_days("2025-03-01", [1.0] * 27)  # 27 of 31 days: 87.1 %
    row = reconcile(figures(bill(*MARCH, 31.0)), days, RULES).row(0, named=True)
    assert (row["counts"], row["covered_ratio"]) == ("bill", pytest.approx(27 / 31))


def test_a_bill_of_a_part_of_the_month_does_not_count_for_it() -> None:
    row = reconcile(figures(bill("2025-03-01", "2025-03-30", 30.0)), schemas.empty(schemas.QUANTITY), RULES).row(0, named=True)
    assert (row["counts"], row["counted_quantity"], row["counted_quality"]) == (None, None, None)
    assert row["why"] == "metered covers 0.0 % of the days (needs 90.0 %); bill covers 96.8 % of the days (needs 100.0 %)"


def test_the_order_of_kinds_is_that_of_the_rules_in_force() -> None:
    rows = figures(bill(*MARCH, 10.0), figure("report", "consumed", *MARCH, 20.0))
    assert set(reconcile(rows, schemas.empty(schemas.QUANTITY), RULES)["counts"]) == {"bill"}
    own = pl.DataFrame([{"rule": "counts", "carrier": COAL, "kind": "report", "rank": 1, "value": 1.0, "valid_from": date(2025, 1, 1)}])
    rules = pl.concat([RULES, schemas.conform(own, schemas.FIGURE_RULE)])
    assert set(reconcile(rows, schemas.empty(schemas.QUANTITY), rules)["counts"]) == {"report"}


def test_the_most_particular_rule_in_force_holds() -> None:
    rules = schemas.conform(pl.DataFrame(
        [{"rule": "x", "carrier": carrier, "flow": flow, "value": value, "valid_from": date(2025, 1, 1), "valid_to": date(2026, 1, 1)}
         for carrier, flow, value in [(None, None, 1.0), (None, "consumed", 2.0), ("coal", None, 3.0), ("coal", None, 4.0)]],
    ), schemas.FIGURE_RULE)
    asked = pl.DataFrame({
        "carrier": ["oil", "oil", "coal", "coal", "coal"], "flow": ["sold", "consumed", "consumed", "consumed", "consumed"], "kind": ["bill"] * 5,
        "day": [date(2025, 1, 1), date(2025, 6, 1), date(2025, 12, 31), date(2026, 1, 1), date(2024, 12, 31)],
    })
    assert in_force(asked, rules, "x")["value"].to_list() == [1.0, 2.0, 4.0, None, None]


# --- stocks ---

def test_a_stock_taking_books_its_difference_in_its_month() -> None:
    # Book: 1000 + 500 + 300 - 1050 = 750; found 720: 30 t are gone without having passed the belt scale, 30 / 1050 = 2.9 %.
    rows = figures(opening("2025-03-01", 1000.0), receipt("2025-03-05", 500.0, document="1"), receipt("2025-03-25", 0.3, unit="kt", document="2"),
                   closing("2025-03-31", 720.0))
    row = stock_balance(rows, metered("2025-03", 1050.0), RULES, by="month").row(0, named=True)
    assert [row[name] for name in ("opening_stock", "received", "consumption", "book_stock", "closing_stock", "stock_difference")] == [
        1000.0, pytest.approx(800.0), 1050.0, pytest.approx(750.0), 720.0, pytest.approx(30.0),
    ]
    assert (row["opening_source"], row["closing_source"], row["received_kind"], row["findings"]) == ("taken", "taken", "receipt", None)
    assert row["residual"] == pytest.approx(0.0, abs=1e-9)
    compared = reconcile(rows, metered("2025-03", 1050.0), RULES).filter(pl.col("kind") == "stock_balance").row(0, named=True)
    assert (compared["figure_quantity"], compared["difference"], compared["within"]) == (pytest.approx(1080.0), pytest.approx(-30.0), True)
    assert compared["counts"] == "metered"


@pytest.mark.parametrize(("found", "finding"), [(47.5, None), (47.4, "difference_over_tolerance"), (52.5, None), (52.6, "difference_over_tolerance")])
def test_a_stock_difference_over_5_percent_of_the_consumption_is_a_finding(found: float, finding: str | None) -> None:
    rows = figures(opening("2025-03-01", 100.0), receipt("2025-03-05", 0.0), closing("2025-03-31", found))
    assert stock_balance(rows, metered("2025-03", 50.0), RULES, by="month")["findings"].to_list() == [finding]


@pytest.mark.parametrize(("left", "finding"), [(125.0, None), (122.0, "difference_over_tolerance")])
def test_the_book_is_carried_until_the_next_stock_taking(left: float, finding: str | None) -> None:
    rows = figures(opening("2025-01-01", 100.0), receipt("2025-01-10", 50.0), receipt("2025-02-10", 60.0), receipt("2025-03-10", 70.0),
                   closing("2025-03-31", left))
    quantities = pl.concat([metered(month, amount) for month, amount in (("2025-01", 40.0), ("2025-02", 50.0), ("2025-03", 60.0))])
    found = stock_balance(rows, quantities, RULES, by="month")
    # 100 + 50 - 40 = 110; + 60 - 50 = 120; + 70 - 60 = 130. Found 125: 5 are gone, 3.3 % of the 150 consumed since January
    # (8.3 % of the 60 of March); found 122: 8, 5.3 %.
    assert found.select("opening_stock", "opening_source", "book_stock", "closing_stock", "closing_source", "stock_difference").rows() == [
        (100.0, "taken", 110.0, 110.0, "carried", None), (110.0, "carried", 120.0, 120.0, "carried", None),
        (120.0, "carried", 130.0, left, "taken", 130.0 - left),
    ]
    assert found["findings"].to_list() == [None, None, finding]


def test_a_stock_below_zero_is_a_finding_on_its_day() -> None:
    rows = figures(opening("2025-03-01", 10.0), receipt("2025-03-03", 50.0))
    found = stock_balance(rows, metered_days("2025-03-01", [8.0, 8.0, 8.0]), RULES, by="day")
    assert found.select("period", "book_stock", "findings").rows() == [
        ("2025-03-01", 2.0, None), ("2025-03-02", -6.0, "negative_stock"), ("2025-03-03", 36.0, "negative_stock"),
    ]


def test_a_book_without_consumption_is_unknown_until_the_next_stock_taking() -> None:
    rows = figures(opening("2025-01-01", 100.0), receipt("2025-01-10", 50.0), receipt("2025-02-10", 60.0), closing("2025-02-28", 80.0),
                   receipt("2025-03-02", 5.0))
    quantities = pl.concat([metered("2025-01", None), metered("2025-02", 50.0), metered("2025-03", 50.0)])
    found = stock_balance(rows, quantities, RULES, by="month")
    assert found["book_stock"].to_list() == [None, None, 35.0]
    assert found["stock_difference"].to_list() == [None, None, None]
    assert found["findings"].to_list() == ["no_consumption, consumption_incomplete", "consumption_incomplete", None]


def test_an_opening_that_differs_from_the_stock_found_before_is_a_finding() -> None:
    rows = figures(opening("2025-01-01", 100.0), closing("2025-01-31", 90.0), opening("2025-02-01", 95.0), receipt("2025-01-03", 1.0),
                   receipt("2025-02-03", 1.0))
    found = stock_balance(rows, pl.concat([metered("2025-01", 11.0), metered("2025-02", 10.0)]), RULES, by="month")
    assert found["opening_stock"].to_list() == [100.0, 95.0]
    assert found["findings"].to_list() == [None, "opening_differs"]


def test_a_month_in_which_nothing_is_received_says_so_and_is_no_figure_of_consumption() -> None:
    rows = figures(opening("2025-03-01", 100.0), closing("2025-03-31", 60.0))
    assert stock_balance(rows, metered("2025-03", 40.0), RULES, by="month")["findings"].to_list() == ["nothing_received"]
    assert reconcile(rows, metered("2025-03", 40.0), RULES).is_empty()


def test_of_several_kinds_of_what_was_received_the_first_in_order_counts() -> None:
    rows = figures(opening("2025-03-01", 0.0), figure("bill", "purchased", *MARCH, 90.0), figure("weighbridge", "purchased", *MARCH, 100.0))
    row = stock_balance(rows, metered("2025-03", 40.0), RULES, by="month").row(0, named=True)
    assert (row["received"], row["received_kind"]) == (pytest.approx(100.0), "weighbridge")
    weighed = pl.concat([metered("2025-03", 40.0), metered("2025-03", 104.0, flow="purchased")])
    row = stock_balance(rows, weighed, RULES, by="month").row(0, named=True)
    assert (row["received"], row["received_kind"]) == (pytest.approx(104.0), "metered")


def test_a_stock_taken_within_a_month_is_used_by_day_only() -> None:
    rows = figures(opening("2025-03-01", 100.0), receipt("2025-03-01", 0.0), closing("2025-03-02", 70.0))
    days = metered_days("2025-03-01", [10.0, 15.0, 10.0])
    assert stock_balance(rows, days, RULES, by="day")["stock_difference"].to_list() == [None, 5.0, None]
    assert stock_balance(rows, days, RULES, by="month")["stock_difference"].to_list() == [None]


@given(
    months=st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5), st.one_of(st.none(), st.floats(0, 1e5))), min_size=1, max_size=12),
    start=st.floats(0, 1e5),
)
def test_every_balance_closes_and_the_differences_are_what_the_book_lost(months: list[tuple[float, float, float | None]], start: float) -> None:
    rows, quantities = [opening("2025-01-01", start)], []
    for number, (received, consumed, taken) in enumerate(months, start=1):
        rows.append(receipt(f"2025-{number:02}-02", received))
        quantities.append(metered(f"2025-{number:02}", consumed))
        if taken is not None:
            rows.append(closing(f"2025-{number:02}-{calendar.monthrange(2025, number)[1]}", taken))
    found = stock_balance(figures(*rows), pl.concat(quantities), RULES, by="month")
    assert found["residual"].abs().max() <= 1e-9 * (start + sum(sum(part[:2]) for part in months) + 1e5)
    ends = start + sum(received - consumed for received, consumed, _ in months) - found["stock_difference"].fill_null(0.0).sum()
    assert ends == pytest.approx(found["closing_stock"][-1], rel=1e-9, abs=1e-5)


# --- what counts, as quantities ---

def test_consumption_with_the_stock_difference_is_what_went_in_less_what_is_left() -> None:
    rows = figures(opening("2025-03-01", 1000.0), receipt("2025-03-05", 800.0), closing("2025-03-31", 720.0))
    months = metered("2025-03", 1050.0, covered=0.95)
    beside = corrections(reconcile(rows, months, RULES), stock_balance(rows, months, RULES, by="month"), months)
    assert beside.select("flow", "quantity", "covered_ratio", "estimated_ratio").rows() == [("stock_difference", pytest.approx(30.0), 0.95, 1.0)]
    sums = sum_energy(energy(pl.concat([months, beside]), coal_equivalents.coefficients()), ["enterprise"]).row(0, named=True)
    assert sums["calorific_tce"] == pytest.approx((1000.0 + 800.0 - 720.0) * 0.7143)
    assert sums["covered_ratio"] == pytest.approx(0.95)
    assert sums["estimated_ratio"] == pytest.approx(30 / 1080)


@pytest.mark.parametrize("flow", ["stock_difference", "figure_difference"])
def test_a_correction_beside_purchases_would_count_the_carrier_twice(flow: str) -> None:
    rows = energy(pl.concat([metered("2025-03", 10.0, flow="purchased"), metered("2025-03", 1.0, flow=flow)]), coal_equivalents.coefficients())
    row = sum_energy(rows, ["enterprise"]).row(0, named=True)
    assert row["calorific_tce"] is None
    assert "counts it twice" in row["missing"]


def test_where_a_figure_counts_the_rest_of_it_stands_beside_the_metered_quantity() -> None:
    months = metered("2025-03", 40.0, covered=0.4)
    rows = figures(bill(*MARCH, 100.0))
    beside = corrections(reconcile(rows, months, RULES), stock_balance(rows, months, RULES, by="month"), months)
    assert beside.select("flow", "quantity", "covered_ratio").rows() == [("figure_difference", pytest.approx(60.0), 0.4)]
    sums = sum_energy(energy(pl.concat([months, beside]), coal_equivalents.coefficients()), ["enterprise"]).row(0, named=True)
    assert sums["calorific_tce"] == pytest.approx(71.43)
    assert (sums["covered_ratio"], sums["estimated_ratio"]) == (pytest.approx(0.4), pytest.approx(0.6))


def test_a_carrier_without_a_meter_is_consumed_as_reported() -> None:
    rows = figures(opening("2025-03-01", 1000.0), receipt("2025-03-05", 800.0), closing("2025-03-31", 700.0))
    nothing = schemas.empty(schemas.QUANTITY)
    found = reconcile(rows, nothing, RULES)
    beside = corrections(found, stock_balance(rows, nothing, RULES, by="month"), nothing)
    assert beside.select("flow", "quantity", "unit", "covered_ratio").rows() == [("consumed", pytest.approx(1100.0), "t", None)]


def test_a_bill_of_consumption_is_not_added_to_what_is_metered_as_it_comes_in() -> None:
    months = metered("2025-03", 100.0, flow="purchased")
    found = reconcile(figures(bill(*MARCH, 100.0)), months, RULES)
    assert (found["counts"].item(), found["missing"].item()) == ("bill", "no metered quantity")
    assert corrections(found, schemas.empty(schemas.STOCK_BALANCE), months).is_empty()
    other = metered("2025-03", 100.0, flow="purchased", carrier="diesel")
    assert corrections(found, schemas.empty(schemas.STOCK_BALANCE), other)["quantity"].to_list() == [pytest.approx(100.0)]


def test_an_incomplete_belt_scale_books_no_stock_difference() -> None:
    rows = figures(opening("2025-03-01", 1000.0), receipt("2025-03-05", 800.0), closing("2025-03-31", 700.0), closing("2025-04-30", 650.0))
    months = pl.concat([metered("2025-03", 300.0, covered=0.3), metered("2025-04", 40.0)])
    balances = stock_balance(rows, months, RULES, by="month")
    beside = corrections(reconcile(rows, months, RULES), balances, months)
    assert beside.select("period", "flow", "quantity").rows() == [
        ("2025-03", "figure_difference", pytest.approx(800.0)), ("2025-04", "stock_difference", pytest.approx(10.0)),
    ]
    assert balances["findings"].to_list() == ["difference_over_tolerance, consumption_incomplete", "difference_over_tolerance, nothing_received"]


@pytest.mark.parametrize(("found", "booked"), [(601.0, []), (600.0, []), (599.0, [1.0])])
def test_more_stock_than_the_book_has_is_a_missing_delivery_where_none_is_reported(found: float, booked: list[float]) -> None:
    rows, months = figures(opening("2025-03-01", 1000.0), closing("2025-03-31", found)), metered("2025-03", 400.0)
    balances = stock_balance(rows, months, RULES, by="month")
    assert corrections(reconcile(rows, months, RULES), balances, months)["quantity"].to_list() == booked


def test_a_delivery_missing_in_the_month_before_the_stock_taking_is_missing_too() -> None:
    rows = figures(opening("2025-02-01", 1000.0), receipt("2025-03-05", 10.0), closing("2025-03-31", 1100.0))
    months = pl.concat([metered("2025-02", 200.0), metered("2025-03", 200.0)])
    balances = stock_balance(rows, months, RULES, by="month")
    assert balances["stock_difference"].to_list() == [None, -490.0]
    assert corrections(schemas.empty(schemas.RECONCILIATION), balances, months).is_empty()
    balances = stock_balance(pl.concat([rows, figures(receipt("2025-02-28", 0.0))]), months, RULES, by="month")
    assert corrections(schemas.empty(schemas.RECONCILIATION), balances, months)["quantity"].to_list() == [-490.0]


@pytest.mark.parametrize("flow", ["purchased", "sold"])
def test_what_is_reported_in_a_unit_that_nothing_links_leaves_the_book_unknown(flow: str) -> None:
    rows = figures(opening("2025-03-01", 1000.0), figure("receipt", flow, "2025-03-05", "2025-03-05", 500.0, unit="m3"), closing("2025-03-31", 900.0))
    months = metered("2025-03", 400.0)
    balances = stock_balance(rows, months, RULES, by="month")
    assert balances.select("book_stock", "stock_difference").rows() == [(None, None)]
    assert corrections(schemas.empty(schemas.RECONCILIATION), balances, months).is_empty()


def test_corrections_by_day_add_up_and_a_stock_difference_follows_the_consumption() -> None:
    months = pl.concat([metered("2025-03", 30.0, flow="stock_difference"), metered("2025-03", 62.0, flow="figure_difference")])
    days = by_days(months, metered_days("2025-03-01", [10.0, 20.0]))
    by_flow = {flow: rows["quantity"].to_list() for (flow,), rows in days.sort("period").group_by("flow")}
    assert by_flow["stock_difference"] == pytest.approx([10.0, 20.0] + [0.0] * 29)
    assert by_flow["figure_difference"] == pytest.approx([2.0] * 31)


# --- reported by power plants, month by month ---

@pytest.mark.needs("shared-data")
def test_the_stock_balances_of_coal_plants_are_those_of_their_readme(shared_data: Path) -> None:
    with (shared_data / "coal-plants-india" / "plants.csv.zst").open("rb") as packed:
        plants = pl.read_csv(io.BytesIO(zstandard.ZstdDecompressor().stream_reader(packed).read())).with_columns(
            enterprise=pl.format("{}/{}", "region", "name"), carrier=pl.lit(COAL), unit=pl.lit("kt"),
            first_day=pl.col("ym").str.to_date("%Y-%m", strict=False),
        ).with_columns(last_day=pl.col("first_day").dt.month_end())
    reported = pl.concat([
        schemas.conform(
            plants.filter(pl.col(column).is_not_null()).with_columns(kind=pl.lit(kind), flow=pl.lit(flow), quantity=column), schemas.MONTHLY_FIGURE
        )
        for column, kind, flow in (
            ("opening_stock_kt", "stock_taking", "opening_stock"), ("closing_stock_kt", "stock_taking", "closing_stock"),
            ("receipt_total_kt", "receipt", "purchased"),
        )
    ])
    consumed = schemas.conform(plants.with_columns(period="ym", quantity="consumption_kt", flow=pl.lit("consumed")), schemas.QUANTITY)
    found = stock_balance(reported, consumed, RULES, by="month")
    assert found["residual"].abs().max() <= 1e-9
    both = plants.drop_nulls(["opening_stock_kt", "closing_stock_kt"]).select("enterprise", period="ym")
    difference = found.join(both, on=["enterprise", "period"])["stock_difference"].abs()
    # As the README has it; the reports are rounded to 0.01 kt.
    assert (len(difference), (difference <= 0.01).sum(), (difference > 1).sum(), round(difference.max(), 1)) == (1624, 905, 517, 317.7)
    # Two rows of one plant under two names report the same: nothing here may merge or hide them.
    twins = found.filter(pl.col("enterprise").str.contains("UDUPI|Southern/ADANI POWER$"), pl.col("period") == "2024-04")
    assert twins["received"].n_unique() == 1
    assert twins.height == 2
