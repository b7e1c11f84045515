"""The energy balance of an enterprise: what came in, what was converted, what it was used for, and what does not close."""

from typing import Final

import polars as pl

from config import schemas
from config.phrases import with_chinese
from config.units import factor
from monitors.coefficients import WATER
from monitors.energy import sum_energy
from monitors.numbers import whole_sum

_OWNER: Final = ("enterprise", "period")
_SIDES: Final = {  # flow -> block, sign; what a conversion process uses goes to the conversion, and `recovered` stands on two sides
    "purchased": ("supply", 1), "own_primary": ("supply", 1), "opening_stock": ("supply", 1), "closing_stock": ("supply", -1), "sold": ("supply", -1),
    "recovered": ("supply", -1), "converted_out": ("conversion", 1),
    "consumed": ("use", 1), "stock_difference": ("use", 1), "figure_difference": ("use", 1),
}
_BLOCKS: Final = ("supply", "conversion", "use", "closing")
_ROWS: Final = (
    "purchased", "own_primary", "opening_stock", "closing_stock", "sold", "recovered", "supplied", "passed_on",
    "converted_in", "converted_out", "loss", "consumed", "stock_difference", "figure_difference", "total", "residual", "comprehensive_energy",
)
_VALUES: Final = ("quantity", "calorific_tce", "equivalent_tce")
_ENERGY: Final = ("calorific_tce", "equivalent_tce")
NOISE: Final = 1e-9  # of what a carrier moves: differences below are those of the arithmetic


def balance(energy_rows: pl.DataFrame) -> pl.DataFrame:
    """Arrange the energy of enterprises as a balance: supply + conversion - use = residual (GB/T 2589-2020; decisions.md 10).

    What comes in counts positive in the supply, what is stored, sold or passed on negative. A process that gives `converted_out` is a
    conversion: what it consumes is its input (negative), its output is positive, and `loss` is what it does not give again. Recovered
    energy is given by its process and leaves by the supply. All other consumption is use. Of a carrier of which only one side is measured
    the other follows by difference (`known_by`), so that its residual says nothing; where both are, the residual is what no meter explains.
    Water carries no energy and is left out. The two bases stand side by side and are never added.

    Args:
        energy_rows: ENERGY of one length of period.

    Returns:
        ENERGY_BALANCE. Quantities are in the unit that the carrier has first; a sum of which a part is unknown is null, and `missing`
        says why. Rows without a carrier are sums over all; `comprehensive_energy` is what `sum_energy` gives for the same rows.
    """
    rows = schemas.conform(energy_rows, schemas.ENERGY).filter(~pl.col("carrier").is_in(WATER))
    rows = rows.with_columns(pl.col("flow").fill_null("consumed"))
    sums = sum_energy(rows, _OWNER)
    sides = _sides(_in_one_unit(rows.filter(pl.col("use").ne_missing("medium") | pl.col("calorific_tce").is_not_null())))
    keys = [*_OWNER, "block", "row", "process", "product", "carrier", "unit"]
    given = _grouped(sides, keys, [whole_sum(name) for name in _VALUES]).with_columns(known_by=pl.lit("given"))
    lines = pl.concat([_shaped(given), _by_difference(given)])
    totals = _totals(lines)
    closing = pl.concat([lines, _residuals(lines, [*_OWNER, "carrier", "unit"]), _losses(lines), totals, _comprehensive(sums, totals)])
    return closing.with_columns(
        _block=pl.col("block").replace_strict({name: at for at, name in enumerate(_BLOCKS)}, return_dtype=pl.Int8()),
        _row=pl.col("row").replace_strict({name: at for at, name in enumerate(_ROWS)}, return_dtype=pl.Int8()),
    ).sort(*_OWNER, "_block", pl.col("carrier").is_null(), "_row", "carrier", "process", "product", nulls_last=True).drop("_block", "_row").pipe(
        with_chinese
    )


