"""Read models of the platform itself: what comes in, its gateways, services and stores, what is in quarantine."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from config.errors import StoreUnavailableError, TcewatchError
from config.schemas import INSTANT, conform
from pipeline import quality
from pipeline.replay import sent
from pipeline.site import Site
from portal import casework, views
from portal.context import Portal, ServiceHealth
from portal.raw import RAW_SHOWN, readable
from portal.scope import NotFoundError, Scope
from store.ledger import Totals
from store.quarantine import WHOLE_MESSAGE, Filters

LAST_READING: Final = pl.Schema({
    "enterprise": pl.String(), "meter": pl.String(), "register": pl.String(), "medium": pl.String(), "unit": pl.String(), "kind": pl.String(),
    "read_at": INSTANT, "value": pl.Float64(), "received_at": INSTANT,
})
LATEST_FOR_S: Final = 2.0  # the last readings are asked for once in so many seconds, however many people look


@dataclass(frozen=True, slots=True)
class Live:
    """How much has come in, and whether it still does."""

    totals: Totals
    waiting: int  # messages in the journal that are not settled yet
    last_arrival: datetime | None
    history: tuple[int, int] | None  # done, total of a history that is being loaded
    open_alerts: int
    open_cases: int


@dataclass(frozen=True, slots=True)
class Operation:
    """How the platform itself is doing."""

    totals: Totals
    waiting: int
    gateways: list[dict[str, Any]]
    services: list[ServiceHealth]
    apart: bool  # the services that collect and compute run in other processes
    stores: dict[str, str]  # store -> "" where it answers, else a sentence
    outbox: Mapping[str, int]

    @property
    def messages_close(self) -> bool:
        """Received = decoded + undecodable."""
        return self.totals.received == self.totals.decoded_messages + self.totals.undecodable

    @property
    def readings_close(self) -> bool:
        """Decoded = stored + duplicate + conflicting + rejected."""
        return self.totals.decoded == self.totals.stored + self.totals.duplicate + self.totals.conflicting + self.totals.rejected


def last_readings(portal: Portal, scope: Scope) -> tuple[pl.DataFrame, bool]:
    """LAST_READING rows, and whether they are readings (else: the ends of the last derived hours, without a value)."""
    asked_at, latest = portal.cache.get("latest", (-LATEST_FOR_S, None))
    if time.monotonic() - asked_at >= LATEST_FOR_S:
        latest = _latest(portal)
        portal.cache["latest"] = (time.monotonic(), latest)
    from_readings = latest is not None
    rows = views.registers(portal.site, scope).join(latest if latest is not None else _last_hours(portal), on="register_key", how="left")
    return conform(rows.sort("enterprise", "meter", "register"), LAST_READING), from_readings


def _latest(portal: Portal) -> pl.DataFrame | None:
    if not readings_are_here(portal):
        return None
    try:
        return portal.site.readings().latest().select("register_key", "read_at", "value", "received_at")
    except StoreUnavailableError:
        return None


def _last_hours(portal: Portal) -> pl.DataFrame:
    today = portal.today()
    hours = portal.site.derived.read("hourly", today - timedelta(days=7), today)
    return hours.filter(pl.col("covered_ratio") > 0).group_by("register_key").agg(read_at=pl.col("end").max()).collect()


def readings_are_here(portal: Portal) -> bool:
    """Whether this process may open the readings: a DuckDB file belongs to the process that settles and rolls up."""
    return portal.site.settings.store.readings != "duckdb" or not {"settle", "roll"}.isdisjoint(running(portal))


def running(portal: Portal) -> Mapping[str, ServiceHealth]:
    """The services of this process."""
    return portal.services.health() if portal.services else {}


def live(portal: Portal, scope: Scope, last: pl.DataFrame) -> Live:
    """The figures that move."""
    site = portal.site
    arrivals = last["received_at"].drop_nulls()
    return Live(
        totals=site.ledger.totals(), waiting=site.waiting(),
        last_arrival=arrivals.max() if arrivals.len() else None,  # type: ignore[arg-type]  # an instant
        history=_progress(site.ledger.get_state("history_progress")),
        open_alerts=len(casework.open_alerts(site, scope)), open_cases=casework.cases(site, scope).filter(pl.col("state") == "suspected").height,
    )


def _progress(text: str | None) -> tuple[int, int] | None:
    if not text:
        return None
    state = json.loads(text)
    done, total = int(state["done"]), int(state["total"])
    return (done, total) if total > 0 and done < total else None


def operation(portal: Portal, scope: Scope) -> Operation:
    """What the page of data and services shows."""
    site = portal.site
    return Operation(
        totals=site.ledger.totals(), waiting=site.waiting(),
        gateways=gateways(portal, scope).to_dicts(),
        services=sorted(running(portal).values(), key=lambda one: one.name), apart=set(running(portal)) <= {"portal"},
        stores=stores(portal), outbox=dict(site.outbox.counts()),
    )


def gateways(portal: Portal, scope: Scope) -> pl.DataFrame:
    """Registered gateways, how each is now (STATUS), and the sequence of each of its epochs (SEQUENCE)."""
    site, sender = portal.site, ["enterprise", "gateway"]
    known = scope.rows(site.register.gateways()).select(*sender, "region", "name_zh", "name_en", registered_software="software")
    told = scope.rows(quality.gateways(site, portal.clock())).drop("epoch")
    software = pl.coalesce("software", "registered_software").alias("software")
    counted = scope.rows(site.ledger.sequences()).drop("last_message")
    rows = known.join(told, on=sender, how="left").with_columns(software).drop("registered_software").join(counted, on=sender, how="left")
    return rows.sort(*sender, "epoch")


def signs(portal: Portal, scope: Scope) -> pl.DataFrame:
    """REGISTER_LIVENESS of the visible registers that are stale or frozen, the longest silent first."""
    rows = scope.rows(quality.registers(portal.site, portal.clock()))
    return rows.filter(pl.col("stale") | pl.col("frozen")).sort("stale", "last_at", descending=[True, False])


def quarantine(
    site: Site, scope: Scope, *, limit: int, after: tuple[int, int] | None = None, filters: Filters,
) -> tuple[pl.DataFrame, tuple[int, int] | None]:
    """Quarantined rows without their bytes, newest first, and (message, index) to go on after (None: that was all)."""
    rows = scope.rows(site.quarantine.page(after=after, limit=limit + 1, filters=filters, enterprises=scope.only))
    shown = rows.head(limit)
    return shown, ((int(shown["message"][-1]), int(shown["index"][-1])) if rows.height > limit else None)


def quarantine_counts(site: Site, scope: Scope) -> pl.DataFrame:
    """kind, reason, rows of what the scope may see."""
    return site.quarantine.counts(enterprises=scope.only)


def quarantined(site: Site, scope: Scope, message: int, index: int) -> dict[str, Any]:
    """One quarantined row with its bytes (`raw`), at most RAW_SHOWN of them as `text` where they are readable, else as `hex`.

    The bytes are those of the reading, or of the whole message (`whole`).

    Raises:
        NotFoundError: there is no such row within the scope.
    """
    row = site.quarantine.get(message, index)
    if row is None:
        raise NotFoundError
    scope.check(row["enterprise"])
    raw = bytes(row["raw"] or b"")
    whole = None if raw or index == WHOLE_MESSAGE else sent(site, message)  # a reading that broke a rule: the message that it came in
    raw = raw if whole is None else whole.payload
    of_message = whole is not None or index < 0
    return {**row, "raw": raw, "whole": of_message, "size": len(raw), "shown": min(len(raw), RAW_SHOWN), **readable(raw[:RAW_SHOWN])}


def stores(portal: Portal) -> dict[str, str]:
    """Each store, and what keeps it from answering ("" where nothing does)."""
    names = ["database", "journal", "ledger", "disk", *(["readings"] if readings_are_here(portal) else [])]
    return {name: _trouble(portal.site, name) for name in names}


def _trouble(site: Site, store: str) -> str:
    try:
        match store:
            case "database":
                site.database.ready()
            case "journal":
                site.journal.last_id()
            case "ledger":
                site.ledger.cursor()
            case "disk":
                site.check_reserve()
            case _:
                site.readings().ready()
    except TcewatchError as error:
        return str(error)
    return ""
