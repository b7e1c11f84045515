"""Parameters of limits that enterprises report with their outputs, up to the verdict."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from pipeline.evaluate import Evaluator
from pipeline.site import Site

AT = datetime(2026, 1, 20, tzinfo=UTC)


def verdict(site: Site, rows: list[dict[str, object]], today: date = date(2026, 3, 1)) -> dict[str, object]:
    """Of cement outputs with these further columns."""
    enterprise = site.register.enterprises()["enterprise"][0]
    made = {"enterprise": enterprise, "figure": "output", "unit": "t", "product": "cement"}
    site.figures.apply(pl.DataFrame([made | row for row in rows], infer_schema_length=None), maker="a", at=AT)
    site.figures.check_all(checker="b", at=AT)
    Evaluator(site, lambda: datetime(today.year, today.month, today.day, 4, tzinfo=UTC)).once()
    found = site.derived.read_result("verdicts")
    assert found is not None
    [row] = found.rows(named=True)
    return row


def months(**parameters: list[object]) -> list[dict[str, object]]:
    return [
        {"period": f"2025-{month:02d}", "value": 300.0 if month <= 6 else 100.0, **{name: cells[month > 6] for name, cells in parameters.items()}}
        for month in range(1, 13)
    ]


def test_a_yearly_figure_brings_its_parameters_to_the_limit(site: Site) -> None:
    found = verdict(site, [{"period": "2025", "value": 1000.0, "clinker_ratio": 0.76, "altitude_m": 1040.0}])
    assert (found["level_1"], found["level_3"], found["clinker_ratio"]) == (pytest.approx(81.1), pytest.approx(95.2), 0.76)
    assert "parameter" not in str(found["missing"])


def test_parameters_of_months_become_one_by_the_output_that_each_stands_for(site: Site) -> None:
    found = verdict(site, months(clinker_ratio=[0.76, 0.80], altitude_m=[1040.0, 1040.0]))
    assert found["clinker_ratio"] == pytest.approx((6 * 300 * 0.76 + 6 * 100 * 0.80) / 2400)  # 0.77
    assert found["level_3"] == pytest.approx(94 + 2 * 1.20)
    assert (found["period_start"], found["period_end"]) == (date(2025, 1, 1), date(2025, 12, 31))


@pytest.mark.parametrize("cells", [[0.76, None], [None, None]])
def test_a_month_without_a_parameter_leaves_it_open_and_named(site: Site, cells: list[object]) -> None:
    found = verdict(site, months(clinker_ratio=cells, altitude_m=[1040.0, 1040.0]))
    assert (found["verdict"], found["level_3"]) == ("incomplete", None)
    assert "parameter clinker_ratio" in str(found["missing"])


def test_a_text_that_changes_within_the_year_is_no_parameter_of_the_year(site: Site) -> None:
    found = verdict(site, [row | {"product": "coke_top_charged"} for row in months(
        wet_quenching=["yes", "no"], oven_age_years=[10.0, 10.0], volatile_matter_ratio=[0.23, 0.23], coal_moisture_ratio=[0.1, 0.1],
        mixed_gas_ratio=[0.0, 0.0],
    )], today=date(2026, 3, 1))
    assert found["wet_quenching"] is None  # the edition of 2013 asks for none, so that it is no gap of this verdict
    assert "wet_quenching" not in str(found["missing"])
    assert found["standard"] == "GB 21342-2013"
