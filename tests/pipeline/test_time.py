"""Time that has passed: exact windows of what changed, parts of the evaluation, what was known when, and why it differs.

TCEWATCH_HISTORIES: how many random histories the property test lives through (make test: few).
"""

import csv
import os
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config import schemas
from config import settings as site_settings
from config.errors import BadInputError
from pipeline.as_of import KINDS, Table, explained, known_at
from pipeline.changes import Rows, changed_days, changed_windows, days_of, rolled_with, set_rolled_with
from pipeline.evaluate import Evaluator, evaluated
from pipeline.rebuild import rebuilt
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site
from store.journal import HISTORY, LIVE

ENTERPRISE = "91159901MA0EXAMP4N"
E1, C1 = ("E-1", "active_import"), ("C-1", "feed")
MIDNIGHT = datetime(2024, 12, 31, 16, tzinfo=UTC)  # local 2025-01-01
HISTORIES = int(os.environ.get("TCEWATCH_HISTORIES", "2"))


def catch_up(site: Site) -> None:
    while Settler(site).once():
        pass
    while Roller(site).once():
        pass


# --- exactly the time that a change touches ----------------------------------------------------------------------------

def day(month: int, number: int = 1) -> datetime:
    return datetime(2025, month, number, tzinfo=UTC)


ROW = {"register_key": 1, "kind": "cumulative", "stamp": "start", "unit": "kWh", "multiplier": 1.0, "known_from": day(1)}
EDIT = {"register_key": 1, "edit": 1, "kind": "exclude", "start": day(4), "end": day(5), "reason": "a"}
TICK = timedelta(microseconds=1)
_TABLES = {"registers": schemas.REGISTER, "events": schemas.EVENT, "edits": schemas.EDIT}


def rows(*registers: Mapping[str, Any], **others: list[Mapping[str, Any]]) -> Rows:
    given = {"registers": list(registers), **others}
    dates = {"valid_from": schemas.INSTANT, "valid_to": schemas.INSTANT, "end": schemas.INSTANT}
    return Rows(**{
        name: schemas.conform(pl.DataFrame([{**dict.fromkeys(dates), **row} for row in table], schema_overrides=dates), _TABLES[name])
        for name, table in given.items() if table
    })


def event(at: datetime, what: str = "reset", **more: object) -> dict[str, Any]:
    return {"register_key": 1, "at": at, "event": what, **more}


CLOSED = [{**ROW, "valid_to": day(3)}, {**ROW, "valid_from": day(3)}]


