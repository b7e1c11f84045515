from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import coal_equivalents, data_rules, schemas
from monitors.energy import energy, in_one_row, sum_energy
from monitors.heating import as_received, heating_values, months_of, spans_of, with_heating_values

RULES, COEFFICIENTS = data_rules.figure_rules(), coal_equivalents.coefficients()
START = date(2025, 3, 1)


def batch(name: str, first: int, last: int, lhv: float | None = 20_000.0, **others: object) -> dict[str, object]:
    return {
        "enterprise": "E", "carrier": "raw_coal", "batch": name, "origin": "laboratory", "first_day": date(2025, 3, first),
        "last_day": date(2025, 3, last), "lhv": lhv, "lhv_unit": "kJ/kg", "basis": "as_received",
    } | others


def batches(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schemas.BATCH)


def values(*rows: dict[str, object], rules: pl.DataFrame = RULES) -> pl.DataFrame:
    return heating_values(batches(*rows), rules)


def days(*amounts: float | None, unit: str = "t", **others: object) -> pl.DataFrame:
    rows = [
        {"enterprise": "E", "period": str(START + timedelta(ahead)), "carrier": "raw_coal", "quantity": amount, "unit": unit, "flow": "consumed",
         "use": "fuel", "covered_ratio": 1.0, "estimated_ratio": 0.0} | others
        for ahead, amount in enumerate(amounts)
    ]
    return pl.DataFrame(rows, schema=schemas.QUANTITY)


def test_several_batches_of_a_day_are_weighed_by_their_mass() -> None:
    # A: 100 t over 2 days = 50 t a day; B: 300 t over 2 days = 150 t a day. 2 March: (50 x 20 + 150 x 22) / 200 = 21.5 MJ/kg, not 21.
    found = values(batch("A", 1, 2, 20.0, lhv_unit="MJ/kg", mass_t=100.0), batch("B", 2, 3, 22.0, lhv_unit="GJ/t", mass_t=300.0))
    assert found.select("day", "lhv", "batches").rows() == [
        (date(2025, 3, 1), 20_000.0, ["A"]), (date(2025, 3, 2), 21_500.0, ["A", "B"]), (date(2025, 3, 3), 22_000.0, ["B"]),
    ]
    assert found["lhv_unit"].unique().to_list() == ["kJ/kg"]


def test_several_batches_of_a_day_without_their_masses_give_no_value_and_say_why() -> None:
    found = values(batch("A", 1, 2, mass_t=100.0), batch("B", 2, 2))
    assert found["lhv"].to_list() == [20_000.0, None]
    assert found["missing"].to_list() == [None, "batches A, B: fired on one day, and not all have a mass"]


def test_a_laboratory_comes_before_the_supplier_on_the_days_that_it_knows() -> None:
    found = values(batch("A", 2, 2, 21_000.0), batch("S", 1, 3, 25_000.0, origin="supplier"))
    assert found.select("lhv", "origin").rows() == [(25_000.0, "supplier"), (21_000.0, "laboratory"), (25_000.0, "supplier")]


def test_a_value_of_the_dry_fuel_is_brought_to_the_fuel_as_received() -> None:
    # 25,000 x (1 - 0.10) - 2300 x 0.10 = 22,500 - 230 = 22,270 kJ/kg (GB/T 213, constant volume).
    found = as_received(batches(batch("A", 1, 1, 25_000.0, basis="dry", moisture_ratio=0.10)), RULES)
    assert found["lhv"].item() == pytest.approx(22_270.0, rel=1e-12)
    assert as_received(batches(batch("A", 1, 1, 25_000.0, basis="dry", moisture_ratio=0.0)), RULES)["lhv"].item() == 25_000.0
    assert as_received(batches(batch("A", 1, 1, 25_000.0, moisture_ratio=0.10)), RULES)["lhv"].item() == 25_000.0


def test_the_heat_of_the_moisture_is_a_dated_row_that_a_site_can_set() -> None:
    own = pl.DataFrame([{"rule": "moisture_heat_kj_per_kg", "carrier": "raw_coal", "value": 2443.0, "valid_from": date(2025, 3, 2)}])
    rules = pl.concat([RULES, schemas.conform(own, schemas.FIGURE_RULE)])
    found = as_received(batches(*(batch(str(day), day, day, 25_000.0, basis="dry", moisture_ratio=0.1) for day in (1, 2))), rules)
    assert found["lhv"].to_list() == pytest.approx([22_270.0, 22_255.7])


