"""`tcewatch calc reconcile|heating-value`: reported figures against metered ones, and heating values by batch, on files."""

from collections.abc import Mapping
from typing import Final, Literal

import polars as pl
import typer

from config import data_rules, schemas
from config.calendar import period_days
from config.errors import Problem
from config.supplies import BASES, KINDS, LONGEST_DAYS, ORIGINS, USUAL_FLOW
from config.units import heating_value_in, known_units
from monitors import heating
from monitors import reconcile as core
from monitors.energy import FLOW_SIGNS
from portal.cli.calc_accounts import QUANTITIES
from portal.cli.calc_columns import ENTERPRISE, PLACES, above_one, at, site_tables, without_empty
from portal.cli.files import Column, Table, check_output, read_tables, schema_option, write_table

CARRIER: Final = Column("carrier", "text", "code of the coefficient table")
FIGURES: Final = (
    ENTERPRISE, CARRIER,
    Column("kind", "text", "what it is", allowed=KINDS),
    Column("flow", "text", "how it enters the balance; left out: as usual for the kind", required=False,
           allowed=tuple(flow for flow in FLOW_SIGNS if not flow.endswith("_difference"))),
    Column("period", "period", "year, month or day that it is for, instead of the two days", required=False),
    Column("first_day", "day", "first day that it is for; of an opening stock: the day at whose start it was taken", required=False),
    Column("last_day", "day", "last day that it is for, included; of a closing stock: the day at whose end it was taken", required=False),
    Column("quantity", "number", "in `unit`", low=0),
    Column("unit", "text", "unit of the quantity", allowed=known_units()),
    Column("document", "text", "number of the bill, ticket or report", required=False),
)
BATCHES: Final = (
    ENTERPRISE, CARRIER,
    Column("batch", "text", "number of the batch"),
    Column("origin", "text", "who found the heating value", required=False, default="laboratory", allowed=ORIGINS),
    Column("first_day", "day", "first day on which it was fired"),
    Column("last_day", "day", "last day on which it was fired, included"),
    Column("mass_t", "number", "what was fired of it; needed where several are fired on one day", required=False, unit="t", above=0),
    Column("lhv", "number", "lower heating value", above=0),
    Column("lhv_unit", "text", "its unit: kJ/kg, MJ/kg, kJ/Nm3, ..."),
    Column("basis", "text", "what the value is of: the fuel as received, or dry", required=False, default="as_received", allowed=BASES),
    Column("moisture_ratio", "number", "moisture of the fuel as received, a share of its mass; a dry value needs it", required=False, low=0),
    Column("sampled_on", "day", "when the sample was taken", required=False),
    Column("lab", "text", "laboratory", required=False),
    Column("report", "text", "its report", required=False),
)
RECONCILED: Final = (
    ENTERPRISE, CARRIER,
    Column("flow", "text", "how it enters the balance"),
    Column("period", "text", "the month"),
    Column("kind", "text", "what was reported; stock_balance: opening stock + received - passed on - closing stock"),
    Column("unit", "text", "unit of the quantities"),
    Column("figure_quantity", "number", "what is reported for days of this month"),
    Column("figure_days", "number", "days of the month for which there is a figure"),
    Column("days", "number", "days of the month"),
    Column("documents", "text", "numbers of the documents; of a stock balance its terms"),
    Column("split", "flag", "whether a part of it is a figure of several months, divided evenly by days"),
    Column("metered_quantity", "number", "what was metered on the same days"),
    Column("covered_ratio", "number", "how much of these days the meters cover"),
    Column("difference", "number", "metered less reported"),
    Column("difference_ratio", "number", "by the reported quantity"),
    Column("tolerance_ratio", "number", "how far it may be off"),
    Column("within", "flag", "whether it is within tolerance_ratio; empty: not known, and `missing` says why"),
    Column("tolerance_source", "text", "where the tolerance stands"),
    Column("counts", "text", "which quantity of the month counts: metered, or a kind"),
    Column("counted_quantity", "number", "that quantity"),
    Column("counted_quality", "text", "how it is known", allowed=("measured", "estimated")),
    Column("why", "text", "why it counts"),
    Column("rule_source", "text", "where the rule stands by which it counts"),
    Column("missing", "text", "what is not known"),
    Column("findings", "text", "several figures say something of one day, and their sum counts", allowed=("figures_overlap",)),
    Column("known_from", "instant", "when the figure known last was checked; of a file: empty"),
)
STOCK: Final = (
    ENTERPRISE, CARRIER,
    Column("period", "text", "day or month, as the quantities are"),
    Column("unit", "text", "unit of the quantities"),
    Column("opening_stock", "number", "stock at its start"),
    Column("opening_source", "text", "whether it was taken, or carried from the period before", allowed=("taken", "carried")),
    Column("received", "number", "what came"),
    Column("received_kind", "text", "which kind of figure says so"),
    Column("passed_on", "number", "what was sold or passed on"),
    Column("consumption", "number", "what was metered as consumed"),
    Column("covered_ratio", "number", "how much of the period the meters cover"),
    Column("book_stock", "number", "opening_stock + received - passed_on - consumption"),
    Column("closing_stock", "number", "stock at its end"),
    Column("closing_source", "text", "whether it was taken, or is book_stock", allowed=("taken", "carried")),
    Column("stock_difference", "number", "book less taken stock: gone without having been metered"),
    Column("residual", "number", "what the balance does not close by"),
    Column("findings", "text", "what is not right", allowed=(
        "negative_stock", "difference_over_tolerance", "opening_differs", "nothing_received", "no_consumption", "consumption_incomplete",
    )),
)
_ADDED: Final = (
    Column("lhv", "number", "of the fuel that was fired, weighted by the quantity of each day"),
    Column("lhv_unit", "text", "its unit"),
    Column("lhv_source", "text", "whose value it is, and of which batches"),
    Column("lhv_missing", "text", "the days without a heating value"),
)


