"""The state of alerts: when one opens, changes and closes. Pure: figures, rules, open alerts and the instant are given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal

import polars as pl

from alerts.compose import alert_texts, flag_texts, free_space_texts
from config.calendar import day_span, period_days, period_of
from config.errors import UnknownCodeError
from config.findings import AlertEvent, Observation, OpenAlert, Severity
from config.settings import AlertRule
from config.units import factor

FREE_SPACE: Final = "platform/free-space"  # no rule of the settings can have this name
DATA_DIR: Final = "data_dir"
FLAG_RULES: Final[Mapping[str, str]] = {"reset": "meter/reset", "over_rating": "meter/over-rating"}  # by flag; built in too
FLAG_DAYS: Final = 31  # flags of older days open no alert: history that is imported is looked through on the page of edits
MOST_RESETS: Final = 4  # of a register on a day that are told one by one; more are one alert of the day
MIN_COVERED_RATIO: Final = 0.9  # decisions.md 6
MAX_ESTIMATED_RATIO: Final = 0.05  # decisions.md 6
_ROUNDING: Final = 1e-9  # of a share of time
_DIGITS: Final = 12  # binary fractions cannot tip a boundary (architecture.md section 4)
_NAMES: Final = (  # taken along where given: names for people, and who confirmed the limit row by which copy
    "enterprise_zh", "enterprise_en", "product_zh", "product_en", "indicator_zh", "indicator_en", "confirmed_by", "copy",
)
OF_FLAG: Final = (
    "flag", "meter", "register", "from", "to", "before", "after", "quantity", "unit", "value", "bound", "count", "enterprise_zh", "enterprise_en",
)
_EVIDENCE: Final = (
    "product", "indicator", "line", "actual", "unit", "basis", "standard", "edition", "binding_level", "level", "verdict", "standing",
    "excess", "excess_ratio", "derivation", "derivation_zh", "clause", "source", "confidence", "covered_ratio", "estimated_ratio",
)


@dataclass(frozen=True, slots=True)
class _State:
    value: float
    period: str
    open: bool


def advance(
    rules: Sequence[AlertRule],
    observations: Sequence[Observation],
    open_alerts: Sequence[OpenAlert],
    now: datetime,
    *,
    judged: Mapping[tuple[str, str], str] | None = None,
) -> list[AlertEvent]:
    """The events that new figures cause, at most one open alert for each (rule, subject).

    An alert opens above `above` (an equal value does not exceed) or from `at_least` on, and closes below `clear_below`; without a band
    between the two it closes as soon as it would no longer open. Figures of one subject are taken in the order of their periods,
    one older than the last judged period changes nothing, and a subject without a figure stays as it is: no data is not zero.

    Args:
        rules: the site's rules.
        observations: complete figures, in any order.
        open_alerts: what is open now.
        now: the instant that the events carry.
        judged: the period last judged of a (rule, subject) whose alert is closed again, so that the figure which once
            opened it does not open it a second time when it is seen again.

    Returns:
        Events in the order in which they have to be recorded; of several updates in a row the last.

    Raises:
        UnknownCodeError: an observation names a rule that is not among the rules.
    """
    by_name = {rule.name: rule for rule in rules}
    states = {key: _State(0.0, period, open=False) for key, period in (judged or {}).items()}
    states |= {(alert.rule, alert.subject): _State(alert.value, alert.period, open=True) for alert in open_alerts}
    events: list[AlertEvent] = []
    pending: dict[tuple[str, str], int] = {}  # where the last update of an alert stands in `events`
    for observation in sorted(observations, key=lambda seen: (_end(seen.period), seen.at)):
        if observation.rule not in by_name:
            raise UnknownCodeError("alert rule", observation.rule, tuple(by_name))
        rule, key = by_name[observation.rule], (observation.rule, observation.subject)
        state = states.get(key)
        if state is not None and _end(observation.period) < _end(state.period):
            continue
        kind = _step(rule, observation, state)
        states[key] = _State(observation.value, observation.period, open=_is_open(state) if kind is None else kind != "closed")
        if kind is None:
            continue
        event = _event(kind, rule, observation, now)
        if kind == "updated" and key in pending:
            events[pending[key]] = event
            continue
        events.append(event)
        if kind == "updated":
            pending[key] = len(events) - 1
        else:
            pending.pop(key, None)
    return events


def free_space_event(free_mb: float, warn_mb: int, reserve_mb: int, is_open: Severity | None, now: datetime, *, day: str) -> AlertEvent | None:
    """Whether an alert on the platform's own disk opens, changes or closes. It is no enterprise's.

    Args:
        free_mb: free space in MB.
        warn_mb: with less it opens as a warning; from a tenth more on it closes.
        reserve_mb: with less it is critical: nothing is acknowledged any more.
        is_open: the severity of the alert that is open.
        now: the instant that the event carries.
        day: the local day, its period.
    """
    severity: Severity = "critical" if free_mb < reserve_mb else "warning"
    is_low = free_mb < max(warn_mb, reserve_mb)
    if is_open is None and is_low:
        kind: Literal["opened", "updated", "closed"] = "opened"
    elif is_open is not None and free_mb >= 1.1 * max(warn_mb, reserve_mb):
        kind = "closed"
    elif is_open is not None and severity != is_open and is_low:
        kind = "updated"
    else:
        return None
    zh, en = free_space_texts(free_mb, warn_mb, reserve_mb, kind)
    return AlertEvent(
        kind, FREE_SPACE, DATA_DIR, "", severity, free_mb, float(reserve_mb if severity == "critical" else warn_mb), "MB", day, now, zh, en,
        facts={"enterprise_zh": "监测平台", "enterprise_en": "platform"},
    )


def flag_events(flags: pl.DataFrame, open_alerts: Sequence[OpenAlert], now: datetime, *, since: date, zone: str) -> list[AlertEvent]:
    """What a person has to confirm or mend: resets, each at its instant, and steps above a register's rating, together for a day.

    An alert opens when the flag appears and closes when it is gone: when a person has confirmed it, an event is declared, a
    reading is excluded or replaced, or later readings show that it was a false value.

    Args:
        flags: FLAG with `day` (the local day in which its span starts), `enterprise`, `meter`, `register`, `unit` (of quantities),
            `max_rate_per_h`, and where known `enterprise_zh` and `enterprise_en`: all of the days since `since` and of those of `open_alerts`.
        open_alerts: what is open now; those of other rules are left alone.
        now: the instant that the events carry.
        since: flags of earlier days open nothing.
        zone: the park's zone, in which times are told.
    """
    ours = {(alert.rule, alert.subject): alert for alert in open_alerts if alert.rule in FLAG_RULES.values()}
    events = []
    for row in _flag_findings(flags, zone).iter_rows(named=True):
        is_open = ours.pop((row["rule"], row["subject"]), None)
        if is_open is None and row["day"] < since:
            continue
        if is_open is not None and f"{is_open.value:.4g}" == f"{row['value']:.4g}" and is_open.facts.get("count") == row["count"]:
            continue
        kind: Literal["opened", "updated"] = "opened" if is_open is None else "updated"
        facts: dict[str, str | float | None] = {name: row[name] for name in OF_FLAG if name in row}
        zh, en = flag_texts(row["enterprise"], facts, kind)
        events.append(AlertEvent(
            kind, row["rule"], row["subject"], row["enterprise"], "warning", row["value"], row["bound"], row["rate_unit"], str(row["day"]), now,
            zh, en, facts,
        ))
    for alert in ours.values():
        zh, en = flag_texts(alert.enterprise, alert.facts, "closed")
        events.append(AlertEvent(
            "closed", alert.rule, alert.subject, alert.enterprise, alert.severity, alert.value, alert.bound, alert.unit, alert.period, now, zh, en,
            alert.facts,
        ))
    return events


def _flag_findings(flags: pl.DataFrame, zone: str) -> pl.DataFrame:
    """One row for each alert: rule, subject, day, value, bound, rate_unit, count and the facts of its first, or fastest, flag."""
    hours = (pl.col("end") - pl.col("start")).dt.total_microseconds() / 3.6e9
    is_reset = pl.col("flag") == "reset"
    at, many = pl.col("end").dt.convert_time_zone(zone), pl.len().over("register_key", "day", "flag") > MOST_RESETS
    whose = pl.concat_str("enterprise", "meter", "register", separator="/")
    held = pl.when(is_reset & ~many).then(at.dt.strftime("%Y-%m-%dT%H:%M:%S%.f%:z")).otherwise(pl.col("day").cast(pl.String))
    return (
        flags.filter(pl.col("flag").is_in(list(FLAG_RULES)), is_reset | pl.col("max_rate_per_h").is_not_null())
        .with_columns(
            rule=pl.col("flag").replace_strict(FLAG_RULES, return_dtype=pl.String), subject=pl.concat_str(whose, held, separator="/"),
            value=pl.when(is_reset).then("after").otherwise(pl.col("quantity").abs() / hours),
            bound=pl.when(is_reset).then("before").otherwise("max_rate_per_h"),
            rate_unit=pl.when(is_reset).then(pl.lit("")).otherwise(pl.col("unit") + "/h"),
            **{name: pl.col(at).dt.convert_time_zone(zone).dt.strftime("%Y-%m-%d %H:%M:%S") for name, at in (("from", "start"), ("to", "end"))},
        )
        .sort("register_key", "rule", "subject", pl.when(is_reset).then(0.0).otherwise(-pl.col("value")), "start")
        .group_by("rule", "subject", maintain_order=True).agg(pl.all().first(), count=pl.len().cast(pl.Float64))
    )


def observations_from_quantities(rule: AlertRule, intervals: pl.DataFrame, *, zone: str) -> list[Observation]:
    """Hourly or daily consumption as figures of a quantity rule.

    Args:
        rule: kind "quantity"; its enterprise, meter, register and medium select, and so does its unit: a register whose unit
            does not convert to it by definition is not meant.
        intervals: INTERVAL of the rule's grain with `enterprise`, `meter`, `register`, `medium` and `unit` of the register.
        zone: the park's zone, in which a period is named.

    Returns:
        One observation for each interval that is measured whole. One that is partly estimated is none: what a register caught up for
        after a gap is real, but when it was used is not known, so it is no peak. Nor is one that is suspect or not covered whole.
    """
    wanted = {"enterprise": rule.enterprise, "meter": rule.meter, "register": rule.register_name, "medium": rule.medium}
    factors = {unit: by for unit in intervals["unit"].unique().to_list() if unit and (by := factor(unit, str(rule.unit))) is not None}
    chosen = (
        intervals.filter(
            *(pl.col(column) == value for column, value in wanted.items() if value is not None),
            pl.col("unit").is_in(list(factors)),
            pl.col("quality").cast(pl.String) == "measured",
            pl.col("covered_ratio") >= 1 - _ROUNDING,
            pl.col("quantity").is_finite(),
        )
        .with_columns(
            value=pl.col("quantity") * pl.col("unit").replace_strict(factors, default=None, return_dtype=pl.Float64),
            period=period_of(pl.col("start"), rule.grain, zone),
        )
        .sort("end", "enterprise", "meter", "register")
    )
    return [
        Observation(
            rule=rule.name, subject=f"{row['enterprise']}/{row['meter']}/{row['register']}", enterprise=row["enterprise"], value=row["value"],
            unit=str(rule.unit), period=row["period"], at=row["end"],
            facts={name: row[name] for name in ("meter", "register", "medium", "covered_ratio", "estimated_ratio", *_NAMES) if name in row},
        )
        for row in chosen.iter_rows(named=True)
    ]


def observations_from_verdicts(rule: AlertRule, verdicts: pl.DataFrame, *, zone: str) -> list[Observation]:
    """Verdicts as figures of a limit-ratio rule: actual by the binding limit.

    The ratio is 1 + excess by the limit's absolute value, which is actual / limit for a positive limit and keeps its meaning
    for a negative one (decisions.md 5); at a limit of zero, where no ratio exists, it is 0, 1 or 2 below, at and above it.

    Args:
        rule: kind "limit_ratio" or "forecast_ratio"; its enterprise selects.
        verdicts: VERDICT with `closed` (whether the accounting year is over), and where known names (`enterprise_zh`, `product_en`, ...)
            and the confirmation of the limit row (`confirmed_by`, `copy`), which the texts then quote.
        zone: the park's zone, in which a day ends.

    Returns:
        One observation for each verdict that compares (complies, exceeds, exceeds_measured_alone). The subject holds the standard
        with its edition and the year, so that neither two editions nor two years speak about one alert.
    """
    chosen = (
        verdicts.filter(
            pl.col("verdict").is_in(["complies", "exceeds", "exceeds_measured_alone"]),
            *([pl.col("enterprise") == rule.enterprise] if rule.enterprise is not None else []),
        )
        .with_columns(limit=binding_limit())
        .filter(pl.col("limit").is_not_null(), pl.col("actual").is_finite())
        .with_columns(
            ratio=pl.when(pl.col("limit") == 0)
            .then(1.0 + (pl.col("actual") - pl.col("limit")).sign())
            .otherwise(1.0 + (pl.col("actual") - pl.col("limit")) / pl.col("limit").abs())
        )
        .sort("period_end", "enterprise", "product", "indicator")
    )
    return [_limit_observation(rule, row, zone) for row in chosen.iter_rows(named=True)]


def observations_from_budgets(rule: AlertRule, warnings: pl.DataFrame, *, zone: str) -> list[Observation]:
    """Early warnings as figures of a budget-gap rule: by how much of the goal it is missed, negative where it is met.

    Args:
        rule: kind "budget_gap"; its enterprise selects that enterprise's budgets.
        warnings: WARNING, and where known the names of the subjects (`enterprise_zh`, `enterprise_en`).
        zone: the park's zone, in which a day ends.

    Returns:
        One observation for each goal with a gap; one that is not known, or is 0, has none.
    """
    mine = [pl.col("level") == "enterprise", pl.col("subject") == rule.enterprise] if rule.enterprise is not None else []
    known = warnings.filter(pl.col("gap_ratio").is_finite(), pl.col("through").is_not_null(), *mine).sort("level", "subject", "measure", "kind")
    facts = ("measure", "actual", "target", "progress_target", "gap_ratio", "colour", "derivation_zh", "source", *_NAMES[:2])
    return [
        Observation(
            rule=rule.name, subject="/".join(row[name] for name in ("level", "subject", "measure", "kind", "period")),
            enterprise=row["subject"] if row["level"] == "enterprise" else "", value=row["gap_ratio"], unit="ratio",
            period=f"{period_days(row['period'])[0]}..{row['through']}", at=day_span(row["through"], zone)[1],
            facts={**{name: row[name] for name in facts if name in row}, "derivation_en": row["derivation"]},
        )
        for row in known.iter_rows(named=True)
    ]


def binding_limit() -> pl.Expr:
    """The value of the binding level of a VERDICT row (null where there is none)."""
    return pl.coalesce(pl.when(pl.col("binding_level") == level).then(pl.col(f"level_{level}")) for level in (1, 2, 3))


def verdict_facts(row: Mapping[str, Any]) -> dict[str, str | float | None]:
    """A VERDICT row with `limit` as the facts of an observation or a case: dates as texts, numbers as numbers."""
    names = [name for name in (*_EVIDENCE, *_NAMES, "limit") if name in row]
    return {**{name: row[name] for name in names}, "period_start": str(row["period_start"]), "period_end": str(row["period_end"])}


def _limit_observation(rule: AlertRule, row: Mapping[str, Any], zone: str) -> Observation:
    year = row["period_start"].year
    whole_year = (row["period_start"], row["period_end"]) == period_days(str(year))
    parts = (row["enterprise"], row["product"], row["indicator"], row["line"], row["standard"], str(year))
    return Observation(
        rule=rule.name, subject="/".join(part for part in parts if part), enterprise=row["enterprise"], value=row["ratio"], unit="ratio",
        period=str(year) if whole_year else f"{row['period_start']}..{row['period_end']}",
        at=day_span(row["period_end"], zone)[1],
        facts={**verdict_facts(row), "closed": float(bool(row.get("closed")))},
    )


def _is_open(state: _State | None) -> bool:
    return state is not None and state.open


def _step(rule: AlertRule, observation: Observation, state: _State | None) -> Literal["opened", "updated", "closed"] | None:
    value, bound = _even(observation.value), _even(rule.bound)
    clear_below = bound if rule.clear_below is None else _even(rule.clear_below)
    reached = value > bound or (rule.at_least is not None and value == bound)
    if state is None or not state.open:
        return "opened" if reached else None
    if value < clear_below or (clear_below == bound and not reached):
        return "closed"
    shown_alike = f"{observation.value:.4g}" == f"{state.value:.4g}"
    return None if shown_alike and observation.period == state.period else "updated"


def _event(kind: Literal["opened", "updated", "closed"], rule: AlertRule, observation: Observation, now: datetime) -> AlertEvent:
    text_zh, text_en = alert_texts(rule, observation, kind)
    return AlertEvent(
        kind=kind, rule=rule.name, subject=observation.subject, enterprise=observation.enterprise, severity=rule.severity,
        value=observation.value, bound=rule.bound, unit=observation.unit, period=observation.period, at=now,
        text_zh=text_zh, text_en=text_en, facts=observation.facts,
    )


def _even(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _end(period: str) -> str:
    """The last day or hour of a period, as a text that sorts."""
    last = period.rsplit("..", 1)[-1]
    return last if "T" in last else period_days(last)[1].isoformat()
