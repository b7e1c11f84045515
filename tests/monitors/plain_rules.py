"""The rules of monitors/intervals.py once more, reading by reading in plain Python: slow, and easy to check by eye.

One rule, one function. Everything is about one register.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

H = timedelta(hours=1)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
GREATEST = 1e300
SMALL_SHARE = 1e-3
SHORT_GLITCH = 4  # readings
LOOK_AROUND = timedelta(days=31)
ROUNDING = 1 + 1e-9
LONGER_THAN = {"hour": 1.5 * H, "day": 36 * H, "month": 1.5 * 30 * 24 * H, "year": 1.5 * 365 * 24 * H}  # estimated then
Row = Mapping[str, Any]


class Point(NamedTuple):
    at: datetime
    value: float
    reading: Row | None  # None: a declared value


class Step(NamedTuple):
    start: datetime
    end: datetime
    quantity: float
    suspect: bool
    covered: bool = True
    before: float | None = None  # what the register showed at start and end; None where it is no register that runs on
    after: float | None = None


class Flag(NamedTuple):
    start: datetime
    end: datetime
    flag: str
    before: float | None
    after: float | None
    quantity: float


@dataclass
class Register:
    """The rows and events of a register, and what is found about it."""

    rows: list[Row]
    events: Sequence[Row]
    aside: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))  # message -> broken rules
    steps: list[Step] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)

    def row(self, at: datetime) -> Row:
        """The last row that began, else the first."""
        begun = [row for row in self.rows if row["valid_from"] is None or row["valid_from"] <= at]
        return begun[-1] if begun else self.rows[0]

    def multipliers(self) -> list[tuple[datetime, int, float]]:
        """From when each holds, in order."""
        changes = [(row["valid_from"] or LONG_AGO, 0, row["multiplier"] or 1.0) for row in self.rows[1:]]
        changes += [(event["at"], 1, event["multiplier"]) for event in self.events if event["event"] == "multiplier"]
        return [(LONG_AGO, -1, self.rows[0]["multiplier"] or 1.0), *sorted(changes, key=lambda change: change[:2])]

    def multiplier(self, at: datetime) -> float:
        """That of the last row or multiplier event; before any, that of the first row."""
        return [multiplier for since, _, multiplier in self.multipliers() if since <= at][-1]

    def changes_multiplier(self, start: datetime, end: datetime) -> bool:
        """Whether another multiplier begins to hold between two readings."""
        return any(start < since < end and multiplier != before for (_, _, before), (since, _, multiplier) in pairwise(self.multipliers()))

    def too_fast(self, quantity: float, start: datetime, end: datetime) -> bool:
        most = self.row(start)["max_rate_per_h"]
        return most is not None and abs(quantity) > most * ROUNDING * ((end - start) / H)

    def count(self, start: datetime, end: datetime, quantity: float, *, uncertain: bool, before: float | None, after: float | None) -> None:
        """Rule 5: a step, with what makes it suspect."""
        fast = self.too_fast(quantity, start, end)
        self.steps.append(Step(start, end, quantity, suspect=fast or uncertain, before=before, after=after))
        for name, raised in (("over_rating", fast), ("uncertain", uncertain)):
            if raised:
                self.flag(self.steps[-1], name)

    def flag(self, step: Step, name: str) -> None:
        self.flags.append(Flag(step.start, step.end, name, step.before, step.after, step.quantity))


def plain(readings: Sequence[Row], rows: Sequence[Row], events: Sequence[Row]) -> Register:
    """The steps (sorted by time), flags (sorted) and set-aside readings of one register."""
    register = Register(sorted(rows, key=lambda row: row["valid_from"] or LONG_AGO), events)
    counted = one_for_an_instant(register, [reading for reading in readings if by_own_value(register, reading)])
    match register.rows[-1]["kind"]:
        case "rate":
            rate_steps(register, counted)
        case "interval":
            interval_steps(register, counted)
        case _:
            cumulative_steps(register, counted)
            gaps(register, counted)
    register.flags.sort(key=lambda flag: (flag.start, flag.end, flag.flag))
    return register


# --- rule 1: what counts by itself ------------------------------------------------------------------------------------

def by_own_value(register: Register, reading: Row) -> bool:
    at, value, row, broken = reading["read_at"], reading["value"], register.row(reading["read_at"]), set()
    if (row["valid_from"] and at < row["valid_from"]) or (row["valid_to"] and at > row["valid_to"]):
        broken.add("no_register_row")
    if reading["quality"] == 2:
        broken.add("marked_bad")
    if value is None or not abs(value) <= GREATEST / max(1.0, abs(register.multiplier(at))):
        broken.add("not_finite")
    else:
        low, high, modulus = row["range_low"], row["range_high"], row["modulus"]
        if (low is not None and value < low) or (high is not None and value > high) or (modulus is not None and value >= modulus):
            broken.add("outside_range")
        below_zero_declared = row["kind"] == "cumulative" and low is not None and low < 0
        if value < 0 and not row["net"] and not below_zero_declared:
            broken.add("negative")
    if broken:
        register.aside[reading["message"]] |= broken
    return not broken


# --- rule 2: one reading for an instant -------------------------------------------------------------------------------

def one_for_an_instant(register: Register, readings: Sequence[Row]) -> list[Row]:
    copies: dict[datetime, list[Row]] = defaultdict(list)
    for reading in readings:
        copies[reading["read_at"]].append(reading)
    instants = sorted(copies)
    chosen = []
    for place, at in enumerate(instants):
        row = register.row(at)
        low = min(copy["value"] for copy in copies[instants[place - 1]]) if place else -math.inf
        high = max(copy["value"] for copy in copies[instants[place + 1]]) if place + 1 < len(instants) else math.inf
        rises_only = row["kind"] == "cumulative" and not row["net"]
        best, *others = sorted(copies[at], key=claim(low, high, rises_only=rises_only))
        chosen.append(best)
        for other in others:
            register.aside[other["message"]].add("duplicate" if other["value"] == best["value"] else "conflicting_copy")
    return chosen


def claim(low: float, high: float, *, rises_only: bool) -> Callable[[Row], tuple[Any, ...]]:
    """By what a copy goes before others: it fits (a), is not zero (b), came first (c), is greatest (d), has the lowest number (e)."""
    def key(copy: Row) -> tuple[Any, ...]:
        fits, received = low <= copy["value"] <= high, copy["received_at"]
        return (
            rises_only and not fits, rises_only and copy["value"] == 0, received is None, received or LONG_AGO, -copy["value"], copy["message"],
        )
    return key


# --- rule 3: declared events ------------------------------------------------------------------------------------------

def declared(register: Register) -> tuple[dict[datetime, tuple[float | None, float | None]], list[datetime]]:
    """Closing and opening value at each instant that ends a run, and the instants of rollovers without values."""
    ends: dict[datetime, tuple[float | None, float | None]] = {}
    turns = []
    order = ["change", "reset", "rollover", "multiplier"]
    for event in sorted(register.events, key=lambda event: (event["at"], order.index(event["event"]))):
        closing, opening = event["closing_value"], event["opening_value"]
        if event["event"] == "multiplier":  # the register shows the same before and after
            closing, opening = (opening if closing is None else closing), (closing if opening is None else opening)
        if event["event"] in ("change", "reset") or (closing is not None and opening is not None):
            ends.setdefault(event["at"], (closing, opening))
        elif event["event"] == "rollover":
            turns.append(event["at"])
    for earlier, later in pairwise(register.rows):
        if earlier["valid_to"] is not None and later["valid_from"] > earlier["valid_to"]:
            ends.setdefault(later["valid_from"], (None, None))  # another meter, after a time without any
    return ends, turns


def runs_between_events(
    register: Register, counted: Sequence[Row], ends: Mapping[datetime, tuple[float | None, float | None]],
) -> Iterator[list[Point]]:
    run: list[Point] = []
    waiting = sorted(ends)
    for reading in [*counted, None]:
        while waiting and (reading is None or waiting[0] <= reading["read_at"]):
            at = waiting.pop(0)
            closing, opening = ends[at]
            yield run if closing is None else [*run, Point(at, closing, None)]
            run = [] if opening is None else [Point(at, opening, None)]
        if reading is None:
            break
        values = [value for value in ends.get(reading["read_at"], ()) if value is not None]
        if values:
            register.aside[reading["message"]].add("duplicate" if reading["value"] in values else "conflicting_copy")
        else:
            run.append(Point(reading["read_at"], reading["value"], reading))
    yield run


# --- rule 4: falls ----------------------------------------------------------------------------------------------------

def least(register: Register, before: Point) -> float:
    """A step back up to this is never looked at as a glitch."""
    return max(register.row(before.at)["resolution"] or 0.0, 1e-6 * abs(before.value))


def tolerance(register: Register, before: Point) -> float:
    return max(register.row(before.at)["resolution"] or 0.0, SMALL_SHARE * abs(before.value))


def fall(register: Register, before: Point, now: Point) -> float:
    """How far a register that may not fall has fallen."""
    return 0.0 if register.row(before.at)["net"] else max(0.0, before.value - now.value)


def without_glitches(register: Register, run: list[Point], turns: Sequence[datetime]) -> list[Point]:
    """Rule 4a: passes for 1, 2, 3, 4, 8, 16 ... readings until nothing changes, then one more for spikes that stand on zero."""
    longest = 0
    while True:
        count, longest = len(run), longest + 1 if longest < SHORT_GLITCH else 2 * longest
        run = one_pass(register, run, turns, longest, from_zero=False)
        if longest >= count == len(run):
            return one_pass(register, run, turns, SHORT_GLITCH, from_zero=True)


def one_pass(register: Register, run: list[Point], turns: Sequence[datetime], longest: int, *, from_zero: bool) -> list[Point]:
    """False zeros first, then glitches of every form; each time all falls are judged on the same readings."""
    for only_zeros in (True, False):
        gone: dict[int, set[str]] = defaultdict(set)
        for i in range(1, len(run)):
            before, now = run[i - 1], run[i]
            if fall(register, before, now) <= least(register, before) or (only_zeros and now.value != 0):
                continue
            if longest > SHORT_GLITCH and surely_wraps(register, before, now, turns):
                continue
            if fall(register, before, now) <= tolerance(register, before):
                found = {} if only_zeros or longest > SHORT_GLITCH else small_spike(register, run, i, longest)
            elif only_zeros:
                found = dict.fromkeys(transient(register, run, i, longest), "transient")
            else:
                found = glitch(register, run, i, longest, from_zero=from_zero)
            for j, rule in found.items():
                gone[j].add(rule)
        for j, rules in gone.items():
            reading = run[j].reading
            if reading is not None:
                register.aside[reading["message"]] |= rules
        run = [point for j, point in enumerate(run) if j not in gone]
    return run


def glitch(register: Register, run: Sequence[Point], i: int, longest: int, *, from_zero: bool) -> dict[int, str]:
    """The readings around the fall into run[i] that are no more than a glitch, with the rule."""
    dip, spike = transient(register, run, i, longest), spike_up(register, run, i, longest, tolerance(register, run[i - 1]))
    if len(spike) and not from_zero and run[spike[0] - 1].value == 0:
        spike = range(0)
    if len(dip) and (not len(spike) or len(dip) < len(spike) or (len(dip) == len(spike) and run[i].value == 0)):
        return dict.fromkeys(dip, "transient")
    if len(spike):
        return dict.fromkeys(spike, "spike")
    return spike_and_dip(register, run, i, longest) if longest <= SHORT_GLITCH else {}


def transient(register: Register, run: Sequence[Point], i: int, longest: int) -> range:
    """The readings from the fall until the register is back where it fell from, by one steep step."""
    before, now = run[i - 1], run[i]
    back = before.value - tolerance(register, before)
    j = next((j for j in range(i + 1, len(run)) if run[j].value >= back), None)
    if j is None or j - i > longest or not steep(run[j].value - run[j - 1].value, max(run[j].value, before.value) - now.value, j - i):
        return range(0)
    plain = j - i == 1 and run[j].value - before.value <= 0.1 * (max(run[j].value, before.value) - now.value)
    return range(i, j) if plain or in_time(before, run[j], j - i, now) else range(0)


def spike_up(register: Register, run: Sequence[Point], i: int, longest: int, slack: float) -> range:
    """The readings since the register left, by one steep step, where it has now fallen to."""
    before, now = run[i - 1], run[i]
    last = next((j for j in range(i - 1, -1, -1) if run[j].value <= now.value + slack), None)
    if last is None:
        return range(0)
    length = i - last - 1
    if not 0 < length <= longest or not steep(run[last + 1].value - run[last].value, before.value - min(run[last].value, now.value), length):
        return range(0)
    if length > SHORT_GLITCH and now.value == 0:  # a register that lost its count shows that
        return range(0)
    plain = length == 1 and now.value - run[last].value <= 0.1 * (before.value - min(run[last].value, now.value))
    return range(last + 1, i) if plain or in_time(run[last], now, length, now) else range(0)


def small_spike(register: Register, run: Sequence[Point], i: int, longest: int) -> dict[int, str]:
    """A spike within the tolerance: what has fallen is nearly all that had been climbed, and is not soon climbed again."""
    before, now = run[i - 1], run[i]
    found = spike_up(register, run, i, longest, least(register, before))
    if not len(found) or before.value - now.value < 0.9 * (before.value - run[found[0] - 1].value):
        return {}
    if any(point.value >= before.value for point in run[i + 1:i + 1 + SHORT_GLITCH]):
        return {}
    return dict.fromkeys(found, "spike")


def spike_and_dip(register: Register, run: Sequence[Point], i: int, longest: int) -> dict[int, str]:
    """Readings above and then below what the register showed before and after them."""
    slack = tolerance(register, run[i - 1])
    for total in range(2, longest + 1):
        for above in range(1, total):
            first, beyond = i - above, i + total - above
            if first < 1 or beyond >= len(run):
                continue
            before, after = run[first - 1], run[beyond]
            if (
                before.value <= after.value + slack and after.at - before.at <= LOOK_AROUND
                and after.value - before.value <= 0.1 * min(run[i - 1].value - before.value, after.value - run[i].value)
                and run[first].value - before.value >= 0.9 * (run[i - 1].value - before.value)
                and after.value - run[beyond - 1].value >= 0.9 * (after.value - run[i].value)
                and all(point.value > after.value + slack for point in run[first:i])
                and all(point.value < before.value - slack for point in run[i:beyond])
            ):
                return dict.fromkeys(range(first, i), "spike") | dict.fromkeys(range(i, beyond), "transient")
    return {}


def steep(step: float, climb: float, length: int) -> bool:
    return step >= (0.5 if length <= SHORT_GLITCH else 0.9) * climb


def in_time(before: Point, after: Point, length: int, fallen_to: Point) -> bool:
    return after.at - before.at <= LOOK_AROUND or (fallen_to.value == 0 and length <= SHORT_GLITCH)


def surely_wraps(register: Register, before: Point, now: Point, turns: Sequence[datetime]) -> bool:
    """A rollover was declared between the readings, or the step across the modulus is within the rating."""
    row = register.row(before.at)
    if row["modulus"] is None:
        return False
    forward = now.value - before.value + row["modulus"]
    if forward < 0:
        return False
    if any(before.at < at <= now.at for at in turns):
        return True
    return row["max_rate_per_h"] is not None and not register.too_fast(forward * register.multiplier(before.at), before.at, now.at)


def wraps(register: Register, run: Sequence[Point], i: int, turns: Sequence[datetime]) -> bool:
    """Rule 4b: the fall into run[i]; without a rating the step across the modulus is small, or hardly faster than the steps beside it."""
    before, now = run[i - 1], run[i]
    row = register.row(before.at)
    if row["modulus"] is None or row["max_rate_per_h"] is not None or surely_wraps(register, before, now, turns):
        return surely_wraps(register, before, now, turns)
    forward = now.value - before.value + row["modulus"]
    if not row["modulus"] / 100 < forward <= row["modulus"] / 2:
        return bool(0 <= forward <= row["modulus"] / 2)
    beside = [
        (run[j].value - run[j - 1].value) / ((run[j].at - run[j - 1].at) / H)
        for j in (i - 1, i + 1) if 0 < j < len(run) and run[j].value >= run[j - 1].value
    ]
    return forward / ((now.at - before.at) / H) <= 10 * max(beside) if beside else bool(forward <= row["modulus"] / 10)


def cumulative_steps(register: Register, counted: Sequence[Row]) -> None:
    ends, turns = declared(register)
    for whole in runs_between_events(register, counted, ends):
        run = without_glitches(register, whole, turns)
        verdicts = [verdict(register, run, i, turns) for i in range(1, len(run))]
        cuts = cuts_of(verdicts, run)
        for first, last in pairwise(cuts):
            for i in range(first + 1, last):
                if ends_lost_count(register, run[i - 1:last][:6]):
                    verdicts[i - 1] = "reset"
        counts = [value for first, last in pairwise(cuts_of(verdicts, run)) for value in on_floor(register, run[first:last])]
        for what, (i, before), now in zip(verdicts, enumerate(run), run[1:], strict=False):
            if what == "reset":  # rule 4c: what was used in between is unknown
                register.steps.append(Step(before.at, now.at, 0.0, suspect=True, covered=False, before=before.value, after=now.value))
            else:
                turned = max(1, sum(before.at < turn <= now.at for turn in turns)) if what == "wrap" else 0
                forward = counts[i + 1] - counts[i] + turned * (register.row(before.at)["modulus"] or 0.0)
                uncertain = is_uncertain(before) or is_uncertain(now) or register.changes_multiplier(before.at, now.at)
                quantity = forward * register.multiplier(before.at)
                register.count(before.at, now.at, quantity, uncertain=uncertain, before=before.value, after=now.value)
            if what:
                register.flag(register.steps[-1], what)


def cuts_of(verdicts: Sequence[str], run: Sequence[Point]) -> list[int]:
    """Where the stretches between wraps and resets begin, and the end."""
    return [0, *(i for i, what in enumerate(verdicts, start=1) if what in ("wrap", "reset")), len(run)]


def verdict(register: Register, run: Sequence[Point], i: int, turns: Sequence[datetime]) -> str:
    """What a step of the readings that are left is: a wrap, a reset, jitter or nothing."""
    before, now = run[i - 1], run[i]
    if fall(register, before, now) <= 0:
        return ""
    if fall(register, before, now) <= tolerance(register, before):
        return "jitter"
    return "wrap" if wraps(register, run, i, turns) else "reset"


def ends_lost_count(register: Register, six: Sequence[Point]) -> bool:
    """Rule 4e: a step out of zero, more than 100 times as fast as the four that follow."""
    if len(six) < 6 or six[0].value != 0 or six[1].value <= 0 or register.row(six[0].at)["net"]:
        return False
    zero, now, last = six[0], six[1], six[-1]
    gained = last.value - now.value
    rated = register.row(zero.at)["max_rate_per_h"] is not None
    return (
        gained > 0 and now.value / ((now.at - zero.at) / H) > 100 * gained / ((last.at - now.at) / H)
        and (not rated or register.too_fast(now.value * register.multiplier(zero.at), zero.at, now.at))
    )


def on_floor(register: Register, run: Sequence[Point]) -> list[float]:
    """Rule 4d: the greatest value of the last 31 days; a register that may fall stands where it stands."""
    free = [register.row(point.at)["net"] for point in run]
    return [
        point.value if free[i] else max(run[j].value for j in range(i + 1) if not free[j] and run[j].at > point.at - LOOK_AROUND)
        for i, point in enumerate(run)
    ]


def is_uncertain(point: Point) -> bool:
    return point.reading is not None and point.reading["quality"] == 1


def gaps(register: Register, counted: Sequence[Row]) -> None:
    """Flag `gap`: a step longer than an hour and than 1.5 times the lower median of the three spacings of readings on either side."""
    instants = [reading["read_at"] for reading in counted]
    for step in register.steps:
        before = [at for at in instants if at <= step.start][-4:]
        after = [at for at in instants if at >= step.end][:4]
        around = sorted(later - earlier for side in (before, after) for earlier, later in pairwise(side))
        length = step.end - step.start
        if step.covered and len(around) >= 3 and length > H and length > 1.5 * around[(len(around) - 1) // 2]:
            register.flag(step, "gap")


# --- rules 6 and 7: interval and rate registers -----------------------------------------------------------------------

def interval_steps(register: Register, counted: Sequence[Row]) -> None:
    stamps = [reading["read_at"] for reading in counted]
    spacing = {i: stamps[i] - stamps[i - 1] for i in range(1, len(stamps))}
    ahead = register.rows[-1]["stamp"] == "start"
    for i, reading in enumerate(counted):
        length = interval_length(spacing, i + 1 if ahead else i)
        if length is None or length > timedelta(days=366):
            register.aside[reading["message"]].add("length_unknown")
            continue
        start = stamps[i] if ahead else stamps[i] - length
        quantity = reading["value"] * register.multiplier(start)
        register.count(start, start + length, quantity, uncertain=reading["quality"] == 1, before=None, after=None)


def interval_length(spacing: Mapping[int, timedelta], own: int) -> timedelta | None:
    """The reading's own spacing, or the usual one (lower median of five) where its own is a gap or is not there."""
    around = sorted(spacing[j] for j in range(own - 2, own + 3) if j in spacing)
    if not around:
        return None
    usual = around[(len(around) - 1) // 2]
    return spacing[own] if own in spacing and spacing[own] <= 1.5 * usual else usual


def rate_steps(register: Register, counted: Sequence[Row]) -> None:
    for before, now in pairwise(counted):
        start, end = before["read_at"], now["read_at"]
        if end - start <= 1.5 * H:
            quantity = (before["value"] + now["value"]) / 2 * register.multiplier(start) * ((end - start) / H)
            register.count(start, end, quantity, uncertain=1 in (before["quality"], now["quality"]), before=before["value"], after=now["value"])


# --- rule 8: hours, days, months, years -------------------------------------------------------------------------------

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
                entry[3] += until - at if step.end - step.start > LONGER_THAN[by] else timedelta(0)
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
