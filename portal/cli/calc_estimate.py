"""`tcewatch calc estimate`: what is not measured, estimated from the register's own hours or a linked one's."""

from collections.abc import Mapping
from typing import Final, Literal

import polars as pl
import typer

from config import calendar
from config.errors import Problem
from config.schemas import INTERVAL, conform
from monitors import estimation as core
from portal.cli.files import Column, Table, check_output, read_tables, schema_option, write_table

CHINA: Final = "Asia/Shanghai"
LONGEST_HOUR_MIN: Final = 90  # where a clock is put back by half an hour
NAMES: Final = (
    Column("enterprise", "text", "any id", required=False),
    Column("meter", "text", "id of the meter"),
    Column("register", "text", "id of the register of that meter", required=False, default="main"),
)
HOURS: Final = (
    *NAMES,
    Column("start", "instant", "start of the hour"),
    Column("end", "instant", "end of the hour, not included"),
    Column("quantity", "number", "consumption in the covered time", unit="column unit"),
    Column("unit", "text", "unit of the quantity"),
    Column("quality", "text", "the worst that touches the hour", required=False, default="measured", allowed=("measured", "estimated", "suspect")),
    Column("covered_ratio", "number", "share of the hour that is covered", required=False, default=1.0, low=0.0),
    Column("estimated_ratio", "number", "share of the covered time that is estimated", required=False, default=0.0, low=0.0),
)
WINDOWS: Final = (
    *NAMES,
    Column("start", "instant", "start of the window"),
    Column("end", "instant", "end of the window, not included"),
    Column("quantity", "number", "a person's value for what is not covered in it; then the method is manual", required=False, unit="the register's"),
    Column("low", "number", "lower bound of that value (95 %)", required=False, unit="the register's"),
    Column("high", "number", "upper bound of that value (95 %)", required=False, unit="the register's"),
    Column("reason", "text", "where that value is from", required=False),
)
LINKS: Final = (
    *NAMES,
    Column("linked_meter", "text", "the meter whose consumption goes with this one's"),
    Column("linked_register", "text", "its register", required=False, default="main"),
)
ESTIMATES: Final = (
    *NAMES,
    Column("start", "instant", "start of the span"),
    Column("end", "instant", "end of the span, not included"),
    Column("quantity", "number", "of what is not covered in the span; empty: the method has nothing to go by", nullable=True, unit="column unit"),
    Column("estimated_h", "number", "so much of the span is not covered, or is caught up for", unit="h"),
    Column("low", "number", "lower bound (95 %) from back-tests", nullable=True, unit="column unit"),
    Column("high", "number", "upper bound (95 %) from back-tests", nullable=True, unit="column unit"),
    Column("unit", "text", "unit of the quantity"),
    Column("method", "text", "how it was estimated; empty: no method has anything to go by", nullable=True, allowed=core.METHODS[1:]),
    Column("reason", "text", "what the estimate rests on"),
    Column("reason_zh", "text", "the same in Chinese"),
    Column("back_tests", "number", "hidden windows of the register's own history on which the interval rests"),
    Column("total_measured", "flag", "whether the quantity is the register's own, and only its hours are estimated"),
)
_SCHEMA: Final = {"--intervals": HOURS, "--windows": WINDOWS, "--linked": LINKS, "--out": ESTIMATES, "--filled": HOURS}


def _place(zone: str) -> str:
    from portal.cli.calc import place  # that module takes its commands from this one

    return str(place(zone))


