"""To whom and to what a register's consumption belongs: sites that change hands, and shared registers that a key divides."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import groupby, pairwise
from typing import Any, Final

import polars as pl

from config import schemas
from config.calendar import local_next, local_start, period_of

UNKNOWN: Final = "unknown"  # in `allocation`: the key does not say which share it is
_START, _END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_GROUP: Final = ("enterprise", "register_key", "carrier", "flow", "allocation")  # assignments among which a register is divided


def held(assignments: pl.DataFrame, holdings: pl.DataFrame) -> pl.DataFrame:
    """Give what is measured at a site to the enterprise that holds it, day by day (decisions.md 14: parks merge, sites change hands).

    Args:
        assignments: ASSIGNMENT; only those with a `site` can change hands.
        holdings: HOLDING, half-open in time and not overlapping for a site. Without a row on a day, the site is its enterprise's own.

    Returns:
        ASSIGNMENT with the owner as `enterprise`, then `park` and `block`, which are null where no row says them. An assignment is cut
        where the site changes hands, so that no hour counts twice or is lost.
    """
    rows = schemas.conform(assignments, schemas.ASSIGNMENT)
    shape = pl.Schema({**schemas.ASSIGNMENT, "park": pl.String(), "block": pl.String()})
    spans: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in schemas.conform(holdings, schemas.HOLDING).sort("valid_from", nulls_last=False).iter_rows(named=True):
        spans.setdefault((row["enterprise"], row["site"]), []).append(row)
    if not spans:
        return schemas.conform(rows, shape)
    pieces = [piece for row in rows.iter_rows(named=True) for piece in _pieces(row, spans.get((row["enterprise"], row["site"]), []))]
    return pl.DataFrame(pieces, schema=shape)


def divided(assignments: pl.DataFrame, intervals: pl.DataFrame, outputs: pl.DataFrame, *, zone: str) -> pl.DataFrame:
    """Turn keys into dated shares, month by month, so that the days, months and years of a shared register add up (decisions.md 9).

    By `output` an assignment's part is the output of its product in the month (of the year, where only that is reported) by that of all
    assignments of the register with this key; by `register` the consumption that its key register shows. Where an assignment begins or
    ends within a month, the month is divided there.

    Args:
        assignments: ASSIGNMENT, and further columns. Those without `allocation` stay as they are; of the others `share_ratio` is what of the
            register is divided.
        intervals: INTERVAL of the key registers and of those that are divided; months without any are left out.
        outputs: enterprise, product, period (a month or a year), output, and output_unit if units differ.
        zone: whose months.

    Returns:
        The same columns. A part of the key that is unknown or negative, parts in several units, or parts that are all zero leave the share
        of the month open: `allocation` is then `unknown`, and `quantities` takes nothing from it.
    """
    further = [name for name in assignments.columns if name not in schemas.ASSIGNMENT]
    rows = pl.concat([schemas.conform(assignments, schemas.ASSIGNMENT), assignments.select(further)], how="horizontal")
    keyed = rows.filter(pl.col("allocation").is_in(["output", "register"]))
    if keyed.is_empty():
        return rows
    months = _months(intervals, zone)
    made = _outputs(outputs)
    shares: list[dict[str, Any]] = []
    ordered = keyed.sort(_GROUP).to_dicts()
    for _, members in groupby(ordered, key=lambda row: [row[name] for name in _GROUP]):
        shares += _shares(list(members), months, intervals, made)
    return pl.concat([rows.filter(~pl.col("allocation").is_in(["output", "register"]).fill_null(value=False)),
                      pl.DataFrame(shares, schema=rows.schema)])


def placed(rows: pl.DataFrame, holdings: pl.DataFrame, homes: pl.DataFrame, *, zone: str) -> pl.DataFrame:
    """Say in which park and block each row lies, by day: parks count sites, and sites move (decisions.md 14).

    Args:
        rows: a table with enterprise (the owner), site and day.
        holdings: HOLDING.
        homes: enterprise, site (null: of all its other sites) and park, where no holding says it.
        zone: whose days.

    Returns:
        The rows, then `park` and `block`; null where nothing says it.
    """
    begun = pl.col("valid_from").dt.convert_time_zone(zone).dt.date().fill_null(date.min)
    ended = pl.col("valid_to").dt.convert_time_zone(zone).dt.date().fill_null(date.max)
    spans = schemas.conform(holdings, schemas.HOLDING).select("site", "park", "block", enterprise="owner", _from=begun, _to=ended)
    numbered = rows.with_row_index("_row")
    known = numbered.join(spans, on=["enterprise", "site"]).filter(pl.col("_from") <= pl.col("day"), pl.col("day") < pl.col("_to")).unique("_row")
    named = homes.filter(pl.col("site").is_not_null()).select("enterprise", "site", _site_park="park")
    others = homes.filter(pl.col("site").is_null()).select("enterprise", _park="park")
    found = numbered.join(known.select("_row", "park", "block"), on="_row", how="left", maintain_order="left")
    found = found.join(named, on=["enterprise", "site"], how="left", maintain_order="left").join(
        others, on="enterprise", how="left", maintain_order="left"
    )
    return found.with_columns(park=pl.coalesce("park", "_site_park", "_park")).drop("_row", "_site_park", "_park")


def present(holdings: pl.DataFrame, homes: pl.DataFrame, months: Iterable[str], *, zone: str) -> pl.DataFrame:
    """Say in which parks each enterprise lies in each month: those of the sites that it holds on a day of it.

    An enterprise of which no site is registered lies in its own park; one that has handed over all of its sites lies nowhere.

    Args:
        holdings: HOLDING.
        homes: enterprise, site (null: the enterprise itself) and park, as registered.
        months: as 2025-03.
        zone: whose days.

    Returns:
        enterprise, park, period.
    """
    spans = schemas.conform(holdings, schemas.HOLDING).select(
        "enterprise", "site", "owner", _in="park",
        _from=pl.col("valid_from").dt.convert_time_zone(zone).dt.date().fill_null(date.min),
        _to=pl.col("valid_to").dt.convert_time_zone(zone).dt.date().fill_null(date.max),
    )
    known = pl.DataFrame({"period": sorted(set(months))}, schema={"period": pl.String()})
    moves = pl.concat([spans["_from"], spans["_to"]]).unique().rename("day").to_frame().with_columns(period=pl.col("day").dt.strftime("%Y-%m"))
    begins = known.with_columns(day=(pl.col("period") + "-01").str.to_date())
    days = pl.concat([begins, moves.join(known, on="period", how="semi").select("period", "day")]).unique()
    sites = homes.filter(pl.col("site").is_not_null()).join(days, how="cross").with_row_index("_row")
    inside = sites.join(spans, on=["enterprise", "site"]).filter(pl.col("_from") <= pl.col("day"), pl.col("day") < pl.col("_to"))
    lying = sites.join(inside.select("_row", "owner", "_in").unique("_row"), on="_row", how="left").select(
        pl.coalesce("owner", "enterprise").alias("enterprise"), pl.coalesce("_in", "park").alias("park"), "period",
    )
    bare = homes.filter(pl.col("site").is_null()).join(sites, on="enterprise", how="anti")
    whole = bare.join(known, how="cross").select("enterprise", "park", "period")
    return pl.concat([lying, whole.join(lying, on=["enterprise", "period"], how="anti")]).unique().sort("enterprise", "park", "period")


def _pieces(row: dict[str, Any], spans: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """An assignment cut at the dates at which its site changes hands."""
    begin, end = row["valid_from"] or _START, row["valid_to"] or _END
    at = begin
    own = {"park": None, "block": None}
    for span in spans:
        first, last = max(span["valid_from"] or _START, begin), min(span["valid_to"] or _END, end)
        if first >= last:
            continue
        if at < first:
            yield row | own | _dated(at, first)
        yield row | {"enterprise": span["owner"], "park": span["park"], "block": span["block"]} | _dated(first, last)
        at = last
    if at < end:
        yield row | own | _dated(at, end)


def _dated(first: datetime, last: datetime) -> dict[str, datetime | None]:
    return {"valid_from": None if first == _START else first, "valid_to": None if last == _END else last}


def _months(intervals: pl.DataFrame, zone: str) -> list[tuple[datetime, datetime, str]]:
    """The local months that have intervals: start, end, period."""
    starts = intervals.select(_start=local_start(pl.col("start"), "month", zone)).unique().sort("_start")
    named = starts.with_columns(_end=local_next(pl.col("_start"), "month", zone), period=period_of(pl.col("_start"), "month", zone))
    return list(named.iter_rows())


def _outputs(outputs: pl.DataFrame) -> dict[tuple[str, str, str], tuple[float, str | None]]:
    """Output by enterprise, product and period, lines added up; the same output of several indicators counts once."""
    columns = [name for name in ("enterprise", "product", "period", "line", "output", "output_unit") if name in outputs.columns]
    keys = ["enterprise", "product", "period"]
    unit = pl.col("output_unit") if "output_unit" in columns else pl.lit(None, dtype=pl.String())
    summed = outputs.select(columns).unique().group_by(keys).agg(pl.col("output").sum(), unit=unit.first(), units=unit.n_unique())
    known = summed.filter(pl.col("units") == 1)
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in known.iter_rows()}


def _shares(
    members: list[dict[str, Any]], months: Iterable[tuple[datetime, datetime, str]], intervals: pl.DataFrame,
    made: Mapping[tuple[str, str, str], tuple[float, str | None]],
) -> list[dict[str, Any]]:
    """The members with their shares, for each month and each part of it between their dates."""
    found = []
    dates = {day for member in members for day in (member["valid_from"], member["valid_to"]) if day is not None}
    for start, end, period in months:
        cuts = sorted({start, end, *(day for day in dates if start < day < end)})
        for first, last in pairwise(cuts):
            there = [member for member in members if (member["valid_from"] or _START) <= first and last <= (member["valid_to"] or _END)]
            if there and there[0]["allocation"] == "output":
                parts = _made(there, period, made)
            else:
                parts = [_shown(intervals, member["key_register_key"], first, last) for member in there]
            whole = sum(part for part in parts if part is not None)
            known = all(part is not None and part >= 0 for part in parts) and whole > 0
            for member, part in zip(there, parts, strict=True):
                share = {"allocation": None, "share_ratio": (member["share_ratio"] or 1.0) * part / whole} if known and part is not None else {
                    "allocation": UNKNOWN
                }
                found.append(member | share | {"valid_from": first, "valid_to": last})
    return found


def _made(
    members: Iterable[Mapping[str, Any]], period: str, made: Mapping[tuple[str, str, str], tuple[float, str | None]],
) -> list[float | None]:
    """The outputs of the members' products in a month, or all of them in its year; unknown where one is, or units differ."""
    for when in (period, period[:4]):
        parts = [made.get((member["enterprise"], member["product"], when)) for member in members]
        if all(part is not None for part in parts):
            units = {part[1] for part in parts if part is not None}
            return [part[0] if part is not None and len(units) == 1 else None for part in parts]
    return [None for _ in members]


def _shown(intervals: pl.DataFrame, register_key: int | None, first: datetime, last: datetime) -> float | None:
    """What a register consumed in a span; unknown where nothing is measured in it."""
    within = intervals.filter(pl.col("register_key") == register_key, pl.col("end") > first, pl.col("start") < last, pl.col("quantity").is_not_null())
    part = (pl.min_horizontal("end", pl.lit(last)) - pl.max_horizontal("start", pl.lit(first))) / (pl.col("end") - pl.col("start"))
    return float(within.select((pl.col("quantity") * part).sum()).item()) if within.height else None
