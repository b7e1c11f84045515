"""Readings in InfluxDB 2: for several processes and larger sites.

Measurement `reading`; tags enterprise, meter, register, and copy where it is above 0; fields value (float), quality,
received_at (microseconds) and message (integers), written always all together; precision microseconds. An unanswered write
may be in and is sent again: the same row is the same point. Never the batching writer (it loses data in silence), never
Flux from text that is not checked. The bucket belongs to tcewatch alone: where somebody else writes another type under one
of our fields, the server itself hides the rows of the other type.
"""

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import polars as pl
import tenacity
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.dialect import Dialect
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from config.errors import StoreUnavailableError, UnknownCodeError
from config.schemas import INSTANT, READING, conform, empty
from config.settings import InfluxSettings
from store.readings import REFUSED, Appended, judge, nearest

MEASUREMENT: Final = "reading"
LINES_PER_WRITE: Final = 50_000
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
_LONGEST_PAUSE_S: Final = 5.0
_DIALECT: Final = Dialect(annotations=[], header=True, delimiter=",", comment_prefix="#", date_time_format="RFC3339")  # type: ignore[no-untyped-call]
_BAD_LINE: Final = re.compile(r"unable to parse '(?P<line>.*?)': (?P<reason>.*)", re.DOTALL)
_INSTANT_KEY: Final = ["register_key", "read_at"]
_OF_VALUE: Final = ' |> filter(fn: (r) => r._field == "value")'
_FAR: Final = pl.Schema({"register_key": pl.UInt32(), "far": INSTANT})
_KEYED: Final = pl.Schema({"register_key": pl.UInt32(), "copy": pl.UInt8(), "read_at": INSTANT})


