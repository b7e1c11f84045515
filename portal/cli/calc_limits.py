"""`tcewatch calc limits` on files."""

from collections.abc import Mapping
from typing import Final

import polars as pl
import typer

from config import limit_tables, schemas
from config.benchmarks import benchmarks
from config.errors import Problem
from config.names import nearest
from monitors import limits as law
from monitors.contradictions import contradictions
from monitors.corrections import parameters
from monitors.limit_misfits import misfits
from portal.cli.calc_columns import ENTERPRISE, PERIOD, RATIOS, SUMS, above_one, at, site_tables, twice
from portal.cli.files import Column, Table, check_output, columns_of, read_tables, schema_option, write_table

PRODUCT_SUMS: Final = (ENTERPRISE, Column("product", "text", "code of the product", nullable=True), PERIOD, *SUMS)
PRODUCTS: Final = (
    ENTERPRISE,
    Column("product", "text", "code of the limit table"),
    Column("indicator", "text", "code of the limit table; left out: comprehensive_energy, or the only one", required=False),
    Column("period", "period", "year, month or day, instead of the two days", required=False),
    Column("period_start", "day", "first day", required=False),
    Column("period_end", "day", "last day, included", required=False),
    Column("plant_status", "text", "which level binds", required=False, allowed=tuple(law.BINDING_LEVELS), default="existing"),
    Column("feedstock", "text", "whether energy used as raw material is in the figure", required=False, allowed=("included", "excluded")),
    Column("line", "text", "production line", required=False),
    Column("value", "number", "unit consumption as reported", required=False),
    Column("unit", "text", "its unit, such as kgce/t", required=False),
    Column("energy", "number", "energy of the product, on the basis of its standard", required=False),
    Column("energy_unit", "text", "its unit, such as tce", required=False),
    Column("output", "number", "output of the product; nothing made: leave the row out; empty: not known", required=False, above=0),
    Column("output_unit", "text", "its unit, such as t", required=False),
    Column("basis", "text", "of the figure: calorific (当量值) or equivalent (等价值); another one than the limit's is refused", required=False),
    *RATIOS,
    Column("uncertainty_ratio", "number", "expanded uncertainty (k = 2) of the figure, from the classes of its meters", required=False, low=0),
)
MEANINGS: Final = {  # of the columns of a verdict whose name does not say it
    "period_start": "first day judged under this edition", "period_end": "last day judged under it, included",
    "plant_status": f"which level binds: {', '.join(law.BINDING_LEVELS)}", "actual": "unit consumption", "unit": "of it and of the levels",
    "basis": "calorific or equivalent, as the standard asks",
    "level_1": "corrected; empty: the standard has none, or a parameter is empty", "binding_level": "that of this plant",
    "level": "the best that is kept", "verdict": "complies, exceeds, exceeds_measured_alone, incomplete, no_rule",
    "missing": "what lacks for a verdict", "missing_zh": "the same in Chinese",
    "standing": "binding, unconfirmed (nobody has compared the row with the text), indicative",
    "excess": "actual less binding limit", "excess_ratio": "that by the limit's absolute value", "derivation": "how the figure came about",
    "source": "where the row of the limit is from", "uncertainty": "of the unit consumption, in its unit",
    "within_uncertainty": "the limit lies inside it: verify before any case", "benchmark": "标杆 of the product, no legal finding",
    "baseline": "基准 of the product, no legal finding", "benchmark_position": "leading, between, below_baseline, unknown",
    "uncorrected": "the figure before the corrections that act on it",
}
VERDICTS: Final = columns_of(schemas.VERDICT, MEANINGS)
CARRIED: Final = (  # of PRODUCTS, beside a verdict's own columns
    "period", "feedstock", "energy", "energy_unit", "output", "output_unit", "uncertainty_ratio",
)
PARAMETER_ENDS: Final = ("ratio", "factor", "pct", "percent", "m", "mm", "pa", "kpa", "mpa", "degc", "years")
LISTED: Final = 20  # rows without a verdict that are named one by one
CONFIRMATIONS: Final = (
    Column("product", "text", "code of the limit row"), Column("indicator", "text", "code of the limit row"),
    Column("standard", "text", "number of the standard with its year"),
    Column("confirmed_by", "text", "who compared the row with the text"), Column("confirmed_on", "day", "when"),
    Column("copy", "text", "which copy of the text"), Column("remark", "text", "anything else", required=False),
)


