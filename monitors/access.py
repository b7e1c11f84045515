"""Access of a park's enterprises: whose plant-level data of coal, water, oil, gas and electricity come, and who lacks which meter.

Ordos plan for industrial parks, ch. 4 (smart supervision platform): all five media of every key enterprise on line, of the others
at least a fifth; 内政发〔2019〕21号 art. (六). A medium that an enterprise does not use is no gap (decisions.md 17).
"""

from datetime import date
from typing import Final

import polars as pl

from config import schemas
from config.phrases import with_chinese
from config.tables import holding
from config.units import FIVE_MEDIA

ALL: Final = "all"
MEMBERS: Final = ("key", "other")
_PLACE: Final = ["park", "enterprise"]
_LISTED: Final = 8  # names in `lacking`; more are counted


def access(members: pl.DataFrame, declared: pl.DataFrame, points: pl.DataFrame) -> pl.DataFrame:
    """Whether each enterprise is on line in each park, for each of the five media and for all of them together.

    A medium is `online` where each of its plant-level points has a meter that delivers. A medium in no declared list is `not_used`
    only where the enterprise has a list; one that is metered beside the list counts as used. Without a list nothing is known of the
    media that have no point.

    Args:
        members: park, enterprise, members (key, other; null: not known), one row for each place of an enterprise.
        declared: enterprise, park (null: in all parks), medium: the declared lists of the day.
        points: park, enterprise, medium, name, delivers: the plant-level points; `delivers` null: there is no meter yet.

    Returns:
        ACCESS by park, enterprise and medium.
    """
    places = members.select(*_PLACE, "members")
    lists = declared.join(places.select(*_PLACE), on="enterprise", how="inner", suffix="_place").filter(
        pl.col("park").is_null() | (pl.col("park") == pl.col("park_place"))
    ).select("enterprise", "medium", park="park_place").unique()
    with_list = lists.select(_PLACE).unique().with_columns(_list=True)
    delivers = pl.col("delivers")
    found = points.filter(pl.col("medium").is_in(FIVE_MEDIA)).group_by(*_PLACE, "medium").agg(
        meters=delivers.is_not_null().sum().cast(pl.UInt32), _points=pl.len(), _quiet=(delivers == False).sum(), _bare=delivers.is_null().sum(),  # noqa: E712 - null is not false
        lacking=_names(pl.col("name").filter(~delivers.fill_null(value=False))),
    )
    media = pl.DataFrame({"medium": FIVE_MEDIA}, schema={"medium": pl.Enum(FIVE_MEDIA)}).with_columns(pl.col("medium").cast(pl.String))
    rows = places.join(media, how="cross").join(lists.with_columns(_used=True), on=[*_PLACE, "medium"], how="left")
    rows = rows.join(with_list, on=_PLACE, how="left").join(found, on=[*_PLACE, "medium"], how="left").with_columns(
        pl.col("_used", "_list").fill_null(value=False), pl.col("meters", "_points", "_quiet", "_bare").fill_null(0),
    )
    metered = pl.col("_points") > 0
    state = (
        pl.when(metered & (pl.col("_bare") > 0)).then(pl.lit("no_meter")).when(metered & (pl.col("_quiet") > 0)).then(pl.lit("not_delivering"))
        .when(metered).then(pl.lit("online")).when("_used").then(pl.lit("no_meter")).when("_list").then(pl.lit("not_used")).otherwise(pl.lit("unknown"))
    )
    rows = rows.with_columns(
        state=state, undeclared=metered & pl.col("_list") & ~pl.col("_used"),
        missing=pl.when(~metered & ~pl.col("_list")).then(pl.lit("no declared list of the media used")),
    )
    order = pl.Enum([*FIVE_MEDIA, ALL])
    both = pl.concat([schemas.conform(rows, schemas.ACCESS), schemas.conform(_together(rows), schemas.ACCESS)])
    return both.sort("park", "enterprise", pl.col("medium").cast(order)).pipe(with_chinese, "lacking").pipe(with_chinese)


