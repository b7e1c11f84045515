"""The 42 import cases of another project through `tcewatch calc intervals`: each agrees, or is listed with the rule by which we differ."""

import csv
import gzip
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from config.errors import BadInputError
from portal.cli.calc import intervals

DECISION = Path(__file__).resolve().parents[2] / "docs" / "decisions" / "0024-proof-of-the-interval-rules.md"
METER_COLUMNS = {"timezone": 5, "cumulative": 10, "end only": 18}
Span = tuple[datetime, datetime, float]

pytestmark = pytest.mark.needs("shared-data")


def differing() -> dict[str, str]:
    """The cases that the decision lists, with the rule."""
    return dict(re.findall(r"^\| (pipe\d+) \| (\S.*?) \|", DECISION.read_text(encoding="utf-8"), flags=re.MULTILINE))


def cases(folder: Path) -> dict[str, dict[str, Any]]:
    return {case["id"]: case for case in json.loads((folder / "cases.json").read_text(encoding="utf-8"))}


def rows_of(path: Path) -> list[list[str]]:
    content = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text(encoding="utf-8")
    return [row for row in csv.reader(content.splitlines()) if row]


def is_true(text: object) -> bool:
    return str(text).lower() == "true"


def uploads(case: dict[str, Any], folder: Path) -> Iterator[tuple[dict[str, Any], list[list[str]]]]:
    """What is known of the meter at each upload of readings, and its rows."""
    meter: dict[str, Any] = {"timezone": "UTC"}
    for upload, file in zip(case["uploads"], case["files"], strict=True):
        params, rows = upload["params"], rows_of(folder / file)
        rows = rows[1:] if is_true(params.get("headerRow", "")) else rows
        if upload["kind"] == "meters":
            given = {name: rows[0][place] for name, place in METER_COLUMNS.items() if len(rows[0]) > place}
            meter |= {name: value for name, value in given.items() if value}
        else:
            given = {"end only": params.get("endOnly", meter.get("end only")), "cumulative": params.get("cumulative", meter.get("cumulative"))}
            yield meter | given, rows


def ours(case: dict[str, Any], folder: Path, events: str | None = None) -> list[Span]:
    """The case through the command: each row is a reading at its end; nothing where the command refuses the file."""
    table = []
    for number, (meter, rows) in enumerate(uploads(case, folder)):
        zone, kind = meter["timezone"], "cumulative" if is_true(meter["cumulative"]) else "interval"
        columns = ["value", "read_at"] if is_true(meter["end only"]) else ["value", "start", "read_at"]
        table += [{"meter": "M", "received_at": f"2030-01-01T0{number}:00:00Z", **dict(zip(columns, row, strict=True))} for row in rows]
    pl.DataFrame(table).write_csv("readings.csv")
    pl.DataFrame([{"meter": "M", "medium": "electricity", "unit": "kWh", "kind": kind}]).write_csv("registers.csv")
    try:
        intervals("readings.csv", "registers.csv", "reading", "out.parquet", events=events, zone=zone, rejected=None, schema=False)
    except BadInputError:
        return []
    found = pl.read_parquet("out.parquet").filter(pl.col("covered_ratio") > 0)
    return found.select("start", "end", "quantity").rows()


def theirs(case: dict[str, Any], folder: Path) -> list[Span]:
    """The expected rows, whose wall clock times go forward only: an hour that comes twice is meant the second time where it comes again."""
    zone = next(ZoneInfo(meter["timezone"]) for meter, _ in uploads(case, folder))
    spans: list[Span] = []
    latest = datetime.min.replace(tzinfo=UTC)
    for value, *times in rows_of(folder / case["expected"]):
        found = []
        for text in times:
            local = datetime.fromisoformat(text).replace(tzinfo=zone)
            instants = [local.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
            latest = next((instant for instant in instants if instant >= latest), instants[1])
            found.append(latest)
        spans.append((found[0], found[1], float(value)))
    return spans


def agree(one: list[Span], other: list[Span]) -> bool:
    """Whether both know the consumption of the same time, and it is the same between any two bounds of either."""
    bounds = sorted({bound for spans in (one, other) for start, end, _ in spans for bound in (start, end)})

    def between(spans: list[Span], low: datetime, high: datetime) -> tuple[float, timedelta]:
        parts = [(max(start, low), min(end, high), quantity / (end - start).total_seconds()) for start, end, quantity in spans if end > start]
        parts = [part for part in parts if part[1] > part[0]]
        return sum((b - a).total_seconds() * rate for a, b, rate in parts), sum((b - a for a, b, _ in parts), timedelta())

    for low, high in pairwise(bounds):
        (mine, known), (expected, wanted) = between(one, low, high), between(other, low, high)
        if known != wanted or mine != pytest.approx(expected, rel=1e-9, abs=1e-9):
            return False
    return True


def test_every_case_agrees_or_is_listed_with_the_rule_by_which_we_differ(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shared_data / "oed-csv-cases"
    known = cases(folder)
    assert len(known) == 42
    assert sorted(name for name, case in known.items() if not agree(ours(case, folder), theirs(case, folder))) == sorted(differing())


# Where a fall was allowed to be a reset, it is one that somebody declared: then the consumption is the expected one.
DECLARED = {
    "pipe5": "2021-06-04 00:00", "pipe8": "2021-06-04 00:00", "pipe10": "2021-06-04 12:00", "pipe52": "2021-06-06 00:00",
    "pipe71": "2021-06-04 00:00",
}


@pytest.mark.parametrize("name", DECLARED)
def test_with_the_reset_declared_as_an_event_the_cases_of_allowed_resets_agree(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shared_data / "oed-csv-cases"
    case = cases(folder)[name]
    closing = 360 if name == "pipe52" else 144
    Path("events.csv").write_text(f"meter,at,event,closing_value,opening_value\nM,{DECLARED[name]},reset,{closing},0\n", encoding="utf-8")
    assert name in differing()
    assert agree(ours(case, folder, "events.csv"), theirs(case, folder))