def estimate_command(
    intervals: str = typer.Option(..., "--intervals", help="Output of `calc intervals --by hour`: the gaps' registers, their history, linked ones."),
    out: str = typer.Option(..., "--out", help="Where the estimates go, a row for each span."),
    windows: str | None = typer.Option(
        None, "--windows", help="What to estimate; left out: the hours between readings that are missing or not covered whole.",
    ),
    linked: str | None = typer.Option(None, "--linked", help="Which register goes with which."),
    method: Literal["auto", "linear", "like_days", "linked", "manual"] = typer.Option(
        "auto", "--method", help="How; auto: by the smallest error of back-tests.",
    ),
    filled: str | None = typer.Option(None, "--filled", help="Where the hours go with the estimates in them, for `calc quantities`."),
    zone: str = typer.Option(CHINA, "--zone", callback=_place, help="Whose hours and days are meant; China's holidays count in its own zone."),
    schema: bool = schema_option(_SCHEMA),  # noqa: ARG001 - acts before the command does
) -> None:
    """Estimate the consumption of time in which nothing is measured, with a 95 % interval from back-tests."""
    check_output(out, filled)
    keys: dict[str, pl.Series] = {}
    given = read_tables(
        {"intervals": (intervals, HOURS), "windows": (windows, WINDOWS), "linked": (linked, LINKS)}, zone=zone, day_zone=zone,
        check=lambda read: _problems(read, keys, method, linked),
    )
    names = _names(given["intervals"])
    hours = conform(given["intervals"].frame.with_columns(register_key=keys["intervals"]), INTERVAL)
    gaps = given["windows"].frame.with_columns(register_key=keys["windows"]) if "windows" in given else core.gaps(hours)
    links = None
    if "linked" in given:
        pair = pl.format("{} / {}", "linked_meter", "linked_register")
        links = given["linked"].frame.select(pair.alias("linked")).with_columns(register_key=keys["linked"], linked_key=keys["linked_to"])
    holidays = calendar.holidays() if zone == CHINA else None
    done = core.estimated(hours, gaps, zone=zone, method=method, links=links, holidays=holidays)
    write_table(_named(done.spans, names, ESTIMATES), out, zone=zone)
    if filled is not None:
        write_table(_named(core.completed(hours, done), names, HOURS), filled, zone=zone)
    empty = done.spans["quantity"].null_count()
    lacking = f", {empty} of them without a value (column reason says why)" if empty else ""
    typer.echo(f"{gaps.height} windows, {done.spans.height} spans to estimate{lacking}", err=True)


def _named_by(table: Table) -> list[str]:
    return [column.name for column in NAMES if column.name != "enterprise" or "enterprise" in table.given]


def _names(hours: Table) -> pl.DataFrame:
    """The registers in the order of the file: register_key, their names, unit, and what else the file says of them."""
    known = {column.name for column in (*HOURS, *ESTIMATES)}
    extras = [name for name in hours.frame.columns if name not in known]
    first = hours.frame.select(*_named_by(hours), "unit", *extras).unique(_named_by(hours), keep="first", maintain_order=True)
    return first.with_row_index("register_key")


def _named(rows: pl.DataFrame, names: pl.DataFrame, columns: tuple[Column, ...]) -> pl.DataFrame:
    joined = rows.join(names, on="register_key", how="left", maintain_order="left")
    known = {column.name for column in columns}
    extras = [name for name in names.columns if name not in known and name != "register_key"]
    return joined.select(*(column.name for column in columns if column.name in joined.columns), *extras)


def _problems(given: Mapping[str, Table], keys: dict[str, pl.Series], method: str, linked: str | None) -> list[Problem]:
    """What is wrong between the rows and tables; the register_key of each row is left in `keys`."""
    hours = given["intervals"]
    names = _names(hours)
    problems: list[Problem] = []
    for name, meter, register, key in (
        ("intervals", "meter", "register", "intervals"), ("windows", "meter", "register", "windows"),
        ("linked", "meter", "register", "linked"), ("linked", "linked_meter", "linked_register", "linked_to"),
    ):
        if name in given:
            keys[key] = _keys_of(given[name], names, {"meter": meter, "register": register}, problems)
    rows = hours.frame.with_columns(key=keys["intervals"]).with_row_index("row")
    minutes = (pl.col("end") - pl.col("start")).dt.total_minutes()
    problems += [
        Problem(hours.where(row, "end"), "the row is not an hour", "Write the intervals with `calc intervals --by hour`")
        for row in rows.filter((minutes <= 0) | (minutes > LONGEST_HOUR_MIN))["row"].head(20)
    ]
    twice = rows.filter(pl.struct("key", "start").is_duplicated(), pl.col("start").is_not_null())
    problems += [Problem(hours.where(row, "start"), "the register has this hour twice", "Keep one of the rows") for row in twice["row"].head(20)]
    units = rows.filter(pl.col("unit") != pl.col("unit").first().over("key"))
    differs = "the unit differs from the register's first row"
    problems += [Problem(hours.where(row, "unit"), differs, "Write one unit") for row in units["row"].head(20)]
    if "windows" in given:
        backwards = rows.filter(pl.col("quantity") < 0)["key"].unique()
        problems += _window_problems(given["windows"], keys["windows"], method, backwards)
    elif method == "manual":
        problems.append(Problem("--method manual", "no window gives a value", "Give --windows with a column quantity"))
    if method == "linked" and linked is None:
        problems.append(Problem("--method linked", "no register is linked", "Give --linked with the linked meter of each meter"))
    if "linked" in given:
        pairs = pl.DataFrame({"key": keys["linked"], "to": keys["linked_to"]}).with_row_index("row")
        again, itself = pairs.filter(pl.col("key").is_not_null() & ~pl.col("key").is_first_distinct()), pairs.filter(pl.col("key") == pl.col("to"))
        where = given["linked"].where
        problems += [Problem(where(row), "the register has a row before", "Link each register to one other") for row in again["row"]]
        problems += [Problem(where(row), "it is linked to itself", "Name another meter") for row in itself["row"]]
    return problems


