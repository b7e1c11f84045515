"""The rules of monitors/intervals.py once more, reading by reading in plain Python: slow, and easy to check by eye."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

NEARBY = 4
H = timedelta(hours=1)
Row = Mapping[str, Any]
LONG = {"hour": 1.5 * H, "day": 36 * H, "month": 1.5 * 30 * 24 * H, "year": 1.5 * 365 * 24 * H}


class Point(NamedTuple):
    at: datetime
    value: float
    reading: Mapping[str, Any] | None  # None: a declared value
    run: int = 0


class Step(NamedTuple):
    start: datetime
    end: datetime
    quantity: float
    suspect: bool
    covered: bool = True


def plain(readings: Sequence[Row], rows: Sequence[Row], events: Sequence[Row]) -> tuple[list[Step], dict[int, set[str]]]:
    """Steps of one register in order of time, and the rules broken by message number."""
    rows = sorted(rows, key=lambda row: (row["valid_from"] is not None, row["valid_from"]))
    aside: dict[int, set[str]] = defaultdict(set)
    counted = one_for_an_instant([r for r in readings if by_own_value(r, rows, aside)], rows, aside)
    kind = rows[-1]["kind"]
    if kind == "rate":
        return rate_steps(counted, rows, events), aside
    if kind == "interval":
        return interval_steps(counted, rows, events, aside), aside
    return cumulative_steps(counted, rows, events, aside), aside


def row_at(at: datetime, rows: Sequence[Row]) -> Mapping[str, Any]:
    """The last row that began, else the first."""
    begun = [row for row in rows if row["valid_from"] is None or row["valid_from"] <= at]
    return begun[-1] if begun else rows[0]


def multiplier_at(at: datetime, rows: Sequence[Row], events: Iterable[Row]) -> float:
    long_ago = datetime.min.replace(tzinfo=UTC)
    changes = [(row["valid_from"] or long_ago, 0, row["multiplier"] or 1.0) for row in rows[1:]]
    changes += [(event["at"], 1, event["multiplier"]) for event in events if event["event"] == "multiplier"]
    held = [(when, rank, multiplier) for when, rank, multiplier in changes if when <= at]
    return max(held, key=lambda change: change[:2])[2] if held else rows[0]["multiplier"] or 1.0


def by_own_value(reading: Mapping[str, Any], rows: Sequence[Row], aside: dict[int, set[str]]) -> bool:
    row, value, broken = row_at(reading["read_at"], rows), reading["value"], set()
    if (row["valid_from"] and reading["read_at"] < row["valid_from"]) or (row["valid_to"] and reading["read_at"] > row["valid_to"]):
        broken.add("no_register_row")
    if any((row["range_low"] is not None and value < row["range_low"], row["range_high"] is not None and value > row["range_high"],
            row["modulus"] is not None and value >= row["modulus"])):
        broken.add("outside_range")
    if reading["quality"] == 2:
        broken.add("marked_bad")
    if row["kind"] != "cumulative" and not row["net"] and value < 0:
        broken.add("negative")
    if broken:
        aside[reading["message"]] |= broken
    return not broken


def one_for_an_instant(readings: Sequence[Row], rows: Sequence[Row], aside: dict[int, set[str]]) -> list[Row]:
    copies: dict[datetime, list[Row]] = defaultdict(list)
    for reading in readings:
        copies[reading["read_at"]].append(reading)
    instants, chosen = sorted(copies), []
    for place, at in enumerate(instants):
        row = row_at(at, rows)
        low = min(r["value"] for r in copies[instants[place - 1]]) if place else -math.inf
        high = max(r["value"] for r in copies[instants[place + 1]]) if place + 1 < len(instants) else math.inf
        free = row["net"] or row["kind"] != "cumulative"
        ranked = [(not (free or low <= r["value"] <= high), r["received_at"], -r["value"], r["message"]) for r in copies[at]]
        best, *others = [r for _, r in sorted(zip(ranked, copies[at], strict=True), key=lambda pair: pair[0])]
        chosen.append(best)
        for other in others:
            aside[other["message"]].add("duplicate" if other["value"] == best["value"] else "conflicting_copy")
    return chosen


def cumulative_steps(
    counted: Sequence[Row], rows: Sequence[Row], events: Sequence[Row], aside: dict[int, set[str]],
) -> list[Step]:
    points, turns = with_events(counted, rows, events, aside)
    runs: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        runs[point.run].append(point)
    steps: list[Step] = []
    for run in (runs[number] for number in sorted(runs)):
        kept = without_glitches(run, rows, aside)
        values, floors = [p.value for p in kept], [p.value for p in kept]
        verdicts = [""] * len(kept)
        for i in range(1, len(kept)):
            fall = values[i - 1] - values[i]
            if fall <= 0 or row_at(kept[i - 1].at, rows)["net"]:
                continue
            if fall <= jitter(kept[i - 1], rows):
                verdicts[i] = "jitter"
            else:
                verdicts[i] = "wrap" if wraps(kept[i - 1], kept[i], rows, events, turns) else "reset"
        for i, verdict in enumerate(verdicts):
            if verdict == "jitter":
                for j in range(i, min(i + NEARBY, len(kept))):
                    if verdicts[j] in ("reset", "wrap"):
                        break
                    floors[j] = max(floors[j], values[i - 1])
        for i in range(1, len(kept)):
            before, now, row = kept[i - 1], kept[i], row_at(kept[i - 1].at, rows)
            if verdicts[i] == "reset":
                steps.append(Step(before.at, now.at, 0.0, suspect=True, covered=False))
                continue
            forward = floors[i] - floors[i - 1] + (row["modulus"] if verdicts[i] == "wrap" else 0)
            quantity = forward * multiplier_at(before.at, rows, events)
            hours = (now.at - before.at) / H
            uncertain = any(p.reading is not None and p.reading["quality"] == 1 for p in (before, now))
            fast = row["max_rate_per_h"] is not None and abs(quantity) > row["max_rate_per_h"] * hours * (1 + 1e-9)
            if hours:
                steps.append(Step(before.at, now.at, quantity, suspect=uncertain or fast))
    return steps


def jitter(point: Point, rows: Sequence[Row]) -> float:
    return (row_at(point.at, rows)["resolution"] or 0.0) + 1e-6 * abs(point.value)


def with_events(
    counted: Sequence[Row], rows: Sequence[Row], events: Sequence[Row], aside: dict[int, set[str]],
) -> tuple[list[Point], list[datetime]]:
    """The readings with the declared values among them, numbered by run, and the instants of rollovers without values."""
    turns, breaks = [], {}
    order = ["change", "reset", "rollover", "multiplier"]
    for event in sorted(events, key=lambda e: (e["at"], order.index(e["event"]))):
        closing, opening = event["closing_value"], event["opening_value"]
        if event["event"] == "multiplier":
            closing, opening = (closing if closing is not None else opening), (opening if opening is not None else closing)
        if event["event"] in ("rollover", "multiplier") and (closing is None or opening is None):
            turns += [event["at"]] if event["event"] == "rollover" else []
            continue
        breaks.setdefault(event["at"], (closing, opening))
    for earlier, later in pairwise(rows):
        if earlier["valid_to"] is not None and later["valid_from"] > earlier["valid_to"]:
            breaks.setdefault(later["valid_from"], (None, None))
    points: list[Point] = []
    run, waiting = 0, sorted(breaks)
    for reading in [*counted, None]:
        while waiting and (reading is None or waiting[0] <= reading["read_at"]):
            closing, opening = breaks[waiting[0]]
            points += [Point(waiting[0], closing, None, run)] if closing is not None else []
            run += 1
            points += [Point(waiting[0], opening, None, run)] if opening is not None else []
            waiting.pop(0)
        if reading is None:
            break
        declared = [value for value in breaks.get(reading["read_at"], ()) if value is not None]
        if declared:
            aside[reading["message"]].add("duplicate" if reading["value"] in declared else "conflicting_copy")
        else:
            points.append(Point(reading["read_at"], reading["value"], reading, run))
    return points, turns


def without_glitches(run: Sequence[Point], rows: Sequence[Row], aside: dict[int, set[str]]) -> list[Point]:
    gone: set[int] = set()
    for i in range(1, len(run)):
        before, now = run[i - 1].value, run[i].value
        fall = before - now
        if fall <= jitter(run[i - 1], rows) or row_at(run[i - 1].at, rows)["net"]:
            continue
        dip = next((n for n in range(1, NEARBY + 1) if i + n < len(run) and run[i + n].value >= before), None)
        if dip is not None and run[i + dip].value - run[i + dip - 1].value < fall / 2:
            dip = None
        spike = next((n for n in range(1, NEARBY + 1) if i - n - 1 >= 0 and run[i - n - 1].value <= now), None)
        if spike is not None and run[i - spike].value - run[i - spike - 1].value < fall / 2:
            spike = None
        if dip is not None and (spike is None or dip <= spike):
            found, rule = range(i, i + dip), "transient"
        elif spike is not None:
            found, rule = range(i - spike, i), "spike"
        else:
            continue
        for j in found:
            gone.add(j)
            reading = run[j].reading
            if reading is not None:
                aside[reading["message"]].add(rule)
    return [point for j, point in enumerate(run) if j not in gone]


def wraps(before: Point, now: Point, rows: Sequence[Row], events: Sequence[Row], turns: Sequence[datetime]) -> bool:
    row = row_at(before.at, rows)
    if row["modulus"] is None:
        return False
    if any(before.at < at <= now.at for at in turns):
        return True
    forward = now.value - before.value + row["modulus"]
    if row["max_rate_per_h"] is None:
        return bool(forward <= row["modulus"] / 2)
    return bool(forward * multiplier_at(before.at, rows, events) <= row["max_rate_per_h"] * (1 + 1e-9) * ((now.at - before.at) / H))


def rate_steps(counted: Sequence[Row], rows: Sequence[Row], events: Sequence[Row]) -> list[Step]:
    steps = []
    for before, now in pairwise(counted):
        length = now["read_at"] - before["read_at"]
        if length <= 1.5 * H:
            mean = (before["value"] + now["value"]) / 2 * multiplier_at(before["read_at"], rows, events)
            most = row_at(before["read_at"], rows)["max_rate_per_h"]
            doubtful = 1 in (before["quality"], now["quality"]) or (most is not None and abs(mean) > most * (1 + 1e-9))
            steps.append(Step(before["read_at"], now["read_at"], mean * (length / H), suspect=doubtful))
    return steps


def interval_steps(
    counted: Sequence[Row], rows: Sequence[Row], events: Sequence[Row], aside: dict[int, set[str]],
) -> list[Step]:
    stamps = [reading["read_at"] for reading in counted]
    spacing: dict[int, timedelta] = {i: stamps[i] - stamps[i - 1] for i in range(1, len(stamps))}
    ahead = rows[-1]["stamp"] == "start"
    steps = []
    for i, reading in enumerate(counted):
        own = i + 1 if ahead else i
        around = sorted(spacing[j] for j in range(own - 2, own + 3) if j in spacing)
        if not around:
            aside[reading["message"]].add("length_unknown")
            continue
        usual = around[(len(around) - 1) // 2]
        length = spacing[own] if own in spacing and spacing[own] <= 1.5 * usual else usual
        if length > timedelta(days=366):
            aside[reading["message"]].add("length_unknown")
            continue
        start = stamps[i] if ahead else stamps[i] - length
        quantity = reading["value"] * multiplier_at(start, rows, events)
        most = row_at(start, rows)["max_rate_per_h"]
        doubtful = reading["quality"] == 1 or (most is not None and abs(quantity) > most * (1 + 1e-9) * (length / H))
        steps.append(Step(start, start + length, quantity, suspect=doubtful))
    return steps


def spread(steps: Sequence[Step], by: str, zone: str) -> dict[datetime, list[Any]]:
    """start -> end, quantity, covered share, estimated share, quality; by walking from bound to bound."""
    found: dict[datetime, list[Any]] = {}
    doubted: set[datetime] = set()
    for step in steps:
        at = step.start
        while at < step.end:
            low, high = bounds(at, by, zone)
            until = min(high, step.end)
            if step.suspect:
                doubted.add(low)
            if step.covered:
                entry = found.setdefault(low, [high, 0.0, timedelta(0), timedelta(0)])
                entry[1] += step.quantity * ((until - at) / (step.end - step.start))
                entry[2] += until - at
                entry[3] += until - at if step.end - step.start > LONG[by] else timedelta(0)
            at = until
        if not step.covered:  # where the new counting begins, even on the stroke of the hour
            doubted.add(bounds(step.end, by, zone)[0])
    return {
        low: [high, quantity, covered / (high - low), estimated / covered,
              "suspect" if low in doubted else "estimated" if estimated else "measured"]
        for low, (high, quantity, covered, estimated) in sorted(found.items())
    }


def bounds(at: datetime, by: str, zone: str) -> tuple[datetime, datetime]:
    """The local hour (of a zone that differs by whole hours), day, month or year around an instant."""
    if by == "hour":
        minute = at.astimezone(ZoneInfo(zone)).minute
        low = at - timedelta(minutes=minute, seconds=at.second, microseconds=at.microsecond)
        return low, low + H
    local = at.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    match by:
        case "day":
            first, last = local, local + timedelta(days=1)
        case "month":
            first = local.replace(day=1)
            last = (first + timedelta(days=31)).replace(day=1)
        case _:
            first = local.replace(month=1, day=1)
            last = first.replace(year=first.year + 1)
    low, high = (each.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for each in (first, last))
    return low, high