def links(balances: pl.DataFrame) -> pl.DataFrame:
    """The balance as flows from node to node, as a Sankey diagram draws them; what a carrier node gets it also gives.

    Nodes are `supply` (purchased, own_primary, ...), `carrier`, `process` (a conversion or a use; without process its product), `outlet`
    (sold, stored, passed on, recovered) and `closing` (loss, residual). A residual below zero flows into its carrier: something came in
    that no meter saw.

    Args:
        balances: ENERGY_BALANCE.

    Returns:
        ENERGY_LINK, each flow in the direction in which it is positive; flows of 0 on both bases, or unknown ones, are left out.
    """
    lines = schemas.conform(balances, schemas.ENERGY_BALANCE)
    carried, place = pl.col("carrier").is_not_null(), pl.coalesce("process", "product", pl.lit(""))
    outward = pl.col("calorific_tce").fill_null(pl.col("equivalent_tce")) < 0
    supply = (carried & (pl.col("block") == "supply"), pl.when(outward).then(pl.lit("outlet")).otherwise(pl.lit("supply")), pl.col("row"), False)
    conversion = (carried & (pl.col("block") == "conversion"), pl.lit("process"), place, False)
    use = (carried & (pl.col("block") == "use") & (pl.col("row") == "consumed"), pl.lit("process"), place, True)
    booked = (carried & (pl.col("block") == "use") & (pl.col("row") != "consumed"), pl.lit("closing"), pl.col("row"), True)
    residual = (carried & (pl.col("row") == "residual"), pl.lit("closing"), pl.lit("residual"), True)
    parts = []
    for which, kind, name, from_carrier in (supply, conversion, use, booked, residual):
        parts.append(lines.filter(which).with_columns(_kind=kind, _name=name).with_columns(
            pl.when(from_carrier).then(-pl.col(basis)).otherwise(basis).alias(basis) for basis in _ENERGY
        ))
    into = pl.concat(parts)  # every value is what flows from the other node into the carrier
    both = [_directed(into.with_columns(_to_kind=pl.lit("carrier"), _to="carrier"))]
    losses = lines.filter(pl.col("row") == "loss").with_columns(_kind=pl.lit("process"), _name=place, _to_kind=pl.lit("closing"), _to=pl.lit("loss"))
    both.append(_directed(losses))
    keys = [name for name in schemas.ENERGY_LINK if name not in _ENERGY]
    return pl.concat(both).group_by(keys, maintain_order=True).agg(whole_sum(name) for name in _ENERGY).select(schemas.ENERGY_LINK.names())


def _directed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows from (_kind, _name) to (_to_kind, _to), turned round where the value is negative."""
    value = pl.col("calorific_tce").fill_null(pl.col("equivalent_tce"))
    known = rows.filter(value.is_not_null(), pl.any_horizontal(pl.col(basis).fill_null(0.0) != 0 for basis in _ENERGY))
    turned = value < 0

    def either(one: str, other: str) -> pl.Expr:
        return pl.when(turned).then(pl.col(other)).otherwise(pl.col(one))

    return known.select(
        *_OWNER, source_kind=either("_kind", "_to_kind"), source=either("_name", "_to"), target_kind=either("_to_kind", "_kind"),
        target=either("_to", "_name"), carrier=pl.col("carrier"),
        calorific_tce=pl.when(turned).then(-pl.col("calorific_tce")).otherwise("calorific_tce"),
        equivalent_tce=pl.when(turned).then(-pl.col("equivalent_tce")).otherwise("equivalent_tce"),
    )


def _in_one_unit(rows: pl.DataFrame) -> pl.DataFrame:
    """Each carrier of an enterprise and period in the unit of its first row; a quantity that no definition brings there is null."""
    rows = rows.with_columns(_unit=pl.col("unit").first().over(*_OWNER, "carrier"))
    pairs = rows.select("unit", "_unit").unique()
    scale = pairs.with_columns(_scale=pl.Series([factor(one, to) for one, to in pairs.iter_rows()], dtype=pl.Float64()))
    return rows.join(scale, on=["unit", "_unit"], how="left", nulls_equal=True, maintain_order="left").with_columns(
        quantity=pl.col("quantity") * pl.col("_scale"), unit="_unit"
    )


def _sides(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `block`, `row` and signed values."""
    gives = (pl.col("flow") == "converted_out") & pl.col("process").is_not_null()
    converted_in = (pl.col("flow") == "consumed") & pl.col("process").is_not_null() & gives.any().over(*_OWNER, "process")
    block = pl.when(converted_in).then(pl.lit("conversion")).otherwise(
        pl.col("flow").replace_strict({flow: side for flow, (side, _) in _SIDES.items()}, return_dtype=pl.String())
    )
    sign = pl.when(converted_in).then(-1).otherwise(
        pl.col("flow").replace_strict({flow: sign for flow, (_, sign) in _SIDES.items()}, return_dtype=pl.Int8())
    )
    sided = rows.with_columns(
        *((pl.col(name) * sign).alias(name) for name in _VALUES), block=block,
        row=pl.when(converted_in).then(pl.lit("converted_in")).otherwise("flow"),
    ).with_columns(pl.when(pl.col("block") != "supply").then(name).alias(name) for name in ("process", "product"))
    recovered = rows.filter(pl.col("flow") == "recovered").with_columns(block=pl.lit("conversion"), row=pl.lit("recovered"))
    return pl.concat([sided, recovered])


