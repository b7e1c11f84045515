"""Key energy users (重点用能单位): who is one by the energy of a year, who enters, who leaves, who is near the threshold.

Energy Conservation Law art. 52; 重点用能单位节能管理办法 (order 15 of 2018) art. 2: the accounting unit is the legal person.
"""

from datetime import date
from typing import Final, Literal

import polars as pl

from config import schemas
from config.phrases import with_chinese
from config.tables import holding
from monitors.limits import MAX_ESTIMATED_RATIO, MIN_COVERED_RATIO
from monitors.numbers import SIGNIFICANT_DIGITS, whole_sum

LISTED: Final = ("key", "designated")
_ZH: Final = {"calorific": "当量值", "equivalent": "等价值"}
_WHICH_ZH: Final = {"metered": "计量", "reported": "上报"}
_STATUS_ZH: Final = {"key": "重点用能单位", "designated": "指定的重点用能单位", "designable": "可被指定", "below": "未达到", "unknown": "未知"}


def key_units(
    metered: pl.DataFrame, reported: pl.DataFrame, designations: pl.DataFrame, thresholds: pl.DataFrame, on: date,
) -> pl.DataFrame:
    """What each enterprise is by its energy of each year, one row for each of its years.

    Metered energy of a year that is over counts where it is complete (decisions.md 6), else the reported one. A year without either, or
    one that still runs, is `unknown`: never `below`. Where what is measured of it alone reaches the general threshold it is `key`.
    A designation counts that is in force on the last day of the following year, or on `on` where that comes first: lists are
    made from the year before. It stands until it is withdrawn, also where the energy falls below its threshold: then a person must look.

    Args:
        metered: YEAR_ENERGY; several rows of an enterprise and year (its sites) are added, and are unknown where one of them is.
        reported: YEAR_ENERGY of what enterprises report for whole years; its covered_ratio is not looked at.
        designations: DESIGNATION.
        thresholds: KEY_UNIT_THRESHOLD; those in force on the last day of the year count, their basis decides (decisions.md 14).
        on: the day as of which is judged.

    Returns:
        KEY_UNIT by enterprise and year.

    >>> of_2024 = pl.DataFrame({"enterprise": ["a"], "year": [2024], "calorific_tce": [4916.0], "equivalent_tce": [12_000.0]})
    >>> law = schemas.conform(pl.DataFrame({"threshold": ["general", "designated"], "tce": [1e4, 5e3], "basis": ["calorific"] * 2,
    ...     "watch_ratio": [0.1] * 2, "valid_from": [date(2018, 5, 1)] * 2, "source": ["art. 52"] * 2}), schemas.KEY_UNIT_THRESHOLD)
    >>> found = key_units(of_2024, schemas.empty(schemas.YEAR_ENERGY), schemas.empty(schemas.DESIGNATION), law, date(2025, 6, 1))
    >>> found.select("status", "other_status", "bases_differ", "watch").row(0)
    ('below', 'key', True, True)
    """
    rows = _figures(_legal_persons(metered), _legal_persons(reported), on)
    rows = _with_thresholds(rows, thresholds)
    rows = _with_designation(rows, designations, on)
    own, other = (
        pl.when(pl.col("basis") == "equivalent").then(pl.col(f"{second}_tce")).otherwise(pl.col(f"{first}_tce"))
        for first, second in (("calorific", "equivalent"), ("equivalent", "calorific"))
    )
    rows = rows.with_columns(_own=own, _other=other)
    rows = rows.with_columns(status=_status(pl.col("_own")), other_status=_status(pl.col("_other")))
    known = (pl.col("status") != "unknown") & (pl.col("other_status") != "unknown")
    rows = rows.with_columns(bases_differ=pl.when(known).then(pl.col("status") != pl.col("other_status")))
    rows = _with_watch(_with_changes(rows, on))
    rows = with_chinese(rows.with_columns(missing=_missing(thresholds["valid_from"].min())))
    rows = rows.with_columns(
        reason=_reason("en"), reason_zh=_reason("zh"),
        source=pl.concat_str(["_law", pl.when(pl.col("status") == "designated").then("_designated_by")], separator="; ", ignore_nulls=True),
    )
    return schemas.conform(rows.sort("enterprise", "year"), schemas.KEY_UNIT)


