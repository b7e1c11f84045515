"""Readings in InfluxDB 2: for several processes and larger sites.

Measurement `reading`; tags enterprise, meter, register, and copy where it is above 0; fields value (float), quality,
received_at (microseconds) and message (integers), written always all together; precision microseconds. An unanswered write
may be in and is sent again: the same row is the same point. What a query shows need not be on the server's disk (a write
that failed for want of room is shown until the next start), so rows that are there already from the same message are written
once more. Never the batching writer (it loses data in silence), never Flux from text that is not checked. The bucket belongs
to tcewatch alone: where somebody else writes another type under one of our fields, the server refuses ours for that week.
"""

import io
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import polars as pl
import tenacity
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.dialect import Dialect
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from config.errors import StoreUnavailableError, UnknownCodeError
from config.schemas import INSTANT, READING, conform, empty
from config.settings import InfluxSettings
from store.readings import REFUSED, Appended, Reach, judge, nearest

MEASUREMENT: Final = "reading"
LINES_PER_WRITE: Final = 50_000
WRITERS: Final = 2  # the server works on one request in one thread
_WORTH_A_WRITER: Final = 5_000  # lines
_LINES_IN_PIECE: Final = 10_000
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)  # the engine ends in 2262
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TAGS: Final = ("enterprise", "meter", "register")
_FIELDS: Final = {"value": pl.Float64(), "quality": pl.UInt8(), "received_at": pl.Int64(), "message": pl.Int64()}
_JUDGED: Final = ("value", "message")  # what telling repeats apart takes
_NAMED_IN_FILTER: Final = 100  # more registers than this are read together and told apart here
_ENTERPRISES_IN_FILTER: Final = 10
_NEAR: Final = timedelta(days=1)
_ATTEMPTS: Final = 4
_LONGEST_PAUSE_S: Final = 5.0  # within a call
_LONGEST_REST_S: Final = 300.0  # between calls, where the server asks for it
_DIALECT: Final = Dialect(annotations=[], header=True, delimiter=",", comment_prefix="#", date_time_format="RFC3339")  # type: ignore[no-untyped-call]
_BAD_LINE: Final = re.compile(r"unable to parse '(.*?)': ([^\n]*)", re.DOTALL)
_OTHER_TYPE: Final = (
    ". Another program has written this measurement into the bucket: see the operator guide, and replay the quarantine afterwards"
)
_PROXY: Final = "Check [store.influxdb] url, and what stands between here and InfluxDB."
_INSTANT_KEY: Final = ["register_key", "read_at"]
_TOGETHER: Final = ' |> group() |> keep(columns: ["_time", "_value", "enterprise", "meter", "register", "copy"])'  # in this order: a third cheaper
_OF_ARRIVAL: Final = ' |> filter(fn: (r) => r._field == "received_at")'  # the field that nobody else would write
_FAR: Final = pl.Schema({"register_key": pl.UInt32(), "far": INSTANT})
_KEYED: Final = pl.Schema({"register_key": pl.UInt32(), "copy": pl.UInt8(), "read_at": INSTANT})


