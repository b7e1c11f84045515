"""`tcewatch calc validate`: what is wrong with readings, and with registers and periods against each other."""

from collections.abc import Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl
import typer

from config import data_rules
from config.calendar import is_period
from config.errors import Problem
from config.schemas import BALANCE, EVENT, HISTORY, READING, READING_QUALITY, REGISTER, VEE_RULE, conform, empty
from monitors import vee, vee_bounds, vee_days, vee_periods
from portal.cli.calc import (
    _NAMES,
    DEFAULT_ZONE,
    EVENTS,
    KNOWN,
    READINGS,
    REGISTERS,
    _consumption,
    _key_of,
    _keyed,
    _names,
    _problems,
    _without_arrival,
    app,
    place,
)
from portal.cli.common import instant_of
from portal.cli.files import Column, Table, check_output, read_tables, schema_option, write_table

SHIPPED: Final = data_rules.vee_rule_rows()[0]
VALIDITY: Final = (
    Column("valid_from", "day or instant", "from when this row holds, included; empty: always", required=False),
    Column("valid_to", "day or instant", "until when this row holds, not included; empty: without end", required=False),
)
RULES: Final = (
    Column("enterprise", "text", "whose registers; empty: of all", required=False),
    Column("meter", "text", "of which meter; empty: of all", required=False),
    Column("register", "text", "which register of that meter; empty: all", required=False),
    Column("medium", "text", "registers of which medium; empty: of all", required=False),
    Column("kind", "text", "registers of which kind; empty: of all", required=False),
    Column("rule", "text", "name of the rule", allowed=tuple(row.rule for row in SHIPPED)),
    Column("low", "number", "lower bound; empty: as shipped", required=False, unit="the rule's"),
    Column("high", "number", "upper bound; empty: as shipped", required=False, unit="the rule's"),
    Column("severity", "text", "how bad it is; empty: as shipped", required=False, allowed=vee_bounds.SEVERITIES),
    Column("enabled", "flag", "whether it is asked; empty: yes", required=False),
    *VALIDITY, *KNOWN,
)
BALANCES: Final = (
    Column("enterprise", "text", "id of the enterprise", required=False),
    Column("total_meter", "text", "meter of the total"),
    Column("total_register", "text", "its register", required=False, default="main"),
    Column("part_meter", "text", "meter of the part"),
    Column("part_register", "text", "its register", required=False, default="main"),
    Column("kind", "text", "tariff registers of a total, sub-meters behind a main meter, production of an energy register",
           allowed=("tariff", "sub_meter", "output")),
    *VALIDITY, *KNOWN,
)
MONTH_FIGURES: Final = (
    *_NAMES,
    Column("period", "period", "a month, such as 2026-11"),
    Column("quantity", "number", "what the register used in it, multiplier applied", unit="the register's"),
    *KNOWN,
)
VERDICTS: Final = (
    *READINGS,
    Column("verdict", "text", "unknown: no rule is broken, but some could not be judged", allowed=("passed", "failed", "unknown")),
    Column("severity", "text", "the worst of the broken rules", required=False, allowed=vee_bounds.SEVERITIES),
    Column("broken_rules", "text", "names of all rules that the reading broke"),
    Column("unknown_rules", "text", "names of the rules that could not be judged"),
    Column("unit_factor", "number", "rule unit_scale: by what the value would have to be divided to be as before", required=False),
)
PERIODS: Final = (
    *_NAMES,
    Column("rule", "text", "name of the rule", allowed=vee_periods.PERIOD_RULES),
    Column("start", "instant", "start of the day or month"),
    Column("end", "instant", "its end, not included"),
    Column("actual", "number", "what the parts, the days or the production add up to", nullable=True),
    Column("expected", "number", "what they are held against", nullable=True),
    Column("measure", "number", "what is bounded: a ratio, steps of resolution, or seconds", nullable=True),
    Column("low", "number", "lower bound", nullable=True),
    Column("high", "number", "upper bound", nullable=True),
    Column("severity", "text", "of a failed one", nullable=True, allowed=vee_bounds.SEVERITIES),
    Column("verdict", "text", "unknown: column missing says why", allowed=("passed", "failed", "unknown")),
    Column("missing", "text", "what was missing to judge", nullable=True),
    Column("checked", "number", "instants, parts or days compared", nullable=True),
    Column("broken", "number", "how many of them broke the rule", nullable=True),
)
_SCHEMA: Final = {
    "--readings": READINGS, "--registers": REGISTERS, "--rules": RULES, "--events": EVENTS, "--balances": BALANCES,
    "--month-figures": MONTH_FIGURES, "--out": VERDICTS, "--periods": PERIODS,
}


