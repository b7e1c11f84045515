"""`tcewatch calc`: the analytics core on files, with no server; the output of one command is input of the next."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, Literal, cast
from zoneinfo import ZoneInfo

import polars as pl
import typer

from config import events as declared
from config import formulas
from config.errors import Problem
from config.schemas import EVENT, READING, READING_QUALITY, REGISTER, conform
from config.units import MEDIA, units_of
from monitors import formulas as derivation
from monitors import intervals as core
from portal.cli import (
    calc_accounts,
    calc_carbon,
    calc_enterprises,
    calc_estimate,
    calc_key_units,
    calc_limits,
    calc_price,
    calc_reconcile,
    calc_warning,
)
from portal.cli.common import instant_of
from portal.cli.files import LISTED_PER_COLUMN, Column, Table, check_output, read_tables, schema_option, write_table

DEFAULT_ZONE: Final = "Asia/Shanghai"
JOINED_AT_ONCE: Final = 1_000_000

app = typer.Typer(no_args_is_help=True)

_NAMES: Final = (
    Column("enterprise", "text", "id of the enterprise, any", required=False),
    Column("meter", "text", "id of the meter"),
    Column("register", "text", "id of the register of that meter", required=False, default="main"),
)
KNOWN: Final = (
    Column("known_from", "instant", "from when this row was known; empty: always", required=False),
    Column("known_to", "instant", "until when: it was replaced or withdrawn then; empty: it is not", required=False),
)
READINGS: Final = (
    *_NAMES,
    Column("read_at", "instant", "when the register showed the value"),
    Column("value", "number", "what the register showed, without multiplier", unit="the register's"),
    Column("received_at", "instant", "when it arrived: of two values for one instant the earlier arrived may count", required=False),
    Column("unit", "text", "the register's unit; another one is a fault, nothing is converted", required=False),
    Column("quality", "text", "what the gateway said of it", required=False, default="good", allowed=READING_QUALITY),
)
REGISTERS: Final = (
    *_NAMES,
    Column("medium", "text", "what it measures", allowed=MEDIA),
    Column("unit", "text", "unit of value times multiplier; of a rate kW, MW, m3/h, t/h ...; of a state kPa_abs, MPa_gauge, degC ..."),
    Column("kind", "text", "what a value says: a running total, the consumption since the last stamp, power or flow, or pressure or temperature; "
           "derived: it has no readings and follows from other registers", allowed=("cumulative", "interval", "rate", "state", "derived")),
    Column("stamp", "text", "which end of its interval an interval reading carries", required=False, default="end", allowed=("start", "end")),
    Column("modulus", "number", "value at which a cumulative register starts again from 0", required=False, above=0.0),
    Column("range_low", "number", "least value that the register can show", required=False),
    Column("range_high", "number", "greatest value that the register can show", required=False),
    Column("max_rate_per_h", "number", "greatest possible consumption in an hour, multiplier applied", required=False, unit="quantity/h", above=0.0),
    Column("multiplier", "number", "by what a value is multiplied (CT x PT ratio, pulse weight)", required=False, default=1.0, above=0.0),
    Column("resolution", "number", "smallest step that the register shows", required=False, low=0.0),
    Column("net", "flag", "whether the register may run backwards", required=False),
    Column("valid_from", "day or instant", "from when this row holds, included; empty: always", required=False),
    Column("valid_to", "day or instant", "until when this row holds, not included; empty: without end", required=False),
    *KNOWN,
    Column("formula", "text", f"of a derived register: {', '.join(formulas.FUNCTIONS)} of registers meter.register, such as sum(M1.main, M2.main)",
           required=False),
)
EVENTS: Final = (
    *_NAMES,
    Column("at", "day or instant", "when it happened"),
    Column("event", "text", "the meter was changed, the register was reset, it passed its modulus, its multiplier changed",
           allowed=("change", "reset", "rollover", "multiplier")),
    Column("closing_value", "number", "what the register showed at the end of what was before", required=False),
    Column("opening_value", "number", "what the register showed at the start of what came after", required=False),
    Column("multiplier", "number", "the multiplier from then on", required=False, above=0.0),
    *KNOWN,
)
INTERVALS: Final = (
    *_NAMES,
    Column("start", "instant", "start of the interval, included"),
    Column("end", "instant", "end of the interval, not included"),
    Column("quantity", "number", "consumption in the covered time, multiplier applied", unit="column unit"),
    Column("unit", "text", "unit of the quantity"),
    Column("quality", "text", "the worst that touches the interval", allowed=("measured", "estimated", "suspect")),
    Column("covered_ratio", "number", "share of the interval between readings; nothing is extrapolated", low=0.0),
    Column("estimated_ratio", "number", "share of the covered time whose consumption is spread over a gap", low=0.0),
)
SET_ASIDE: Final = (*READINGS, Column("broken_rules", "text", "names of the rules by which the reading does not count"))
FLAGS: Final = (
    *_NAMES,
    Column("start", "instant", "the counted reading before"),
    Column("end", "instant", "the counted reading after"),
    Column("flag", "text", "what was decided about the time between them", allowed=("wrap", "reset", "jitter", "gap", "over_rating", "uncertain")),
    Column("before", "number", "what the register showed at the start, without multiplier", required=False),
    Column("after", "number", "what the register showed at the end, without multiplier", required=False),
    Column("quantity", "number", "consumption in between, multiplier applied", unit="column unit"),
    Column("unit", "text", "unit of the quantity"),
)
_SCHEMA: Final = {
    "--readings": READINGS, "--registers": REGISTERS, "--events": EVENTS, "--out": INTERVALS, "--rejected": SET_ASIDE, "--flags": FLAGS,
}
_KEY: Final = ("enterprise", "meter", "register")
_BOUNDS: Final = ("modulus", "range_low", "range_high")
_KINDS: Final = {"cumulative": "a cumulative register", "interval": "an interval register", "rate": "a rate", "state": "a state"}
_OF_READINGS: Final = [name for name in formulas.ABSENT if name in {column.name for column in REGISTERS}]


def place(zone: str | None) -> str | None:
    """Check a zone given on the command line."""
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise typer.BadParameter(f"{zone!r} is no time zone; write a name such as Asia/Shanghai") from None
    return zone


@app.callback()
def _calc() -> None:
    """Run a stage of the analytics core on files: CSV, Parquet or xlsx by suffix, - for CSV on standard input or output."""


@app.command()
def intervals(
    readings: Annotated[str, typer.Option(help="Readings of registers.")],
    registers: Annotated[str, typer.Option(help="The registers: kind, unit, multiplier, modulus ...")],
    by: Annotated[Literal["reading", "hour", "day", "month", "year"], typer.Option(help="One row for each step, or local hour, ...")],
    out: Annotated[str, typer.Option(help="Where the consumption goes.")],
    events: Annotated[str | None, typer.Option(help="Changes, resets, rollovers and multiplier changes of registers.")] = None,
    zone: Annotated[str | None, typer.Option(
        callback=place, help=f"Whose hours and days are meant (default {DEFAULT_ZONE}). If given, times without an offset are of that zone too.",
    )] = None,
    rejected: Annotated[str | None, typer.Option(help="Where the readings go that do not count, with the rules that they break.")] = None,
    flags: Annotated[str | None, typer.Option(help="Where resets, wraps, gaps and steps that are too fast go, for a person to see.")] = None,
    as_of: Annotated[str | None, typer.Option(
        metavar="INSTANT", help="Only readings that had arrived by then (received_at), registers and events as they were known then.",
    )] = None,
    schema: bool = schema_option(_SCHEMA),  # noqa: ARG001 - acts before the command does
) -> None:
    """Turn readings of registers into consumption over intervals."""
    check_output(out, *(path for path in (rejected, flags) if path is not None))
    place_of_days = zone or DEFAULT_ZONE
    keys: dict[str, pl.Series] = {}
    given = read_tables(
        {"readings": (readings, READINGS), "registers": (registers, REGISTERS), "events": (events, EVENTS)}, zone=zone, day_zone=place_of_days,
        check=lambda read: [*_problems(read, keys), *(_without_arrival(read["readings"]) if as_of else ())],
        as_of=None if as_of is None else instant_of(as_of, ZoneInfo(place_of_days), "--as-of"),
    )
    table, rows = given["readings"], given["registers"]
    named = _names(rows)
    keyed = _keyed(rows, named)
    happened = pl.DataFrame(schema=EVENT)
    if "events" in given:
        happened = conform(given["events"].frame.with_columns(register_key=keys["events"]), EVENT)
    counted = table.frame.select(
        "read_at", "value", "received_at", register_key=keys.pop("readings"), message=pl.int_range(pl.len(), dtype=pl.Int64), copy=pl.lit(0),
        quality=pl.col("quality").cast(pl.Enum(READING_QUALITY)).to_physical(),
    )
    as_given = table.frame.select(name for name in table.frame.columns if name in table.given and rejected is not None)
    del given, table  # the names of millions of readings are no longer needed
    found, aside, decided = _consumption(conform(counted, READING), conform(keyed, REGISTER), happened, by, place_of_days)
    write_table(_named_intervals(found, keyed, named, rows), out, zone=place_of_days)
    if rejected is not None:
        write_table(as_given[aside["message"].cast(pl.UInt32)].with_columns(aside["broken_rules"]), rejected, zone=place_of_days)
    if flags is not None:
        shown = _named_intervals(decided, keyed, named, rows, ("start", "end", "flag", "before", "after", "quantity", "unit"))
        write_table(shown, flags, zone=place_of_days)
    typer.echo(
        f"{counted.height} readings, {found.height} intervals, {aside.height} readings set aside" + _tally(aside["broken_rules"].explode())
        + ("; --rejected FILE lists them" if aside.height and rejected is None else "")
        + (f"; {decided.height} flags" + _tally(decided["flag"]) if decided.height else "")
        + ("; --flags FILE lists them" if decided.height and flags is None else ""), err=True,
    )


def _tally(names: pl.Series) -> str:
    """How often each name is there, in brackets; nothing where there is none."""
    counts = names.value_counts(sort=True)
    return f" ({', '.join(f'{count} {name}' for name, count in counts.iter_rows())})" if counts.height else ""


def _consumption(
    readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, by: core.Grain, zone: str,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """INTERVAL of the registers that count and of the derived ones, SET_ASIDE of all, and FLAG."""
    done = core.intervals(readings, registers, events, by=by, zone=zone)
    if registers["kind"].is_in(core.COUNTED_KINDS).all():
        return done.intervals, done.set_aside, done.flags
    following = derivation.derived(registers.filter(pl.col("kind") == "derived"), readings, registers, events, by=by, zone=zone)
    return (
        pl.concat([done.intervals, following.intervals]).sort("register_key", "start"),
        pl.concat([done.set_aside, following.set_aside]).sort("register_key", "read_at"),
        done.flags,
    )


def _problems(given: Mapping[str, Table], keys: dict[str, pl.Series]) -> list[Problem]:
    """What is wrong between the rows and tables; the register_key of each reading and event is left in `keys`."""
    rows = given["registers"]
    named = _names(rows)
    keyed = _keyed(rows, named)
    problems = _register_problems(rows, keyed, named)
    for name in ("readings", "events"):
        if name in given:
            keys[name] = _key_of(given[name], keyed, named, problems)
    if "events" in given:
        problems += _event_problems(given["events"], keys["events"], keyed)
    problems += _unit_problems(given["readings"], keys["readings"], keyed)
    derived = keyed.filter(pl.col("kind") == "derived")["register_key"].unique()
    for name, its in keys.items():
        first = pl.DataFrame({"key": its}).with_row_index("row").filter(pl.col("key").is_in(derived.implode())).unique("key", maintain_order=True)
        what, remedy = f"{name} of a derived register", "Leave them out: it follows from the registers that its formula names"
        problems += [Problem(given[name].where(row, "meter"), what, remedy) for row in first["row"]]
    return problems


def _names(rows: Table) -> list[str]:
    """The columns that name a register."""
    return [name for name in _KEY if name != "enterprise" or "enterprise" in rows.given]


def _keyed(rows: Table, named: Sequence[str]) -> pl.DataFrame:
    """The register rows with a dense register_key, in the order of the file."""
    distinct = rows.frame.select(named).unique(maintain_order=True).with_row_index("register_key")
    return rows.frame.join(distinct, on=named, how="left", nulls_equal=True, maintain_order="left")


def _key_of(table: Table, keyed: pl.DataFrame, named: Sequence[str], problems: list[Problem]) -> pl.Series:
    """The register_key of every row of a table; registers that nobody declared become problems, one for each."""
    on = list(named)
    said = "enterprise" in table.given and table.frame["enterprise"].null_count() < table.frame.height  # `decode` writes it though nothing says it
    if said and "enterprise" not in named:
        where = f"{table.name} column enterprise"
        problems.append(Problem(where, "the registers have no such column", "Give the enterprise in both tables or in none"))
        return pl.repeat(None, table.frame.height, dtype=pl.UInt32, eager=True)
    if "enterprise" in named and not said:
        on.remove("enterprise")
    distinct = keyed.select(*on, "register_key").unique(maintain_order=True)
    several = distinct.filter(distinct.select(on).is_duplicated())
    if several.height:
        meter = several["meter"][0]
        problems.append(Problem(
            f"{table.name} column enterprise", f"the column is missing, and several enterprises have a meter {meter!r}",
            "Add the enterprise to each row",
        ))
        return pl.repeat(None, table.frame.height, dtype=pl.UInt32, eager=True)
    keys = pl.concat([  # in slices, which bounds the memory of the join
        piece.join(distinct, on=on, how="left", maintain_order="left")["register_key"] for piece in table.frame.select(on).iter_slices(JOINED_AT_ONCE)
    ] or [pl.Series("register_key", dtype=pl.UInt32)])
    if keys.null_count():
        unknown = table.frame.select(on).with_row_index("row").filter(keys.is_null()).filter(pl.col("meter").is_not_null())
        problems.extend(
            Problem(table.where(row[0]), f"no register is declared for {' / '.join(map(str, row[1:]))}", "Add a row for it to the registers")
            for row in unknown.unique(on, keep="first", maintain_order=True).iter_rows()
        )
    return keys


def _register_problems(rows: Table, keyed: pl.DataFrame, named: Sequence[str]) -> list[Problem]:
    """What is wrong between the columns and rows of the registers."""
    numbered = keyed.with_row_index("row").filter(pl.col("meter").is_not_null())  # an empty name is a problem of its own
    found: list[Problem] = []

    def complain(wrong: pl.Expr, column: str, what: str, remedy: str) -> None:
        found.extend(Problem(rows.where(row, column), what, remedy) for row in numbered.filter(wrong)["row"])

    complain(pl.col("range_low") > pl.col("range_high"), "range_high", "it is below range_low", "Give the least value first")
    complain(pl.col("valid_from") >= pl.col("valid_to"), "valid_to", "it is not after valid_from", "A row holds from valid_from to valid_to")
    for kind, named_so in _KINDS.items():
        units = units_of(kind)
        wrong = numbered.filter(pl.col("kind") == kind, ~pl.col("unit").is_in(units))
        found.extend(
            Problem(rows.where(row, "unit"), f"{unit!r} is no unit of {named_so}", f"Write one of {', '.join(units)}")
            for row, unit in wrong.select("row", "unit").iter_rows()
        )
    if numbered.select((pl.col("kind") == "derived").any() | pl.col("formula").is_not_null().any()).item():
        written = numbered.select(*_KEY, "unit", "kind", "formula", "multiplier", *_OF_READINGS).to_dicts()
        found.extend(
            Problem(rows.where(numbered["row"][fault.row], fault.column), fault.what, fault.remedy) for fault in formulas.terms(written)[1]
        )
    if "enterprise" in named:
        complain(pl.col("enterprise").is_null(), "enterprise", "the cell is empty", "Name the enterprise in every row, or leave the column out")
    for column in ("kind", "unit", "stamp", "medium"):
        complain(
            pl.col(column) != pl.col(column).first().over("register_key"), column, f"the {column} differs from the register's first row",
            "A register keeps its kind, unit, stamp and medium; give what came after a name of its own",
        )
    dated = numbered.sort("register_key", "valid_from", nulls_last=False, maintain_order=True)
    before = pl.col("valid_to").shift(1).over("register_key")
    follows = pl.int_range(pl.len()).over("register_key") > 0
    overlap = dated.filter(follows & (before.is_null() | pl.col("valid_from").is_null() | (before > pl.col("valid_from"))))
    found.extend(
        Problem(rows.where(row), "the register has another row for the same time", "Let the earlier row end (valid_to) where the later begins")
        for row in overlap["row"]
    )
    return found


def _unit_problems(readings: Table, keys: pl.Series, keyed: pl.DataFrame) -> list[Problem]:
    """The first reading of each register and unit that is not the register's."""
    if "unit" not in readings.given:
        return []
    units = keyed.select("register_key", own="unit").unique("register_key")
    read = pl.DataFrame({"register_key": keys, "unit": readings.frame["unit"]}).with_row_index("row").unique(
        ["register_key", "unit"], keep="first", maintain_order=True,
    )
    other = read.join(units, on="register_key", maintain_order="left").filter(pl.col("unit") != pl.col("own"))
    return [
        Problem(readings.where(row, "unit"), f"it is {unit!r}, the register's is {own!r}", "Convert the readings, or correct the register")
        for row, unit, own in other.select("row", "unit", "own").iter_rows()
    ]


