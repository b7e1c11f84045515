"""The energy balance: it closes on both bases, says what it does not know, and its flows lose nothing."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import schemas
from config.schemas import ENERGY_BALANCE, ENERGY_LINK, empty
from monitors.accounts import balance, links
from monitors.energy import energy, sum_energy

TABLE = pl.DataFrame({
    "carrier": ["raw_coal", "coke", "coke_oven_gas", "heat", "electricity", "electricity"],
    "basis": ["calorific", "calorific", "calorific", "calorific", "calorific", "equivalent"],
    "unit": ["kg", "kg", "m3", "MJ", "kWh", "kWh"], "kgce_per_unit": [0.7143, 0.9714, 0.6, 0.03412, 0.1229, 0.3],
    "valid_from": ["2008-06-01"] * 6, "source": ["a table"] * 6, "role": ["fuel", "fuel", "fuel", "secondary", "secondary", "secondary"],
}).with_columns(pl.col("valid_from").str.to_date())
WORKS: list[dict[str, Any]] = [  # 1000 t of coal bought, 50 t more in the yard at the end; a boiler that gives heat to two processes
    {"carrier": "raw_coal", "unit": "t", "flow": "purchased", "quantity": 1000.0},
    {"carrier": "raw_coal", "unit": "t", "flow": "opening_stock", "quantity": 100.0},
    {"carrier": "raw_coal", "unit": "t", "flow": "closing_stock", "quantity": 150.0},
    {"carrier": "raw_coal", "unit": "t", "flow": "consumed", "process": "boiler", "quantity": 940.0},
    {"carrier": "heat", "unit": "GJ", "flow": "converted_out", "process": "boiler", "quantity": 15_000.0},
    {"carrier": "heat", "unit": "GJ", "flow": "consumed", "process": "pulping", "quantity": 9_000.0},
    {"carrier": "heat", "unit": "GJ", "flow": "consumed", "process": "drying", "quantity": 5_500.0},
    {"carrier": "electricity", "unit": "MWh", "flow": "purchased", "quantity": 2_000.0},
    {"carrier": "electricity", "unit": "MWh", "flow": "consumed", "process": "pulping", "quantity": 1_950.0},
]


def made(*rows: dict[str, Any], table: pl.DataFrame = TABLE) -> pl.DataFrame:
    plain = {"enterprise": "E", "period": "2025", "carrier": "raw_coal", "quantity": 1.0, "unit": "t"}
    return energy(pl.DataFrame([plain | row for row in rows], infer_schema_length=None), table)


def row(found: pl.DataFrame, block: str, name: str, carrier: str | None = None, process: str | None = None) -> dict[str, Any]:
    return found.filter(
        pl.col("block") == block, pl.col("row") == name, pl.col("carrier").eq_missing(carrier), pl.col("process").eq_missing(process)
    ).row(0, named=True)


def test_supply_and_conversion_less_use_is_the_residual_of_each_carrier_in_its_own_unit() -> None:
    found = balance(made(*WORKS))
    coal, heat, power = (row(found, "closing", "residual", carrier) for carrier in ("raw_coal", "heat", "electricity"))
    assert (coal["quantity"], coal["unit"]) == (pytest.approx(1000 + 100 - 150 - 940), "t")  # 10 t that nobody saw
    assert (heat["quantity"], heat["unit"]) == (pytest.approx(15_000 - 9_000 - 5_500), "GJ")
    assert power["quantity"] == pytest.approx(50.0)
    assert power["equivalent_tce"] == pytest.approx(50 * 0.3)
    assert power["calorific_tce"] == pytest.approx(50 * 0.1229)


def test_the_total_closes_with_the_loss_of_the_conversion_and_the_residual() -> None:
    found = balance(made(*WORKS))
    supply, conversion, use = (row(found, block, "total")["calorific_tce"] for block in ("supply", "conversion", "use"))
    residual = row(found, "closing", "residual")["calorific_tce"]
    assert supply == pytest.approx(950 * 0.7143 + 2_000 * 0.1229)
    assert use == pytest.approx(14_500 * 0.03412 + 1_950 * 0.1229)
    assert row(found, "conversion", "loss", process="boiler")["calorific_tce"] == pytest.approx(940 * 0.7143 - 15_000 * 0.03412)
    assert conversion == pytest.approx(15_000 * 0.03412 - 940 * 0.7143)
    assert supply + conversion - use == pytest.approx(residual)


def test_what_own_conversion_makes_and_uses_is_no_second_input() -> None:
    coal = {"carrier": "raw_coal", "flow": "consumed", "process": "boiler", "quantity": 1_000.0}
    heat = {"carrier": "heat", "unit": "GJ", "process": "boiler", "flow": "converted_out", "quantity": 15_000.0}
    used = {"carrier": "heat", "unit": "GJ", "flow": "consumed", "process": "drying", "quantity": 15_000.0}
    found = balance(made(coal, heat, used))
    assert row(found, "closing", "comprehensive_energy")["calorific_tce"] == pytest.approx(714.3)
    assert row(found, "supply", "supplied", "raw_coal")["known_by"] == "difference"
    assert row(found, "closing", "residual")["calorific_tce"] == 0.0


def test_at_process_level_the_giver_is_credited_and_the_user_charged_with_the_same_coefficient() -> None:
    by_process = sum_energy(made(*WORKS), ["enterprise", "process", "period"])
    tce = dict(by_process.select("process", "calorific_tce").iter_rows())
    assert tce["boiler"] == pytest.approx(940 * 0.7143 - 15_000 * 0.03412)
    assert tce["pulping"] == pytest.approx(9_000 * 0.03412 + 1_950 * 0.1229)
    assert tce["drying"] == pytest.approx(5_500 * 0.03412)


def test_transfers_inside_a_park_cancel() -> None:
    heat = {"carrier": "heat", "unit": "GJ", "quantity": 400.0, "period": "2025"}
    rows = made(
        {"enterprise": "A", "quantity": 100.0, "flow": "purchased"}, heat | {"enterprise": "A", "flow": "sold"},
        heat | {"enterprise": "B", "flow": "purchased"}, {"enterprise": "B", "quantity": 10.0},
    )
    park = sum_energy(rows.with_columns(park=pl.lit("P")), ["park", "period"]).row(0, named=True)
    assert park["calorific_tce"] == pytest.approx(110 * 0.7143)  # B's own coal is `consumed`, A's is `purchased`: no double count


def test_recovered_energy_that_is_sold_leaves_and_its_process_is_credited() -> None:
    found = balance(made(
        {"carrier": "raw_coal", "quantity": 100.0, "flow": "consumed", "process": "kiln"},
        {"carrier": "heat", "unit": "GJ", "quantity": 500.0, "flow": "recovered", "process": "kiln"},
    ))
    assert row(found, "supply", "recovered", "heat")["calorific_tce"] == pytest.approx(-500 * 0.03412)
    assert row(found, "conversion", "recovered", "heat", "kiln")["calorific_tce"] == pytest.approx(500 * 0.03412)
    assert row(found, "closing", "residual", "heat")["calorific_tce"] == 0.0
    assert row(found, "closing", "comprehensive_energy")["calorific_tce"] == pytest.approx(71.43 - 500 * 0.03412)


def test_a_product_of_the_conversion_that_nothing_else_is_said_of_was_passed_on() -> None:
    found = balance(made(
        {"quantity": 1_000.0, "flow": "purchased"}, {"quantity": 1_000.0, "process": "coking"},
        {"carrier": "coke", "quantity": 600.0, "flow": "converted_out", "process": "coking"},
    ))
    assert row(found, "supply", "passed_on", "coke")["calorific_tce"] == pytest.approx(-600 * 0.9714)
    assert row(found, "supply", "total")["calorific_tce"] == pytest.approx(714.3 - 582.84)
    assert row(found, "closing", "comprehensive_energy")["calorific_tce"] == pytest.approx(714.3 - 582.84)


def test_output_taken_off_beside_what_was_sold_of_it_is_named() -> None:
    found = balance(made(
        {"quantity": 1_000.0, "flow": "purchased"}, {"quantity": 1_000.0, "process": "coking"},
        {"carrier": "coke", "quantity": 600.0, "flow": "converted_out", "process": "coking"}, {"carrier": "coke", "quantity": 600.0, "flow": "sold"},
    ))
    assert row(found, "supply", "total")["calorific_tce"] == pytest.approx(714.3 - 582.84)
    assert row(found, "closing", "residual", "coke")["calorific_tce"] == 0.0
    assert row(found, "closing", "comprehensive_energy")["missing"] is None  # its own process says how it came: only what was sold counts


def test_a_carrier_that_only_comes_in_was_used_somewhere() -> None:
    found = balance(made({"quantity": 10.0, "flow": "purchased"}))
    used = row(found, "use", "consumed", "raw_coal")
    assert (used["quantity"], used["known_by"], used["process"]) == (10.0, "difference", None)


def test_an_unknown_part_leaves_its_sums_empty_and_says_why() -> None:
    heat = {"carrier": "heat", "unit": "GJ", "quantity": 5.0, "flow": "purchased"}  # no equivalent value
    found = balance(made({"quantity": 10.0, "flow": "purchased"}, heat))
    total = row(found, "supply", "total")
    assert total["calorific_tce"] == pytest.approx(7.143 + 5 * 0.03412)
    assert total["equivalent_tce"] is None
    assert "heat 没有固定的等价值系数" in total["missing_zh"]
    assert "heat has no fixed equivalent coefficient" in total["missing"]


def test_water_carries_no_energy_and_units_of_one_carrier_are_brought_together() -> None:
    found = balance(made(
        {"carrier": "water_tap", "unit": "m3", "flow": "purchased"}, {"quantity": 1.0, "flow": "purchased"},
        {"quantity": 500.0, "unit": "kg", "process": "kiln"},
    ))
    assert set(found["carrier"].drop_nulls()) == {"raw_coal"}
    assert row(found, "closing", "residual", "raw_coal")["quantity"] == pytest.approx(0.5)


def test_nothing_gives_empty_tables_of_the_right_shape() -> None:
    nothing = balance(empty(schemas.ENERGY))
    assert (nothing.schema, links(nothing).schema) == (ENERGY_BALANCE, ENERGY_LINK)
    assert nothing.height == links(nothing).height == 0


AMOUNT = st.floats(0.0, 1e6, allow_nan=False)


@given(st.lists(st.tuples(st.sampled_from(["raw_coal", "coke", "electricity"]), st.sampled_from(
    ["purchased", "own_primary", "opening_stock", "closing_stock", "sold", "consumed", "converted_out", "recovered"],
), st.sampled_from([None, "kiln", "mill"]), AMOUNT), min_size=1, max_size=12))
def test_what_a_carrier_gets_it_gives_and_the_total_closes(flows: list[tuple[str, str, str | None, float]]) -> None:
    found = balance(made(*(
        {"carrier": carrier, "unit": "MWh" if carrier == "electricity" else "t", "flow": flow, "process": process, "quantity": amount}
        for carrier, flow, process, amount in flows
    )))
    size = sum(amount for *_, amount in flows) + 1
    total = {block: found.filter(block=block, row="total")["calorific_tce"].sum() for block in ("supply", "conversion", "use")}
    residual = found.filter(pl.col("row") == "residual")
    assert total["supply"] + total["conversion"] - total["use"] == pytest.approx(residual.filter(pl.col("carrier").is_null())["calorific_tce"][0],
                                                                              abs=1e-9 * size)
    assert residual.filter(pl.col("carrier").is_not_null())["calorific_tce"].sum() == pytest.approx(
        residual.filter(pl.col("carrier").is_null())["calorific_tce"][0], abs=1e-9 * size)
    drawn = links(found)
    assert (drawn["calorific_tce"] >= 0).all()
    for carrier in drawn.filter(pl.col("carrier").is_not_null())["carrier"].unique():
        into = drawn.filter(target_kind="carrier", target=carrier)["calorific_tce"].sum()
        out_of = drawn.filter(source_kind="carrier", source=carrier)["calorific_tce"].sum()
        assert into == pytest.approx(out_of, abs=1e-8 * size)
