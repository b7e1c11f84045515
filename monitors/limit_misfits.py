"""What products cannot mean: names, units and parameters that the limits of the law do not have."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import polars as pl

from config import schemas
from config.names import near_it
from monitors.corrections import Parameter, impossible
from monitors.limits import ELECTRICITY_INDICATORS, TOTAL_INDICATORS, default_indicators, parameter_columns, unit_factor


def misfits(products: pl.DataFrame, table: pl.DataFrame, *, with_energy: bool = False) -> list[tuple[int, str, str, str]]:
    """What cannot be meant: a product, indicator or feedstock that no row of the law has, or a unit of another kind.

    `limits` makes no verdict of such rows.

    Args:
        products: PRODUCT, where some columns may be left out.
        table: LIMIT.
        with_energy: whether an energy sum stands beside, so that a row needs its output only.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    law: dict[str, dict[str, list[tuple[str | None, str]]]] = {}
    for product, indicator, feedstock, unit in table.select("product", "indicator", "feedstock", "unit").iter_rows():
        law.setdefault(product, {}).setdefault(indicator, []).append((feedstock, unit))
    defaults = default_indicators(table)
    names = {name: code for code, *called in table.select("product", "product_zh", "product_en").iter_rows() for name in (code, *called) if name}
    keys = ["product", "indicator", "feedstock", "unit", "energy_unit", "output_unit"]
    told = [pl.when(pl.col(name).is_not_null()).then(pl.lit(value=True)).alias(name) for name in ("value", "energy")]
    alike = schemas.conform(products, schemas.PRODUCT).select(*keys, *told).with_row_index("_at").group_by(*keys, "value", "energy").agg("_at")
    found = ((row["_at"], _misfit(row, law, defaults, names, with_energy=with_energy)) for row in alike.iter_rows(named=True))
    return [*sorted((at, *misfit) for rows, misfit in found if misfit is not None for at in rows), *_parameter_misfits(products, table)]


def _parameter_misfits(products: pl.DataFrame, table: pl.DataFrame) -> Iterator[tuple[int, str, str, str]]:
    """Cells of parameters that are impossible for the product of their row."""
    corrected_rows = table.filter(pl.col("corrections").list.len() > 0).partition_by("product", as_dict=True)
    asked = {product: [each for each in parameter_columns(rows) if each.name in products.columns] for (product,), rows in corrected_rows.items()}
    names = list(dict.fromkeys(each.name for those in asked.values() for each in those))
    given = products.select("product", *names).with_row_index("_at").filter(pl.any_horizontal(pl.col(names).is_not_null()))
    for (product,), rows in given.partition_by("product", as_dict=True).items():
        flags = impossible(rows, asked.get(product, ()))
        for parameter in asked.get(product, ()):
            for at, cell in rows.filter(flags[parameter.name]).select("_at", parameter.name).iter_rows():
                yield at, parameter.name, f"{cell!r} is not possible ({parameter.en})", f"Write {parameter.told}."


def unfit_parameters(table: pl.DataFrame) -> Callable[[str | None, Mapping[str, float | str]], list[tuple[str, str, str]]]:
    """What is wrong with further columns of a product as parameters of its limit (LIMIT): column, what is wrong, and what would be right."""
    @cache
    def asked(product: str | None) -> dict[str, Parameter]:
        return {each.name: each for each in parameter_columns(table.filter(pl.col("product") == product))}

    def unfit(product: str | None, given: Mapping[str, float | str]) -> list[tuple[str, str, str]]:
        known = asked(product)
        right = f"It has {', '.join(known)}." if known else "Its limits ask for none."
        strange = [name for name in given if name not in known and name not in schemas.PRODUCT]
        return [(name, f"is no parameter of the limits of {product}", right) for name in strange] + [
            (name, f"{given[name]!r} is not possible ({each.en})", f"Write {each.told}.")
            for name, each in known.items() if name in given and impossible(pl.DataFrame({name: [given[name]]}), [each])[name].any()
        ]

    return unfit


def _misfit(
    row: Mapping[str, Any], law: Mapping[str, Mapping[str, Sequence[tuple[str | None, str]]]], defaults: Mapping[str, str],
    names: Mapping[str, str], *, with_energy: bool,
) -> tuple[str, str, str] | None:
    product = row["product"]
    if product not in law:
        return "product", f"{product!r} is in no limit table", f"{near_it(str(product), names)}`tcewatch tables limits` lists the codes."
    indicator = str(row["indicator"] or defaults.get(product))
    if indicator not in law[product]:
        return "indicator", f"{product} has no indicator {row['indicator'] or '(empty)'}", f"Write one of {', '.join(law[product])}."
    boundaries = {feedstock for feedstock, _ in law[product][indicator]}
    if row["feedstock"] is not None and row["feedstock"] not in boundaries:
        known = ", ".join(sorted(each for each in boundaries if each)) or "no feedstock boundary: leave the cell empty"
        return "feedstock", f"{product} has no row with feedstock {row['feedstock']}", f"The standard has {known}."
    targets = sorted({unit for _, unit in law[product][indicator]})
    if row["value"] is not None:
        given, column = row["unit"], "unit"
    elif row["energy"] is not None:
        empty = next((name for name in ("energy_unit", "output_unit") if row[name] is None), None)
        given, column = f"{row['energy_unit']}/{row['output_unit']}", empty or "energy_unit"
        given = None if empty else given
    elif with_energy and row["output_unit"] is not None:
        numerator = "kWh" if indicator in ELECTRICITY_INDICATORS else "tce" if indicator in TOTAL_INDICATORS else targets[0].partition("/")[0]
        given, column = f"{numerator}/{row['output_unit']}", "output_unit"
    else:
        return None
    if given is None or all(unit_factor(given, target) is None for target in targets):
        what = "the unit is empty" if given is None else f"{given} cannot be held against {' or '.join(targets)}"
        return column, what, f"Give the figure in {' or '.join(targets)}, or in a unit that is a multiple of it by definition."
    return None