@pytest.mark.parametrize(("before", "after", "windows"), [
    pytest.param(rows(ROW), rows(ROW), [], id="nothing"),
    pytest.param(rows(ROW), rows({**ROW, "known_from": day(6), "known_to": day(7)}), [], id="when it is known"),
    pytest.param(rows(ROW), rows({**ROW, "gateway": "GW-2", "medium": "gas"}), [], id="another gateway"),
    pytest.param(rows(ROW), rows(*CLOSED), [], id="a row cut in two that say the same"),
    pytest.param(rows(ROW), rows(CLOSED[0], {**CLOSED[1], "modulus": 1e6}), [(day(3), None)], id="a new row from March"),
    pytest.param(rows(*CLOSED), rows({**CLOSED[0], "modulus": 1e6}, CLOSED[1]), [(None, day(3))], id="a modulus of a closed span"),
    pytest.param(
        rows({**CLOSED[0], "valid_from": day(2)}, CLOSED[1]), rows({**CLOSED[0], "valid_from": day(2), "range_high": 5.0}, CLOSED[1]),
        [(day(2), day(3))], id="a bound of a closed span",
    ),
    pytest.param(rows(), rows({**ROW, "valid_from": day(3)}), [(day(3), None)], id="a new register"),
    pytest.param(rows({**ROW, "valid_to": day(3)}), rows(), [(None, day(3) + TICK)], id="a register that is gone, to the end of its row included"),
    pytest.param(rows({**ROW, "valid_to": day(3)}), rows({**ROW, "valid_to": day(5)}), [(day(3) + TICK, day(5) + TICK)], id="a longer row"),
    pytest.param(rows(ROW), rows({**ROW, "kind": "interval"}), [(None, None)], id="another kind"),
    pytest.param(rows(*CLOSED), rows(CLOSED[0], {**CLOSED[1], "stamp": "end"}), [(None, None)], id="the stamp of the last row is that of all"),
    pytest.param(rows(ROW), rows(ROW, events=[event(day(5))]), [(day(5), day(5) + TICK)], id="an event"),
    pytest.param(
        rows(ROW, events=[event(day(5), opening_value=1.0)]), rows(ROW, events=[event(day(5), opening_value=2.0)]), [(day(5), day(5) + TICK)],
        id="a value of an event",
    ),
    pytest.param(
        rows(*CLOSED), rows(*CLOSED, events=[event(day(2), "multiplier", multiplier=3.0)]), [(day(2), day(3))],
        id="a multiplier holds until the next row",
    ),
    pytest.param(
        rows(ROW), rows(ROW, events=[event(day(2), "multiplier", multiplier=1.0)]), [(day(2), day(2) + TICK)], id="the multiplier that holds already",
    ),
    pytest.param(rows(ROW), rows(ROW, edits=[EDIT]), [(day(4), day(5))], id="an edit"),
    pytest.param(rows(ROW, edits=[EDIT]), rows(ROW, edits=[{**EDIT, "reason": "b"}]), [], id="another reason"),
    pytest.param(
        rows(ROW), rows(ROW, edits=[{**EDIT, "kind": "replace", "end": None, "value": 1.0}]), [(day(4), day(4) + TICK)], id="a replaced value",
    ),
    pytest.param(
        rows(ROW), rows(ROW, edits=[EDIT, {**EDIT, "edit": 2, "start": day(5), "end": day(6)}]), [(day(4), day(6))], id="edits that touch are one",
    ),
])
def test_a_change_touches_exactly_the_time_in_which_the_meaning_differs(before: Rows, after: Rows, windows: list[tuple[datetime, datetime]]) -> None:
    for one, other in ((before, after), (after, before)):
        found = changed_windows(one, other)
        assert found.schema == schemas.WINDOW
        assert found.rows() == [(1, *window) for window in windows]


@pytest.mark.parametrize(("start", "end", "days"), [
    (MIDNIGHT, MIDNIGHT + TICK, ["2025-01-01"]), (MIDNIGHT - TICK, MIDNIGHT, ["2024-12-31"]),
    (MIDNIGHT - TICK, MIDNIGHT + TICK, ["2024-12-31", "2025-01-01"]),
    (None, MIDNIGHT, ["2024-12-30", "2024-12-31"]), (MIDNIGHT + timedelta(days=1), None, ["2025-01-02"]), (MIDNIGHT + timedelta(days=9), None, []),
])
def test_a_window_is_the_local_days_that_it_touches(start: datetime | None, end: datetime | None, days: list[str]) -> None:
    windows = pl.DataFrame([(1, start, end)], schema=schemas.WINDOW, orient="row")
    found = days_of(windows, date(2024, 12, 30), date(2025, 1, 2), "Asia/Shanghai")
    assert found.rows() == [(1, date.fromisoformat(one)) for one in days]


def test_the_days_of_estimates_and_events_count_even_where_nothing_was_ever_computed() -> None:
    estimate = {**EDIT, "kind": "estimate", "value": 5.0, "start": day(4, 2), "end": day(4, 3)}
    before = rows(ROW)
    after = rows({**ROW, "modulus": 1e6}, events=[event(day(1, 5), opening_value=5.0)], edits=[estimate, {**EDIT, "edit": 2}])
    bounded, computed = [date(2025, 1, 5), date(2025, 4, 2)], [date(2025, 2, 1), date(2025, 2, 2)]
    assert changed_days(before, after, [], "UTC")["day"].to_list() == bounded
    assert changed_days(before, after, computed, "UTC")["day"].to_list() == sorted([*bounded, *computed])
    assert changed_days(after, after, computed, "UTC").is_empty()


def test_the_rows_last_rolled_with_are_kept(site: Site) -> None:
    assert rolled_with(site.ledger).registers.is_empty()
    kept = rows(*CLOSED, events=[event(day(5))], edits=[EDIT])
    set_rolled_with(site.ledger, kept)
    assert changed_windows(kept, rolled_with(site.ledger)).is_empty()
    assert changed_windows(Rows(), rolled_with(site.ledger)).height