def _window_problems(windows: Table, keys: pl.Series, method: str, backwards: pl.Series) -> list[Problem]:
    """What is wrong with the windows, `backwards` being the registers with an hour below zero: only a net register has one."""
    rows = windows.frame.with_columns(key=keys).with_row_index("row")
    sorted_rows = rows.sort("key", "start")
    overlapping = sorted_rows.filter(pl.col("key").is_not_null(), (pl.col("start") < pl.col("end").cum_max().shift(1)).over("key"))
    quantity, low, high = (pl.col(name) for name in ("quantity", "low", "high"))
    forward = pl.col("key").is_not_null() & ~pl.col("key").is_in(backwards.implode())
    negative = "it is below 0, and no hour of the register is", "Only a register that runs backwards too can have a negative consumption"
    asked = [
        ("end", pl.col("end") <= pl.col("start"), "it is not after start", "A window goes from start to end"),
        ("start", pl.col("row").is_in(overlapping["row"].implode()), "the window overlaps one before it", "Give each time once"),
        ("low", (low > quantity) | (low > high), "it is above the value", "Write low <= quantity <= high"),
        ("high", high < quantity, "it is below the value", "Write low <= quantity <= high"),
        ("quantity", quantity.is_null() & (pl.lit(method == "manual") | low.is_not_null() | high.is_not_null()), "the cell is empty",
         "Write the value for what is not covered in the window"),
        ("quantity", forward & (quantity < 0), *negative), ("low", forward & (low < 0) & (quantity >= 0), *negative),
    ]
    return [
        Problem(windows.where(row, column), what, remedy) for column, wrong, what, remedy in asked for row in rows.filter(wrong)["row"]
    ]


def _keys_of(table: Table, names: pl.DataFrame, columns: Mapping[str, str], problems: list[Problem]) -> pl.Series:
    """The register_key of every row; what has no interval becomes a problem. Without enterprises, meters must be unique."""
    on = ["meter", "register"] + (["enterprise"] if "enterprise" in names.columns and "enterprise" in table.given else [])
    asked = table.frame.select(*(name for name in on if name == "enterprise"), *(pl.col(theirs).alias(ours) for ours, theirs in columns.items()))
    known = names.select(*on, "register_key")
    ambiguous = known.filter(known.select(on).is_duplicated())
    if ambiguous.height:
        what = f"the column is missing, and several enterprises have a meter {ambiguous['meter'][0]!r}"
        problems.append(Problem(f"{table.name} column enterprise", what, "Add the enterprise to each row"))
        known = known.unique(on)
    keys = asked.join(known, on=on, how="left", nulls_equal=True, maintain_order="left")["register_key"]
    lost = asked.with_row_index("row").filter(keys.is_null(), pl.col("meter").is_not_null()).unique(on, keep="first", maintain_order=True)
    for row, meter, register in lost.select("row", "meter", "register").iter_rows():
        what = f"the intervals have no register {meter} / {register}"
        problems.append(Problem(table.where(row, columns["meter"]), what, "Add its hours to the intervals"))
    return keys


COMMANDS: Final = {"estimate": estimate_command}