def shares(rows: pl.DataFrame, goals: pl.DataFrame, regions: pl.DataFrame, on: date) -> pl.DataFrame:
    """Of the enterprises of a park that use a medium, the share on line, held against the goal in force.

    An enterprise of which it is not known whether it uses the medium, or whether it is a key unit, leaves the share between two
    bounds and its figure empty; `meets` is said only where both bounds say the same. Without an enterprise there is no share.

    Args:
        rows: ACCESS.
        goals: ACCESS_GOAL; of those in force on `on` the one for the smallest region that the park lies in.
        regions: park, region.
        on: the day.

    Returns:
        ACCESS_SHARE: for each park, `key` and `other` by medium and for all media together.
    """
    parks = rows.select("park").unique().join(regions.select("park", "region"), on="park", how="left")
    kinds = pl.DataFrame({"members": MEMBERS}).join(rows.select("medium").unique(), how="cross")
    used = rows.filter(pl.col("state") != "not_used")
    counted = parks.join(kinds, how="cross").join(used.rename({"members": "_members"}), on=["park", "medium"], how="left").filter(
        pl.col("_members").is_null() | (pl.col("_members") == pl.col("members"))
    )
    unsure = pl.col("enterprise").is_not_null() & (pl.col("_members").is_null() | (pl.col("state") == "unknown"))
    known = pl.col("enterprise").is_not_null() & ~unsure
    of = counted.group_by("park", "members", "medium").agg(
        enterprises=(known | unsure).sum(), online=(known & (pl.col("state") == "online")).sum(), unknown=unsure.sum(),
        _status=(unsure & pl.col("_members").is_null()).sum(), _use=(unsure & pl.col("_members").is_not_null()).sum(),
    )
    table = parks.join(kinds, how="cross").join(of, on=["park", "members", "medium"], how="left").with_columns(
        pl.col("enterprises", "online", "unknown", "_status", "_use").fill_null(0),
    ).join(_goals(goals, parks, on), on=["park", "members"], how="left")
    some = pl.col("enterprises") > 0
    low = pl.when(some).then(pl.col("online") / pl.col("enterprises"))
    high = pl.when(some).then((pl.col("online") + pl.col("unknown")) / pl.col("enterprises"))
    goal = pl.col("goal_ratio")
    reasons = [
        pl.when(~some).then(pl.lit("no such enterprise uses it")),
        pl.when(pl.col("_status") > 0).then(pl.format("of {} enterprises it is not known whether they are key energy users", "_status")),
        pl.when(pl.col("_use") > 0).then(pl.format("{} enterprises have no declared list of the media used", "_use")),
        pl.when(goal.is_null()).then(pl.lit("no goal in force")),
    ]
    table = table.with_columns(
        share_ratio=pl.when(pl.col("unknown") == 0).then(low), at_least_ratio=low, at_most_ratio=high,
        meets=pl.when(low >= goal).then(statement=True).when(high < goal).then(statement=False),
        missing=pl.concat_str(reasons, separator="; ", ignore_nulls=True),
    ).with_columns(missing=pl.when(pl.col("missing") != "").then("missing"))
    return schemas.conform(with_chinese(table), schemas.ACCESS_SHARE).sort("park", "members", pl.col("medium").cast(pl.Enum([*FIVE_MEDIA, ALL])))


def _together(rows: pl.DataFrame) -> pl.DataFrame:
    """The five media as one: on line where every medium that is used is; what is unknown of one is unknown of all, unless another fails."""
    state = pl.col("state")
    used = state.is_in(["online", "not_delivering", "no_meter"])
    missing_meter = pl.when(state == "no_meter").then(pl.concat_str([pl.col("medium"), pl.lit(": no meter")]))
    quiet = pl.when(state == "not_delivering").then(pl.concat_str([pl.col("medium"), pl.lit(": "), pl.col("lacking")]))
    return rows.group_by(*_PLACE, "members", maintain_order=True).agg(
        medium=pl.lit(ALL), meters=pl.col("meters").sum(), undeclared=pl.col("undeclared").any(),
        state=pl.when((state == "no_meter").any()).then(pl.lit("no_meter")).when((state == "not_delivering").any()).then(pl.lit("not_delivering"))
        .when((state == "unknown").any()).then(pl.lit("unknown")).when(used.any()).then(pl.lit("online")).otherwise(pl.lit("not_used")),
        lacking=pl.coalesce(missing_meter, quiet).drop_nulls().str.join("; "), missing=pl.col("missing").drop_nulls().first(),
    ).with_columns(lacking=pl.when(pl.col("lacking") != "").then("lacking"))


def _goals(goals: pl.DataFrame, parks: pl.DataFrame, on: date) -> pl.DataFrame:
    in_force = goals.filter(holding(on))
    fits = parks.join(in_force, how="cross", suffix="_goal").filter(
        pl.col("region_goal").is_null() | pl.col("region").str.starts_with(pl.col("region_goal")).fill_null(value=False)
    )
    digits = pl.col("region_goal").str.len_chars().fill_null(0)
    return fits.sort(digits, "valid_from").group_by("park", "members").last().select("park", "members", "goal_ratio", "source", "confidence")


def _names(names: pl.Expr) -> pl.Expr:
    more = pl.when(names.len() > _LISTED).then(pl.format(" and {} more", names.len() - _LISTED)).otherwise(pl.lit(""))
    listed = pl.concat_str(names.sort().head(_LISTED).str.join(", "), more)
    return pl.when(names.len() > 0).then(listed)
