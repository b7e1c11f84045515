"""Rules on a single reading: they split into accepted and rejected, they never filter.

The register rows that count are those known when the reading arrived (`known_from <= received_at < known_to`) and valid
when it was taken, so that a rebuild from the journal judges every reading as it was judged live.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from math import inf
from typing import Final

import polars as pl

from config.calendar import EARLIEST, LATEST
from config.schemas import READING, REJECTED, empty
from config.settings import ScreenSettings
from config.units import factor

_KEYS: Final = ["enterprise", "meter", "register"]
_ACCEPTED: Final = [
    pl.col("register_key"), pl.col("read_at"), pl.lit(0, pl.UInt8).alias("copy"), pl.col("value") * pl.col("unit_factor"), pl.col("quality"),
    pl.col("received_at"), pl.col("message"),
]
_OF_REGISTER: Final = ["register_key", "registered_gateway", "registered_unit", "range_low", "range_high", "error_values", "derived"]


@dataclass(frozen=True, slots=True)
class Screened:
    """Every decoded reading is in one of the two."""

    accepted: pl.DataFrame  # READING, copy = 0, value in the register's unit, in the order given
    rejected: pl.DataFrame  # REJECTED: value and unit as they came


@lru_cache
def rules(bounds: ScreenSettings) -> Mapping[str, pl.Expr]:
    """The rules by name. A reading meets a rule where its expression is true; null counts as broken.

    What depends on the register is not asked of a reading whose register is unknown: that alone is its reason.
    """
    unmatched = pl.col("register_key").is_null()
    return {
        "unknown_meter": pl.col("meter_known"),
        "unknown_register": ~pl.col("meter_known") | pl.col("register_known"),
        "derived_register": ~pl.col("derived").fill_null(False),
        "register_not_valid": ~pl.col("register_known") | ~unmatched,
        "wrong_gateway": unmatched | pl.col("registered_gateway").is_null() | (pl.col("gateway") == pl.col("registered_gateway")),
        "value_is_finite": (pl.col("value") * pl.col("unit_factor").fill_null(1.0)).is_finite(),  # also in the register's unit
        # as it came, before any conversion: an error value is a code of the device
        "error_value": pl.col("error_values").is_null() | ~pl.col("error_values").list.contains(pl.col("value")),
        "unit_convertible": unmatched | pl.col("unit_factor").is_not_null(),
        # in the register's unit; what has no unit to be compared in is broken by the rule above
        "value_within_range": pl.col("unit_factor").is_null() | (pl.col("value") * pl.col("unit_factor")).is_between(
            pl.col("range_low").fill_null(-inf), pl.col("range_high").fill_null(inf)
        ),
        # whatever the settings allow, no year that is no year of readings
        "not_from_the_future": (pl.col("read_at") <= pl.col("received_at") + timedelta(seconds=bounds.clock_skew_s)) & (pl.col("read_at") < LATEST),
        "not_too_old": (pl.col("read_at") >= pl.col("received_at") - timedelta(days=bounds.max_age_days)) & (pl.col("read_at") >= EARLIEST),
    }


@lru_cache
def _clean(bounds: ScreenSettings) -> pl.Expr:
    return (pl.col("fault").is_null() & pl.all_horizontal(rule.fill_null(False) for rule in rules(bounds).values())).alias("clean")


def screen(decoded: pl.DataFrame, registers: pl.DataFrame, bounds: ScreenSettings) -> Screened:
    """Split readings by the rules.

    Args:
        decoded: DECODED; of what is replayed from quarantine with `judged_at`, the instant whose register rows count instead of
            those known at its arrival.
        registers: REGISTER with its history (all versions).
        bounds: how far a clock may be off.

    Returns:
        Accepted readings, and rejected ones with the names of all rules they broke; a reading that could not be
        decoded has its `fault` as its only reason.
    """
    if decoded.height == 0:
        return Screened(empty(READING), empty(REJECTED))
    judged = _with_unit_factor(_with_register(decoded, registers))
    judged = judged.with_columns(_clean(bounds))
    if judged["clean"].all():  # nearly always
        return Screened(judged.select(_ACCEPTED), empty(REJECTED))
    accepted = judged.filter("clean").select(_ACCEPTED)
    checks = rules(bounds)
    broken = [pl.when(rule.fill_null(False)).then(None).otherwise(pl.lit(name)) for name, rule in checks.items()]
    reasons = pl.when(pl.col("fault").is_null()).then(pl.concat_list(broken).list.drop_nulls()).otherwise(pl.concat_list("fault"))
    rejected = judged.filter(~pl.col("clean")).with_columns(broken_rules=reasons).select(REJECTED.names())
    return Screened(accepted, rejected)


def _with_register(decoded: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """One row for each reading, with the register row that counts for it; none where there is none."""
    judged_at = "judged_at" if "judged_at" in decoded.columns else "received_at"
    first, last = decoded[judged_at].min(), decoded[judged_at].max()
    concerned = pl.col("enterprise").is_in(decoded["enterprise"].unique().implode())
    known_then = registers.filter(concerned, pl.col("known_from") <= last, pl.col("known_to").is_null() | (pl.col("known_to") > first)).select(
        *_KEYS, "register_key", pl.col("gateway").alias("registered_gateway"), pl.col("unit").alias("registered_unit"),
        "range_low", "range_high", "valid_from", "valid_to", "known_from", "known_to",
        pl.col("error_values").str.split(";").cast(pl.List(pl.Float64)), derived=pl.col("kind") == "derived",
    )
    known = (pl.col("known_from") <= pl.col(judged_at)) & (pl.col("known_to").is_null() | (pl.col(judged_at) < pl.col("known_to")))
    valid = (pl.col("valid_from").is_null() | (pl.col("valid_from") <= pl.col("read_at"))) & (
        pl.col("valid_to").is_null() | (pl.col("read_at") < pl.col("valid_to"))
    )
    rows = decoded.with_row_index("row").join(known_then, on=_KEYS, how="left", maintain_order="left").with_columns(
        register_known=known.fill_null(False), counts=(known & valid).fill_null(False)
    )
    if rows.height > decoded.height:  # several versions: the row that counts, else one that is known, else any
        rows = rows.sort("row", "counts", "register_known", "valid_from", descending=[False, True, True, True], nulls_last=True).unique(
            "row", keep="first", maintain_order=True
        )
    if rows["counts"].all():  # nearly always
        return rows.with_columns(meter_known=pl.lit(True))
    rows = rows.with_columns(pl.when("counts").then(pl.col(name)).alias(name) for name in _OF_REGISTER)
    return _with_meter_known(rows, known_then, known, judged_at)


def _with_meter_known(rows: pl.DataFrame, known_then: pl.DataFrame, known: pl.Expr, judged_at: str) -> pl.DataFrame:
    strangers = rows.filter(~pl.col("register_known")).select("row", "enterprise", "meter", judged_at)
    if strangers.height == 0:
        return rows.with_columns(meter_known=pl.lit(True))
    meters = known_then.select("enterprise", "meter", "known_from", "known_to").unique()
    with_meter = strangers.join(meters, on=["enterprise", "meter"]).filter(known)["row"]
    return rows.with_columns(meter_known=pl.col("register_known") | pl.col("row").is_in(with_meter.implode()))


def _with_unit_factor(rows: pl.DataFrame) -> pl.DataFrame:
    """By what a value is multiplied to be in the register's unit; null where no definition links the two."""
    same = pl.col("unit").is_null() | (pl.col("unit") == pl.col("registered_unit"))
    rows = rows.with_columns(unit_factor=pl.when(pl.col("register_key").is_not_null() & same).then(1.0))
    if rows["unit_factor"].null_count() == 0:
        return rows
    differing = rows.filter(~same).select("unit", "registered_unit").unique()
    if differing.height == 0:
        return rows
    factors = differing.with_columns(
        other_factor=pl.Series([factor(unit, to) for unit, to in differing.iter_rows()], dtype=pl.Float64)
    )
    return rows.join(factors, on=["unit", "registered_unit"], how="left", maintain_order="left").with_columns(
        unit_factor=pl.coalesce("unit_factor", "other_factor")
    )
