"""Whether the verification of each meter is valid, and until when (GB 17167: meters are verified or calibrated in intervals)."""

from datetime import date

import polars as pl

from config.schemas import CALIBRATION, conform

DUE_WITHIN_DAYS = 60  # a meter whose verification runs out within so many days is due soon


def calibration(versions: pl.DataFrame, intervals: pl.DataFrame, on: date, within_days: int = DUE_WITHIN_DAYS) -> pl.DataFrame:
    """The verification of each meter as of a day.

    Until when it is valid says the meter's row (`calibration_due`), else the interval of its kind from the verification on; the
    last day is included. Of the versions of a meter's row the last one counts whose verification lies on or before the day: what was
    verified later says nothing of an earlier day. A meter without any entry is `never`, which is not known to be invalid.

    Args:
        versions: enterprise, meter, medium, accuracy_class, calibrated_on, calibration_due, known_from, known_to: all versions of
            the rows of meters; meters without a current row (known_to null) are left out.
        intervals: CALIBRATION_INTERVAL; a row for the accuracy class goes before one for all of the medium, a later one before an earlier.
        on: the day.
        within_days: a verification that runs out within so many days is `due_soon`.

    Returns:
        CALIBRATION, by enterprise and meter.
    """
    meter = ["enterprise", "meter"]
    current = versions.filter(pl.col("known_to").is_null()).select(*meter, "medium", "accuracy_class")
    told = versions.filter(pl.col("calibrated_on").is_null() | (pl.col("calibrated_on") <= on)).sort("known_from").group_by(meter).agg(
        pl.col("calibrated_on", "calibration_due").last()
    )
    rows = current.join(told, on=meter, how="left").with_row_index("row")
    holding = intervals.filter(pl.col("valid_from") <= on)
    by_kind = rows.join(holding, on="medium", suffix="_of_kind").filter(
        pl.col("accuracy_class_of_kind").is_null() | (pl.col("accuracy_class_of_kind") == pl.col("accuracy_class"))
    ).sort(pl.col("accuracy_class_of_kind").is_not_null(), "valid_from").group_by("row").agg(pl.col("interval_months", "source").last())
    rows = rows.join(by_kind, on="row", how="left")
    ends = pl.col("calibrated_on").dt.offset_by(pl.format("{}mo", "interval_months")) - pl.duration(days=1)
    rows = rows.with_columns(
        due_on=pl.coalesce("calibration_due", ends),
        due_by=pl.when(pl.col("calibration_due").is_not_null()).then(pl.lit("register")).when(ends.is_not_null()).then("source"),
    ).with_columns(days_left=(pl.col("due_on") - on).dt.total_days())
    state = (
        pl.when(pl.col("days_left") < 0).then(pl.lit("overdue")).when(pl.col("days_left") <= within_days).then(pl.lit("due_soon"))
        .when(pl.col("days_left").is_not_null()).then(pl.lit("valid")).when(pl.col("calibrated_on").is_not_null()).then(pl.lit("no_due_date"))
        .otherwise(pl.lit("never"))
    )
    return conform(rows.with_columns(state=state), CALIBRATION).sort(meter)