class InfluxReadingStore:
    """ReadingStore on an InfluxDB 2 bucket. One process appends; any number may read."""

    def __init__(self, settings: InfluxSettings, names: Callable[[], pl.DataFrame]) -> None:
        """Take `names`, which gives register_key, enterprise, meter, register of all registers."""
        self._settings = settings
        self._ask_names = names
        self._names = pl.DataFrame(schema={"register_key": pl.UInt32(), **dict.fromkeys(_TAGS, pl.String())})
        self._appending = threading.Lock()
        self._last: pl.DataFrame | None = None  # register_key, last: the high-water marks; None: not known
        token = settings.token.get_secret_value() if settings.token else ""
        self._client = InfluxDBClient(settings.url, token, org=settings.org, timeout=round(settings.timeout_s * 1000), connection_pool_maxsize=8)
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        self._reader = self._client.query_api()
        self._pool = ThreadPoolExecutor(len(_FIELDS), thread_name_prefix="influxdb")

    def append(self, readings: pl.DataFrame) -> Appended:
        if readings.is_empty():
            return Appended()
        with self._appending:
            try:
                return self._append(readings)
            except BaseException:
                self._last = None  # what is in is not known: it is looked up before the next row is written
                raise

    def span(self, register_keys: Sequence[int] | None, start: datetime, end: datetime, *, pad: int = 0) -> pl.DataFrame:
        asked = self._registers(register_keys)
        parts = [self._read(asked, start, end)]
        if pad:
            earlier = self._farthest(asked, _EARLIEST, start, "first")
            later = self._farthest(asked, end, _LATEST, "last")
            parts += [nearest(earlier, start, pad, self._read, before=True), nearest(later, end, pad, self._read, before=False)]
        return pl.concat(parts).sort("register_key", "read_at", "copy")

    def latest(self, register_keys: Sequence[int] | None = None) -> pl.DataFrame:
        asked = self._registers(register_keys)
        found = self._fields(self._from(asked, _EARLIEST, _LATEST), " |> last()")
        return found.filter(pl.col("copy") == 0).sort("register_key")

    def count(self) -> int:
        counted = self._ask(f"{self._from(None, _EARLIEST, _LATEST)}{_OF_VALUE} |> count() |> group() |> sum()", pl.Int64())
        return int(counted["_value"].sum())

    def ready(self) -> None:
        self._ask(f"{self._from(None, _LATEST - timedelta(seconds=1), _LATEST)} |> limit(n: 1)", pl.String())

    def incarnation(self) -> str:
        try:
            answer, _, _ = _retrying(lambda: self._client.api_client.call_api("/ready", "GET", header_params={"Accept": "application/json"}, response_type="object"))
            return str(answer["started"])
        except (ApiException, HTTPError, OSError) as error:
            raise self._unavailable(error) from error
        except (ValueError, TypeError, KeyError) as error:
            raise self._unavailable("it answers /ready as no InfluxDB does") from error

    def close(self) -> None:
        self._pool.shutdown()
        self._writer.close()  # type: ignore[no-untyped-call]
        self._client.close()  # type: ignore[no-untyped-call]

    # --- writing ------------------------------------------------------------------------------------------------------

    def _append(self, readings: pl.DataFrame) -> Appended:
        if self._last is None:
            self._last = self._farthest(None, _EARLIEST, _LATEST, "last").rename({"far": "last"})
        fits = pl.col("value").is_finite() & pl.col("read_at").is_between(_EARLIEST, _LATEST, closed="left")
        refused = [_refused(readings.filter(~fits.fill_null(value=False)), "InfluxDB holds no such value or instant")]
        rows = readings.filter(fits)
        repeated = rows.join(self._last, on="register_key", maintain_order="left").filter(pl.col("read_at") <= pl.col("last"))
        kept = self._kept(repeated.select(_INSTANT_KEY).unique())
        while True:
            new, appended = judge(rows, kept)
            turned_down = self._write_by_copy(new)
            if turned_down.is_empty():
                break
            # A row that repeats a refused one is refused like it; what is left is judged without them.
            same = [*_INSTANT_KEY, "value"]
            reasons = turned_down.select(*same, "reason").unique(same)
            refused.append(conform(rows.join(reasons, on=same, maintain_order="left"), REFUSED))
            rows = rows.join(reasons, on=same, how="anti", maintain_order="left")
        self._last = pl.concat([self._last, new.select("register_key", last="read_at")]).group_by("register_key").agg(pl.col("last").max())
        return Appended(appended.outcome, pl.concat([*refused, appended.refused]))

    def _write_by_copy(self, new: pl.DataFrame) -> pl.DataFrame:
        """Write first copies, then second ones, ...: a copy is never in without those before it. Returns what was refused."""
        for copy in new["copy"].unique().sort():
            rows = new.filter(pl.col("copy") == copy)
            lines = self._lines(rows)
            refused = [self._write(part) for part in lines.iter_slices(LINES_PER_WRITE)]
            turned_down = pl.concat(refused)
            if not turned_down.is_empty():
                return turned_down
        return empty(REFUSED)

    def _lines(self, rows: pl.DataFrame) -> pl.DataFrame:
        """READING with `line`, its line protocol."""
        named = rows.join(self._named(rows["register_key"].unique()), on="register_key", how="left", maintain_order="left")
        copy = pl.when(pl.col("copy") > 0).then(pl.format(",copy={}", "copy")).otherwise(pl.lit(""))
        line = pl.format(
            MEASUREMENT + "{},enterprise={},meter={},register={} value={},quality={}i,received_at={}i,message={}i {}",
            copy, *_TAGS, "value", "quality", pl.col("received_at").dt.epoch("us"), "message", pl.col("read_at").dt.epoch("us"),
        )
        return named.select(*READING, line=line)

    def _write(self, lines: pl.DataFrame) -> pl.DataFrame:
        """Write lines; returns REFUSED for those that the server will never take.

        Raises:
            StoreUnavailableError: an unknown part of them was written.
        """
        refused = [empty(REFUSED)]
        while not lines.is_empty():
            body = "\n".join(lines["line"]).encode()
            try:
                _retrying(lambda body=body: self._writer.write(self._settings.bucket, record=body, write_precision=WritePrecision.US))  # type: ignore[arg-type]  # typed as a class, made as a text
                break
            except ApiException as error:
                reason = _reason(error)
                bad = _BAD_LINE.search(reason)
                if error.status == 400 and bad and bad["line"] in set(lines["line"]):
                    # Nothing of the body was taken because of this line.
                    is_bad = pl.col("line") == bad["line"]
                    refused.append(_refused(lines.filter(is_bad), bad["reason"]))
                    lines = lines.filter(~is_bad)
                elif error.status == 422:
                    # The rest is in; the answer counts the others but does not name them.
                    kept = self._read(lines.select("register_key"), _first(lines), _first(lines, last=True) + timedelta(microseconds=1))
                    refused.append(_refused(lines.join(kept, on=[*_INSTANT_KEY, "copy", "message"], how="anti"), reason))
                    break
                elif error.status in (400, 413):
                    if lines.height == 1:
                        refused.append(_refused(lines, reason))
                        break
                    half = lines.height // 2
                    refused += [self._write(lines[:half]), self._write(lines[half:])]
                    break
                else:
                    raise self._unavailable(error) from error
            except (HTTPError, OSError) as error:
                raise self._unavailable(error) from error
        return pl.concat(refused)

    # --- reading ------------------------------------------------------------------------------------------------------

    def _kept(self, instants: pl.DataFrame) -> pl.DataFrame:
        """READING without quality and arrival, all copies at those instants, read in stretches of time that lie close together."""
        if instants.is_empty():
            return empty(READING)
        stretches = instants.sort("read_at").with_columns(stretch=(pl.col("read_at").diff() > _NEAR).fill_null(value=False).cum_sum())
        found = [
            self._read(part.select("register_key").unique(), _first(part), _first(part, last=True) + timedelta(microseconds=1), _JUDGED)
            for part in stretches.partition_by("stretch")
        ]
        return pl.concat(found).join(instants, on=_INSTANT_KEY, how="semi")

    def _read(self, asked: pl.DataFrame | None, start: datetime, end: datetime, fields: Sequence[str] = tuple(_FIELDS)) -> pl.DataFrame:
        """READING of some registers (a column register_key; None: of all) with start <= read_at < end, in no order."""
        start, end = max(start, _EARLIEST), min(end, _LATEST)
        if start >= end or (asked is not None and asked.is_empty()):
            return empty(READING)
        found = self._fields(self._from(asked, start, end), "", fields)
        return found if asked is None else found.join(asked, on="register_key", how="semi")

    def _farthest(self, asked: pl.DataFrame | None, start: datetime, end: datetime, which: Literal["first", "last"]) -> pl.DataFrame:
        """register_key and `far`, the first or last read_at within start <= read_at < end, of the registers that have one."""
        if start >= end or (asked is not None and asked.is_empty()):
            return pl.DataFrame(schema=_FAR)
        answer = self._ask(f"{self._from(asked, start, end)}{_OF_VALUE} |> {which}() |> group()", pl.Float64())
        of_all = self._keyed(answer).group_by("register_key").agg(far=pl.col("read_at").min() if which == "first" else pl.col("read_at").max())
        return of_all if asked is None else of_all.join(asked, on="register_key", how="semi")

    def _fields(self, source: str, then: str, fields: Sequence[str] = tuple(_FIELDS)) -> pl.DataFrame:
        """READING from one query for each field, at the same time: a pivot on the server takes twice as long."""
        queries = {name: f'{source} |> filter(fn: (r) => r._field == "{name}"){then} |> group()' for name in fields}
        answers = self._pool.map(lambda name: self._keyed(self._ask(queries[name], _FIELDS[name])).rename({"_value": name}), fields)
        first, *others = answers
        for other in others:  # a row that is just being written lacks a field in some answers: it is not there yet
            first = first.join(other, on=_KEYED.names())
        return conform(first, READING)

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
        except (ApiException, HTTPError, OSError) as error:
            raise self._unavailable(error) from error
        head = body.split(b"\r\n", 1)[0].decode().split(",")
        if "error" in head:  # a query that fails half-way has answered 200 by then
            raise self._unavailable(body[:500].decode(errors="replace"))
        wanted = {**dict.fromkeys((*_TAGS, "copy", "_time"), pl.String()), "_value": value}
        present = {name: dtype for name, dtype in wanted.items() if name in head}
        if not present:
            return pl.DataFrame(schema=wanted)
        # The answer ends with an empty line, which would be read as a row of nulls.
        try:
            frame = pl.read_csv(body.rstrip(b"\r\n"), columns=list(present), schema_overrides=present)
        except pl.exceptions.ComputeError as error:  # somebody else has written other types under our measurement
            raise self._unavailable(f"its answer is not ours to read: {str(error).splitlines()[0]}") from error
        return conform(frame, pl.Schema(wanted))

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
        """Names of registers, each of which has some."""
        for _ in range(2):
            named = register_keys.to_frame("register_key").join(self._names, on="register_key")
            if named.height == register_keys.len():
                return named
            self._names = self._checked_names()
        unknown = register_keys.filter(~register_keys.is_in(self._names["register_key"].implode()))
        raise UnknownCodeError("register_key", str(unknown[0]), [str(key) for key in self._names["register_key"].head(12)])

    def _checked_names(self) -> pl.DataFrame:
        names = self._ask_names().select(pl.col("register_key").cast(pl.UInt32), *_TAGS)
        for tag in _TAGS:
            for text in names[tag].unique():
                if not _ID.fullmatch(text):
                    raise UnknownCodeError(tag, text, ["ids of letters, digits, - and _, at most 64"])
        return names

    def _unavailable(self, cause: object) -> StoreUnavailableError:
        where = f"InfluxDB at {self._settings.url}"
        match getattr(cause, "status", None):
            case 401 | 403:
                return StoreUnavailableError(
                    where, "it refuses the token", "Set [store.influxdb] token to one that may read and write the bucket."
                )
            case 404:
                return StoreUnavailableError(
                    where, f"it has no bucket {self._settings.bucket!r} in organisation {self._settings.org!r}",
                    "Create the bucket, or set [store.influxdb] org and bucket to those that exist.",
                )
            case None:
                return StoreUnavailableError(where, cause)
            case _:
                return StoreUnavailableError(where, _reason(cause))