@app.command("validate")
def validate_command(
    readings: str = typer.Option(..., "--readings", help="Readings of registers."),
    registers: str = typer.Option(..., "--registers", help="The registers: kind, unit, multiplier, modulus, rating, resolution ..."),
    out: str = typer.Option(..., "--out", help="Where the verdicts go, a row for each reading."),
    rules: str | None = typer.Option(None, "--rules", help="Bounds of rules in the place of the shipped ones (config/tables/vee_rules.csv)."),
    events: str | None = typer.Option(None, "--events", help="Changes, resets, rollovers and multiplier changes of registers."),
    balances: str | None = typer.Option(None, "--balances", help="Which registers are parts of which."),
    month_figures: str | None = typer.Option(None, "--month-figures", help="What registers used in a month by another account."),
    periods: str | None = typer.Option(None, "--periods", help="Where the verdicts on days and months go."),
    not_passed: bool = typer.Option(False, "--not-passed", help="List only what failed or could not be judged."),
    zone: str | None = typer.Option(
        None, "--zone", callback=place, help=f"Whose days are meant (default {DEFAULT_ZONE}). If given, times without an offset are of it too.",
    ),
    as_of: str | None = typer.Option(
        None, "--as-of", metavar="INSTANT",
        help="Only readings that had arrived by then (received_at); registers, events, rules, balances and figures as they were known then.",
    ),
    schema: bool = schema_option(_SCHEMA),  # noqa: ARG001 - acts before the command does
) -> None:
    """Judge readings by named rules, and registers and periods against each other."""
    check_output(out, periods)
    days_of = zone or DEFAULT_ZONE
    keys: dict[str, pl.Series] = {}
    given = read_tables(
        {
            "readings": (readings, READINGS), "registers": (registers, REGISTERS), "events": (events, EVENTS), "rules": (rules, RULES),
            "balances": (balances, BALANCES), "figures": (month_figures, MONTH_FIGURES),
        },
        zone=zone, day_zone=days_of, check=lambda read: [*_wrong(read, keys), *(_without_arrival(read["readings"]) if as_of else ())],
        as_of=None if as_of is None else instant_of(as_of, ZoneInfo(days_of), "--as-of"),
    )
    rows, named = given["registers"], _names(given["registers"])
    keyed = _keyed(rows, named)
    which = conform(keyed.with_columns(pl.col("enterprise").fill_null("")), REGISTER)
    shown = conform(given["readings"].frame.select(
        "read_at", "value", "received_at", register_key=keys["readings"], message=pl.int_range(pl.len(), dtype=pl.Int64), copy=pl.lit(0),
        quality=pl.col("quality").cast(pl.Enum(READING_QUALITY)).to_physical(),
    ), READING)
    happened = conform(given["events"].frame.with_columns(register_key=keys["events"]), EVENT) if "events" in given else empty(EVENT)
    own = _rules_for(given["rules"].frame, which) if "rules" in given else empty(VEE_RULE)
    bounds = pl.concat([data_rules.vee_rules(zone=days_of), own])
    daily, aside, _flags = _consumption(shown, which, happened, "day", days_of)
    done = vee.validated(shown, which, happened, bounds, aside, empty(HISTORY), zone=days_of).verdicts.sort("message")
    found = [vee_periods.day_starts(vee_days.day_edges(shown, aside, zone=days_of), which, bounds, zone=days_of)]
    if "balances" in given:
        pairs = conform(given["balances"].frame.with_columns(total_key=keys["total"], part_key=keys["part"]), BALANCE)
        found += [vee_periods.tariff_sums(shown, which, pairs, bounds, zone=days_of), vee_periods.day_sums(daily, which, pairs, bounds)]
    if "figures" in given:
        figures = given["figures"].frame.select("period", "quantity", register_key=keys["figures"])
        found.append(vee_periods.month_sums(daily, which, figures, bounds, zone=days_of))
    judged = pl.concat(found).sort("register_key", "rule", "start")
    wanted = pl.col("verdict") != "passed" if not_passed else pl.lit(value=True)
    listed = done.filter(wanted)
    as_given = given["readings"].frame.select(name for name in given["readings"].frame.columns if name in given["readings"].given)
    write_table(as_given[listed["message"].cast(pl.UInt32)].with_columns(
        listed.select("verdict", "severity", "broken_rules", "unknown_rules", "unit_factor"),
    ), out, zone=days_of)
    if periods is not None:
        names = keyed.unique("register_key", keep="first", maintain_order=True).select("register_key", *named)
        of_periods = judged.filter(wanted).join(names, on="register_key", maintain_order="left")
        write_table(of_periods.select(*named, pl.exclude("register_key", *named)), periods, zone=days_of)
    typer.echo(f"{done.height} readings{_told(done)}; {judged.height} days and months{_told(judged)}", err=True)


