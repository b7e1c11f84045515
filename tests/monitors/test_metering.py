"""Fitting rate and accuracy classes: against a requirement where there is one, else said to be unknown."""

from datetime import date

import polars as pl
import pytest

from config import schemas
from config.coal_equivalents import coefficients
from config.papers import metering_requirements, statistical_codes
from monitors.metering import fitting

ON = date(2026, 1, 1)
METERS = pl.DataFrame({"enterprise": "A", "meter": ["E1", "E2", "E3"], "accuracy_class": ["0.5S", "1", None]})


def points(*meters: str | None, level: str = "unit") -> pl.DataFrame:
    return pl.DataFrame({"enterprise": "A", "point": [f"P{n}" for n in range(len(meters))], "level": level, "medium": "electricity", "meter": meters},
                        schema_overrides={"meter": pl.String()})


def requirement(**values: object) -> pl.DataFrame:
    row = {"level": "unit", "medium": "electricity", "fitting_at_least_ratio": 1.0, "class_at_most": 0.5, "valid_from": ON, "source": "site's copy"}
    return schemas.conform(pl.DataFrame([row | values]), schemas.METERING_REQUIREMENT)


def test_the_rate_is_points_with_a_meter_by_points_and_names_those_that_lack_one() -> None:
    row = fitting(points("E1", None, "E2", None), METERS, requirement(), ON).row(0, named=True)
    assert (row["needed"], row["fitted"], row["fitting_ratio"], row["lacking"]) == (4, 2, 0.5, ["P1", "P3"])
    assert (row["class_known"], row["class_met"], row["missing"], row["source"]) == (2, 1, None, "site's copy")


@pytest.mark.parametrize(("bound", "met"), [(0.4, 0), (0.5, 1), (0.9, 1), (1.0, 2)])
def test_a_class_equal_to_the_required_one_meets_it(bound: float, met: int) -> None:
    assert fitting(points("E1", "E2"), METERS, requirement(class_at_most=bound), ON)["class_met"].to_list() == [met]


def test_a_class_that_is_not_entered_is_said_and_counts_as_neither() -> None:
    row = fitting(points("E1", "E3"), METERS, requirement(), ON).row(0, named=True)
    assert (row["class_known"], row["class_met"], row["missing"]) == (1, 1, "no accuracy class is entered for 1 of the meters")


@pytest.mark.parametrize("table", [
    metering_requirements(), requirement(valid_from=date(2026, 1, 2)), requirement(valid_from=date(2025, 1, 1), valid_to=ON),
    requirement(level="equipment"),
])
def test_without_a_requirement_in_force_nothing_is_met_or_missed(table: pl.DataFrame) -> None:
    row = fitting(points("E1"), METERS, table, ON).row(0, named=True)
    assert (row["class_at_most"], row["class_met"], row["fitting_at_least_ratio"]) == (None, None, None)
    assert "GB 17167" in row["missing"]


def test_levels_stand_from_the_whole_to_its_parts_and_a_medium_without_points_is_no_gap() -> None:
    every = pl.concat([points("E1", level=level) for level in ("equipment", "unit", "sub_unit")])
    found = fitting(every, METERS, requirement(), ON)
    assert found["level"].to_list() == ["unit", "sub_unit", "equipment"]
    assert found["medium"].unique().to_list() == ["electricity"]


def test_each_fuel_has_a_line_of_the_statistical_form_unless_it_is_known_to_have_none() -> None:
    codes = statistical_codes()
    carriers = coefficients().filter(pl.col("role") != "consumed_medium")["carrier"].unique()
    without = set(carriers) - set(codes["carrier"])
    assert without == {"methanol_fuel", "ethanol_fuel", "hydrogen_fuel", "biogas", "biogas_low", "biogas_high"}
    assert set(codes["carrier"]) <= set(carriers)
    assert codes.group_by("code").agg(pl.col("name_zh").n_unique())["name_zh"].max() == 1
    assert set(codes.filter(confidence="high")["code"]) == {"01", "06", "09", "11", "12", "13", "19", "21", "32", "33"}
