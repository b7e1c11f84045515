"""What the platform asks gateways for: back-fill on `requests`, and commands on topics of their own.

A missing range is asked for when it is known for RANGE_S (a message may only be late), then again after 30 s, 1 min, 2 min ...
up to a day, and anew when the gateway comes back. What it has reported lost is never asked for. What no sequence shows (a register
without readings in a window) is asked for by time, from WINDOW_S on and WINDOW_TIMES at most: there is no way to say that there
is nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import polars as pl

from config.schemas import INSTANT, conform
from ingest.connection import Connection
from ingest.gateways import confirmed
from ingest.routes import OWN_ROOT
from store.fleet import Fleet
from store.ledger import Ledger

RANGE_S: Final = 30.0
WINDOW_S: Final = 900.0
LONGEST_S: Final = 86_400.0
RETURNED_S: Final = 5.0  # after a gateway has come back it is asked again
WINDOW_TIMES: Final = 5
GIVE_UP_AFTER: Final = timedelta(days=183)  # gateways keep six months of history
MAX_RANGES: Final = 100  # of a request: the oldest first
MAX_WINDOWS: Final = 60
_EVERY_S: Final = 5.0
_WINDOWS_EVERY_S: Final = 600.0
_SENDER: Final = ["enterprise", "gateway"]

Regions = Callable[[], Mapping[tuple[str, str], str]]


def followed(missing: pl.DataFrame, known: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """What is missing now, with what is remembered of it: a part of a span that was known before was asked for with it.

    Args:
        missing: spans that do not overlap: the columns of ASKED_RANGE or ASKED_WINDOW up to the end of the span.
        known: ASKED_RANGE or ASKED_WINDOW.
        now: since when new ones are known.

    Returns:
        ASKED_RANGE or ASKED_WINDOW.
    """
    *of, start, end = known.columns[:-3]
    before = known.select(*of, start, "seen_at", "times", "asked_at", until=end).sort(start)
    rows = missing.sort(start).join_asof(before, on=start, by=of, strategy="backward", check_sortedness=False)
    inside = (pl.col(start) < pl.col("until")) | ((pl.col(start) == pl.col("until")) if end == "to_seq" else pl.lit(value=False))
    kept = [pl.when(inside).then(name).alias(name) for name in ("seen_at", "times", "asked_at")]
    return conform(rows.with_columns(kept).with_columns(pl.col("seen_at").fill_null(now), pl.col("times").fill_null(0)), known.schema)


def due(spans: pl.DataFrame, fleet: pl.DataFrame, now: datetime, *, first_s: float, most_times: int | None = None) -> pl.DataFrame:
    """The spans that are to be asked for now, by gateway, the oldest first.

    Args:
        spans: ASKED_RANGE or ASKED_WINDOW.
        fleet: FLEET; one that says that it is offline is asked when it is back.
        now: the instant to judge at.
        first_s: how long it waits for the first time; doubled each time, up to LONGEST_S.
        most_times: how often one is asked for at most, unless the gateway has come back since.
    """
    rows = spans.join(fleet.select(*_SENDER, "state", "connected_at"), on=_SENDER, how="left")
    # 2 to the power of what is far beyond a day would overflow.
    wait_s = pl.min_horizontal(first_s * pl.lit(2.0).pow(pl.col("times").clip(1, 20) - 1), pl.lit(LONGEST_S))
    at = pl.coalesce("asked_at", "seen_at") + pl.duration(microseconds=wait_s * 1e6)
    returned = (pl.col("connected_at") > pl.col("asked_at")) & (pl.col("asked_at") <= now - timedelta(seconds=first_s)) & (
        pl.col("connected_at") <= now - timedelta(seconds=RETURNED_S)
    )
    waited = at <= now if most_times is None else (at <= now) & (pl.col("times") < most_times)
    chosen = rows.filter(waited | returned.fill_null(value=False), pl.col("state").ne_missing("offline"), pl.col("seen_at") > now - GIVE_UP_AFTER)
    return chosen.select(spans.columns).sort(*_SENDER, "seen_at", spans.columns[-5])


class BackfillRequester:
    """Asks registered gateways for what is missing; what was asked for and when is in the fleet."""

    def __init__(
        self, fleet: Fleet, ledger: Ledger, *, regions: Regions, windows: Callable[[datetime], pl.DataFrame],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`regions`: registered region of (enterprise, gateway). `windows`: what no sequence shows, columns of ASKED_WINDOW up to `end`."""
        self._fleet, self._ledger, self._regions, self._windows, self._now = fleet, ledger, regions, windows, now
        self._next_s = self._windows_next_s = 0.0
        self._without_readings: pl.DataFrame | None = None

    def once(self, connection: Connection) -> int:
        """Look every few seconds for what is due and ask for it; how many requests. What the broker did not acknowledge is asked for again."""
        if time.monotonic() < self._next_s:
            return 0
        self._next_s = time.monotonic() + _EVERY_S
        now, regions, fleet = self._now(), self._regions(), self._fleet.gateways()
        registered = pl.DataFrame(list(regions), schema=dict.fromkeys(_SENDER, pl.String()), orient="row")
        gaps = self._ledger.gaps().filter(~pl.col("lost")).join(registered, on=_SENDER, how="semi")
        if self._without_readings is None or time.monotonic() >= self._windows_next_s:
            self._without_readings, self._windows_next_s = self._windows(now), time.monotonic() + _WINDOWS_EVERY_S
        known_ranges, known_windows = self._fleet.asked_ranges(), self._fleet.asked_windows()
        ranges = followed(gaps, known_ranges, now)
        windows = followed(self._without_readings.join(registered, on=_SENDER, how="semi"), known_windows, now)
        asked_ranges = _first(due(ranges, fleet, now, first_s=RANGE_S), MAX_RANGES)
        unexplained = windows.join(gaps, on=_SENDER, how="anti")  # what messages are missing may hold them
        asked_windows = _first(due(unexplained, fleet, now, first_s=WINDOW_S, most_times=WINDOW_TIMES), MAX_WINDOWS)
        sent = []
        for sender, (missing, lacking) in _by_sender(asked_ranges, asked_windows).items():
            topic = f"{OWN_ROOT}{regions[sender]}/{'/'.join(sender)}/requests"
            sent.append(connection.publish(topic, request(missing, lacking)))
        if sent and confirmed(connection, sent):
            ranges, windows = _asked(ranges, asked_ranges, now), _asked(windows, asked_windows, now)
        if not (ranges.equals(known_ranges) and windows.equals(known_windows)):
            self._fleet.remember_asked(ranges, windows)
        return len(sent)