def _by_difference(given: pl.DataFrame) -> pl.DataFrame:
    """The side of a carrier that nobody measures: what came in, what was used, or what was made and left."""
    keys = [*_OWNER, "carrier", "unit"]
    row, block = pl.col("row"), pl.col("block")
    sides = _grouped(given, keys, [
        *(_net(name).alias(name) for name in _VALUES),
        *(_made(name).alias(f"_made_{name}") for name in _VALUES),
        row.is_in(["purchased", "own_primary"]).any().alias("_comes_in"), (row == "converted_out").any().alias("_is_made"),
        (row == "sold").any().alias("_leaves"), ((block == "use").any() | (row == "converted_in").any()).alias("_used"),
    ])
    nothing_in = ~pl.col("_comes_in") & ~pl.col("_is_made") & pl.col("_used")
    left = pl.col("_is_made") & ~pl.col("_used") & ~pl.col("_leaves") & ~pl.col("_comes_in")
    unused = ~pl.col("_used") & ~left & (pl.col("_comes_in") | pl.col("_is_made"))
    supply, use = pl.lit("supply").alias("block"), pl.lit("use").alias("block")
    parts = (
        sides.filter(nothing_in).with_columns(*(-pl.col(name) for name in _VALUES), supply, row=pl.lit("supplied")),
        sides.filter(left).with_columns(*((-pl.col(f"_made_{name}")).alias(name) for name in _VALUES), supply, row=pl.lit("passed_on")),
        sides.filter(unused).filter(pl.col("calorific_tce").fill_null(0.0) >= 0).with_columns(use, row=pl.lit("consumed")),
    )
    return pl.concat([_shaped(part.with_columns(known_by=pl.lit("difference"))) for part in parts])


def _net(name: str) -> pl.Expr:
    """Supply + conversion - use of a group; null where a part is unknown, 0 where only arithmetic is left."""
    value = pl.when(pl.col("block") == "use").then(-pl.col(name)).otherwise(name)
    return pl.when(pl.col(name).is_not_null().all()).then(
        pl.when(value.sum().abs() > NOISE * value.abs().sum()).then(value.sum()).otherwise(0.0)
    )


def _made(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).filter(pl.col("row") == "converted_out").sum())


def _residuals(lines: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    found = _grouped(lines, keys, [_net(name).alias(name) for name in _VALUES])
    return _shaped(found.with_columns(block=pl.lit("closing"), row=pl.lit("residual"), known_by=pl.lit("sum")))


def _losses(lines: pl.DataFrame) -> pl.DataFrame:
    """What each conversion process does not give again."""
    conversion = lines.filter(pl.col("block") == "conversion")
    converting = conversion.filter((pl.col("row") == "converted_out").any().over(*_OWNER, "process"))
    found = _grouped(converting, [*_OWNER, "process"], [whole_sum(name) for name in _ENERGY]).with_columns(-pl.col(name) for name in _ENERGY)
    return _shaped(found.with_columns(block=pl.lit("conversion"), row=pl.lit("loss"), known_by=pl.lit("sum")))


def _totals(lines: pl.DataFrame) -> pl.DataFrame:
    """The blocks over all carriers, and what does not close of them."""
    blocks = _grouped(lines, [*_OWNER, "block"], [whole_sum(name) for name in _ENERGY])
    return pl.concat([
        _shaped(blocks.with_columns(row=pl.lit("total"), known_by=pl.lit("sum"))),
        _residuals(lines.with_columns(quantity=pl.lit(None, pl.Float64())), [*_OWNER]),
    ])


def _comprehensive(sums: pl.DataFrame, totals: pl.DataFrame) -> pl.DataFrame:
    """What the sum of energy says, and why it is not the supply where it is not."""
    row = {"block": "closing", "row": "comprehensive_energy", "known_by": "sum"}
    supply = totals.filter(pl.col("block") == "supply").select(*_OWNER, _supply="calorific_tce")
    less = pl.col("_supply") - pl.col("calorific_tce")
    why = pl.format("{} tce less than the supply: the sum takes off what own conversion made and no meter saw used, or what was sold of it besides",
                    less.round(6))
    return _shaped(sums.join(supply, on=_OWNER, how="left").with_columns(
        *(pl.lit(text).alias(name) for name, text in row.items()),
        missing=pl.concat_str("missing", pl.when(less.abs() > NOISE * pl.col("_supply").abs()).then(why), separator="; ", ignore_nulls=True)
        .replace("", None),
    ))


def _grouped(lines: pl.DataFrame, keys: list[str], values: list[pl.Expr]) -> pl.DataFrame:
    """Values of groups, and in `missing` the reasons of those rows of which a basis is empty."""
    unknown = pl.any_horizontal(pl.col(_ENERGY).is_null()) & pl.col("missing").is_not_null()
    reasons = lines.filter(unknown).group_by(keys, maintain_order=True).agg(missing=pl.col("missing").unique(maintain_order=True).str.join("; "))
    return lines.group_by(keys, maintain_order=True).agg(values).join(reasons, on=keys, how="left", nulls_equal=True, maintain_order="left")


def _shaped(rows: pl.DataFrame) -> pl.DataFrame:
    return schemas.conform(rows, schemas.ENERGY_BALANCE)