@pytest.mark.parametrize(("others", "why"), [
    ({"basis": "dry"}, "batch A: a value of the dry fuel needs the moisture"),
    ({"basis": "dry", "moisture_ratio": 0.92}, "batch A: with this moisture no heating value is left"),
    ({"basis": "dry", "moisture_ratio": 1.0}, "batch A: with this moisture no heating value is left"),
    ({"basis": "dry", "moisture_ratio": 0.1, "lhv_unit": "kJ/Nm3"}, "batch A: only a value by mass can be of the dry fuel"),
    ({"lhv_unit": "kJ"}, "batch A: kJ is no unit of a heating value"),
    ({"lhv_unit": "Btu/lb"}, "batch A: Btu/lb is no unit of a heating value"),
])
def test_a_value_that_cannot_be_used_says_why(others: dict[str, object], why: str) -> None:
    found = values(batch("A", 1, 1, **others))
    assert found.select("lhv", "missing").rows() == [(None, why)]
    assert with_heating_values(days(5.0), days(5.0), found)["lhv_missing"].to_list() == [f"no heating value on 2025-03-01 ({why})"]


def test_values_by_mass_and_by_volume_do_not_mix() -> None:
    found = values(batch("A", 1, 1, mass_t=1.0), batch("B", 1, 1, lhv_unit="kJ/Nm3", mass_t=1.0))
    assert found.select("lhv", "missing").rows() == [(None, "batches A, B: heating values by mass and by volume on one day")]


def test_a_month_is_weighted_by_the_consumption_of_its_days_and_not_a_plain_mean() -> None:
    # (10 x 20,000 + 90 x 30,000) / 100 = 29,000; the plain mean would be 25,000.
    fired = values(batch("A", 1, 1, 20_000.0), batch("B", 2, 2, 30_000.0))
    found = with_heating_values(months_of(days(10.0, 90.0)), days(10.0, 90.0), fired)
    assert found.select("period", "quantity", "lhv", "lhv_unit", "lhv_source", "lhv_missing").rows() == [
        ("2025-03", 100.0, 29_000.0, "kJ/kg", "measured (laboratory, by batch), 2 batches: A, B", None),
    ]


def test_days_without_a_batch_are_named_and_divided_off() -> None:
    fired = values(batch("A", 2, 3, 29_307.6))
    amounts = days(10.0, 20.0, 30.0, 0.0, 40.0, 50.0)
    found = with_heating_values(months_of(amounts), amounts, fired)
    assert found.select("quantity", "lhv", "lhv_missing").rows() == [
        (50.0, 29_307.6, None), (100.0, None, "no heating value on 2025-03-01, 2025-03-05 to 2025-03-06"),
    ]
    row = in_one_row(energy(found, COEFFICIENTS)).row(0, named=True)
    assert row["calorific_tce"] == pytest.approx(50.0 * 1.0 + 100.0 * 0.7143)
    assert row["quantity"] == 150.0
    assert row["calorific_kgce_per_unit"] == pytest.approx((50.0 + 71.43) / 150.0 * 1000)
    assert "measured (laboratory, by batch), 1 batch: A: 29307.6 kJ/kg; GB/T 2589-2020" in row["calorific_source"]
    assert row["missing"] == (
        "raw_coal: no heating value on 2025-03-01, 2025-03-05 to 2025-03-06; the coefficient is taken for these days"
    )


def test_a_fuel_without_a_default_stays_open_on_the_days_without_a_batch() -> None:
    amounts = days(10.0, 20.0, carrier="bituminous_coal")
    table = pl.DataFrame([{"carrier": "bituminous_coal", "basis": "calorific", "unit": "kg", "role": "fuel", "valid_from": date(2000, 1, 1)}])
    fired = values(batch("A", 1, 1, carrier="bituminous_coal"))
    row = in_one_row(energy(with_heating_values(months_of(amounts), amounts, fired), schemas.conform(table, schemas.COEFFICIENT))).row(0, named=True)
    assert (row["quantity"], row["calorific_tce"]) == (30.0, None)
    assert "give its measured heating value" in row["missing"]
    assert "no heating value on 2025-03-02" in row["missing"]


