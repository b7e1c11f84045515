"""Derived figures -> alerts and cases: what opens or closes is recorded, queued and audited in one transaction."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import polars as pl
import structlog

from alerts.cases import cases_from
from alerts.compose import notices
from alerts.rules import (
    FLAG_DAYS,
    FLAG_RULES,
    FREE_SPACE,
    advance,
    flag_events,
    free_space_event,
    observations_from_budgets,
    observations_from_quantities,
    observations_from_verdicts,
)
from config import calendar, schemas
from config.findings import AlertEvent, CaseOpened, Observation
from config.settings import AlertRule
from config.units import quantity_unit
from pipeline.site import Site

LOOK_BACK_DAYS = 2  # late readings of the last two days may still open an alert on an hour or a day
PAUSE_S = 2.0
log = structlog.get_logger("watch")


@dataclass
class Watcher:
    """Holds the newest figures against the rules."""

    site: Site
    clock: Callable[[], datetime]
    _flags_seen: tuple[str, ...] = ()  # flags, register and day that the alerts on flags were last held against

    def once(self) -> int:
        """Hold all figures against all rules once; how many alert events and cases came of it."""
        now = self.clock()
        settings, casebook = self.site.settings, self.site.casebook
        zone, rules = settings.site.zone, settings.alerts.rules
        verdicts = self._named(self.site.derived.read_result("verdicts"))
        observations = [one for rule in rules if rule.kind == "quantity" for one in self._quantities(rule, now)]
        observations += [one for rule in rules if rule.kind == "limit_ratio" for one in observations_from_verdicts(rule, verdicts, zone=zone)]
        running = self.site.derived.read_result("running")
        ahead = self._named(None if running is None else running.filter(pl.col("period_kind") == "year_forecast"))
        observations += [one for rule in rules if rule.kind == "forecast_ratio" for one in observations_from_verdicts(rule, ahead, zone=zone)]
        goals = self._budgets()
        observations += [one for rule in rules if rule.kind == "budget_gap" for one in observations_from_budgets(rule, goals, zone=zone)]
        known = {rule.name for rule in rules}  # an alert of a rule that the settings no longer have stays as it is
        events = advance(rules, observations, [alert for alert in casebook.open_alerts() if alert.rule in known], now, judged=casebook.judged())
        events += self._free_space(now)
        seen = (self.site.derived.version("flags"), self.site.register.version(), str(calendar.local_day(now, zone)))
        events += self._flags(now) if seen != self._flags_seen else []
        cases = cases_from(verdicts, casebook.case_keys(), today=calendar.local_day(now, zone), at=now)
        if events or cases:
            channels = [channel.name for channel in settings.alerts.channels]
            found: list[AlertEvent | CaseOpened] = [*events, *cases]
            casebook.record(found, [notice for one in found for notice in notices(one, channels)], by="watch")
            log.info("recorded", alerts=len(events), cases=len(cases))
        self._flags_seen = seen
        return len(events) + len(cases)

    def _flags(self, now: datetime) -> list[AlertEvent]:
        """Alerts on resets and steps above a rating, of the last days and of those whose alert is open."""
        derived, zone = self.site.derived, self.site.settings.site.zone
        today, computed = calendar.local_day(now, zone), derived.days("flags")
        since = today - timedelta(days=FLAG_DAYS)
        ours = [one for one in self.site.casebook.open_alerts() if one.rule in FLAG_RULES.values()]
        ours = [one for one in ours if date.fromisoformat(one.period) in computed]  # of other days nothing can be said
        days = sorted({*(day for day in computed if day >= since), *(date.fromisoformat(one.period) for one in ours)})
        if not days:
            return []
        flags = pl.concat([derived.read("flags", day, day).filter(pl.col("flag").is_in(list(FLAG_RULES))) for day in days]).collect()
        rows = self.site.register.registers().sort("valid_from", nulls_last=False)
        units = pl.Series([quantity_unit(*row) for row in rows.select("kind", "unit").iter_rows()], dtype=pl.String)
        rows = rows.select(
            "register_key", "enterprise", "meter", "register", "max_rate_per_h", units.alias("unit"),
            begins=pl.col("valid_from").fill_null(calendar.EARLIEST),
        )
        named = flags.sort("start").join_asof(rows.sort("begins"), left_on="start", right_on="begins", by="register_key", check_sortedness=False)
        names = self.site.register.enterprises().select("enterprise", enterprise_zh="name_zh", enterprise_en="name_en")
        named = named.filter(pl.col("enterprise").is_not_null()).join(names, on="enterprise", how="left")
        return flag_events(named, ours, now, since=since, zone=zone)

    def _free_space(self, now: datetime) -> list[AlertEvent]:
        bounds, day = self.site.settings.retention, str(calendar.local_day(now, self.site.settings.site.zone))
        is_open = next((one.severity for one in self.site.casebook.open_alerts() if one.rule == FREE_SPACE), None)
        event = free_space_event(self.site.free_mb(), bounds.warn_free_mb, bounds.reserve_mb, is_open, now, day=day)
        return [] if event is None else [event]

    def _named(self, verdicts: pl.DataFrame | None) -> pl.DataFrame:
        if verdicts is None:
            return schemas.empty(schemas.VERDICT)
        names = self.site.register.enterprises().select("enterprise", enterprise_zh="name_zh", enterprise_en="name_en")
        products = self.site.limits().unique(["product", "indicator"], keep="last").select(
            "product", "indicator", "product_zh", "product_en", "indicator_zh", "indicator_en"
        )
        keys = ["product", "indicator", "standard"]
        confirmed = self.site.confirmations.frame().select(*keys, "confirmed_by", "copy").unique(keys, keep="last", maintain_order=True)
        named = verdicts.join(names, on="enterprise", how="left").join(products, on=keys[:2], how="left")
        return named.join(confirmed, on=keys, how="left")

    def _budgets(self) -> pl.DataFrame:
        """WARNING with the names of the subjects."""
        rows, register = self.site.derived.result("budgets", schemas.WARNING), self.site.register
        names = pl.concat([
            table.select(subject=code, enterprise_zh="name_zh", enterprise_en="name_en")
            for code, table in (("enterprise", register.enterprises()), ("park", register.parks()), ("region", register.regions()))
        ])
        return rows.join(names.unique("subject", keep="first"), on="subject", how="left")

    def _quantities(self, rule: AlertRule, now: datetime) -> list[Observation]:
        zone = self.site.settings.site.zone
        today = calendar.local_day(now, zone)
        table: Literal["hourly", "daily"] = "hourly" if rule.grain == "hour" else "daily"
        recent = self.site.derived.read(table, today - timedelta(days=LOOK_BACK_DAYS), today).filter(pl.col("end") <= now).collect()
        columns = ("register_key", "enterprise", "meter", "register", "medium", "unit")
        names = self.site.register.registers().select(columns).unique("register_key", keep="last")
        return observations_from_quantities(rule, recent.join(names, on="register_key"), zone=zone)