def _told(verdicts: pl.DataFrame) -> str:
    """How many of each verdict, and which rules were broken most."""
    counts = dict(verdicts["verdict"].value_counts().iter_rows())
    parts = [f"{counts[name]} {name}" for name in ("passed", "failed", "unknown") if name in counts]
    rules = verdicts["broken_rules"].explode() if "broken_rules" in verdicts.columns else verdicts.filter(pl.col("verdict") == "failed")["rule"]
    why = [f"{count} {rule}" for rule, count in rules.drop_nulls().value_counts().sort("count", rules.name, descending=[True, False]).iter_rows()]
    return (f": {', '.join(parts)}" if parts else "") + (f" ({', '.join(why)})" if why else "")


def _rules_for(rows: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """VEE_RULE: a row that names no enterprise holds for each of them, and so comes before the shipped ones."""
    of_all = rows.filter(pl.col("enterprise").is_null()).drop("enterprise").join(registers.select("enterprise").unique(), how="cross")
    both = pl.concat([rows.filter(pl.col("enterprise").is_not_null()), of_all.select(rows.columns)])
    return conform(both.with_columns(source=pl.lit("--rules")), VEE_RULE)


def _wrong(given: Mapping[str, Table], keys: dict[str, pl.Series]) -> list[Problem]:
    """What is wrong between the tables; the register_key of each row is left in `keys`."""
    problems = _problems(given, keys)
    named = _names(given["registers"])
    keyed = _keyed(given["registers"], named)
    if "figures" in given:
        table = given["figures"]
        keys["figures"] = _key_of(table, keyed, named, problems)
        numbered = table.frame.with_columns(key=keys["figures"]).with_row_index("row")
        no_month = numbered.filter(~is_period("month"))
        twice = numbered.filter(pl.struct("key", "period").is_duplicated() & pl.col("key").is_not_null())
        problems += [Problem(table.where(row, "period"), "is no month", "Write a month such as 2026-11") for row in no_month["row"]]
        problems += [Problem(table.where(row), "the register has another figure for that month", "Keep one of them") for row in twice["row"]]
    if "balances" in given:
        table = given["balances"]
        for side in ("total", "part"):
            frame = table.frame.select(
                *(["enterprise"] if "enterprise" in table.frame.columns else []), meter=f"{side}_meter", register=f"{side}_register",
            )
            keys[side] = _key_of(table._replace(frame=frame), keyed, named, problems)
        itself = table.frame.with_row_index("row").filter((keys["total"] == keys["part"]).fill_null(False))
        problems += [Problem(table.where(row), "the total is its own part", "Name the register that is a part of it") for row in itself["row"]]
    if "rules" in given:
        problems += _rule_problems(given["rules"], keyed, named)
    return problems


def _rule_problems(table: Table, keyed: pl.DataFrame, named: Sequence[str]) -> list[Problem]:
    numbered = table.frame.with_row_index("row")
    found: list[Problem] = []

    def complain(wrong: pl.Expr, column: str, what: str, remedy: str) -> None:
        found.extend(Problem(table.where(row, column), what, remedy) for row in numbered.filter(wrong)["row"])

    complain(pl.col("register").is_not_null() & pl.col("meter").is_null(), "meter", "the cell is empty", "Name the register's meter too")
    complain(pl.col("valid_from") >= pl.col("valid_to"), "valid_to", "it is not after valid_from", "A row holds from valid_from to valid_to")
    bands = pl.col("rule").is_in(data_rules.VEE_BANDS) & (pl.col("low") > pl.col("high"))
    complain(bands, "high", "it is below low", "Give the lower bound first")
    always = pl.col("rule").is_in(data_rules.VEE_ALWAYS) & ~pl.col("enabled")
    complain(always, "enabled", "this rule decides which readings count and cannot be switched off", "Leave the cell empty")
    for column in ("enterprise", "meter"):
        if column == "meter" or column in named:
            known = keyed[column].drop_nulls().unique().implode()
            complain(pl.col(column).is_not_null() & ~pl.col(column).is_in(known), column, "the registers name no such one", "Mend the name")
    if "enterprise" in table.given and "enterprise" not in named:
        found.append(Problem(f"{table.name} column enterprise", "the registers have no such column", "Give the enterprise in both tables or in none"))
    return found
