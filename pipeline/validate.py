"""Verdicts on readings and registers, for the days that were computed again."""

from datetime import timedelta

import polars as pl

from config import calendar, data_rules
from config.schemas import WINDOW, conform
from monitors import local_days, vee, vee_history, vee_periods, vee_rules
from pipeline.site import Site
from store.derived import Table

_DAY = ("register_key", "day")


def rules_of(site: Site) -> pl.DataFrame:
    """VEE_RULE: the shipped rules, those of the site's tables, and the register's own."""
    return pl.concat([data_rules.vee_rules(site.settings.site.tables_dir, site.settings.site.zone), site.register.rules()])


def changed_bounds(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """WINDOW: where two BOUNDs differ; null = without bound."""
    rows = [one.join(other, on=one.columns, how="anti", nulls_equal=True) for one, other in ((before, after), (after, before))]
    return conform(pl.concat(rows).rename({"valid_from": "start", "valid_to": "end"}), WINDOW).unique().sort(WINDOW.names(), nulls_last=True)


def validate(
    site: Site, readings: pl.DataFrame, set_aside: pl.DataFrame, edges: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame,
    days: pl.DataFrame,
) -> dict[Table, pl.DataFrame]:
    """Verdicts of some register-days, their counts, and the history for later days, to be put in the place of what stands.

    Later days whose verdicts look back to a day that changed are marked dirty.

    Args:
        site: its derived table `history` is read.
        readings: READING of those days whole, with what the interval rules look at on either side.
        set_aside: SET_ASIDE, what the interval rules and edits do not count of them.
        edges: the counted readings at the edges of days, as `vee_days.day_edges` gives them.
        registers: REGISTER of these registers.
        events: EVENT.
        days: register_key, day: what is computed again.

    Returns:
        The rows of the derived tables `history`, `verdicts`, `verdict_counts` and `day_starts`, some of other days among them.
    """
    if days.is_empty():
        return {}
    zone, rules = site.settings.site.zone, rules_of(site)
    first, last = days.select(pl.col("day").min(), pl.col("day").max().alias("last")).row(0)
    reach = timedelta(days=vee_rules.LOOK_BACK)
    keys = days["register_key"].unique()
    kept = site.derived.read("history", first - reach, last + reach).filter(pl.col("register_key").is_in(keys.implode())).collect()
    stood, others = kept.join(days, on=_DAY, how="semi"), kept.join(days, on=_DAY, how="anti")
    done = vee.validated(readings, registers, events, rules, set_aside, others, days, zone=zone)
    later = vee_history.looking_back(stood, done.history, others, registers)
    if later.height:
        site.ledger.mark_dirty(later, at_once=True)
    starts = vee_periods.day_starts(edges, registers, rules, zone=zone).with_columns(day=local_days.day_of("start", zone))
    return {"verdicts": done.failed, "verdict_counts": done.counts, "history": done.history, "day_starts": starts}


def balance(site: Site, days: pl.DataFrame) -> None:
    """Judge totals against their parts on the days on which one of them was computed again, into the derived table `balances`.

    Args:
        site: its table `daily` is up to date for these days.
        days: register_key, day: what was computed again.
    """
    balances = site.register.balances()
    totals = pl.concat([
        balances.select("total_key", register_key="total_key"), balances.select("total_key", register_key="part_key"),
    ]).unique().join(days, on="register_key").select(register_key="total_key", day="day").unique()
    if totals.is_empty():
        return
    first, last = totals.select(pl.col("day").min(), pl.col("day").max().alias("last")).row(0)
    rules = rules_of(site)
    zone, registers = site.settings.site.zone, site.register.registers()
    concerned = balances.filter(pl.col("total_key").is_in(totals["register_key"].unique().implode()))
    those = pl.concat([concerned["total_key"], concerned["part_key"]]).unique()
    daily = site.derived.read("daily", first, last).filter(pl.col("register_key").is_in(those.implode())).collect()
    tariffs = concerned.filter(pl.col("kind") == "tariff")
    shown = pl.concat([tariffs["total_key"], tariffs["part_key"]]).unique().sort().to_list()
    found = [vee_periods.day_sums(daily, registers, concerned, rules)]
    if shown:
        span = calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]
        found.append(vee_periods.tariff_sums(site.readings().span(shown, *span), registers, tariffs, rules, zone=zone))
    rows = pl.concat(found).with_columns(day=local_days.day_of("start", zone))
    site.derived.replace("balances", rows.join(totals, on=_DAY, how="semi"), totals)
