"""Which dated rule holds for a reported figure or a batch."""

import polars as pl

from config import schemas
from config.tables import holding

_KEYS = ("carrier", "flow", "kind")


def in_force(wanted: pl.DataFrame, rules: pl.DataFrame, rule: str) -> pl.DataFrame:
    """The rows of `wanted` with the value, rank and source of the rule that holds for them; null where none does.

    A rule that names the carrier comes before one that names the flow, that before one that names the kind, and that before one for
    all; of two alike the later row holds (a site's rows come after the shipped ones).

    Args:
        wanted: `carrier`, `flow`, `kind` (null: none in particular) and `day`, a row for each combination asked for.
        rules: FIGURE_RULE.
        rule: name of the rule.

    Returns:
        `wanted` with `rank`, `value` and `source`.
    """
    named = schemas.conform(rules, schemas.FIGURE_RULE).filter(pl.col("rule") == rule).with_row_index("_order")
    fits = [pl.col(f"{name}_right").is_null() | pl.col(f"{name}_right").eq_missing(pl.col(name)) for name in _KEYS]
    weight = pl.sum_horizontal(pl.col(f"{name}_right").is_not_null() * share for name, share in zip(_KEYS, (4, 2, 1), strict=True))
    asked = wanted.select(*_KEYS, "day").unique().with_row_index("_asked")
    found = (
        asked.join(named, how="cross")
        .filter(*fits, holding(pl.col("day")))
        .sort("_asked", weight, "_order")
        .unique("_asked", keep="last", maintain_order=True)
        .select(*_KEYS, "day", "rank", "value", "source")
    )
    return wanted.join(found, on=[*_KEYS, "day"], how="left", nulls_equal=True, maintain_order="left")
