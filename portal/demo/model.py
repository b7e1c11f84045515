"""How much each register of the demo park adds in each quarter of an hour: a pure function of the quarter and a seed.

Electricity of the steel works follows the real load of a steel works (see data/README.md); the rest is made of a working
pattern, a season and hashed noise. No clock, no state: any part of the time gives the same numbers again.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any, Final

import polars as pl
import zstandard

from config.calendar import day_span

SEED: Final = 20251231
ZONE: Final = "Asia/Shanghai"
QUARTER: Final = timedelta(minutes=15)
QUARTERS_PER_DAY: Final = 96
LOAD_FILE: Final = "data/steel_load_2018-01_2018-08.csv.zst"
_NOISE_RATIO: Final = 0.05
_MIX: Final = (2_654_435_761, 2_246_822_519, 3_266_489_917)  # odd 32-bit multipliers: the products stay below 2^64
_TWO_32: Final = 2**32


def key(row: Mapping[str, Any]) -> str:
    """The column of a register in the frames of this module."""
    return f"{row['enterprise']}/{row['gateway']}/{row['meter']}/{row['register']}"


def quarters(meters: pl.DataFrame, first: date, end: datetime, seed: int) -> pl.DataFrame:
    """What every register adds in each quarter of an hour.

    Args:
        meters: the park's rows of registers.csv.
        first: first local day.
        end: quarters that start before this instant.
        seed: another seed, another noise.

    Returns:
        `at` (start of the quarter, UTC) and one column for each register (`key`), in the register's unit after its multiplier.
    """
    start = day_span(first, ZONE)[0]
    grid = pl.DataFrame({"at": pl.datetime_range(start, end, QUARTER, closed="left", time_unit="us", eager=True)}).with_columns(
        local=pl.col("at").dt.convert_time_zone(ZONE), quarter=pl.col("at").dt.epoch("s").cast(pl.UInt64) // 900
    )
    grid = grid.with_columns(**_shapes(), real=_real_load(grid["local"]))
    rows = list(meters.iter_rows(named=True))
    return grid.select(
        "at", *(((row["base_per_h"] / 4) * pl.col(row["shape"]) * _noise(number, seed)).alias(key(row)) for number, row in enumerate(rows))
    )


def monthly(meters: pl.DataFrame, first: date, today: date, seed: int) -> pl.DataFrame:
    """`enterprise`, `meter`, `period` (a month that is over) and `quantity`, in time order."""
    added = quarters(meters, first, day_span(today.replace(day=1), ZONE)[0], seed)
    names = {key(row): row for row in meters.iter_rows(named=True)}
    return (
        added.group_by(period=pl.col("at").dt.convert_time_zone(ZONE).dt.strftime("%Y-%m"), maintain_order=True)
        .agg(pl.all().exclude("at").sum())
        .unpivot(index="period", variable_name="key", value_name="quantity")
        .with_columns(
            enterprise=pl.col("key").replace_strict({name: row["enterprise"] for name, row in names.items()}),
            meter=pl.col("key").replace_strict({name: row["meter"] for name, row in names.items()}),
        )
    )


@cache
def _loads() -> tuple[tuple[float, ...], ...]:
    """The real load, 96 quarters a day in their order, by its mean; the last row of a day carries the stamp 00:00 of that date."""
    packed = resources.files("portal.demo").joinpath(LOAD_FILE).read_bytes()
    usage = pl.read_csv(zstandard.ZstdDecompressor().decompress(packed, max_output_size=2**22))["Usage_kWh"].cast(pl.Float64)
    scaled = (usage / usage.mean()).to_list()
    return tuple(tuple(scaled[start : start + QUARTERS_PER_DAY]) for start in range(0, len(scaled), QUARTERS_PER_DAY))


def source_day(day: date) -> int:
    """Which day of the real load (0 = Monday 2018-01-01) stands for a day: the same weekday, as near as may be in the season.

    September to December, which the data do not have, mirror January to May: as cold, with as much daylight.
    """
    days = len(_loads())
    in_year = day.timetuple().tm_yday - 1
    nearest = in_year if in_year < days else max(0, 365 - in_year)
    same_weekday = nearest + (day.weekday() - nearest + 3) % 7 - 3
    return same_weekday + 7 if same_weekday < 0 else same_weekday - 7 if same_weekday >= days else same_weekday


def _real_load(local: pl.Series) -> pl.Series:
    days = local.dt.date()
    loads = {day: _loads()[source_day(day)] for day in days.unique().to_list()}
    table = pl.DataFrame({"day": list(loads), "load": list(loads.values())}, schema={"day": pl.Date, "load": pl.List(pl.Float64)})
    slots = pl.DataFrame({"day": days, "slot": local.dt.hour().cast(pl.Int32) * 4 + local.dt.minute().cast(pl.Int32) // 15})
    return slots.join(table, on="day", how="left", maintain_order="left").select(pl.col("load").list.get(pl.col("slot"))).to_series()


def _shapes() -> dict[str, pl.Expr]:
    local = pl.col("local")
    hour, weekday, month = local.dt.hour(), local.dt.weekday(), local.dt.month()
    of_year = (local.dt.ordinal_day() - 105) * (2 * 3.141592653589793 / 365)  # zero in mid-April, one in mid-July
    night, peak = ~hour.is_between(6, 21), hour.is_between(9, 11) | hour.is_between(17, 20)
    winter_stop = (month <= 2) | ((month == 3) & (local.dt.day() < 15)) | ((month == 12) & (local.dt.day() >= 15))
    cold = (month >= 11) | (month <= 3) | ((month == 10) & (local.dt.day() >= 15)) | ((month == 4) & (local.dt.day() < 15))

    def either(when: pl.Expr, then: float, otherwise: float) -> pl.Expr:
        return pl.when(when).then(then).otherwise(otherwise)

    return {
        "continuous": 1 + 0.02 * of_year.cos(),
        "furnace": pl.when(night).then(1.06).otherwise(either(peak, 0.94, 1.0)),  # cheap power at night
        "shift": either(night, 0.35, 1.15) * either(weekday == 7, 0.5, 1.0),
        "day": either(hour.is_between(8, 17) & (weekday <= 5), 2.2, 0.35),
        "kiln": either(winter_stop, 0.0, 1.0),  # off-peak production: kilns of the north stand in winter
        "heating": either(cold, 1.6, 0.12),
        "water": (1 + 0.15 * of_year.sin()) * either(night, 0.8, 1.1),
    }


def _noise(number: int, seed: int) -> pl.Expr:
    """A factor around one, hashed from quarter, register and seed."""
    mixed = (pl.col("quarter") + (number * 7919 + seed) % _TWO_32) % _TWO_32
    for multiplier in _MIX:
        mixed = (mixed * multiplier) % _TWO_32
        mixed = mixed ^ (mixed // 65_536)
    return 1 + _NOISE_RATIO * (2 * mixed.cast(pl.Float64) / _TWO_32 - 1)

