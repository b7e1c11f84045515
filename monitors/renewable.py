"""Renewable electricity that enterprises state, with proof, and that they make themselves, as shares of what they use."""

from typing import Final

import polars as pl

from config import schemas
from config.calendar import is_period
from monitors.energy import sum_energy

_POWER: Final = "electricity"
_KEYS: Final = ["enterprise", "period"]


def with_renewable(energy_rows: pl.DataFrame, stated: pl.DataFrame) -> pl.DataFrame:
    """Say which share of the electricity is renewable, for `sum_energy` and CO2 to count (发改环资〔2022〕803号).

    Own primary power is renewable; of the other electricity of an enterprise and period so much as is stated, spread evenly over its rows.
    A year without a statement of its own has those of its months. What nobody states is not renewable. More than was bought is not taken,
    and `missing` says so. Which part is newly added is known where it is stated.

    Args:
        energy_rows: ENERGY; further columns are kept.
        stated: RENEWABLE, one row for each enterprise and period.

    Returns:
        The rows in their order with `renewable_ratio` and `new_renewable_ratio`, null where nothing is stated or made.
    """
    power, own = pl.col("carrier") == _POWER, pl.col("flow") == "own_primary"
    none = pl.lit(None, dtype=pl.Float64())
    if stated.is_empty() and energy_rows.filter(power & own).is_empty():
        return energy_rows.with_columns(renewable_ratio=none, new_renewable_ratio=none)
    rows = energy_rows.with_row_index("_row")
    electric = rows.filter(power)
    whole = sum_energy(electric, _KEYS).select(*_KEYS, _all="electricity_kwh")
    made = sum_energy(electric.filter(own), _KEYS).select(*_KEYS, _own="electricity_kwh")
    used = whole.join(made, on=_KEYS, how="left").with_columns(pl.col("_own").fill_null(0.0)).with_columns(_bought=pl.col("_all") - pl.col("_own"))
    said = used.join(_of_periods(stated), on=_KEYS, how="left")
    claimed = pl.col("renewable_kwh").fill_null(0.0)
    fits = claimed <= pl.col("_bought") * (1 + 1e-9)
    taken = pl.when(fits).then(claimed).otherwise(0.0)
    green = taken + pl.col("_own")
    said = said.filter(pl.col("renewable_kwh").is_not_null() | (pl.col("_own") > 0)).select(
        *_KEYS, _share=pl.when(taken > 0).then(taken / pl.col("_bought")).otherwise(0.0),
        _new=pl.when(green > 0).then((pl.col("new_renewable_kwh") / green).clip(upper_bound=1.0)).otherwise(0.0),
        _why=pl.when(~fits).then(pl.format("renewable electricity of {} kWh is stated, and {} kWh were bought: it is not taken", claimed.round(3),
                                           pl.col("_bought").round(3))),
    )
    shares = electric.select("_row", *_KEYS, _is_own=own).join(said, on=_KEYS).with_columns(
        renewable_ratio=pl.when("_is_own").then(1.0).otherwise("_share"),
    ).with_columns(new_renewable_ratio=pl.col("renewable_ratio") * pl.col("_new"))
    told = rows.join(shares.select("_row", "renewable_ratio", "new_renewable_ratio", "_why"), on="_row", how="left", maintain_order="left")
    missing = pl.concat_str("missing", "_why", separator="; ", ignore_nulls=True).replace("", None)
    return told.with_columns(missing=missing).drop("_row", "_why")


def _of_periods(stated: pl.DataFrame) -> pl.DataFrame:
    """RENEWABLE with the years that only their months state; a year of which a month does not say what is new does not either."""
    rows = schemas.conform(stated, schemas.RENEWABLE)
    months = rows.filter(is_period("month"))
    new, said = pl.col("new_renewable_kwh"), pl.col("renewable_kwh").fill_null(0.0)
    years = months.group_by("enterprise", pl.col("period").str.slice(0, 4)).agg(
        said.sum(), pl.when((new.is_not_null() | (said == 0)).all()).then(new.sum()),
        source=pl.col("source").drop_nulls().unique().sort().str.join("; "),
    )
    return pl.concat([rows, years.select(rows.columns).join(rows, on=_KEYS, how="anti")])