def latest(rows: pl.DataFrame) -> pl.DataFrame:
    """The newest year that is over of each enterprise in KEY_UNIT: what it is now, the running year left out."""
    return rows.filter(pl.col("decided_on").is_not_null()).sort("enterprise", "year").group_by("enterprise", maintain_order=True).last()


def _legal_persons(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each enterprise and year: a figure with an unknown part is unknown."""
    rows = schemas.conform(rows, schemas.YEAR_ENERGY)
    weight = pl.col("calorific_tce").abs()

    def weighted(name: str, empty: float) -> pl.Expr:
        mean = (pl.col(name).fill_null(empty) * weight).sum() / weight.sum()
        return pl.when(pl.col(name).is_not_null().any()).then(pl.when(weight.sum() > 0).then(mean).otherwise(pl.col(name).min()))

    return rows.group_by("enterprise", "year").agg(
        whole_sum("calorific_tce"), whole_sum("equivalent_tce"), weighted("covered_ratio", 1.0).alias("covered_ratio"),
        weighted("estimated_ratio", 0.0).alias("estimated_ratio"),
        missing=pl.col("missing").drop_nulls().unique(maintain_order=True).str.join("; "),
        source=pl.col("source").drop_nulls().unique(maintain_order=True).str.join("; "),
    ).with_columns(pl.when(pl.col(name) != "").then(name).alias(name) for name in ("missing", "source"))


def _figures(metered: pl.DataFrame, reported: pl.DataFrame, on: date) -> pl.DataFrame:
    """Which figure counts of each year: metered where complete, else reported, else what is measured of it."""
    keys = ["enterprise", "year"]
    rows = metered.with_columns(_metered=True).join(reported.with_columns(_reported=True), on=keys, how="full", coalesce=True, suffix="_reported")
    closed = pl.col("year") < on.year
    complete = (
        closed & pl.col("calorific_tce").is_not_null() & (pl.col("covered_ratio").fill_null(1.0) >= MIN_COVERED_RATIO)
        & (pl.col("estimated_ratio").fill_null(0.0) <= MAX_ESTIMATED_RATIO)
    )
    rows = rows.with_columns(_closed=closed, _complete=complete.fill_null(value=False))
    by_report = ~pl.col("_complete") & closed & pl.col("calorific_tce_reported").is_not_null()
    names = ("calorific_tce", "equivalent_tce", "covered_ratio", "estimated_ratio", "missing")
    return rows.with_columns(
        *(pl.when(by_report).then(pl.col(f"{name}_reported")).otherwise(pl.col(name)).alias(name) for name in names),
        metered_calorific_tce=pl.col("calorific_tce"), reported_calorific_tce=pl.col("calorific_tce_reported"),
        figure=pl.when(by_report).then(pl.lit("reported")).when(pl.col("_metered").is_not_null()).then(pl.lit("metered")),
        _counts=pl.col("_complete") | by_report, _metered_missing=pl.col("missing"),
        _metered_covered=pl.col("covered_ratio"), _metered_estimated=pl.col("estimated_ratio"),
    )


def _with_thresholds(rows: pl.DataFrame, thresholds: pl.DataFrame) -> pl.DataFrame:
    last = rows.select(pl.col("year").unique().sort()).with_columns(_last=pl.date("year", 12, 31))
    for name in ("general", "designated"):
        law = thresholds.filter(pl.col("threshold") == name)
        said = last.join(law, how="cross").filter(
            holding(pl.col("_last")),
        ).sort("valid_from").group_by("year").last()
        columns = [pl.col("tce").alias(f"_{name}")]
        if name == "general":
            columns += [pl.col("basis"), pl.col("watch_ratio").alias("_watch_ratio"), pl.col("source").alias("_law")]
        rows = rows.join(said.select("year", *columns), on="year", how="left")
    return rows.with_columns(pl.col("basis").fill_null("calorific"))


def _with_designation(rows: pl.DataFrame, designations: pl.DataFrame, on: date) -> pl.DataFrame:
    day = pl.min_horizontal(pl.date(pl.col("year") + 1, 12, 31), pl.lit(on))
    asked = rows.select("enterprise", "year", _day=day)
    text = pl.concat_str([pl.col("authority"), pl.col("document")], separator=", ", ignore_nulls=True)
    held = asked.join(schemas.conform(designations, schemas.DESIGNATION), on="enterprise").filter(
        (pl.col("valid_from") <= pl.col("_day")).fill_null(value=True), (pl.col("valid_to") > pl.col("_day")).fill_null(value=True),
    ).sort("valid_from", nulls_last=False).group_by("enterprise", "year").agg(
        _designated_from=pl.col("valid_from").last(), _designated_by=text.last(),
    )
    rows = rows.join(held.with_columns(_designation=True), on=["enterprise", "year"], how="left")
    return rows.with_columns(pl.col("_designation").fill_null(value=False))


def _status(tce: pl.Expr) -> pl.Expr:
    """By one basis; compared at 12 significant digits. What is measured alone can only show that the threshold is reached."""
    tce = tce.round_sig_figs(SIGNIFICANT_DIGITS)
    return (
        pl.when(tce.is_null() | pl.col("_general").is_null()).then(pl.lit("unknown"))
        .when(tce >= pl.col("_general")).then(pl.lit("key"))
        .when(~pl.col("_counts")).then(pl.lit("unknown"))
        .when("_designation").then(pl.lit("designated"))
        .when(tce >= pl.col("_designated")).then(pl.lit("designable"))
        .otherwise(pl.lit("below"))
    )


def _with_changes(rows: pl.DataFrame, on: date) -> pl.DataFrame:
    """Entry and exit against the last year that is known, and since when the present state holds."""
    rows = rows.sort("enterprise", "year").with_columns(_is=pl.when(pl.col("status") != "unknown").then(pl.col("status").is_in(LISTED)))
    rows = rows.with_columns(listed=pl.col("_is").forward_fill().over("enterprise"))
    before = pl.col("listed").shift(1).over("enterprise")
    rows = rows.with_columns(
        change=pl.when(pl.col("_is").is_null()).then(pl.lit("undecided")).when(before.is_null()).then(pl.lit("first_known"))
        .when(pl.col("_is") & ~before).then(pl.lit("entry")).when(~pl.col("_is") & before).then(pl.lit("exit")).otherwise(pl.lit("none")),
    )
    turned = pl.when(pl.col("change").is_in(["first_known", "entry", "exit"])).then("year")
    closing = pl.date(pl.col("year") + 1, 1, 1)
    return rows.with_columns(
        since_year=turned.forward_fill().over("enterprise"),
        decided_on=pl.when(closing <= on).then(
            pl.when(pl.col("status") == "designated").then(pl.max_horizontal(closing, "_designated_from")).otherwise(closing)
        ),
    )


def _with_watch(rows: pl.DataFrame) -> pl.DataFrame:
    """The watch list: energy within a share of a threshold, that share included. A running or incomplete year is not near anything yet."""
    def near(threshold: str) -> pl.Expr:
        gap = ((pl.col("_own") - pl.col(threshold)).abs() / pl.col(threshold)).round_sig_figs(SIGNIFICANT_DIGITS)
        return (gap <= pl.col("_watch_ratio")) & pl.col("_counts")

    rows = rows.with_columns(watched_tce=pl.when(near("_general")).then("_general").when(near("_designated")).then("_designated"))
    return rows.with_columns(
        watch=pl.when("_counts").then(pl.col("watched_tce").is_not_null()),
        margin_ratio=(pl.col("_own") - pl.col("watched_tce")) / pl.col("watched_tce"),
    )


def _missing(first: object) -> pl.Expr:
    """Why the status, or that on the other basis, is unknown."""
    share = pl.format("{} % of the energy covered, {} % estimated", (100 * pl.col("_metered_covered").fill_null(1.0)).round(1),
                      (100 * pl.col("_metered_estimated").fill_null(0.0)).round(1))
    own = (
        pl.when(pl.col("_general").is_null()).then(pl.format("no threshold in force on {}-12-31, the first begins on {}", "year", pl.lit(str(first))))
        .when(~pl.col("_closed")).then(pl.format("{} is not over", "year"))
        .when(pl.col("_own").is_null() & pl.col("_metered_missing").is_not_null()).then(pl.col("_metered_missing"))
        .when(pl.col("_own").is_null()).then(pl.lit("no energy on the basis of the threshold"))
        .otherwise(share)
    )
    other = pl.when(pl.col("_other").is_null()).then(pl.concat_str(
        [pl.lit("no energy on the other basis"), pl.col("missing")], separator=": ", ignore_nulls=True
    ))
    return pl.when((pl.col("status") == "unknown") | ~pl.col("_counts")).then(own).otherwise(other)


def _reason(language: Literal["en", "zh"]) -> pl.Expr:
    """The sentence that says why: figure, threshold, designation."""
    def text(en: str, zh: str) -> str:
        return en if language == "en" else zh

    def shown(name: str) -> pl.Expr:
        return pl.col(name).round(1).cast(pl.String()).str.strip_suffix(".0")

    if language == "en":
        which, basis = pl.col("figure"), pl.col("basis")
    else:
        which, basis = (pl.col(name).replace_strict(words, default=None) for name, words in (("figure", _WHICH_ZH), ("basis", _ZH)))
    figure = pl.format(text("{} {} tce in {} ({} basis)", "{}能耗{}吨标准煤，{}年（{}）"), which, shown("_own"), "year", basis)
    general, lower = shown("_general"), shown("_designated")
    said = {
        "key": pl.concat_str([
            pl.format(text("{}: at or above {} tce", "{}，达到{}吨标准煤"), figure, general),
            pl.when(~pl.col("_counts")).then(pl.lit(text(" already by what is measured", "（仅已计量部分即达到）"))).otherwise(pl.lit("")),
        ]),
        "designated": pl.concat_str([
            pl.format(text("{}: below {} tce, designated by {}", "{}，低于{}吨标准煤，由{}指定"), figure, general, "_designated_by"),
            pl.when(pl.col("_own") < pl.col("_designated")).then(pl.format(text(
                "; also below {} tce: the designation has no ground in this year", "；亦低于{}吨标准煤：本年数据不支持指定"), lower,
            )).otherwise(pl.lit("")),
        ]),
        "designable": pl.format(text("{}: from {} to below {} tce, not designated", "{}，在{}至{}吨标准煤之间，未被指定"), figure, lower, general),
        "below": pl.format(text("{}: below {} tce", "{}，低于{}吨标准煤"), figure, lower),
    }
    reason = pl.lit(text("not known: ", "未知：")) + pl.col(text("missing", "missing_zh"))
    for status, sentence in said.items():
        reason = pl.when(pl.col("status") == status).then(sentence).otherwise(reason)
    differs = pl.format(
        text("; on the other basis ({} tce) it would be: {}", "；按另一口径（{}吨标准煤）则为：{}"), shown("_other"),
        pl.col("other_status") if language == "en" else pl.col("other_status").replace_strict(_STATUS_ZH, default=None),
    )
    return pl.concat_str([reason, pl.when("bases_differ").then(differs).otherwise(pl.lit(""))], ignore_nulls=True)
