"""Quarantine -> journal again, once the cause is mended: settling then decodes and judges it as if it came now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from ingest.content import MAX_READINGS
from ingest.replay import arrival, original_of
from ingest.routes import OWN_TOPIC
from pipeline.site import Site
from store.journal import Arrival, Message
from store.quarantine import Filters

_ROWS_AT_ONCE: Final = 5_000
_UNREPEATABLE: Final = ("state", "sandbox")  # what a gateway said of itself then is not so now; a trial is not kept


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a call of `replay` did."""

    rows: int  # of quarantine
    messages: tuple[int, ...]  # the journal ids of the replays
    left: tuple[int, ...]  # messages that cannot be replayed: no longer in the journal, or a gateway's state


def chosen(site: Site, filters: Filters, *, force: bool = False) -> Iterator[pl.DataFrame]:
    """Rows of quarantine that were not replayed yet (force: all), in portions that do not divide a message."""
    after, carried = None, pl.DataFrame()
    wanted = filters if force else Filters(**{**filters, "replayed": False})
    while not (page := site.quarantine.page(after=after, limit=_ROWS_AT_ONCE, filters=wanted)).is_empty():
        after = page.select("message", "index").row(-1)
        rows = pl.concat([carried, page]) if carried.height else page
        last = rows["message"] == rows["message"][-1]
        carried = rows.filter(last)
        if not last.all():
            yield rows.filter(~last)
    if carried.height:
        yield carried


def replay(site: Site, rows: pl.DataFrame, *, by: str, details: dict[str, Any]) -> Replayed:
    """Put messages, or single readings of them, into the journal again, and mark their rows.

    Args:
        site: whose journal and quarantine these are.
        rows: of quarantine (message, index). Index -1 or -2 stands for the whole message, of which the readings that are stored
            already count as duplicates.
        by: who does it, for the audit.
        details: for the audit.

    Raises:
        StoreFullError, StoreUnavailableError: what is not marked was not replayed, or will count as duplicates when replayed again.
    """
    now = datetime.now(UTC)
    messages: list[int] = []
    arrivals: list[Arrival] = []
    left: list[int] = []
    for message, indexes in rows.group_by("message", maintain_order=True).agg("index").sort("message").iter_rows():
        again = _again(site, message, indexes, now)
        if again is None:
            left.append(message)
        else:
            messages.append(message)
            arrivals.append(again)
    ids = site.journal.append(arrivals)
    if ids:
        replayed_as = dict(zip(messages, ids, strict=True))
        places = [(message, index) for message, index in rows.select("message", "index").iter_rows() if message in replayed_as]
        told = {**details, "rows": len(places), "messages": messages[:100], "as": [ids[0], ids[-1]]}
        site.quarantine.mark_replayed(replayed_as, places, by=by, details=told)
    return Replayed(rows.filter(pl.col("message").is_in(messages)).height, tuple(ids), tuple(left))


def sent(site: Site, message: int) -> Message | None:
    """The message as a gateway or file sent it, also where the number is that of a replay; None where the journal has it no more."""
    kept = site.journal.get(message)
    return None if kept is None else original_of(kept, site.journal.get)


def _again(site: Site, message: int, indexes: Sequence[int], at: datetime) -> Arrival | None:
    original = sent(site, message)
    if original is None or ((own := OWN_TOPIC.fullmatch(original.topic)) and own["kind"] in _UNREPEATABLE):
        return None
    # A row whose position is not known, as of what a store refused, has an index beyond all positions.
    single = all(0 <= index < MAX_READINGS for index in indexes)
    return arrival(original, indexes if single else None, at)
