"""New projects: where each stands, its quota, whether its design is advanced, and what it will add to the energy of a park.

内政发〔2019〕21号 art. (五): what was approved and not begun in time loses the resources allotted to it, by a deadline; art. (七): new
plants of energy-intensive sectors in principle reach the advanced level of the national standard.
"""

import calendar as months_of_years
from collections.abc import Iterator
from datetime import date
from typing import Final

import polars as pl

from config import schemas
from config.phrases import with_chinese
from config.tables import holding
from monitors.limit_misfits import misfits
from monitors.limits import limits
from monitors.numbers import SIGNIFICANT_DIGITS

PENDING: Final = ("approved", "overdue", "building")  # approved, and not operating yet
_JUDGED: Final = ("standard", "edition", "level", "level_1", "derivation", "derivation_zh")


def project_states(
    projects: pl.DataFrame, quotas: pl.DataFrame, law: pl.DataFrame, conditions: pl.DataFrame, regions: pl.DataFrame, on: date,
) -> pl.DataFrame:
    """Where each project stands on a day.

    Args:
        projects: PROJECT.
        quotas: QUOTA; movements after `on` do not count yet.
        law: LIMIT: the design is judged as a new plant by the edition in force on the day of approval (not approved yet: on `on`).
        conditions: ENTRY_CONDITION; those in force on that day that fit the standard and the park's region.
        regions: park, region.
        on: the day.

    Returns:
        PROJECT_STATE by park and project. `advanced`: the design reaches level 1; null where that cannot be said, with why in `missing`.
        `meets_required`: it reaches the level that a document asks of its sector; null also where none does.
        `remaining_tce` is empty while no grant is entered. `reclaim_due` is a sign for a person: not begun by `start_by`, quota left.
    """
    day = pl.lit(on)
    state = (
        pl.when(pl.col("ended_on") <= day).then(pl.lit("ended")).when(pl.col("operating_from") <= day).then(pl.lit("operating"))
        .when(pl.col("started_on") <= day).then(pl.lit("building"))
        .when(pl.col("approved_on").is_null() | (pl.col("approved_on") > day)).then(pl.lit("not_approved"))
        .when(pl.col("start_by") < day).then(pl.lit("overdue")).otherwise(pl.lit("approved"))
    )
    rows = schemas.conform(projects, schemas.PROJECT).with_columns(state=state)
    rows = rows.join(_balance(quotas.filter(pl.col("day") <= on)), on="project", how="left")
    rows = rows.with_columns(reclaim_due=(pl.col("state") == "overdue") & (pl.col("remaining_tce") > 0).fill_null(value=True))
    rows = rows.join(_judged(rows, law, on), on="project", how="left")
    rows = rows.join(_required(rows, conditions, regions, on), on="project", how="left")
    overdrawn = pl.col("remaining_tce") < 0
    reasons = [
        pl.when(pl.col("granted_tce").is_null() & (pl.col("state") != "not_approved")).then(pl.lit("no grant of quota is entered")),
        pl.when(overdrawn).then(pl.format("used and reclaimed are {} tce above what was granted", -pl.col("remaining_tce"))),
        pl.when(pl.col("start_by").is_null() & (pl.col("state") == "approved")).then(pl.lit("no day by which it must begin")),
        pl.when(pl.col("state").is_in(PENDING) & pl.col("approved_calorific_tce").is_null()).then(pl.lit("no approved energy")),
        pl.when(pl.col("state").is_in(PENDING) & pl.col("planned_operation_on").is_null()).then(pl.lit("no planned start of operation")),
    ]
    rows = rows.with_columns(missing=pl.concat_str(reasons, separator="; ", ignore_nulls=True).replace("", None)).pipe(with_chinese)
    missing = pl.concat_str("missing", "_design_missing", separator="; ", ignore_nulls=True)
    missing_zh = pl.concat_str("missing_zh", "_design_missing_zh", separator="；", ignore_nulls=True)
    level = pl.col("level").cast(pl.Int8, strict=False)  # none: the worst one
    reached = pl.when(pl.col("advanced").is_not_null()).then((level <= pl.col("required_level")).fill_null(value=False))
    rows = rows.with_columns(
        missing=missing.replace("", None), missing_zh=missing_zh.replace("", None),
        meets_required=pl.when(pl.col("required_level").is_not_null()).then(reached),
    )
    return schemas.conform(rows, schemas.PROJECT_STATE).sort("park", "project")