def reconcile_command(
    quantities: str = typer.Option(..., "--quantities", help="Output of `calc quantities`, by day or by month."),
    figures: str = typer.Option(..., "--figures", help="Bills, weighing, receipts, stock-taking and reports."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    stock: str | None = typer.Option(None, "--stock", help="Where the balance of stocks goes, by the periods of the quantities."),
    counted: str | None = typer.Option(
        None, "--counted", help="Where the quantities by month go, with rows beside them that make them what counts: input of `calc energy`.",
    ),
    batches: str | None = typer.Option(None, "--batches", help="Batches of fuel: what counts then has their heating values."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--quantities": QUANTITIES, "--figures": FIGURES, "--batches": BATCHES, "--out": RECONCILED, "--stock": STOCK,
        "--counted": QUANTITIES,
    }),
) -> None:
    """Compare reported monthly figures with metered quantities, and say which count."""
    check_output(out, stock, counted)
    rules = data_rules.figure_rules(site_tables())

    def check(read: Mapping[str, Table]) -> list[Problem]:
        return [*_one_grain(read["quantities"], 7, 10), *_figure_problems(read["figures"]), *(_batch_problems(read["batches"]) if batches else ())]

    read = read_tables(
        {"quantities": (quantities, QUANTITIES), "figures": (figures, FIGURES), "batches": (batches, BATCHES)}, check=check
    )
    rows, reported = schemas.conform(read["quantities"].frame, schemas.QUANTITY), _dated(read["figures"].frame)
    found = core.reconcile(reported, rows, rules)
    by_day = rows.height > 0 and len(rows["period"][0]) == 10
    write_table(found, out)
    if stock is not None:
        write_table(core.stock_balance(reported, rows, rules, by="day" if by_day else "month"), stock)
    if counted is not None:
        balances = core.stock_balance(reported, rows, rules, by="month")
        beside = core.corrections(found, balances, rows)
        months = heating.months_of(rows) if by_day else rows
        if batches:
            values = heating.heating_values(read["batches"].frame, rules)
            months = heating.with_heating_values(months, rows if by_day else core.by_days(months, rows.clear()), values)
            beside = heating.with_heating_values(beside, core.by_days(beside, rows if by_day else rows.clear()), values)
        write_table(without_empty(pl.concat([months, beside], how="diagonal"), PLACES, read["quantities"]), counted)


def heating_value_command(
    quantities: str = typer.Option(..., "--quantities", help="Output of `calc quantities --by day`."),
    batches: str = typer.Option(..., "--batches", help="Batches of fuel with their heating value and the days on which they were fired."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV: input of `calc energy`."),
    by: Literal["day", "month"] = typer.Option("month", "--by", help="Length of a period."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--quantities": QUANTITIES, "--batches": BATCHES, "--out, after the columns of the quantities": _ADDED,
    }),
) -> None:
    """Give quantities the heating value of what was fired, weighted by batch and by day."""
    check_output(out)

    def check(read: Mapping[str, Table]) -> list[Problem]:
        given = at(read["quantities"], pl.col("lhv").is_not_null(), "lhv", "a heating value stands there", "Leave it empty: the batches say it")
        return [*given, *_one_grain(read["quantities"], 10), *_batch_problems(read["batches"])]

    read = read_tables({"quantities": (quantities, QUANTITIES), "batches": (batches, BATCHES)}, check=check)
    days = schemas.conform(read["quantities"].frame, schemas.QUANTITY)
    values = heating.heating_values(read["batches"].frame, data_rules.figure_rules(site_tables()))
    result = heating.with_heating_values(days if by == "day" else heating.months_of(days), days, values)
    write_table(without_empty(result, PLACES, read["quantities"]), out)


