"""All tables of the law together: what a site may bring, whether it fits, and what it changes."""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import polars as pl

from config import (
    benchmarks,
    budgets,
    calendar,
    carbon,
    coal_equivalents,
    data_rules,
    energy_figures,
    key_units,
    limit_tables,
    papers,
    price_schemes,
    signs,
)
from config.coal_equivalents import CoefficientRow
from config.data_rules import FigureRuleRow
from config.errors import BadInputError, Problem
from config.limit_tables import CorrectionRow, LimitRow
from config.tables import TableRow, load, rows_in

Dated = TypeVar("Dated", CoefficientRow, LimitRow, CorrectionRow, FigureRuleRow)  # rows that may say from when on they were known
MODELS: Final[Mapping[str, type[TableRow]]] = {
    **coal_equivalents.MODELS, **limit_tables.MODELS, **data_rules.MODELS, **calendar.MODELS, **benchmarks.MODELS, **key_units.MODELS,
    **papers.MODELS, **signs.MODELS, **budgets.MODELS, **energy_figures.MODELS, **price_schemes.MODELS, **carbon.MODELS,
}
LOADERS: Final[tuple[Callable[[Path | None], object], ...]] = (  # what rows say of each other
    limit_tables.limits, coal_equivalents.coefficients, data_rules.quality_weights, calendar.holidays, data_rules.calibration_intervals,
    data_rules.vee_rules, data_rules.figure_rules,
    benchmarks.benchmarks, key_units.thresholds, key_units.access_goals, key_units.entry_conditions, papers.metering_requirements,
    papers.statistical_codes, signs.sign_rules, budgets.warning_rules, budgets.consequences, energy_figures.energy_figures,
    price_schemes.price_schemes, carbon.carbon_factors, carbon.carbon_levels,
)
SECONDARY: Final = ("electricity", "heat")  # on the equivalent basis theirs is the rate of a year
NEW_RULE_FROM: Final = date(2021, 4, 1)  # GB/T 2589-2020: the rate of the year before; the 2008 edition took that of the same year (recalled)


class Edition(NamedTuple):
    """What a file brings: its name in the site's folder, what was checked, its rows by table, and what they change of what is in force."""

    name: str
    content: bytes
    rows: Mapping[str, Sequence[TableRow]]
    notes: Sequence[str]


class _Span(NamedTuple):
    """Days from `start` up to but not on `end` on which a row of a series holds."""

    series: tuple[object, ...]
    start: date
    end: date | None
    label: str
    new: bool


def known_later(
    site_dir: Path | None, after: datetime, until: datetime,
) -> tuple[list[CoefficientRow], list[LimitRow | CorrectionRow], list[FigureRuleRow]]:
    """The rows of the site's folder that became known after one instant and up to another: coefficients, limits with corrections, rules."""
    def between(rows: list[Dated]) -> list[Dated]:
        return [row for row in rows if row.known_from is not None and after < row.known_from <= until]

    return (
        between(load("coal_equivalent", CoefficientRow, site_dir)[1]),
        [*between(load("limits", LimitRow, site_dir)[1]), *between(load("corrections", CorrectionRow, site_dir)[1])],
        between(load("figure_rules", FigureRuleRow, site_dir)[1]),
    )