def expected_energy(states: pl.DataFrame, first: date, last: date, on: date) -> pl.DataFrame:
    """What projects that are approved and do not operate yet will add, month by month.

    A year's approved energy, less the reclaimed share of the quota, is spread evenly over the days from the planned start of
    operation on, or from `on` where that has passed: at full load at once [assumption of tcewatch: documents name no ramp]. A
    project that operates is measured, and adds nothing here. What has no planned start or no approved energy is a row with
    `missing` and without period, so that a budget cannot overlook it.

    Args:
        states: PROJECT_STATE as of `on`.
        first: a day of the first month.
        last: a day of the last month.
        on: the day as of which is judged.

    Returns:
        EXPECTED_ENERGY by project and month; months before the start have no row.
    """
    pending = states.filter(pl.col("state").is_in(PENDING))
    kept = pl.when(pl.col("reclaimed_tce") > 0).then(
        (1 - pl.col("reclaimed_tce") / pl.coalesce("granted_tce", "approved_calorific_tce")).clip(0, 1)
    ).otherwise(1.0)
    known = pl.col("planned_operation_on").is_not_null() & pl.col("approved_calorific_tce").is_not_null()
    source = pl.format("{}, spread evenly over the days of operation (assumption of tcewatch)", pl.coalesce("approval", "source", pl.lit("register")))
    pending = pending.with_columns(_known=known, _kept=kept, _from=pl.max_horizontal("planned_operation_on", pl.lit(on)), source=source)
    shape = {"period": pl.String(), "_first": pl.Date(), "_last": pl.Date(), "_year": pl.Int64()}
    spans = pl.DataFrame(list(_months(first, last)), orient="row", schema=shape)
    months = pending.filter("_known").join(spans, how="cross").filter(pl.col("_from") <= pl.col("_last"))
    days = (pl.col("_last") - pl.max_horizontal("_from", "_first")).dt.total_days() + 1
    share = pl.col("_kept") * days / pl.col("_year")
    rows = months.with_columns(
        calorific_tce=pl.col("approved_calorific_tce") * share, equivalent_tce=pl.col("approved_equivalent_tce") * share,
        missing=pl.when(pl.col("approved_equivalent_tce").is_null()).then(pl.lit("no approved energy on the equivalent basis")),
    )
    lost = pending.filter(~pl.col("_known")).with_columns(missing=pl.when(pl.col("approved_calorific_tce").is_null()).then(
        pl.lit("no approved energy")).otherwise(pl.lit("no planned start of operation")))
    return pl.concat([schemas.conform(with_chinese(each), schemas.EXPECTED_ENERGY) for each in (rows, lost)]).sort("park", "project", "period")


def _months(first: date, last: date) -> Iterator[tuple[str, date, date, int]]:
    year, month = first.year, first.month
    while (year, month) <= (last.year, last.month):
        days = months_of_years.monthrange(year, month)[1]
        yield f"{year}-{month:02d}", date(year, month, 1), date(year, month, days), 366 if months_of_years.isleap(year) else 365
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


def _balance(quotas: pl.DataFrame) -> pl.DataFrame:
    """Granted, used, reclaimed and remaining quota of each project."""
    def of(kind: str) -> pl.Expr:
        return pl.col("calorific_tce").filter(pl.col("kind") == kind)

    sums = schemas.conform(quotas, schemas.QUOTA).group_by("project").agg(
        granted_tce=pl.when(of("granted").len() > 0).then(of("granted").sum()), used_tce=of("used").sum(), reclaimed_tce=of("reclaimed").sum(),
    )
    return sums.with_columns(remaining_tce=(pl.col("granted_tce") - pl.col("used_tce") - pl.col("reclaimed_tce")).round_sig_figs(SIGNIFICANT_DIGITS))