@pytest.mark.parametrize(("held", "with_value"), [(0, 1), (1, 2), (2, 3), (9, 4)])
def test_a_batch_holds_on_only_where_a_row_says_so_and_only_until_the_next(held: int, with_value: int) -> None:
    own = pl.DataFrame([{"rule": "batch_holds_days", "carrier": "raw_coal", "value": float(held), "valid_from": date(2025, 1, 1)}])
    rules = pl.concat([RULES, schemas.conform(own, schemas.FIGURE_RULE)])
    found = values(batch("A", 1, 1), batch("B", 5, 5), rules=rules).filter(pl.col("day") < date(2025, 3, 5))
    assert found.height == with_value
    assert found["held"].sum() == with_value - 1
    amounts = days(10.0, 10.0, 10.0, 10.0)
    said = with_heating_values(months_of(amounts), amounts, found)["lhv_source"][0]
    assert said.endswith(": A" if held == 0 else f": A, {with_value - 1} days by a batch that holds on")


def test_other_carriers_and_enterprises_stay_as_they_are() -> None:
    others = pl.concat([days(1.0, carrier="electricity", unit="kWh"), days(2.0, enterprise="F")])
    found = with_heating_values(others, others, values(batch("A", 1, 1)))
    assert found.select(schemas.QUANTITY.names()).equals(others)
    assert found["lhv"].null_count() == 2


def test_a_period_without_consumption_keeps_its_row() -> None:
    amounts = days(None, 0.0)
    assert with_heating_values(months_of(amounts), amounts, values(batch("A", 1, 1))).select("quantity", "lhv").rows() == [(0.0, None)]


def test_many_batches_and_spans_are_counted_not_all_listed() -> None:
    fired = values(*(batch(f"B{day:02}", day, day) for day in range(1, 15, 2)))
    amounts = days(*[1.0] * 14)
    found = with_heating_values(months_of(amounts), amounts, fired)
    assert found["lhv_source"][0] == "measured (laboratory, by batch), 7 batches: B01, B03, B05, B07, B09, ..."
    assert found["lhv_missing"][1].endswith("2025-03-10 and 2 more days")
    assert spans_of([START]) == "2025-03-01"


def test_a_gas_is_weighed_by_its_own_volume() -> None:
    fired = values(batch("A", 1, 2, 35.0, carrier="natural_gas_low", lhv_unit="MJ/m3"))
    amounts = days(100.0, 100.0, carrier="natural_gas_low", unit="m3")
    assert with_heating_values(amounts, amounts, fired).select("lhv", "lhv_unit").rows() == [(35_000.0, "kJ/m3")] * 2


@given(
    amounts=st.lists(st.floats(0.001, 1e6), min_size=1, max_size=31),
    fired=st.lists(st.tuples(st.integers(1, 31), st.integers(0, 9), st.floats(5e3, 35e3), st.floats(1, 1e5)), max_size=6),
)
def test_a_month_has_the_mass_and_the_energy_of_its_days(amounts: list[float], fired: list[tuple[int, int, float, float]]) -> None:
    rows = [batch(f"B{place}", first, min(31, first + length), lhv, mass_t=mass) for place, (first, length, lhv, mass) in enumerate(fired)]
    found, by_day = values(*rows), days(*amounts)
    monthly, daily = (energy(with_heating_values(each, by_day, found), COEFFICIENTS) for each in (months_of(by_day), by_day))
    assert monthly["quantity"].sum() == pytest.approx(sum(amounts), rel=1e-12)
    assert monthly["calorific_tce"].sum() == pytest.approx(daily["calorific_tce"].sum(), rel=1e-12)
    whole = in_one_row(monthly)
    assert whole.height == 1
    assert whole["calorific_tce"].item() == pytest.approx(daily["calorific_tce"].sum(), rel=1e-12)
    assert sum_energy(monthly, ["enterprise"])["calorific_tce"].item() == pytest.approx(daily["calorific_tce"].sum(), rel=1e-12)
    measured = monthly.filter(pl.col("calorific_source").str.starts_with("measured"))
    if rows and measured.height:
        bounds = [row["lhv"] for row in rows]
        kj_per_kg = measured["calorific_kgce_per_unit"].item() * 29_307.6 / 1000
        assert min(bounds) * (1 - 1e-9) <= kj_per_kg <= max(bounds) * (1 + 1e-9)