def _first(frame: pl.DataFrame, *, last: bool = False) -> datetime:
    found = frame["read_at"].max() if last else frame["read_at"].min()
    assert isinstance(found, datetime)
    return found


def _flux(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _refused(lines: pl.DataFrame, reason: str) -> pl.DataFrame:
    return conform(lines.with_columns(reason=pl.lit(reason[:500])), REFUSED)


def _reason(error: object) -> str:
    """What the server says, without the headers around it."""
    body = getattr(error, "body", None)
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or error)
    found = re.search(r'"message":\s*"((?:[^"\\]|\\.)*)"', text)
    return found[1].replace('\\"', '"').replace("\\\\", "\\") if found else text


def _passes(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    return isinstance(error, HTTPError | OSError) or (isinstance(error, ApiException) and (error.status == 429 or (error.status or 0) >= 500))


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds: what the server asks for, else longer each time and never quite the same."""
    error = state.outcome.exception() if state.outcome else None
    asked = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    if asked.isdigit():
        return min(float(asked), _LONGEST_PAUSE_S)
    return tenacity.wait_random_exponential(multiplier=0.2, max=_LONGEST_PAUSE_S)(state)


# A short patience only: the caller keeps the rows and comes again without end.
_retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(_ATTEMPTS), wait=_pause, retry=tenacity.retry_if_exception(_passes), reraise=True)
