"""Renewable electricity: what is stated with proof, what an enterprise makes itself, and what of both is newly added."""

from typing import Any

import polars as pl
import pytest

from config import schemas
from config.coal_equivalents import coefficients
from monitors.energy import energy, sum_energy
from monitors.renewable import with_renewable

KEYS = ["enterprise", "period"]
TCE_PER_KWH = 0.1229 / 1000
GATE = [{"flow": "purchased", "quantity": 1000.0}, {"flow": "sold", "quantity": 200.0}]


def rows(*given: dict[str, Any]) -> pl.DataFrame:
    base = {"enterprise": "E", "period": "2025-01", "carrier": "electricity", "unit": "kWh"}
    return energy(pl.DataFrame([base | row for row in given], infer_schema_length=None), coefficients())


def stated(kwh: float | None, new: float | None, period: str = "2025-01") -> pl.DataFrame:
    said = {"enterprise": ["E"], "period": [period], "renewable_kwh": [kwh], "new_renewable_kwh": [new], "source": ["certificates 1 to 9"]}
    return schemas.conform(pl.DataFrame(said), schemas.RENEWABLE)


def parts(used: pl.DataFrame, said: pl.DataFrame, period: str = "2025-01") -> tuple[float | None, float | None]:
    """kWh that count as renewable, and as newly added."""
    row = sum_energy(with_renewable(used, said), KEYS).filter(period=period).row(0, named=True)
    return tuple(None if row[name] is None else round(row[name] / TCE_PER_KWH, 6) for name in ("renewable_tce", "new_renewable_tce"))  # type: ignore[return-value]  # two


@pytest.mark.parametrize(("more", "said", "expected"), [
    ([], stated(400.0, 250.0), (400.0, 250.0)),
    ([], stated(800.0, 0.0), (800.0, 0.0)),
    ([], stated(400.0, None), (400.0, None)),  # which part is new is not said
    ([{"flow": "own_primary", "quantity": 100.0}], stated(None, 100.0), (100.0, 100.0)),
    ([{"flow": "own_primary", "quantity": 100.0}], stated(400.0, 250.0), (500.0, 250.0)),
    ([{"flow": "own_primary", "quantity": 100.0}], schemas.empty(schemas.RENEWABLE), (100.0, None)),
    ([{"flow": "consumed", "quantity": 700.0, "process": "p"}], stated(400.0, 250.0), (400.0, 250.0)),  # what becomes of it inside is no second input
    ([], schemas.empty(schemas.RENEWABLE), (None, 0.0)),
])
def test_what_is_stated_and_made_counts_once_whatever_the_rows(
    more: list[dict[str, Any]], said: pl.DataFrame, expected: tuple[float | None, float | None],
) -> None:
    assert parts(rows(*GATE, *more), said) == expected


@pytest.mark.parametrize(("kwh", "taken"), [(799.0, True), (800.0, True), (801.0, False)])
def test_more_than_was_bought_is_not_taken_and_that_is_said(kwh: float, taken: bool) -> None:
    found = with_renewable(rows(*GATE), stated(kwh, 1.0))
    assert (found["renewable_ratio"].max() == pytest.approx(kwh / 800.0)) is taken
    assert found["missing"].str.contains("801.0 kWh is stated, and 800.0 kWh were bought: it is not taken").any() is not taken


def test_a_year_has_the_statements_of_its_months_unless_it_has_its_own() -> None:
    year = rows(*({**row, "period": "2025"} for row in GATE))
    months = pl.concat([stated(100.0, 50.0), stated(200.0, 60.0, "2025-02")])
    assert parts(year, months, "2025") == (300.0, 110.0)
    assert parts(year, pl.concat([months, stated(10.0, None, "2025-03")]), "2025") == (310.0, None)
    assert parts(year, pl.concat([months, stated(500.0, 400.0, "2025")]), "2025") == (500.0, 400.0)


def test_rows_keep_their_order_and_other_carriers_have_no_share() -> None:
    used = rows(GATE[1], {"carrier": "raw_coal", "unit": "t", "quantity": 1.0}, GATE[0])
    found = with_renewable(used.with_columns(park=pl.lit("a")), stated(400.0, 0.0))
    assert found.drop("renewable_ratio", "new_renewable_ratio", "park").equals(used)
    assert found["renewable_ratio"].to_list() == [0.5, None, 0.5]