class CommandPublisher:
    """Publishes the commands that messages have called for: at most one a minute on each topic."""

    def __init__(self, fleet: Fleet, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._fleet, self._now = fleet, now

    def once(self, connection: Connection) -> int:
        """Publish what is wanted; how many commands."""
        now = self._now()
        for command in (commands := self._fleet.commands(now)):
            if not confirmed(connection, [connection.publish(command.topic, command.payload)]):
                return 0
            self._fleet.command_sent(command, now)
        return len(commands)


def request(missing: Sequence[Mapping[str, Any]], windows: Sequence[Mapping[str, Any]]) -> bytes:
    """A request of the contract for ranges of messages and windows of time: under 64 KiB where there are MAX_RANGES and MAX_WINDOWS at most."""
    return msgspec.json.encode({
        "v": 1, "missing": [{name: one[name] for name in ("epoch", "from_seq", "to_seq")} for one in missing],
        "windows": [
            {"meter": one["meter"], "register": one["register"], "from": one["start"].isoformat(), "to": one["end"].isoformat()}
            for one in windows
        ],
    })


def _first(spans: pl.DataFrame, count: int) -> pl.DataFrame:
    return spans.filter(pl.int_range(pl.len()).over(_SENDER) < count)


def _by_sender(*tables: pl.DataFrame) -> dict[tuple[str, str], list[list[dict[str, Any]]]]:
    found: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    for number, table in enumerate(tables):
        for row in table.iter_rows(named=True):
            found.setdefault((row["enterprise"], row["gateway"]), [[] for _ in tables])[number].append(row)
    return found


def _asked(spans: pl.DataFrame, asked: pl.DataFrame, now: datetime) -> pl.DataFrame:
    keys = spans.columns[:-3]
    again = asked.with_columns(pl.col("times") + 1, asked_at=pl.lit(now, INSTANT))
    return pl.concat([spans.join(asked, on=keys, how="anti"), again]).sort(keys)