COMMANDS: Final = {"reconcile": reconcile_command, "heating-value": heating_value_command}


def _dated(figures: pl.DataFrame) -> pl.DataFrame:
    """MONTHLY_FIGURE with the flow that is usual for the kind, and the days of the period."""
    spans = {period: period_days(period) for period in figures["period"].drop_nulls().unique()}
    first = pl.col("period").replace_strict({period: span[0] for period, span in spans.items()}, default=None, return_dtype=pl.Date())
    last = pl.col("period").replace_strict({period: span[1] for period, span in spans.items()}, default=None, return_dtype=pl.Date())
    usual = pl.col("kind").replace_strict(dict(USUAL_FLOW), default=None, return_dtype=pl.String())
    return schemas.conform(figures.with_columns(
        first_day=pl.coalesce("first_day", first), last_day=pl.coalesce("last_day", last), flow=pl.coalesce("flow", usual),
    ), schemas.MONTHLY_FIGURE)


def _one_grain(table: Table, *lengths: int) -> list[Problem]:
    length = pl.col("period").str.len_chars()
    right = " or ".join({7: "months (2025-03)", 10: "days (2025-03-07)"}[one] for one in lengths)
    return [
        *at(table, ~length.is_in(lengths), "period", "is of another length", f"Give the quantities by {right}"),
        *at(table, length.is_in(lengths) & (length != length.first()), "period", "differs in length from the first row's", "Give days or months"),
    ]


def _figure_problems(table: Table) -> list[Problem]:
    days = pl.col("first_day").is_null() | pl.col("last_day").is_null()
    both = pl.col("period").is_not_null() & (pl.col("first_day").is_not_null() | pl.col("last_day").is_not_null())
    stock, taken = pl.col("flow").is_in(core.STOCKS), pl.col("kind") == "stock_taking"
    mixed = pl.col("flow").is_not_null() & (pl.col("kind") != "report") & (stock != taken)
    said = _dated(table.frame)  # a month and its days, or a flow and the usual one, are the same
    same = said.select(pl.struct("enterprise", "carrier", "kind", "flow", "first_day", "last_day", "document").is_first_distinct()).to_series()
    return [
        *at(table, (pl.col("period").is_null() & days) | both, "period", "the days are not clear", "Write a period, or both first_day and last_day"),
        *at(table, pl.col("last_day") < pl.col("first_day"), "last_day", "is before first_day", "Write the last day that it is for"),
        *at(table, mixed, "flow", "does not go with the kind", "A stock-taking gives opening_stock or closing_stock, others do not"),
        *_too_long(table),
        *at(table, ~pl.lit(same), "document", "the same figure stands there twice",
             "Keep one of them, or give each its document"),
    ]


def _too_long(table: Table) -> list[Problem]:
    days = (pl.col("last_day") - pl.col("first_day")).dt.total_days()
    return at(table, days >= LONGEST_DAYS, "last_day", f"is more than {LONGEST_DAYS} days from first_day", "Mend the year, or write a row for each")


def _batch_problems(table: Table) -> list[Problem]:
    units = {unit: heating_value_in(unit) is not None for unit in table.frame["lhv_unit"].drop_nulls().unique()}
    known = pl.col("lhv_unit").replace_strict(units, default=None, return_dtype=pl.Boolean())
    dry = (pl.col("basis") == "dry") & pl.col("moisture_ratio").is_null()
    twice = ~pl.struct("enterprise", "carrier", "batch").is_first_distinct()
    return [
        *at(table, pl.col("last_day") < pl.col("first_day"), "last_day", "is before first_day", "Write the last day on which it was fired"),
        *_too_long(table),
        *at(table, ~known, "lhv_unit", "is no unit of a heating value", "Write for example kJ/kg, MJ/kg or kJ/Nm3"),
        *at(table, dry, "moisture_ratio", "the cell is empty", "A value of the dry fuel needs the moisture of the fuel as received"),
        *at(table, twice, "batch", "the same batch stands there twice", "Keep one of them"),
        *above_one(table, "moisture_ratio"),
    ]