def limits_command(
    products: str = typer.Option(..., "--products", help="Products with their energy and output, or their unit consumption."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    energy: str | None = typer.Option(None, "--energy", help="Output of `calc energy --sum enterprise,product,period`."),
    confirmations: str | None = typer.Option(None, "--confirmations", help="Limit rows that a person has compared with the standard's text."),
    schema: bool = schema_option(lambda: {  # noqa: ARG001 - acts when it is read
        "--products": (*PRODUCTS, *parameter_columns()), "--energy": PRODUCT_SUMS, "--confirmations": CONFIRMATIONS, "--out": VERDICTS,
    }),
) -> None:
    """Judge products by the limits in force on the days of their period."""
    check_output(out)
    table = limit_tables.limits(site_tables())

    def check(read: Mapping[str, Table]) -> list[Problem]:
        rows = read["products"]
        no_days = pl.col("period").is_null() & (pl.col("period_start").is_null() | pl.col("period_end").is_null())
        backwards = pl.col("period_end") < pl.col("period_start")
        one_sum = "Sum the energy with `calc energy --sum enterprise,product,period`"
        return [
            *at(rows, no_days, "period", "the row has no period", "Write a period, or both period_start and period_end"),
            *at(rows, backwards, "period_end", "lies before period_start", "Write the last day of the period"),
            *above_one(rows, "covered_ratio", "estimated_ratio", "uncertainty_ratio"),
            *_no_parameters(rows, table),
            *(Problem(rows.where(row, column), what, remedy) for row, column, what, remedy in (
                *misfits(rows.frame, table, with_energy=energy is not None),
                *contradictions(rows.frame, table, read["energy"].frame if energy else None),
            )),
            *(twice(read["energy"], ["enterprise", "product", "period"], one_sum) if energy else ()),
        ]

    read = read_tables(
        {"products": (products, PRODUCTS), "energy": (energy, PRODUCT_SUMS), "confirmations": (confirmations, CONFIRMATIONS)}, check=check
    )
    rows, sums, confirmed = read["products"], read.get("energy"), read.get("confirmations")
    if strange := _of_other_products(rows, table):
        typer.echo(f"no standard of these products has a parameter {', '.join(strange)}: not applied, carried through", err=True)
    carried = {f"given {name}": name for name in CARRIED if name in rows.given}
    verdicts = law.limits(
        rows.frame.with_columns(pl.col(name).alias(given) for given, name in carried.items()).with_row_index("given row"), table,
        schemas.empty(schemas.CONFIRMATION) if confirmed is None else confirmed.frame, None if sums is None else sums.frame,
        benchmarks=benchmarks(site_tables()),
    )
    for line in _without_a_verdict(verdicts, rows):
        typer.echo(line, err=True)
    write_table(verdicts.drop("given row").rename(carried), out)



def parameter_columns() -> list[Column]:
    """The columns of products that corrections ask for: empty ones make the verdict incomplete where the standard needs them."""
    table = limit_tables.limits(site_tables())
    asking: dict[str, list[str]] = {}
    for product, corrections in table.select("product", "corrections").iter_rows():
        for each in parameters(corrections):
            asking.setdefault(each.name, []).extend([product] if product not in asking.get(each.name, ()) else [])
    return [
        Column(
            each.name, "text" if each.allowed else "number", f"{each.en} ({each.zh}): {each.told}; of {', '.join(asking[each.name])}"
            + ("" if each.needed else "; left empty: not applied, indicative"),
            required=False, unit=each.unit or None, allowed=each.allowed, low=each.low,
        )
        for each in law.parameter_columns(table)
    ]


def _no_parameters(rows: Table, table: pl.DataFrame) -> list[Problem]:
    """Columns that are nearly named as a parameter of the products, or end as parameters do (`_ratio`, `_m` ...) and are none that is known."""
    asked, further = _further(rows, table)
    known = {each.name for each in law.parameter_columns(table)} | {
        name for schema in vars(schemas).values() if isinstance(schema, pl.Schema) for name in schema
    }
    head = f"{rows.name} row 1" if rows.first_row > 1 else rows.name
    problems = []
    for name in further:
        listed = f"the limits of these products ask for {', '.join(asked) or 'none'}"
        if near := nearest(name, asked, cutoff=0.8):
            what, remedy = "is no parameter of a limit, but nearly named as one", f"Write {near[0]}, or give the column another name"
        elif name not in known and name.rpartition("_")[2].lower() in PARAMETER_ENDS and "_" in name:
            what, remedy = "is no parameter of a limit", f"Leave it out, or give a column of your own another name; {listed}"
        else:
            continue
        problems.append(Problem(f"{head} column {name}", what, remedy))
    return problems


def _of_other_products(rows: Table, table: pl.DataFrame) -> list[str]:
    """Further columns that are parameters of limits, but of none of these products."""
    _, further = _further(rows, table)
    known = {each.name for each in law.parameter_columns(table)}
    return [name for name in further if name in known]


def _further(rows: Table, table: pl.DataFrame) -> tuple[list[str], list[str]]:
    """The parameters that the products' limits ask for, and the columns that are neither these nor of PRODUCTS."""
    asked = [each.name for each in law.parameter_columns(table.filter(pl.col("product").is_in(rows.frame["product"].unique().to_list())))]
    return asked, [name for name in rows.frame.columns if name not in asked and name not in {column.name for column in PRODUCTS}]


def _without_a_verdict(verdicts: pl.DataFrame, rows: Table) -> list[str]:
    """Where the rows stand that have no verdict, each with its reason, of many the first."""
    still = verdicts.filter(pl.col("verdict").is_in(["no_rule", "incomplete"])).select("given row", "verdict", "missing")
    dated = "period" if "period" in rows.given else "period_start"
    listed = [
        f"{rows.where(row, dated if verdict == 'no_rule' else None)}: {verdict}: {missing}"
        for row, verdict, missing in still.head(LISTED).iter_rows()
    ]
    return [*listed, f"and {still.height - LISTED} more rows without a verdict: column missing says why"] if still.height > LISTED else listed


COMMANDS: Final = {"limits": limits_command}
