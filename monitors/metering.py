"""Which meters an enterprise needs and has, at three levels: unit, sub-unit, equipment (GB 17167; decisions.md 17)."""

from datetime import date

import polars as pl

from config import schemas
from config.tables import holding

_CLASS = r"^\s*(\d+(?:\.\d+)?)"  # "0.5S" and "2" begin with the number that is compared; the smaller the more exact


def fitting(points: pl.DataFrame, meters: pl.DataFrame, requirements: pl.DataFrame, on: date) -> pl.DataFrame:
    """Fitting rate and accuracy classes by enterprise, level and medium.

    The rate is the number of points with a meter by the number of points that need one; without a declared point there is no row, for a
    medium that an enterprise does not use lacks nowhere. What GB 17167 asks for is compared only where a row of requirements is in force.

    Args:
        points: METERING_POINT.
        meters: enterprise, meter, accuracy_class.
        requirements: METERING_REQUIREMENT; of rows that hold on the day the last counts.
        on: the day.

    Returns:
        FITTING, by enterprise, level from the whole to its parts, and medium. `missing` says what could not be compared.

    >>> points = pl.DataFrame({"enterprise": "A", "point": ["1", "2"], "level": "unit", "medium": "water", "meter": ["W-1", None]})
    >>> meters = pl.DataFrame({"enterprise": ["A"], "meter": ["W-1"], "accuracy_class": ["2"]})
    >>> row = fitting(points, meters, schemas.empty(schemas.METERING_REQUIREMENT), date(2026, 1, 1)).row(0, named=True)
    >>> row["fitting_ratio"], row["lacking"], row["missing"]
    (0.5, ['2'], 'no requirement of GB 17167 is in the tables: its text was not seen')
    """
    keys = ["level", "medium"]
    held = requirements.filter(holding(on)).unique(keys, keep="last")
    number = pl.col("accuracy_class").str.extract(_CLASS).cast(pl.Float64)
    classes = meters.select("enterprise", "meter", "accuracy_class", number=number)
    rows = schemas.conform(points, schemas.METERING_POINT).join(classes, on=["enterprise", "meter"], how="left")
    rows = rows.join(held.drop("valid_from", "valid_to"), on=keys, how="left")
    has = pl.col("meter").is_not_null()
    found = rows.group_by("enterprise", *keys).agg(
        pl.len().alias("needed"), has.sum().alias("fitted"), (has & pl.col("number").is_not_null()).sum().alias("class_known"),
        class_met=(has & (pl.col("number") <= pl.col("class_at_most"))).sum(), lacking=pl.col("point").filter(~has).sort(),
        **{name: pl.col(name).first() for name in ("fitting_at_least_ratio", "class_at_most", "source")},
    ).with_columns(fitting_ratio=pl.col("fitted") / pl.col("needed"))
    nothing, unclassed = pl.col("source").is_null(), pl.col("class_known") < pl.col("fitted")
    order = pl.col("level").replace_strict({"unit": 0, "sub_unit": 1, "equipment": 2}, return_dtype=pl.Int8())
    return schemas.conform(found.with_columns(
        class_met=pl.when(pl.col("class_at_most").is_not_null()).then("class_met"),
        missing=pl.when(nothing).then(pl.lit("no requirement of GB 17167 is in the tables: its text was not seen"))
        .when(unclassed).then(pl.format("no accuracy class is entered for {} of the meters", pl.col("fitted") - pl.col("class_known"))),
        missing_zh=pl.when(nothing).then(pl.lit("表中没有 GB 17167 的要求：未见标准原文"))
        .when(unclassed).then(pl.format("{} 块表计未登记准确度等级", pl.col("fitted") - pl.col("class_known"))),
    ).sort("enterprise", order, "medium"), schemas.FITTING)