def _without_arrival(readings: Table) -> list[Problem]:
    if "received_at" not in readings.given:
        return [Problem(f"{readings.name} column received_at", "is missing", "Give when each reading arrived; without it --as-of has no answer")]
    rows = readings.frame["received_at"].is_null().arg_true()
    return [Problem(readings.where(row, "received_at"), "the cell is empty", "Give when the reading arrived") for row in rows.head(LISTED_PER_COLUMN)]


def _event_problems(events: Table, keys: pl.Series, keyed: pl.DataFrame) -> list[Problem]:
    loosest = keyed.group_by("register_key").agg(
        pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).min() if name == "range_low" else pl.col(name).max()) for name in _BOUNDS
    )
    spans = {key: rows.select("valid_from", "valid_to").rows() for (key,), rows in keyed.group_by("register_key")}
    numbered = events.frame.with_columns(key=keys).with_row_index("row").join(
        loosest, left_on="key", right_on="register_key", how="left", maintain_order="left",
    )
    bare = numbered.filter((pl.col("event") == "multiplier") & pl.col("multiplier").is_null())
    twice = numbered.filter(pl.struct("key", "at", "event").is_duplicated() & pl.all_horizontal(pl.col("key", "at", "event").is_not_null()))
    return [
        *(Problem(events.where(row, "multiplier"), "the cell is empty", "Give the multiplier from then on") for row in bare["row"]),
        *(Problem(events.where(row["row"], fault.column), fault.what, fault.remedy)
          for row in numbered.select("row", "key", "at", "closing_value", "opening_value", *_BOUNDS).iter_rows(named=True)
          for fault in declared.faults(
              row["at"], row["closing_value"], row["opening_value"], **{name: row[name] for name in _BOUNDS},
              valid=spans.get(row["key"], [(None, None)]),
          )),
        *(Problem(events.where(row), "the same event is there twice", "Remove one of the rows") for row in twice["row"]),
    ]