# --- only the parts of an evaluation in which something changed ---------------------------------------------------------

@pytest.fixture
def law(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    return folder


@pytest.fixture
def dated(new_site: Callable[[Path], Site], tmp_path: Path, law: Path, arrive: Callable[..., int]) -> Site:
    """The small site with tables of its own, and hours around the turns of two months and of a year."""
    site = new_site(tmp_path)
    site.settings = site_settings.build({"site": {"data_dir": tmp_path / "data", "tables_dir": law}})
    at = [MIDNIGHT + timedelta(days=turn, hours=hour) for turn in (-2, 57) for hour in range(0, 96, 2)]
    received = datetime(2025, 4, 1, tzinfo=UTC)
    arrive(site, 1, [(*E1, when, (when - at[0]) / timedelta(hours=1)) for when in at], received_at=received)
    arrive(site, 2, [(*C1, when, (when - at[0]) / timedelta(hours=2)) for when in at], received_at=received)
    catch_up(site)
    return site


def coefficient(folder: Path, value: float, valid_from: date, known_from: datetime | None = None, *, valid_to: date | None = None) -> None:
    """One more row of the site's own coefficients."""
    path, row = folder / "coal_equivalent_own.csv", {
        "carrier": "electricity", "unit": "kWh", "kgce_per_unit": value, "basis": "equivalent", "valid_from": valid_from, "valid_to": valid_to,
        "source": "a list of the site for the tests", "known_from": known_from.isoformat() if known_from else None,
    }
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def test_only_the_months_and_years_of_what_changed_are_worked_out_again(dated: Site, arrive: Callable[..., int], law: Path) -> None:
    coefficient(law, 0.3, date(2020, 1, 1))
    evaluator = Evaluator(dated, lambda: datetime(2025, 6, 15, tzinfo=UTC))

    def recomputed() -> set[str]:
        assert evaluator.once()
        assert_equal(live(dated), evaluated(dated, date(2025, 6, 15)))
        return set(evaluator.recomputed)

    assert recomputed() == {"2024-12", "2025-01", "2025-02", "2025-03", "2024", "2025"}
    arrive(dated, 3, [(*E1, MIDNIGHT + timedelta(days=60, hours=23), 1512.0)], received_at=datetime(2025, 4, 2, tzinfo=UTC))
    catch_up(dated)
    assert recomputed() == {"2025-03", "2025"}
    coefficient(law, 0.31, date(2024, 12, 1), datetime(2025, 4, 9, tzinfo=UTC), valid_to=date(2025, 2, 1))
    assert recomputed() == {"2024-12", "2025-01", "2024", "2025"}
    dated.register.apply({"enterprise": pl.DataFrame([
        {"enterprise": ENTERPRISE, "name_zh": "新名", "park": "p1"},
    ])}, by="test", known_from=datetime(2025, 5, 1, tzinfo=UTC))
    assert recomputed() == set()
    assignment = {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "carrier": "electricity", "product": "calcium_carbide"}
    dated.register.apply({"assignment": pl.DataFrame([
        {**assignment, "valid_from": None, "valid_to": "2025-03-01"}, {**assignment, "valid_from": "2025-03-01", "share_ratio": 0.5},
    ], infer_schema_length=None)}, by="test", known_from=datetime(2025, 5, 2, tzinfo=UTC))
    assert recomputed() == {"2025-03", "2025"}
    evaluator.clock = lambda: datetime(2025, 6, 16, tzinfo=UTC)
    assert evaluator.once()
    assert set(evaluator.recomputed) == {"2025"}, "the running year is measured up to today"


def live(site: Site) -> dict[str, pl.DataFrame]:
    found = {name: site.derived.read_result(name) for name in evaluated(site, date(2025, 1, 1))}
    return {name: frame for name, frame in found.items() if frame is not None}


def assert_equal(one: Mapping[str, pl.DataFrame], other: Mapping[str, pl.DataFrame]) -> None:
    assert one.keys() == other.keys()
    for name, frame in one.items():
        assert frame.equals(other[name]), name


# --- why two instants differ --------------------------------------------------------------------------------------------

def test_causes_that_act_together_leave_a_residual(site: Site, arrive: Callable[..., int]) -> None:
    """The day that docs/guide/vee.md works out by hand."""
    known = [datetime(2025, 2, number, tzinfo=UTC) for number in (1, 2, 3)]
    arrive(site, 1, [(*E1, MIDNIGHT, 0.0), (*E1, MIDNIGHT + timedelta(hours=20), 100.0)], received_at=known[0])
    arrive(site, 2, [(*E1, MIDNIGHT + timedelta(hours=24), 120.0)], received_at=known[1])
    catch_up(site)
    site.register.apply({"register": pl.DataFrame([
        {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "unit": "kWh", "kind": "cumulative", "multiplier": 10.0},
    ])}, by="somebody", known_from=known[2])
    told = explained(site, known[0], known[2], "daily", FIRST, FIRST).filter(measure="quantity")
    assert told.select("cause", "then", "now", "difference", "share", "residual").rows() == [
        ("reading", 100.0, 1200.0, 1100.0, 20.0, 180.0), ("register", 100.0, 1200.0, 1100.0, 900.0, 180.0),
    ]
    reading, register = told.rows(named=True)
    assert (reading["inputs"], reading["first_known"], reading["ids"]) == (1, known[1], ["2"])
    assert register["last_known"] == known[2]
    assert "multiplier 10.0" in register["what"]
    assert explained(site, known[2], known[2], "daily", FIRST, FIRST).is_empty()


def test_a_conflicting_copy_is_known_from_its_own_arrival(site: Site, arrive: Callable[..., int]) -> None:
    """Of two values for one instant the one that arrived first may not be the first copy of the store."""
    at = MIDNIGHT + timedelta(hours=24)
    arrive(site, 1, [(*E1, MIDNIGHT, 0.0), (*E1, at, 50.0)], received_at=datetime(2025, 2, 3, tzinfo=UTC))
    catch_up(site)
    arrive(site, 2, [(*E1, at, 60.0)], received_at=datetime(2025, 2, 2, tzinfo=UTC), lane=HISTORY)
    arrive(site, 3, [(*E1, MIDNIGHT, 0.0)], received_at=datetime(2025, 2, 1, tzinfo=UTC), lane=HISTORY)
    catch_up(site)
    store, [key] = site.readings(), site.register.names().filter(meter="E-1")["register_key"]
    span = (MIDNIGHT, at + timedelta(hours=1))
    assert store.span([key], *span, as_of=datetime(2025, 2, 2, tzinfo=UTC))["value"].to_list() == [60.0]
    assert store.span([key], *span, as_of=datetime(2025, 2, 2, tzinfo=UTC) - TICK).is_empty()
    assert store.span([key], *span, as_of=datetime(2025, 2, 3, tzinfo=UTC))["value"].to_list() == [0.0, 50.0, 60.0]


# --- random histories: live equals rebuilt, what was known equals what was live then, and every difference has a cause ---

SHOWN: tuple[Table, ...] = ("hourly", "daily", "energy", "carriers", "intensity", "park_intensity", "verdicts")
FIRST, LAST = date(2025, 1, 1), date(2025, 3, 31)
START = datetime(2025, 4, 10, 2, tzinfo=UTC)  # when the histories begin: all readings are of the past


@dataclass
class History:
    """A site to which things happen at rising instants, in random order."""

    site: Site
    arrive: Callable[..., int]
    law: Path
    random: random.Random
    now: datetime = START
    seq: int = 0
    snapshots: dict[datetime, dict[str, pl.DataFrame]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._days = self.random.sample(range(0, 88, 4), 4)  # where the readings are: gaps lie between
        self._steps = [self._late, self._late, self._late, self._corrected, self._row, self._event, self._edit, self._withdrawn, self._figure,
                       self._coefficient, self._assignment, self._confirmed]

    def live_through(self, steps: int) -> None:
        for _ in range(steps):
            self.now += timedelta(hours=self.random.randint(1, 40), seconds=self.random.randint(0, 3599))
            self.random.choice(self._steps)()
            turn = self.random.random()
            if turn < 0.5:  # now and then only some of the services come to their turn
                self._settle()
            if turn < 0.3:
                Roller(self.site).once()
            if turn > 0.6:
                self._snapshot()
        self._snapshot()

    def _snapshot(self) -> None:
        self._settle()
        while Roller(self.site).once():
            pass
        Evaluator(self.site, lambda: self.now).once()
        derived = self.site.derived
        grains = {name: derived.read(name, FIRST, LAST).drop("day").collect() for name in ("hourly", "daily")}
        self.snapshots[self.now] = {**grains, **live(self.site)}

    def _settle(self) -> None:
        while Settler(self.site).once():
            pass

    def _register(self) -> tuple[str, str]:
        return self.random.choice([E1, C1])

    def _send(self, readings: list[tuple[str, str, datetime, float]]) -> None:
        self.seq += 1
        self.arrive(self.site, self.seq, readings, received_at=self.now, lane=self.random.choice([LIVE, LIVE, HISTORY]))

    def _at(self) -> datetime:
        """An instant at which there may be a reading."""
        return MIDNIGHT + timedelta(days=self.random.choice(self._days), hours=6 * self.random.randint(0, 11))

    def _late(self) -> None:
        register, begin = self._register(), self._at()
        at = [begin + timedelta(hours=6 * step) for step in range(self.random.randint(1, 6))]
        self._send([(*register, when, (when - MIDNIGHT) / timedelta(hours=1) * 2) for when in at])

    def _corrected(self) -> None:
        at = self._at()
        offset = self.random.choice([-1000.0, -3.0, 1.5, 40.0, 1e5])
        self._send([(*self._register(), at, max(0.0, (at - MIDNIGHT) / timedelta(hours=1) * 2 + offset))])

    def _row(self) -> None:
        meter, register = self._register()
        turn = self.random.choice(["2025-01-20", "2025-02-10"])
        row = {"enterprise": ENTERPRISE, "meter": meter, "register": register, "unit": "kWh" if meter == "E-1" else "t", "kind": "cumulative"}
        change = self.random.choice([{"multiplier": 10.0}, {"modulus": 5000.0}, {"max_rate_per_h": 1.5}, {"range_high": 4000.0}, {}])
        current = self.site.register.registers().filter(meter=meter)
        first = {**row, "valid_to": turn} if current.height == 1 else {**row, "valid_to": str(current["valid_to"].drop_nulls()[0].isoformat())}
        later = {**row, "valid_from": first["valid_to"], **change}
        self._apply("register", [first, later] if self.random.random() < 0.7 else [first | change])

    def _event(self) -> None:
        meter, register = self._register()
        more: dict[str, Any] = self.random.choice([
            {"event": "reset"}, {"event": "change", "closing_value": 900.0, "opening_value": 0.0}, {"event": "multiplier", "multiplier": 3.0},
            {"event": "reset", "opening_value": 5.0},
        ])
        self._apply("event", [{"enterprise": ENTERPRISE, "meter": meter, "register": register, "at": self._at().isoformat(), **more}])

    def _edit(self) -> None:
        meter, register = self._register()
        at = self._at()
        span = {"start": at, "end": at + timedelta(hours=13)}
        kind = self.random.choice([
            {"kind": "exclude", **span}, {"kind": "replace", "start": at, "value": (at - MIDNIGHT) / timedelta(hours=1) * 2 + 1},
            {"kind": "estimate", **span, "value": 30.0, "low": 20.0, "high": 40.0, "method": "manual"}, {"kind": "confirm", **span},
        ])
        proposed = pl.DataFrame([{"enterprise": ENTERPRISE, "meter": meter, "register": register, "reason": "seen on site", **kind}])
        with suppress(BadInputError):  # it contradicts one that counts
            self.site.edits.check(self.site.edits.propose(proposed, maker="a", at=self.now), checker="b", at=self.now)

    def _withdrawn(self) -> None:
        counting = self.site.edits.effective()["edit"].to_list()
        if counting:
            chosen = [self.random.choice(counting)]
            self.site.edits.withdraw(chosen, by="a", at=self.now, reason="not so")
            self.site.edits.check(chosen, checker="b", at=self.now)

    def _figure(self) -> None:
        figure = self.random.choice([("output", 50.0, "t", "calcium_carbide"), ("value_added_10k_cny", 10.0, None, None)])
        name, value, unit, product = figure
        given = pl.DataFrame([{
            "enterprise": ENTERPRISE, "period": self.random.choice(["2025-01", "2025-02"]), "figure": name, "value": value + self.seq, "unit": unit,
            "product": product,
        }])
        self.site.figures.apply(given, maker="a", at=self.now)
        self.site.figures.check_all(checker="b", at=self.now)

    def _coefficient(self) -> None:
        begin = self.random.choice([date(2025, 1, 1), date(2025, 2, 1), date(2025, 3, 1)])
        coefficient(self.law, round(self.random.uniform(0.2, 0.4), 4), begin, self.now, valid_to=begin + timedelta(days=28))

    def _assignment(self) -> None:
        whole = {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "carrier": "electricity", "product": "calcium_carbide"}
        self._apply("assignment", [{**whole, "share_ratio": round(self.random.uniform(0.1, 1.0), 3)}])

    def _confirmed(self) -> None:
        self.site.confirmations.add(
            "calcium_carbide", "comprehensive_energy", "GB 21343-2023", "someone", self.now.date(), f"copy {self.seq}", at=self.now,
        )

    def _apply(self, table: str, given: list[dict[str, Any]]) -> None:
        self.site.register.apply({table: pl.DataFrame(given, infer_schema_length=None)}, by="test", known_from=self.now)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_what_was_known_is_what_was_live_then_and_every_difference_has_a_cause(
    new_site: Callable[[Path], Site], tmp_path: Path, law: Path, arrive: Callable[..., int], seed: int,
) -> None:
    site = new_site(tmp_path)
    site.settings = site_settings.build({"site": {"data_dir": tmp_path / "data", "tables_dir": law}})
    history = History(site, arrive, law, random.Random(seed))
    history.live_through(10)
    shadow = rebuilt(site, tmp_path / "again", upto=site.ledger.cursors())
    shadow.readings().close()
    assert shadow.derived.hashes() == site.derived.hashes()
    before = site.derived.hashes()
    picked = sorted(history.random.sample(sorted(history.snapshots), min(2, len(history.snapshots))))
    year = (FIRST, date(2025, 12, 31))
    results: tuple[Table, ...] = ("energy", "carriers", "intensity", "verdicts")
    table: Table
    for at in picked:
        for table in ("hourly", history.random.choice(results)):
            then = known_at(site, at, table, *((FIRST, LAST) if table == "hourly" else year))
            assert then.equals(history.snapshots[at][table]), (at, table)
    earlier, later = picked[0], picked[-1]
    for table in ("daily", history.random.choice(results)):
        told = explained(site, earlier, later, table, *((FIRST, LAST) if table == "daily" else year))
        check_explained(told, history.snapshots[earlier][table], history.snapshots[later][table], table)
    assert site.derived.hashes() == before, "the live tables are not touched"


def check_explained(told: pl.DataFrame, then: pl.DataFrame, now: pl.DataFrame, table: str) -> None:
    assert told["cause"].null_count() == 0, told.filter(pl.col("cause").is_null())
    assert set(told["cause"]) <= set(KINDS.values())
    assert (told["inputs"] > 0).all(), told.filter(pl.col("inputs") == 0)
    keys = told.columns[: told.columns.index("measure") + 1]
    by_row = told.group_by(keys).agg(pl.col("difference", "residual").first(), pl.col("share").sum()).drop_nulls("difference")
    off = (by_row["share"] + by_row["residual"] - by_row["difference"]).abs()
    assert (off <= 1e-9 * by_row["difference"].abs().clip(1e-3)).all()
    only = [one.join(other, on=one.columns, how="anti", nulls_equal=True) for one, other in ((then, now), (now, then))]
    differ = {row for frame in only for row in frame.select(keys[:-1]).rows()}
    if table == "daily":
        assert differ == set(told.select(keys[:-1]).rows())
    else:
        assert differ >= set(told.select(keys[:-1]).rows())