def rows_of(table: str, site_dir: Path | None = None) -> list[TableRow]:
    """The rows of a table as they stand in the files, shipped first.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load(table, MODELS[table], site_dir)
    return [*base, *own]


def check(file: Path, site_dir: Path | None = None, table: str | None = None) -> Edition:
    """Look whether the rows of a file fit their tables and the tables that are in force, and say what they would change.

    Args:
        file: CSV, whose name begins with its table's unless `table` names it; or TOML with an array of rows for each table (`[[limits]]`).
        site_dir: the site's own folder, where it has one.
        table: whose rows a CSV holds.

    Raises:
        BadInputError: everything that does not fit, with file, row and column; a row that stands in the site's folder already; an equivalent
            value of electricity or heat that is not the rate of the year before (decisions.md 11).
    """
    name = file.name if table is None or file.name.startswith(table) else f"{table}-{file.name}"
    if file.suffix not in (".csv", ".toml") or name.startswith(".") or (table is not None and table not in MODELS):
        what = f"{table} is no table" if table is not None and table not in MODELS else "is neither a .csv nor a .toml file with a name"
        raise BadInputError([Problem(file.name, what, f"Bring a .csv or .toml file of one of {', '.join(MODELS)}.")])
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInputError([Problem(str(file), f"cannot be read: {error.strerror}", "Check the name and the folder.")]) from error
    if site_dir is not None and not site_dir.is_dir():
        raise BadInputError([Problem(str(site_dir), "there is no such folder", "Create it, or change [site] tables_dir in the settings.")])
    problems: list[Problem] = []
    with tempfile.TemporaryDirectory() as folder:
        after = Path(folder)
        for path in () if site_dir is None else site_dir.iterdir():
            if path.suffix in (".csv", ".toml") and not path.name.startswith(".") and path.name != name:
                (after / path.name).symlink_to(path.absolute())
        own, before = _own(after)
        problems += before
        (after / name).write_bytes(content)
        rows = {each: found for each, found in rows_in(after / name, problems, MODELS).items() if found}
        problems += _repeated(name, rows, own)
        problems += [problem for row in rows.get("coal_equivalent", ()) if isinstance(row, CoefficientRow) for problem in _rate_problems(name, row)]
        if not problems:
            problems += problems_of(after)
        if not problems and not rows:
            problems.append(Problem(name, "has no rows", "Write a header with the columns of the table, then the rows."))
        if problems:
            raise BadInputError(problems)
        return Edition(name, content, rows, [*_notes(rows, after), *_rate_notes(rows)])


def problems_of(site_dir: Path | None) -> list[Problem]:
    """Everything that is wrong with the tables, row by row and what rows say of each other."""
    problems = _own(site_dir)[1]
    for loader in LOADERS:
        try:
            loader(site_dir)
        except BadInputError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    return problems


def _own(folder: Path | None) -> tuple[dict[str, list[TableRow]], list[Problem]]:
    """The rows of a site's folder by table, and what is wrong with them."""
    rows: dict[str, list[TableRow]] = {}
    problems: list[Problem] = []
    for table, model in MODELS.items():
        try:
            rows[table] = load(table, model, folder)[1]
        except BadInputError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    return rows, problems


def _repeated(name: str, rows: Mapping[str, Sequence[TableRow]], own: Mapping[str, Sequence[TableRow]]) -> Iterable[Problem]:
    for table, brought in rows.items():
        there = {(row.key, getattr(row, "known_from", None)) for row in own.get(table, ())}
        versioned = "known_from" in MODELS[table].model_fields
        remedy = "Write in known_from from when on the new row is known: it then comes before the old one." if versioned else (
            "Rows are never overwritten: take the old one out of its file first, or give the new one another first day."
        )
        for row in brought:
            if (row.key, getattr(row, "known_from", None)) in there:
                yield Problem(f"{name} {table} {_told(row.key)}", "stands in the site's folder already", remedy)


def _rate_problems(name: str, row: CoefficientRow) -> Iterable[Problem]:
    if row.carrier not in SECONDARY or row.basis != "equivalent" or row.rate_year is None:
        return
    where, year = f"{name} coal_equivalent {row.carrier} {row.basis} from {row.valid_from}", row.valid_from.year
    due = {year - 1} if row.valid_from >= NEW_RULE_FROM else {year - 1, year}
    if row.provisional and row.rate_year >= year - 1:
        yield Problem(f"{where} column provisional", f"the rate of {row.rate_year} is what counts in {year}", "Leave provisional empty.")
    if not row.provisional and row.rate_year not in due:
        yield Problem(f"{where} column rate_year", f"in {year} the rate of {year - 1} counts, not that of {row.rate_year} (GB/T 2589-2020)",
                      f"Bring the rate of {year - 1}, or write provisional = true until it is published.")
    if row.valid_to is None or row.valid_to > date(year + 1, 1, 1):
        yield Problem(f"{where} column valid_to", "the rate of one year would be used beyond it", f"Write {date(year + 1, 1, 1)} or an earlier day.")


def _rate_notes(rows: Mapping[str, Sequence[TableRow]]) -> Iterable[str]:
    for row in rows.get("coal_equivalent", ()):
        if isinstance(row, CoefficientRow) and row.carrier in SECONDARY and row.basis == "equivalent":
            head = f"coal_equivalent {row.carrier} {row.basis} from {row.valid_from}"
            if row.rate_year is None:
                yield f"{head}: rate_year is empty, so that nothing shows that it is the rate of {row.valid_from.year - 1}"
                if row.valid_to is None:
                    yield f"{head}: has no end, so that years after {row.valid_from.year} use it too"
            elif row.provisional:
                yield f"{head}: provisional, the rate of {row.rate_year} until that of {row.valid_from.year - 1} is published; results say so"