def _law_day(on: date) -> pl.Expr:
    """The day whose law a project is judged by: that of its approval, while there is none `on`."""
    return pl.when(pl.col("approved_on") <= on).then("approved_on").otherwise(pl.lit(on))


def _judged(rows: pl.DataFrame, law: pl.DataFrame, on: date) -> pl.DataFrame:
    """The design consumption against level 1 of the limit for new plants."""
    asked = rows.select(
        "project", "enterprise", "product", "indicator", "feedstock", "parameters", period_start=_law_day(on), period_end=_law_day(on),
        plant_status=pl.lit("new"), value="design_value", unit="design_unit",
    )
    nothing = asked.select("project", _design_missing=pl.when(pl.col("product").is_null()).then(pl.lit("no product named"))
                           .when(pl.col("value").is_null()).then(pl.lit("no design consumption")))
    given = asked.filter(pl.col("product").is_not_null(), pl.col("value").is_not_null())
    wrong = {row: what for row, _, what, _ in misfits(given, law)}
    given = given.with_columns(_wrong=pl.Series([wrong.get(row) for row in range(given.height)], dtype=pl.String()))
    fits = given.filter(pl.col("_wrong").is_null())
    verdicts = limits(_with_parameters(fits.drop("_wrong")), law, schemas.empty(schemas.CONFIRMATION))
    no_level = pl.when(pl.col("level_1").is_null()).then(pl.lit("the standard has no level 1")).alias("_none")
    said = verdicts.unique("project", keep="first", maintain_order=True).with_columns(no_level).pipe(with_chinese, "_none").select(
        "project", *_JUDGED, limit_source="source",
        advanced=pl.when(pl.col("level_1").is_not_null() & pl.col("verdict").is_in(["complies", "exceeds"])).then(pl.col("level") == "1"),
        _design_missing=pl.coalesce("missing", "_none"), _design_missing_zh=pl.coalesce("missing_zh", "_none_zh"),
    )
    misfit = given.filter(pl.col("_wrong").is_not_null()).select("project", _design_missing=pl.col("_wrong"))
    rest = pl.concat([nothing.filter(pl.col("_design_missing").is_not_null()), misfit]).pipe(with_chinese, "_design_missing")
    return pl.concat([said, rest], how="diagonal")


def _with_parameters(products: pl.DataFrame) -> pl.DataFrame:
    """The parameters of the limit, a column each: numbers where all are numbers."""
    given = [dict(part.split("=", 1) for part in text.split(";")) if text else {} for text in products["parameters"]]
    columns = []
    for name in sorted({name for one in given for name in one} - set(products.columns)):
        texts = pl.Series(name, [one.get(name) for one in given], dtype=pl.String())
        numbers = texts.cast(pl.Float64, strict=False)
        columns.append(numbers if numbers.null_count() == texts.null_count() else texts)
    return products.drop("parameters").with_columns(columns)


def _required(rows: pl.DataFrame, conditions: pl.DataFrame, regions: pl.DataFrame, on: date) -> pl.DataFrame:
    """The level that a document asks of the plants of a project's standard in the region of its park."""
    number = pl.col("standard").str.replace(r"-\d{4}$", "")
    asked = rows.select("project", "park", _number=number, _day=_law_day(on)).join(regions.select("park", "region"), on="park", how="left")
    found = asked.join(conditions, left_on="_number", right_on="standard", suffix="_condition").filter(
        pl.col("region_condition").is_null() | pl.col("region").str.starts_with(pl.col("region_condition")).fill_null(value=False),
        holding(pl.col("_day")),
    )
    return found.sort("level").group_by("project").agg(required_level=pl.col("level").first(), required_by=pl.col("source").first())
