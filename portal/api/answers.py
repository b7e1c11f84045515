"""Frames as answers: pages of JSON with a cursor, or the whole as CSV or Parquet."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import polars as pl
from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from portal.api.problems import ProblemError

MAX_BULK_ROWS: Final = 1_000_000
INSTANT_TEXT: Final = "%Y-%m-%dT%H:%M:%S%.fZ"
MEDIA_TYPES: Final[Mapping[str, str]] = {"json": "application/json", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
FORMULA_START: Final = r"^[=+\-@\t\r＝＋－＠]"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Cursor = list[Any]


class Paging:
    """How a list is asked for."""

    def __init__(
        self,
        request: Request,
        format: Annotated[  # noqa: A002 - the name in the address
            Literal["json", "csv", "parquet"] | None, Query(description="JSON pages, or all as CSV or Parquet; without it Accept decides.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=5000, description="Rows of a JSON page.")] = 500,
        cursor: Annotated[str | None, Query(max_length=600, description="`next` of the page before.")] = None,
    ) -> None:
        accepted = request.headers.get("accept", "")
        self.format: str = format or next((name for name, media in MEDIA_TYPES.items() if name != "json" and media in accepted), "json")
        self.limit = limit
        self.after = None if cursor is None else _decoded(cursor)

    @property
    def bulk(self) -> bool:
        """Whether everything is wanted at once."""
        return self.format != "json"


PagingOf = Annotated[Paging, Depends()]


def listed(frame: pl.DataFrame, keys: Sequence[str], paging: Paging, name: str) -> Response:
    """A frame as an answer, in the order of its keys, which together name a row."""
    ordered = frame.sort(keys, nulls_last=False)
    if paging.bulk:
        return bulk(ordered, paging.format, name)
    if paging.after is not None:
        ordered = ordered.filter(_beyond(ordered, keys, paging.after))
    shown = ordered.head(paging.limit)
    return page(shown, cursor_of(shown.row(-1, named=True), keys) if ordered.height > paging.limit else None)


def page(frame: pl.DataFrame, following: str | None) -> Response:
    """One page of JSON."""
    return JSONResponse({"items": rows(frame), "next": following})


def bulk(frame: pl.DataFrame, form: str, name: str) -> Response:
    """Everything as a file.

    Raises:
        ProblemError: there is more than MAX_BULK_ROWS.
    """
    if frame.height > MAX_BULK_ROWS:
        raise ProblemError(413, "too-many-rows", f"The answer has more than {MAX_BULK_ROWS:,} rows. Ask for less at once.", max_rows=MAX_BULK_ROWS)
    file = BytesIO()
    if form == "csv":
        _flat(frame).write_csv(file, datetime_format=INSTANT_TEXT, include_bom=True)
    else:
        frame.write_parquet(file)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return Response(file.getvalue(), media_type=MEDIA_TYPES[form] + ("; charset=utf-8" if form == "csv" else ""), headers=headers)


def attached(name: str, content: bytes) -> Response:
    """A file as it was kept; never shown inside the browser."""
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    return Response(content, media_type="application/octet-stream", headers=headers)


def rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON: instants and days as texts, what is not a number as null."""
    instants, days, numbers = pl.col(pl.Datetime), pl.col(pl.Date), pl.col(pl.Float64)
    finite = pl.when(numbers.is_finite()).then(numbers)
    return frame.with_columns(instants.dt.strftime(INSTANT_TEXT), days.dt.strftime("%Y-%m-%d"), finite).to_dicts()


def cursor_of(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Where a page ended, as a text that says nothing to anybody."""
    values = [_plain(row[key]) for key in keys]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def numbered(after: Cursor | None, count: int) -> tuple[int, ...] | None:
    """The cursor of a list that is numbered.

    Raises:
        ProblemError: it is not of this list.
    """
    if after is None:
        return None
    if len(after) != count or not all(isinstance(value, int) and abs(value) < 2**62 for value in after):
        raise _bad_cursor()
    return tuple(after)


def _beyond(frame: pl.DataFrame, keys: Sequence[str], after: Cursor) -> pl.Expr:
    if len(after) != len(keys):
        raise _bad_cursor()
    expression = pl.lit(value=False)
    for key, value in reversed(list(zip(keys, after, strict=True))):
        if value is None:  # nulls come first
            expression = pl.col(key).is_not_null() | expression
            continue
        at = _bound(value, frame.schema[key])
        expression = (pl.col(key) > at).fill_null(value=False) | ((pl.col(key) == at).fill_null(value=False) & expression)
    return expression


def _bound(value: Any, dtype: pl.DataType) -> pl.Expr:
    if type(value) is not (str if dtype == pl.String else int):
        raise _bad_cursor()
    try:
        return pl.lit(pl.Series([value]).cast(dtype).item(), dtype=dtype)
    except (pl.exceptions.PolarsError, OverflowError):
        raise _bad_cursor() from None


def _plain(value: Any) -> Any:
    """A key as JSON has it: instants as microseconds, days as days since 1970."""
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(microseconds=1)
    return (value - EPOCH.date()).days if isinstance(value, date) else value


def _decoded(cursor: str) -> Cursor:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (ValueError, UnicodeError):
        raise _bad_cursor() from None
    if not isinstance(values, list):
        raise _bad_cursor()
    return values


def _bad_cursor() -> ProblemError:
    return ProblemError(400, "bad-cursor", "The cursor is not one that this list gave. Start again without it.")


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Ready for CSV: lists joined, and no text that a spreadsheet would run as a formula (ASVS 5.0, 1.2.10)."""
    joined = frame.with_columns(pl.col(pl.List(pl.String), pl.List(pl.Int64)).cast(pl.List(pl.String)).list.join(";"))
    texts = joined.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String))
    guarded = [
        pl.when(pl.col(name).str.contains(FORMULA_START)).then("'" + pl.col(name)).otherwise(pl.col(name)).alias(name)
        for name, dtype in texts.schema.items() if dtype == pl.String
    ]
    return texts.with_columns(guarded)