def _notes(rows: Mapping[str, Sequence[TableRow]], after: Path) -> Iterable[str]:
    """What the rows replace, and how their days join those of their neighbours."""
    for table, brought in rows.items():
        shipped = {row.key for row in rows_of(table)}
        yield from (f"{table} {_told(row.key)}: takes the place of the shipped row" for row in brought if row.key in shipped)
        yield from (
            f"{table} {_told(row.key)}: has no date of effect, so that it is never in force"
            for row in brought if table in ("limits", "price_schemes") and getattr(row, "effective_from", getattr(row, "valid_from", None)) is None
        )
        if table == "carbon_factors":
            yield from _year_notes(brought, after)
        spans = _spans(table, brought, after)
        touched = {span.series for span in spans if span.new}
        for series in dict.fromkeys(span.series for span in spans if span.series in touched):
            mine = sorted((span for span in spans if span.series == series), key=lambda span: (span.start, span.label))
            yield from (note for one, following in pairwise(mine) if one.new or following.new for note in _joint(table, one, following))


def _joint(table: str, one: _Span, following: _Span) -> Iterable[str]:
    head = f"{table} {_told(one.series)}"
    if one.label == following.label and one.start == following.start:
        return
    if one.end is None or one.end > following.start:
        until = min((end for end in (one.end, following.end) if end is not None), default=None)
        how = "the row brought by the site counts" if table == "coal_equivalent" else "each is judged by its own"
        yield f"{head}: {one.label} and {following.label} overlap from {following.start}{f' to before {until}' if until else ' on'}: {how}"
    elif one.end < following.start:
        yield f"{head}: gap, nothing is in force from {one.end} to {following.start - timedelta(days=1)}, between {one.label} and {following.label}"
    else:
        yield f"{head}: {following.label} follows on {one.label} from {following.start}"


def _spans(table: str, brought: Sequence[TableRow], after: Path) -> list[_Span]:
    """The days of the dated rows of a table, with the rows brought."""
    new = {row.key for row in brought}
    match table:
        case "limits":
            frame = limit_tables.limits(after).filter(pl.col("effective_from").is_not_null())
            end = pl.col("effective_to") + pl.duration(days=1)
            columns = ["product", "indicator", "feedstock", "standard", "effective_from"]
            return [
                _Span((product, indicator, feedstock), start, last, standard, (product, standard, indicator, feedstock) in new)
                for product, indicator, feedstock, standard, start, last in frame.select(*columns, end.alias("end")).iter_rows()
            ]
        case "coal_equivalent":
            return [
                _Span((row.carrier, row.basis), row.valid_from, row.valid_to, row.source, row in brought) for row in rows_of(table, after)
                if isinstance(row, CoefficientRow) and row.kgce_per_unit is not None
            ]
        case "price_schemes":
            frame = price_schemes.price_schemes(after).filter(pl.col("valid_from").is_not_null())
            editions = frame.select("scheme", "valid_from", "valid_to", "edition").unique(maintain_order=True)
            begun = {(row.scheme, row.valid_from) for row in brought if isinstance(row, price_schemes.PriceStepRow)}
            return [_Span((scheme,), start, end_, edition, (scheme, start) in begun) for scheme, start, end_, edition in editions.iter_rows()]
        case _:
            return []


def _year_notes(brought: Sequence[TableRow], after: Path) -> Iterable[str]:
    factors = carbon.carbon_factors(after)
    for row in brought:
        if isinstance(row, carbon.CarbonFactorRow) and row.year is not None:
            same = factors.filter(carrier=row.carrier).filter(pl.col("region").eq_missing(pl.lit(row.region, dtype=pl.String())))
            years: list[int] = [year for year in same["year"].drop_nulls() if year < row.year]
            if years and max(years) < row.year - 1:
                yield f"carbon_factors {_told(row.key)}: gap, {max(years) + 1} to {row.year - 1} use the factor of {max(years)}"


def _told(key: object) -> str:
    return " ".join(str(part) for part in key if part is not None) if isinstance(key, tuple) else str(key)
