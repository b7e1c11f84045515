"""Which bounds of the validation rules hold for which register, and when."""

from typing import Final

import polars as pl

from config.schemas import BOUND, INSTANT, conform
from monitors.axis import position_of

SEVERITIES: Final = ("info", "warning", "error")
_NEVER: Final = 2**62
_SEVERITY: Final = pl.col("severity").replace_strict({name: place for place, name in enumerate(SEVERITIES)}, default=None, return_dtype=pl.Int8)
_PARTICULAR: Final = {"register": 16, "meter": 8, "enterprise": 4, "medium": 2, "kind": 1}  # what makes a rule's row come before another


def bounds(registers: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Which bound of each rule holds for each register, and when.

    Each of low, high, severity and enabled is taken from the most particular row that is valid and gives it: the register's own, the
    meter's, the enterprise's, then those without an enterprise, the ones of a medium or kind first. A rule without any row is not asked.

    Args:
        registers: REGISTER.
        rules: VEE_RULE.

    Returns:
        BOUND, by register_key, rule and valid_from.
    """
    who = registers.sort("register_key", "valid_from", nulls_last=False).unique("register_key", keep="last", maintain_order=True).select(
        "register_key", "enterprise", "meter", "register", "medium", "kind",
    )
    chosen = ["medium", "kind"]
    rules = rules.with_columns(rank=pl.sum_horizontal(pl.col(name).is_not_null().cast(pl.Int32) * weight for name, weight in _PARTICULAR.items()))
    shared, own = rules.filter(pl.col("enterprise").is_null()), rules.filter(pl.col("enterprise").is_not_null())
    named = who.join(own, on="enterprise", suffix="_of").filter(_either("meter"), _either("register"))
    those = pl.col("register_key").is_in(named["register_key"].unique().implode())
    general = who.filter(those).join(shared.drop("enterprise"), how="cross", suffix="_of")
    particular = _resolved(pl.concat([named, general], how="diagonal"), ["register_key"])
    classes = _resolved(who.filter(~those).select(chosen).unique().join(shared.drop("enterprise"), how="cross", suffix="_of"), chosen)
    plain = who.filter(~those).select("register_key", *chosen).join(classes, on=chosen, nulls_equal=True)
    return pl.concat([conform(plain, BOUND), conform(particular, BOUND)]).sort("register_key", "rule", "valid_from", nulls_last=False)


def _either(column: str) -> pl.Expr:
    """A rule's row names this, or leaves it open."""
    return pl.col(f"{column}_of").is_null() | (pl.col(f"{column}_of") == pl.col(column)).fill_null(False)


def _resolved(candidates: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """by, rule, low, high, severity, enabled, valid_from, valid_to: in each span the most particular of the rows that are valid in it."""
    given = ["low", "high", "severity", "enabled"]
    rows = candidates.filter(_either("medium"), _either("kind")).select(
        *by, "rule", *given, "rank", a=pl.col("valid_from").to_physical().fill_null(-_NEVER), b=pl.col("valid_to").to_physical().fill_null(_NEVER),
    ).sort("rank", "a", descending=True)
    on = [*by, "rule"]
    starts = pl.concat([rows.select(*on, at="a"), rows.select(*on, at="b"), rows.select(*on, at=pl.lit(-_NEVER, pl.Int64))]).unique()
    starts = starts.filter(pl.col("at") < _NEVER).sort(*on, "at").with_columns(until=pl.col("at").shift(-1).over(on))
    valid = starts.join(rows, on=on, nulls_equal=True).filter(pl.col("a") <= pl.col("at"), pl.col("at") < pl.col("b"))
    spans = valid.sort("rank", "a", descending=True).group_by(*on, "at").agg(pl.col(name).drop_nulls().first() for name in given)
    held = starts.join(spans, on=[*on, "at"], how="left", nulls_equal=True)
    asked = pl.col("enabled").fill_null(True) & pl.col("severity").is_not_null()  # no row is valid: not asked
    return held.with_columns(
        enabled=asked, valid_from=pl.when(pl.col("at") > -_NEVER).then("at").cast(INSTANT), valid_to=pl.col("until").cast(INSTANT),
    )


class Dated:
    """Rows with dates of some registers; which row holds for a reading is found without a join."""

    def __init__(self, rows: pl.DataFrame, registers: int) -> None:
        """`rows`: position, from_us (null: always) and attributes; each position has one at least."""
        place = pl.int_range(registers, eager=True)
        if rows["position"].equals(place):  # one for each, in order
            self.rows, self._first, self._count, self._several = rows, place, place, 1
            return
        self.rows = rows.sort("position", "from_us", nulls_last=False)
        self._first = self.rows["position"].search_sorted(place, side="left").cast(pl.Int64)
        self._count = self.rows["position"].search_sorted(place, side="right").cast(pl.Int64) - self._first
        self._several = max([1, *self._count.unique().to_list()])

    def at(self, position: pl.Series, at: pl.Series) -> pl.Series:
        """The number of the row that holds for each reading: the last that has begun, else the first."""
        row = self._first.gather(position) if self._several > 1 else position
        for nth in range(1, self._several):
            begins = self.rows["from_us"].gather((self._first + nth).clip(0, self.rows.height - 1)).zip_with(
                self._count > nth, pl.repeat(_NEVER, len(self._count), dtype=pl.Int64, eager=True),
            )
            row = row + (at >= begins.gather(position)).cast(pl.Int64)
        return row


def limits_of(held: pl.DataFrame, keys: pl.Series) -> dict[str, Dated]:
    """The bounds of each rule that has any, with a row for every register: one without a bound is not asked."""
    all_of = pl.DataFrame({"position": pl.int_range(len(keys), eager=True)})
    rows = held.select(
        "rule", "low", "high", "enabled", severity=_SEVERITY, from_us=pl.col("valid_from").to_physical(),
        position=position_of(held["register_key"], keys),
    ).drop_nulls("position")
    found = {}
    for (name,), of_rule in rows.partition_by("rule", as_dict=True, include_key=False).items():
        if not of_rule["position"].equals(all_of["position"]):
            of_rule = all_of.join(of_rule, on="position", how="left").with_columns(pl.col("enabled").fill_null(False))  # noqa: PLW2901 - made whole
        found[str(name)] = Dated(of_rule, len(keys))
    return found
