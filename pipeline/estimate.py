"""Gaps of a site's registers -> proposals of estimates, which count once a person has checked them.

What is not covered is taken from the derived hours, so a span begins and ends with an hour (or where an earlier estimate does). An
edit says the consumption of its whole span as if nothing were measured in it, and of that only the share of time counts that is not
covered: so the estimate of the uncovered part is scaled to the span. Since an edit lies evenly in its span, gaps are cut at local
midnight, and each day has an estimate of its own; `linear`, which needs both sides of the gap, is not cut.

A derived register follows from others: theirs are estimated. Time for which an estimate waits or counts is left out.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from config import calendar
from config.schemas import ESTIMATE, INSTANT, WINDOW, conform
from monitors.completeness import missing_windows
from monitors.estimation import LIKE_DAYS, LINK, TESTED_DAYS, Method, estimated
from monitors.intervals import COUNTED_KINDS, quantity_unit
from pipeline.quality import LATE
from pipeline.site import Site

MAKER: Final = "estimation"
_NAMES: Final = ("enterprise", "meter", "register")
_ESTIMATED: Final = ("waiting", "effective", "withdrawing")  # states of an estimate whose time is not proposed again
_WHOLE: Final = 1 - 1e-9
PROPOSAL: Final = pl.Schema({**dict.fromkeys(_NAMES, pl.String()), "unit": pl.String(), **ESTIMATE, "edit": pl.Int64()})


def proposals(
    site: Site, first: date, last: date, *, now: datetime, method: Method = "auto", registers: Sequence[int] | None = None,
    links: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What would be proposed for the gaps of the local days first..last, both included.

    Args:
        site: whose.
        first: the first day.
        last: the last day; time later than LATE before now is left out, since its readings may still come.
        now: the time.
        method: how; not `manual`, which a person enters.
        registers: register_keys; None: all.
        links: LINK.

    Returns:
        PROPOSAL, `edit` null: quantity, low and high are those of the time that is not covered; null where the method has nothing to go by.
    """
    rows = site.register.registers().filter(pl.col("kind").is_in(COUNTED_KINDS))
    if registers is not None:
        rows = rows.filter(pl.col("register_key").is_in(list(registers)))
    links = conform(links if links is not None else pl.DataFrame(schema=LINK), LINK)
    windows = _windows(site, rows, first, last, now, cut=method != "linear")
    if windows.is_empty():
        return pl.DataFrame(schema=PROPOSAL)
    wanted = pl.concat([windows["register_key"], links["linked_key"]]).unique()
    history = site.derived.read("hourly", first - timedelta(days=TESTED_DAYS + LIKE_DAYS + 2), last + timedelta(days=2)).filter(
        pl.col("register_key").is_in(wanted.implode()),
    ).collect()
    begun = history.group_by("register_key").agg(since=pl.col("end").min())
    windows = windows.join(begun, on="register_key").with_columns(start=pl.max_horizontal("start", "since")).filter(pl.col("start") < pl.col("end"))
    holidays = calendar.holidays(site.settings.site.tables_dir)
    found = estimated(history, windows, zone=site.settings.site.zone, method=method, links=links, holidays=holidays)
    names = rows.group_by("register_key").agg(pl.col(*_NAMES, "kind", "unit").last())
    units = {(kind, unit): quantity_unit(kind, unit) for kind, unit in names.select("kind", "unit").unique().iter_rows()}
    names = names.with_columns(unit=pl.Series([units[pair] for pair in names.select("kind", "unit").iter_rows()], dtype=pl.String))
    return conform(found.spans.filter(~pl.col("total_measured")).join(names, on="register_key").sort(*_NAMES, "start"), PROPOSAL)


def propose(
    site: Site, first: date, last: date, *, now: datetime, maker: str = MAKER, method: Method = "auto", registers: Sequence[int] | None = None,
    links: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Propose what `proposals` gives, with its arguments, as edits of `maker`: who answers for them, and so cannot check them.

    Returns:
        PROPOSAL with the numbers of the edits; what has no quantity was not proposed and has none.

    Raises:
        BadInputError: the edits are refused, all of them.
    """
    found = proposals(site, first, last, now=now, method=method, registers=registers, links=links)
    able = found.filter(pl.col("quantity").is_not_null())
    if able.is_empty():
        return found
    whole = (pl.col("end") - pl.col("start")) / timedelta(hours=1) / pl.col("estimated_h")
    edits = able.select(
        "register_key", "start", "end", "method", kind=pl.lit("estimate"), value=pl.col("quantity") * whole, low=pl.col("low") * whole,
        high=pl.col("high") * whole, reason=pl.format("{} / {}", "reason_zh", "reason"),
    )
    numbers = site.edits.propose(edits, maker=maker, at=now)
    made = able.with_columns(edit=pl.Series(numbers, dtype=pl.Int64))
    return pl.concat([made, found.filter(pl.col("quantity").is_null())]).sort(*_NAMES, "start")


def _windows(site: Site, rows: pl.DataFrame, first: date, last: date, now: datetime, *, cut: bool) -> pl.DataFrame:
    """WINDOW: the time of some REGISTER rows that is not covered by hours, nor by an estimate that waits or counts."""
    zone = site.settings.site.zone
    days = [calendar.day_span(first + timedelta(days=ahead), zone) for ahead in range((last - first).days + 1)]
    parts = days if cut else [(days[0][0], days[-1][1])]
    asked = pl.DataFrame(parts, schema={"from": INSTANT, "to": INSTANT}, orient="row").with_columns(pl.col("to").clip(upper_bound=now - LATE))
    due = rows.select("register_key", "valid_from", "valid_to").join(asked, how="cross").select(
        "register_key", start=pl.max_horizontal("valid_from", "from"), end=pl.min_horizontal("valid_to", "to"),
    ).filter(pl.col("start") < pl.col("end"))
    made = site.edits.rows(states=_ESTIMATED).filter(pl.col("kind") == "estimate")
    hours = site.derived.read("hourly", first, last).filter(pl.col("covered_ratio") >= _WHOLE).select(WINDOW.names()).collect()
    return missing_windows(pl.concat([hours, made.select(WINDOW.names())]), due)
