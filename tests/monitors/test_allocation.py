"""Sites that change hands and registers that a key divides: no hour is lost, none counts twice, and what is not known is not shared out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import schemas
from monitors.allocation import UNKNOWN, divided, held, present
from monitors.quantities import quantities

ZONE = "Asia/Shanghai"
JANUARY, MARCH = datetime(2024, 12, 31, 16, tzinfo=UTC), datetime(2025, 2, 28, 16, tzinfo=UTC)
FEBRUARY = datetime(2025, 1, 31, 16, tzinfo=UTC)
NO_OUTPUT = pl.DataFrame(schema={"enterprise": pl.String(), "product": pl.String(), "period": pl.String(), "output": pl.Float64()})


def days(key: int, quantity: float, start: datetime = JANUARY, end: datetime = MARCH) -> list[dict[str, Any]]:
    return [
        {"register_key": key, "start": start + timedelta(days=n), "end": start + timedelta(days=n + 1), "quantity": quantity, "quality": "measured",
         "covered_ratio": 1.0, "estimated_ratio": 0.0} for n in range((end - start).days)
    ]


def intervals(*rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([row for each in rows for row in each], schema=schemas.INTERVAL)


def assigned(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{"enterprise": "A", "register_key": 1, "carrier": "electricity", **row} for row in rows], schema=schemas.ASSIGNMENT)


def outputs(**made: float) -> pl.DataFrame:
    """cement_2025_01=30 stands for an output of cement in 2025-01."""
    rows = [name.partition("_") for name in made]
    return pl.DataFrame({
        "enterprise": "A", "product": [product for product, _, _ in rows], "period": [period.replace("_", "-") for _, _, period in rows],
        "output": list(made.values()),
    })


def used(assignments: pl.DataFrame, measured: pl.DataFrame, by: Any = "month") -> dict[tuple[str, str | None, str], float | None]:
    keys = measured["register_key"].unique()
    registers = schemas.conform(pl.DataFrame({"register_key": keys, "unit": ["kWh"] * keys.len()}), schemas.REGISTER)
    found = quantities(measured, registers, assignments, by=by, zone=ZONE)
    return {(enterprise, product, period): quantity for enterprise, product, period, quantity
            in found.select("enterprise", "product", "period", "quantity").iter_rows()}


# --- who holds a site -------------------------------------------------------------------------------------------------

def holding(**row: Any) -> dict[str, Any]:
    return {"enterprise": "A", "site": "north", "owner": "B", "park": "P2", "block": "east", **row}


def test_from_the_day_of_the_merger_a_site_counts_for_its_new_owner() -> None:
    moved = held(assigned({"site": "north"}), pl.DataFrame([holding(valid_from=FEBRUARY)], schema=schemas.HOLDING))
    assert moved.select("enterprise", "park", "block").rows() == [("A", None, None), ("B", "P2", "east")]
    assert used(moved.drop("park", "block"), intervals(days(1, 10.0))) == {
        ("A", None, "2025-01"): 310.0, ("B", None, "2025-02"): 280.0,
    }


def test_a_change_within_a_month_divides_it_by_its_days() -> None:
    day = FEBRUARY + timedelta(days=7)
    moved = held(assigned({"site": "north"}), pl.DataFrame([holding(valid_from=day)], schema=schemas.HOLDING))
    found = used(moved, intervals(days(1, 10.0)))
    assert (found["A", None, "2025-02"], found["B", None, "2025-02"]) == (70.0, 210.0)


@pytest.mark.parametrize("row", [{"site": None}, {"site": "south"}, {"site": "north", "enterprise": "C"}])
def test_other_sites_stay_where_they_are(row: dict[str, Any]) -> None:
    rows = assigned(row)
    assert held(rows, pl.DataFrame([holding()], schema=schemas.HOLDING)).select(schemas.ASSIGNMENT.names()).equals(rows)


@given(st.lists(st.integers(0, 58), min_size=0, max_size=5, unique=True), st.integers(0, 30), st.integers(31, 59))
def test_changing_hands_loses_and_makes_nothing(cuts: list[int], first: int, last: int) -> None:
    dates = [JANUARY + timedelta(days=cut) for cut in sorted(cuts)]
    spans = [holding(owner=f"O{n}", valid_from=start, valid_to=end) for n, (start, end) in enumerate(zip(dates, [*dates[1:], None], strict=False))]
    row = assigned({"site": "north", "valid_from": JANUARY + timedelta(days=first), "valid_to": JANUARY + timedelta(days=last)})
    found = used(held(row, pl.DataFrame(spans, schema=schemas.HOLDING)), intervals(days(1, 10.0)))
    assert sum(value or 0.0 for value in found.values()) == pytest.approx(10.0 * (last - first))


# --- keys -------------------------------------------------------------------------------------------------------------

BY_OUTPUT = [{"product": "cement", "allocation": "output"}, {"product": "clinker", "allocation": "output"}]


def test_by_output_each_month_has_its_own_shares() -> None:
    made = outputs(cement_2025_01=30.0, clinker_2025_01=10.0, cement_2025_02=10.0, clinker_2025_02=10.0)
    measured = intervals(days(1, 10.0))
    shared = divided(assigned(*BY_OUTPUT), measured, made, zone=ZONE)
    assert used(shared, measured) == pytest.approx({
        ("A", "cement", "2025-01"): 232.5, ("A", "clinker", "2025-01"): 77.5, ("A", "cement", "2025-02"): 140.0, ("A", "clinker", "2025-02"): 140.0,
    })


def test_days_months_and_years_of_a_divided_register_add_up() -> None:
    made = outputs(cement_2025_01=30.0, clinker_2025_01=10.0, cement_2025_02=10.0, clinker_2025_02=10.0)
    measured = intervals(days(1, 10.0))
    shared = divided(assigned(*BY_OUTPUT), measured, made, zone=ZONE)
    of_cement = [sum(value or 0.0 for key, value in used(shared, measured, by).items() if key[1] == "cement") for by in ("day", "month", "year")]
    assert of_cement == pytest.approx([372.5] * 3)


def test_where_only_the_year_is_reported_its_shares_hold_in_every_month() -> None:
    measured = intervals(days(1, 10.0))
    shared = divided(assigned(*BY_OUTPUT), measured, outputs(cement_2025=3.0, clinker_2025=1.0), zone=ZONE)
    assert used(shared, measured, "year") == pytest.approx({("A", "cement", "2025"): 442.5, ("A", "clinker", "2025"): 147.5})


@pytest.mark.parametrize("made", [
    outputs(cement_2025_01=30.0), outputs(cement_2025_01=0.0, clinker_2025_01=0.0), outputs(cement_2025_01=-1.0, clinker_2025_01=2.0),
    outputs(cement_2025_01=1.0, clinker_2025_01=2.0).with_columns(output_unit=pl.Series(["t", "kt"])), NO_OUTPUT,
])
def test_a_key_that_is_not_known_shares_nothing_out(made: pl.DataFrame) -> None:
    measured = intervals(days(1, 10.0, end=FEBRUARY))
    shared = divided(assigned(*BY_OUTPUT), measured, made, zone=ZONE)
    assert set(shared["allocation"]) == {UNKNOWN}
    assert set(used(shared, measured).values()) == {None}


def test_by_register_the_consumption_that_the_key_registers_show_divides_the_month() -> None:
    keyed = [{"process": "a", "product": "pulp", "allocation": "register", "key_register_key": 2},
             {"process": "b", "product": "paper", "allocation": "register", "key_register_key": 3}]
    measured = intervals(days(1, 10.0), days(2, 3.0), days(3, 1.0, end=FEBRUARY), days(3, 3.0, start=FEBRUARY))
    shared = divided(assigned(*keyed), measured, NO_OUTPUT, zone=ZONE)
    assert used(shared, measured) == pytest.approx({
        ("A", "pulp", "2025-01"): 232.5, ("A", "paper", "2025-01"): 77.5, ("A", "pulp", "2025-02"): 140.0, ("A", "paper", "2025-02"): 140.0,
    })


def test_a_key_register_without_data_leaves_the_month_open() -> None:
    keyed = [{"product": product, "allocation": "register", "key_register_key": key} for product, key in (("pulp", 2), ("paper", 3))]
    measured = intervals(days(1, 10.0), days(2, 3.0), days(3, 1.0, end=FEBRUARY))
    shared = divided(assigned(*keyed), measured, NO_OUTPUT, zone=ZONE)
    found = used(shared, measured)
    assert (found["A", "pulp", "2025-01"], found["A", "pulp", "2025-02"]) == (pytest.approx(232.5), None)


def test_only_the_share_that_the_key_divides_is_divided_and_fixed_shares_stay() -> None:
    rows = assigned({"product": "lime", "share_ratio": 0.2}, *({**row, "share_ratio": 0.8} for row in BY_OUTPUT))
    measured = intervals(days(1, 10.0, end=FEBRUARY))
    found = used(divided(rows, measured, outputs(cement_2025_01=1.0, clinker_2025_01=3.0), zone=ZONE), measured)
    assert found == pytest.approx({("A", "lime", "2025-01"): 62.0, ("A", "cement", "2025-01"): 62.0, ("A", "clinker", "2025-01"): 186.0})


def test_before_a_product_begins_the_others_share_the_register() -> None:
    day = JANUARY + timedelta(days=11)
    rows = assigned(BY_OUTPUT[0], {**BY_OUTPUT[1], "valid_from": day})
    measured = intervals(days(1, 10.0, end=FEBRUARY))
    found = used(divided(rows, measured, outputs(cement_2025_01=1.0, clinker_2025_01=1.0), zone=ZONE), measured)
    assert found == pytest.approx({("A", "cement", "2025-01"): 110 + 100.0, ("A", "clinker", "2025-01"): 100.0})


def test_the_output_of_several_indicators_of_one_product_counts_once_and_that_of_its_lines_adds_up() -> None:
    made = pl.DataFrame({
        "enterprise": "A", "product": ["cement", "cement", "cement", "clinker"], "indicator": ["x", "y", "x", None], "line": ["1", "1", "2", None],
        "period": "2025-01", "output": [20.0, 20.0, 10.0, 10.0], "output_unit": "t",
    })
    measured = intervals(days(1, 10.0, end=FEBRUARY))
    assert used(divided(assigned(*BY_OUTPUT), measured, made, zone=ZONE), measured)["A", "cement", "2025-01"] == pytest.approx(232.5)


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=5))
def test_the_parts_of_a_key_add_up_to_what_it_divides(parts: list[float]) -> None:
    rows = assigned(*({"product": f"p{n}", "allocation": "output", "share_ratio": 0.6} for n in range(len(parts))))
    made = pl.DataFrame({"enterprise": "A", "product": [f"p{n}" for n in range(len(parts))], "period": "2025-01", "output": parts})
    measured = intervals(days(1, 10.0, end=FEBRUARY))
    found = used(divided(rows, measured, made, zone=ZONE), measured)
    total = sum(value or 0.0 for value in found.values())
    assert total == pytest.approx(186.0 if sum(parts) > 0 else 0.0)


HOMES = pl.DataFrame(
    [("A", None, "p1"), ("B", None, "p2"), ("C", None, "p3"), ("A", "north", "p1"), ("B", "south", "p2")],
    orient="row", schema=["enterprise", "site", "park"],
)
MONTHS = ["2025-01", "2025-02", "2025-03"]


def lies(*holdings: dict[str, Any]) -> dict[str, dict[str, set[str]]]:
    """month -> enterprise -> parks."""
    usual = {"enterprise": "A", "site": "north", "park": "p2"}
    rows = pl.DataFrame([usual | row for row in holdings], schema=schemas.HOLDING) if holdings else schemas.empty(schemas.HOLDING)
    found: dict[str, dict[str, set[str]]] = {month: {} for month in MONTHS}
    for enterprise, park, month in present(rows, HOMES, MONTHS, zone=ZONE).iter_rows():
        found[month].setdefault(enterprise, set()).add(park)
    return found


def test_without_holdings_an_enterprise_lies_where_its_sites_or_it_itself_are_registered() -> None:
    assert lies() == {month: {"A": {"p1"}, "B": {"p2"}, "C": {"p3"}} for month in MONTHS}


def test_a_site_lies_with_its_holder_from_the_day_on_and_who_has_handed_over_all_lies_nowhere() -> None:
    inside = FEBRUARY + timedelta(days=10)
    assert lies({"owner": "B", "valid_from": inside}) == {
        "2025-01": {"A": {"p1"}, "B": {"p2"}, "C": {"p3"}},
        "2025-02": {"A": {"p1"}, "B": {"p2"}, "C": {"p3"}},  # both held it on a day of the month
        "2025-03": {"B": {"p2"}, "C": {"p3"}},
    }
    moved = lies({"owner": "A", "valid_from": inside})
    assert [moved[month]["A"] for month in MONTHS] == [{"p1"}, {"p1", "p2"}, {"p2"}]
    back = lies({"owner": "C", "valid_from": JANUARY, "valid_to": FEBRUARY})
    assert [back[month].get("A") for month in MONTHS] == [None, {"p1"}, {"p1"}]
    assert [back[month]["C"] for month in MONTHS] == [{"p2"}, {"p3"}, {"p3"}]


@pytest.mark.parametrize(("start", "months"), [
    (FEBRUARY - timedelta(days=1), ["2025-01", "2025-02", "2025-03"]), (FEBRUARY, ["2025-02", "2025-03"]),
    (MARCH - timedelta(days=1), ["2025-02", "2025-03"]), (MARCH, ["2025-03"]),
])
def test_the_month_of_the_first_day_counts_and_the_one_before_does_not(start: datetime, months: list[str]) -> None:
    found = lies({"owner": "C", "valid_from": start})
    assert [month for month in MONTHS if "p2" in found[month]["C"]] == months