_OF_INTERVALS: Final = ("start", "end", "quantity", "unit", "quality", "covered_ratio", "estimated_ratio")


def _named_intervals(
    found: pl.DataFrame, keyed: pl.DataFrame, named: Sequence[str], rows: Table, columns: Sequence[str] = _OF_INTERVALS,
) -> pl.DataFrame:
    """The contract's columns, then those that the registers' file had beyond them."""
    declared = {column.name for column in REGISTERS}
    extras = [name for name in keyed.columns if name in rows.given and name not in declared and name not in columns]
    units = {
        (kind, unit): core.quantity_unit(kind, unit) for kind, unit in keyed.select("kind", "unit").unique().iter_rows()
    }
    names = keyed.unique("register_key", keep="last", maintain_order=True).sort("register_key")
    names = names.with_columns(unit=pl.Series([units[pair] for pair in names.select("kind", "unit").iter_rows()], dtype=pl.String))
    at = found["register_key"]  # dense: the key is the row
    own = [names["unit"].gather(at) if column == "unit" else found[column] for column in columns]
    return pl.DataFrame([*(names[name].gather(at) for name in named), *own, *(names[name].gather(at) for name in extras)])


for _module in (
    calc_accounts, calc_carbon, calc_enterprises, calc_estimate, calc_key_units, calc_limits, calc_price, calc_reconcile, calc_warning,
):
    for _name, _command in _module.COMMANDS.items():
        app.command(_name)(cast(Callable[..., None], _command))  # commands of different signatures

import portal.cli.calc_rollup  # noqa: E402 - the same
import portal.cli.calc_validate  # noqa: E402, F401 - adds its command to `app`, with the columns of this module