class InfluxReadingStore:
    """ReadingStore on an InfluxDB 2 bucket. One process appends; any number may read."""

    def __init__(self, settings: InfluxSettings, names: Callable[[], pl.DataFrame]) -> None:
        """Take `names`, which gives register_key, enterprise, meter, register of all registers."""
        self._settings = settings
        self._ask_names = names
        self._names = pl.DataFrame(schema={"register_key": pl.UInt32(), **dict.fromkeys(_TAGS, pl.String())})
        self._tags = pl.Series(dtype=pl.String())  # the tags of a line, where a register's key is its place
        self._appending = threading.Lock()
        self._reach: Reach | None = None  # None: not known yet; it may say more than the server has, never less
        self._unanswered = empty(READING)  # rows that may be in, of one batch at most: they are written again before any others
        self._most_lines = LINES_PER_WRITE
        self._not_before_s = 0.0  # by the monotonic clock
        token = settings.token.get_secret_value() if settings.token else ""
        self._client = InfluxDBClient(settings.url, token, org=settings.org, timeout=round(settings.timeout_s * 1000), connection_pool_maxsize=8)
        self._reader = self._client.query_api()
        self._readers = ThreadPoolExecutor(len(_FIELDS), thread_name_prefix="influxdb-read")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="influxdb-write")

    def append(self, readings: pl.DataFrame) -> Appended:
        if readings.is_empty():
            return Appended()
        with self._appending:
            return self._append(readings)

    def span(
        self, register_keys: Sequence[int] | None, start: datetime, end: datetime, *, pad: int = 0, as_of: datetime | None = None,
    ) -> pl.DataFrame:
        def read(some: pl.DataFrame | None, first: datetime, until: datetime) -> pl.DataFrame:
            found = self._read(some, first, until)
            return found if as_of is None else found.filter(pl.col("received_at") <= as_of)

        asked = self._registers(register_keys)
        parts = [read(asked, start, end)]
        if pad:
            earlier = self._farthest(asked, _EARLIEST, start, "first")
            later = self._farthest(asked, end, _LATEST, "last")
            parts += [nearest(earlier, start, pad, read, before=True), nearest(later, end, pad, read, before=False)]
        return pl.concat(parts).sort("register_key", "read_at", "copy")

    def latest(self, register_keys: Sequence[int] | None = None) -> pl.DataFrame:
        asked = self._registers(register_keys)
        source = self._from(asked, _EARLIEST, _LATEST)
        found, is_whole = self._fields(source, " |> last()")
        if not is_whole:
            found = self._kept(self._farthest(asked, _EARLIEST, _LATEST, "last").rename({"far": "read_at"}), tuple(_FIELDS))
        return found.filter(pl.col("copy") == 0).sort("register_key")

    def count(self) -> int:
        counted = self._ask(f"{self._from(None, _EARLIEST, _LATEST)}{_OF_ARRIVAL} |> count() |> group() |> sum()", pl.Int64())
        return int(counted["_value"].sum())

    def ready(self) -> None:
        self._ask(f"{self._from(None, _LATEST - timedelta(seconds=1), _LATEST)} |> limit(n: 1)", pl.String())

    def incarnation(self) -> str:
        return str(self._fact("/ready", "started"))

    def keeps_for(self) -> timedelta | None:
        bucket, org = self._settings.bucket, self._settings.org
        found = self._fact("/api/v2/buckets", "buckets", name=bucket, org=org)
        try:
            seconds = [int(rule["everySeconds"]) for rule in found[0]["retentionRules"]]
        except (IndexError, KeyError, TypeError) as error:
            raise self._unavailable(_NotInfluxDbError(found)) from error
        return timedelta(seconds=seconds[0]) if seconds and seconds[0] else None

    def close(self) -> None:
        self._readers.shutdown()
        self._writers.shutdown()
        self._client.close()  # type: ignore[no-untyped-call]

    # --- writing ------------------------------------------------------------------------------------------------------

    def _append(self, readings: pl.DataFrame) -> Appended:
        if not self._unanswered.is_empty():
            self._write_all(self._unanswered)  # refused ones are so again when their message comes again
        if self._reach is None:
            last = self._farthest(None, _EARLIEST, _LATEST, "last")
            self._reach = Reach(last.select("register_key", first="far", last="far"))
        refused = [empty(REFUSED)]
        if not _fit(readings):
            fits = pl.col("value").is_finite() & pl.col("read_at").is_between(_EARLIEST, _LATEST, closed="left")
            fits &= pl.all_horizontal(pl.exclude("copy").is_not_null())
            refused.append(_refused(readings.filter(~fits.fill_null(value=False)), "InfluxDB holds no such value or instant"))
            readings = readings.filter(fits)
        kept = self._kept(self._reach.repeats(readings))
        while True:
            new, again, appended = judge(readings, kept)
            self._reach.widen(new)
            turned_down = self._write_all(pl.concat([new, again]))
            if turned_down.is_empty():
                return Appended(appended.outcome, pl.concat([*refused, appended.refused]))
            # A row that repeats a refused one is refused like it; what is left is judged without them.
            same = [*_INSTANT_KEY, "value"]
            reasons = turned_down.select(*same, "reason").unique(same)
            refused.append(conform(readings.join(reasons, on=same, maintain_order="left"), REFUSED))
            readings = readings.join(reasons, on=same, how="anti", maintain_order="left")

    def _write_all(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Write first copies, then second ones, ...: a copy is never in without those before it. Returns what was refused.

        Raises:
            StoreUnavailableError: an unknown part of them was written.
        """
        self._unanswered = rows
        refused = empty(REFUSED)
        for copy in rows["copy"].unique().sort():
            of_copy = rows if rows["copy"].max() == 0 else rows.filter(pl.col("copy") == copy)
            refused = self._write_side_by_side(of_copy)
            if not refused.is_empty():
                break
        self._unanswered = empty(READING)
        return refused

    def _write_side_by_side(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Write rows of one copy number by several requests; none is under way when this returns."""
        parts = list(rows.iter_slices(min(self._most_lines, max(_WORTH_A_WRITER, -(-rows.height // WRITERS)))))
        if len(parts) == 1:
            return self._write(rows)
        writes = [self._writers.submit(self._write, part) for part in parts]
        _, rest = wait(writes, return_when=FIRST_EXCEPTION)
        for write in rest:
            write.cancel()
        wait(rest)
        return pl.concat([write.result() for write in writes])

    def _write(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Write rows of one copy number; returns REFUSED for those that the server will never take.

        Raises:
            StoreUnavailableError: an unknown part of them was written.
        """
        refused = [empty(REFUSED)]
        while not rows.is_empty():
            try:
                self._send(self._body(rows))
                break
            except ApiException as error:
                told = _told(error)  # "": it was not InfluxDB that answered, and its word on our lines is worth nothing
                if error.status == 400 and told and (bad := self._named_in(told, rows)).height:
                    refused.append(bad)  # nothing of the body was taken because of these lines
                    rows = rows.join(bad, on=_INSTANT_KEY, how="anti", maintain_order="left")
                elif error.status == 422 and told:
                    # The rest is in; the answer counts the others but does not name them.
                    asked = rows.select("register_key").unique()
                    kept = self._read(asked, _first(rows), _first(rows, last=True) + timedelta(microseconds=1), _JUDGED)
                    missing = rows.join(kept, on=[*_INSTANT_KEY, "copy", "message"], how="anti", maintain_order="left")
                    refused.append(_refused(missing, told + (_OTHER_TYPE if "field type conflict" in told else "")))
                    break
                elif error.status == 413 and rows.height > 1:
                    self._most_lines = min(self._most_lines, rows.height // 2)
                    refused += [self._write(half) for half in (rows[: rows.height // 2], rows[rows.height // 2 :])]
                    break
                elif error.status in (400, 413) and told:
                    half = rows.height // 2
                    refused += [self._write(rows[:half]), self._write(rows[half:])] if half else [_refused(rows, told)]
                    break
                else:
                    raise self._unavailable(error) from error
            except _AWAY as error:
                raise self._unavailable(error) from error
        return pl.concat(refused)

    def _send(self, body: bytes) -> None:
        """One write; only 204 says that it is in."""
        if (rest_s := self._not_before_s - time.monotonic()) > 0:
            raise self._unavailable(f"it asks to be left alone for {rest_s:.0f} s more")
        query = {"org": self._settings.org, "bucket": self._settings.bucket, "precision": "us"}
        try:
            data, status = _retrying(lambda: self._call("POST", "/api/v2/write", query, body))
        except ApiException as error:
            self._not_before_s = time.monotonic() + min(_asked_s(error), _LONGEST_REST_S)
            raise
        if status != 204:
            raise _NotInfluxDbError(data)

    def _body(self, rows: pl.DataFrame) -> bytes:
        """Line protocol of rows of one copy number. Made in pieces: fresh memory for the whole would take most of the time."""
        measurement = _measurement(rows)
        body = io.BytesIO()
        for piece in rows.iter_slices(_LINES_IN_PIECE):
            text = self._lines(piece).str.join(f"\n{measurement}", ignore_nulls=False)
            body.writelines((measurement.encode(), text.cast(pl.Binary).item(), b"\n"))
        return body.getvalue()

    def _lines(self, rows: pl.DataFrame) -> pl.Series:
        """Lines without the measurement before them. What rows have in common is put into text once for all of them."""
        run = rows.select(pl.struct("quality", "received_at", "message").rle_id()).to_series()
        arrivals = rows.filter(run.diff().fill_null(1) > 0).select(
            pl.format(",quality={}i,received_at={}i,message={}i ", "quality", pl.col("received_at").to_physical(), "message")
        ).to_series()
        tags, value, read_at = self._tags_of(rows["register_key"]), rows["value"].cast(pl.String), rows["read_at"].to_physical().cast(pl.String)
        return pl.select(pl.concat_str(tags, value, arrivals.gather(run), read_at)).to_series()

    def _named_in(self, told: str, rows: pl.DataFrame) -> pl.DataFrame:
        """REFUSED: the rows whose lines the server's answer names as unreadable."""
        reasons = dict(_BAD_LINE.findall(told))
        lines = _measurement(rows) + self._lines(rows)
        named = lines.is_in(list(reasons))
        reason = lines.filter(named).replace_strict(reasons, return_dtype=pl.String()) if named.any() else pl.Series(dtype=pl.String())
        return conform(rows.filter(named).with_columns(reason=reason.str.slice(0, 500)), REFUSED)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _kept(self, repeated: pl.DataFrame, fields: Sequence[str] = _JUDGED) -> pl.DataFrame:
        """READING of these fields, all copies at those instants, read in stretches of time that lie close together."""
        if repeated.is_empty():
            return empty(READING)
        instants = repeated.select(_INSTANT_KEY).unique()
        stretches = instants.sort("read_at").with_columns(stretch=(pl.col("read_at").diff() > _NEAR).fill_null(value=False).cum_sum())
        found = [
            self._read(part.select("register_key").unique(), _first(part), _first(part, last=True) + timedelta(microseconds=1), fields)
            for part in stretches.partition_by("stretch")
        ]
        return pl.concat(found).join(instants, on=_INSTANT_KEY, how="semi")

    def _read(self, asked: pl.DataFrame | None, start: datetime, end: datetime, fields: Sequence[str] = tuple(_FIELDS)) -> pl.DataFrame:
        """READING of some registers (a column register_key; None: of all) with start <= read_at < end, in no order."""
        start, end = max(start, _EARLIEST), min(end, _LATEST)
        if start >= end or (asked is not None and asked.is_empty()):
            return empty(READING)
        found, is_whole = self._fields(self._from(asked, start, end), "", fields)
        if not is_whole:
            # A row was just being written, or the server hides some: where somebody else has written another type under a field
            # of ours, it stops at the week in which that happened, and says nothing. Week by week it gives all there is.
            arrivals = self._keyed(self._ask(f"{self._from(asked, start, end)}{_OF_ARRIVAL}{_TOGETHER}", pl.String()))
            weeks = arrivals.select(week=pl.col("read_at").dt.truncate("1w")).unique().to_series()
            sources = [self._from(asked, max(start, week), min(end, week + timedelta(weeks=1))) for week in weeks]
            found = pl.concat([empty(READING), *(self._fields(source, "", fields)[0] for source in sources)])
        return found if asked is None else found.join(asked, on="register_key", how="semi")

    def _farthest(self, asked: pl.DataFrame | None, start: datetime, end: datetime, which: Literal["first", "last"]) -> pl.DataFrame:
        """register_key and `far`, the first or last read_at within start <= read_at < end, of the registers that have one."""
        if start >= end or (asked is not None and asked.is_empty()):
            return pl.DataFrame(schema=_FAR)
        answer = self._ask(f"{self._from(asked, start, end)}{_OF_ARRIVAL} |> {which}(){_TOGETHER}", pl.String())  # of whatever type
        of_all = self._keyed(answer).group_by("register_key").agg(far=pl.col("read_at").min() if which == "first" else pl.col("read_at").max())
        return of_all if asked is None else of_all.join(asked, on="register_key", how="semi")

    def _fields(self, source: str, then: str, fields: Sequence[str] = tuple(_FIELDS)) -> tuple[pl.DataFrame, bool]:
        """READING from one query for each field, at the same time, and whether all fields had the same rows.

        A pivot on the server takes twice as long.
        """
        queries = {name: f'{source} |> filter(fn: (r) => r._field == "{name}"){then}{_TOGETHER}' for name in fields}
        answers = self._readers.map(lambda name: self._keyed(self._ask(queries[name], _FIELDS[name])).rename({"_value": name}), fields)
        first, *others = answers
        most = max(first.height, *(other.height for other in others))
        for other in others:
            first = first.join(other, on=_KEYED.names())
        return conform(first, READING), first.height == most

    def _from(self, asked: pl.DataFrame | None, start: datetime, end: datetime) -> str:
        """The part of a query that reads: bucket, time, registers (perhaps more than asked). Only checked ids get into it."""
        bucket = self._settings.bucket.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
        source = f'from(bucket: "{bucket}") |> range(start: {_flux(start)}, stop: {_flux(end)})'
        source += f' |> filter(fn: (r) => r._measurement == "{MEASUREMENT}")'
        if asked is None:
            return source
        names = self._named(asked["register_key"].unique())
        if names.height <= _NAMED_IN_FILTER:
            tests = [" and ".join(f'r.{tag} == "{value}"' for tag, value in zip(_TAGS, row, strict=True)) for row in names.select(_TAGS).iter_rows()]
        else:
            tests = [f'r.enterprise == "{enterprise}"' for enterprise in names["enterprise"].unique().sort()]
            if len(tests) > _ENTERPRISES_IN_FILTER:  # a long filter costs the server more than it spares
                return source
        return f"{source} |> filter(fn: (r) => {' or '.join(f'({test})' for test in tests)})"

    def _ask(self, flux: str, value: pl.DataType) -> pl.DataFrame:
        """Answer of a query of one table: the tags, copy, _time (text) and _value.

        Raises:
            StoreUnavailableError
        """
        try:
            body: bytes = _retrying(lambda: self._reader.query_raw(flux, dialect=_DIALECT).data)
        except (ApiException, *_AWAY) as error:
            raise self._unavailable(error) from error
        body = body.strip(b"\r\n")  # the answer ends with an empty line, which would be read as a row of nulls
        wanted = {**dict.fromkeys((*_TAGS, "copy", "_time"), pl.String()), "_value": value}
        if not body:
            return pl.DataFrame(schema=wanted)
        head = body.split(b"\r\n", 1)[0].split(b",")
        if b"error" in head or b"\r\nerror,reference\r\n" in body:  # a query that fails half-way has answered 200 by then
            raise self._unavailable(body[-500:].decode(errors="replace"))
        if b"_value" not in head:
            raise self._unavailable(_NotInfluxDbError(body[:200]))
        present = {name: dtype for name, dtype in wanted.items() if name.encode() in head}
        try:
            frame = pl.read_csv(body, columns=list(present), schema_overrides=present)
        except pl.exceptions.ComputeError:  # somebody else has written another type under our measurement: no reading of ours
            frame = pl.read_csv(body, columns=list(present), infer_schema=False)
            frame = frame.with_columns(pl.col("_value").cast(value, strict=False)).drop_nulls("_value")
        return conform(frame, pl.Schema(wanted))

    def _fact(self, path: str, key: str, **query: str) -> Any:
        """One fact of an answer in JSON.

        Raises:
            StoreUnavailableError
        """
        try:
            answer, _ = _retrying(lambda: self._call("GET", path, query))
            return json.loads(answer)[key]
        except (ApiException, *_AWAY) as error:
            raise self._unavailable(error) from error
        except (ValueError, TypeError, KeyError) as error:
            raise self._unavailable(_NotInfluxDbError(answer)) from error

    def _call(self, method: str, path: str, query: dict[str, str], body: bytes | None = None) -> tuple[bytes, int]:
        """What the server answers and its status, if that is a success."""
        headers = {"Content-Type": "text/plain; charset=utf-8" if body else "application/json", "Accept": "application/json"}
        answer = self._client.api_client.call_api(  # type: ignore[no-untyped-call]
            path, method, query_params=list(query.items()), header_params=headers, body=body, _preload_content=False, _return_http_data_only=True,
        )
        return answer.data, answer.status

    def _keyed(self, answer: pl.DataFrame) -> pl.DataFrame:
        """register_key, copy, read_at and _value; series of no register of ours are left out."""
        if answer.is_empty():
            return pl.DataFrame(schema={**_KEYED, "_value": answer.schema["_value"]})
        if not answer.select(_TAGS).unique().join(self._names, on=_TAGS, how="anti").is_empty():
            self._names = self._checked_names()
        return answer.join(self._names, on=_TAGS).select(
            "register_key", pl.col("copy").cast(pl.UInt8).fill_null(0),
            read_at=pl.col("_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC"), _value="_value",
        )

    # --- names and errors ---------------------------------------------------------------------------------------------

    def _registers(self, register_keys: Sequence[int] | None) -> pl.DataFrame | None:
        """Those of some registers that have names (others have no readings); None for all."""
        if register_keys is None:
            return None
        asked = pl.DataFrame({"register_key": pl.Series(list(register_keys), dtype=pl.UInt32)}).unique()
        if not asked.join(self._names, on="register_key", how="anti").is_empty():
            self._names = self._checked_names()
        return asked.join(self._names, on="register_key", how="semi")

    def _named(self, register_keys: pl.Series) -> pl.DataFrame:
        """Names of registers (each once), each of which has some."""
        self._tags_of(register_keys)
        return register_keys.to_frame("register_key").join(self._names, on="register_key")

    def _tags_of(self, register_keys: pl.Series) -> pl.Series:
        """The tags of the lines of these registers, each of which has a name."""
        for _ in range(2):
            if _highest(register_keys) < len(self._tags):
                tags = self._tags.gather(register_keys)
                if not tags.has_nulls():
                    return tags
            self._names = self._checked_names()
        unknown = register_keys.filter(~register_keys.is_in(self._names["register_key"].implode()))
        raise UnknownCodeError("register_key", str(unknown[0]), [str(key) for key in self._names["register_key"].head(12)])

    def _checked_names(self) -> pl.DataFrame:
        names = self._ask_names().select(pl.col("register_key").cast(pl.UInt32), *_TAGS)
        for tag in _TAGS:
            for text in names[tag].unique():
                if not _ID.fullmatch(text):
                    raise UnknownCodeError(tag, text, ["ids of letters, digits, - and _, at most 64"])
        tags = names.select("register_key", tags=pl.format(",enterprise={},meter={},register={} value=", *_TAGS))
        places = pl.int_range(_highest(names["register_key"]) + 1, dtype=pl.UInt32, eager=True).to_frame("register_key")
        self._tags = places.join(tags, on="register_key", how="left", maintain_order="left")["tags"]
        return names

    def _unavailable(self, cause: object) -> StoreUnavailableError:
        where, told = f"InfluxDB at {self._settings.url}", _told(cause)
        match getattr(cause, "status", None):
            case 401 | 403:
                return StoreUnavailableError(
                    where, "it refuses the token", "Set [store.influxdb] token to one that may read and write the bucket."
                )
            case 404 if told:
                return StoreUnavailableError(
                    where, f"it has no bucket {self._settings.bucket!r} in organisation {self._settings.org!r}",
                    "Create the bucket, or set [store.influxdb] org and bucket to those that exist.",
                )
            case 413:
                return StoreUnavailableError(where, "a write of one line is too large for it", "Raise the limit of the proxy in front of it.")
            case None:
                return StoreUnavailableError(where, cause)
            case _ if told:
                return StoreUnavailableError(where, told)
            case status:
                return StoreUnavailableError(where, f"status {status}, and not from InfluxDB", _PROXY)


class _NotInfluxDbError(Exception):
    """An answer that InfluxDB does not give."""

    def __init__(self, answer: object) -> None:
        super().__init__(f"it answers as no InfluxDB does: {str(answer)[:100]!r}. {_PROXY}")


_AWAY: Final = (HTTPError, OSError, _NotInfluxDbError)


def _fit(readings: pl.DataFrame) -> bool:
    """Whether the server can hold all of these."""
    first, last = readings["read_at"].min(), readings["read_at"].max()
    assert isinstance(first, datetime | None)
    assert isinstance(last, datetime | None)
    has_all = not any(column.has_nulls() for column in readings.drop("copy"))
    return has_all and first is not None and last is not None and first >= _EARLIEST and last < _LATEST and readings["value"].is_finite().all()


def _measurement(rows: pl.DataFrame) -> str:
    """The begin of the lines of rows of one copy number."""
    copy = rows["copy"][0]
    return f"{MEASUREMENT},copy={copy}" if copy else MEASUREMENT


def _highest(register_keys: pl.Series) -> int:
    highest = register_keys.max()
    return highest if isinstance(highest, int) else -1


def _first(frame: pl.DataFrame, *, last: bool = False) -> datetime:
    found = frame["read_at"].max() if last else frame["read_at"].min()
    assert isinstance(found, datetime)
    return found


def _flux(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _refused(rows: pl.DataFrame, reason: str) -> pl.DataFrame:
    return conform(rows.with_columns(reason=pl.lit(reason[:500])), REFUSED)


def _told(error: object) -> str:
    """What InfluxDB says; "" where the answer comes from something in front of it."""
    body = getattr(error, "body", None)
    try:
        answer = json.loads(body.decode(errors="replace") if isinstance(body, bytes) else body or "")
        return str(answer["message"]) if "code" in answer else ""
    except (ValueError, TypeError, KeyError):
        return ""


def _passes(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, ApiException):
        return (error.status == 429 or (error.status or 0) >= 500) and _asked_s(error) <= _LONGEST_PAUSE_S
    return isinstance(error, HTTPError | OSError)


def _asked_s(error: BaseException | None) -> float:
    """Seconds for which the server asks to be left alone; 0 where it does not."""
    asked = (getattr(error, "headers", None) or {}).get("Retry-After")
    try:
        return Retry().parse_retry_after(asked) if asked else 0.0
    except InvalidHeader:
        return 0.0


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds: longer each time and never quite the same, and not less than the server asks for."""
    asked_s = _asked_s(state.outcome.exception() if state.outcome else None)
    return asked_s + tenacity.wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE_S)(state)


# A short patience only: the caller keeps the rows and comes again without end.
_retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(_ATTEMPTS), wait=_pause, retry=tenacity.retry_if_exception(_passes), reraise=True)
