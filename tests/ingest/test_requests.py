"""What gateways are asked for, when, and how often."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from line import Line

from config.schemas import INSTANT, SETTLEMENT, conform
from ingest.requests import (
    GIVE_UP_AFTER,
    MAX_RANGES,
    MAX_WINDOWS,
    RANGE_S,
    WINDOW_S,
    WINDOW_TIMES,
    BackfillRequester,
    CommandPublisher,
    due,
    followed,
    request,
)
from store.fleet import ASKED_RANGE, ASKED_WINDOW, FLEET, Fleet
from store.ledger import Ledger

NOW = datetime(2026, 11, 20, 4, tzinfo=UTC)
WHO = {"enterprise": "91150621MA0EXAMPLE", "gateway": "gw-1"}
TOPIC = f"tce/v1/150621/{WHO['enterprise']}/gw-1/requests"
REGIONS = {(WHO["enterprise"], "gw-1"): "150621"}


def ranges(*rows: tuple[int, int], seen_s: float = 0, times: int = 0, asked_s: float | None = None) -> pl.DataFrame:
    """ASKED_RANGE: seen and asked so many seconds ago."""
    asked_at = None if asked_s is None else NOW - timedelta(seconds=asked_s)
    more = {"seen_at": NOW - timedelta(seconds=seen_s), "times": times, "asked_at": asked_at}
    return conform(pl.DataFrame([{**WHO, "epoch": "x", "from_seq": first, "to_seq": last, **more} for first, last in rows] or None), ASKED_RANGE)


def fleet_of(state: str | None = "online", connected_s: float | None = None) -> pl.DataFrame:
    connected_at = None if connected_s is None else NOW - timedelta(seconds=connected_s)
    return conform(pl.DataFrame([{**WHO, "state": state, "connected_at": connected_at}], schema_overrides={"connected_at": INSTANT}), FLEET)


def asked(spans: pl.DataFrame, fleet: pl.DataFrame | None = None, **how: int) -> int:
    return due(spans, fleet_of() if fleet is None else fleet, NOW, first_s=RANGE_S, **how).height


@pytest.mark.parametrize(("seen_s", "is_due"), [(RANGE_S - 1, False), (RANGE_S, True)])
def test_a_new_gap_is_asked_for_after_a_short_wait(seen_s, is_due):
    assert asked(ranges((3, 5), seen_s=seen_s)) == is_due


@pytest.mark.parametrize(("times", "wait_s"), [(1, 30), (2, 60), (3, 120), (12, 61_440), (13, 86_400), (60, 86_400)])
def test_it_is_asked_for_again_at_growing_intervals_of_a_day_at_most(times, wait_s):
    assert asked(ranges((3, 5), seen_s=99_999, times=times, asked_s=wait_s - 1)) == 0
    assert asked(ranges((3, 5), seen_s=99_999, times=times, asked_s=wait_s)) == 1


@pytest.mark.parametrize(("connected_s", "asked_s", "is_due"), [(5, 30, True), (4, 30, False), (5, 29, False), (31, 30, False)])
def test_a_gateway_that_comes_back_is_asked_anew(connected_s, asked_s, is_due):
    assert asked(ranges((3, 5), seen_s=99_999, times=9, asked_s=asked_s), fleet_of(connected_s=connected_s)) == is_due


@pytest.mark.parametrize(("state", "is_due"), [("online", True), (None, True), ("offline", False)])
def test_a_gateway_that_says_that_it_is_offline_is_not_asked(state, is_due):
    assert asked(ranges((3, 5), seen_s=99), fleet_of(state)) == is_due


@pytest.mark.parametrize(("older", "is_due"), [(-1, True), (1, False)])
def test_what_is_missing_for_six_months_is_given_up(older, is_due):
    assert asked(ranges((3, 5), seen_s=GIVE_UP_AFTER.total_seconds() + older)) == is_due


@pytest.mark.parametrize(("times", "connected_s", "is_due"), [(4, None, True), (5, None, False), (5, 5, True)])
def test_what_may_be_asked_for_a_few_times_only_is_asked_for_once_more_when_the_gateway_comes_back(times, connected_s, is_due):
    spans = ranges((3, 5), seen_s=99_999, times=times, asked_s=3600)
    assert asked(spans, fleet_of(connected_s=connected_s), most_times=WINDOW_TIMES) == is_due


def test_the_oldest_come_first():
    both = pl.concat([ranges((3, 5), seen_s=50), ranges((20, 25), seen_s=90)])
    assert due(both, fleet_of(), NOW, first_s=RANGE_S)["from_seq"].to_list() == [20, 3]


def test_parts_of_a_range_were_asked_for_with_it_and_a_new_one_was_not():
    known = ranges((1, 10), (20, 30), seen_s=500, times=3, asked_s=100)
    now = followed(ranges((1, 4), (8, 10), (30, 30), (31, 40)).drop("seen_at", "times", "asked_at"), known, NOW)
    assert now.select("from_seq", "times", "seen_at").rows() == [
        (1, 3, NOW - timedelta(seconds=500)), (8, 3, NOW - timedelta(seconds=500)), (30, 3, NOW - timedelta(seconds=500)), (31, 0, NOW),
    ]


@given(missing=st.sets(st.integers(1, 60)), known=st.sets(st.integers(1, 60)))
def test_what_is_followed_are_the_spans_that_are_missing_whatever_was_known(missing, known):
    def spans(seqs: set[int]) -> list[tuple[int, int]]:
        starts = sorted(seq for seq in seqs if seq - 1 not in seqs)
        return [(first, next(seq for seq in range(first, 62) if seq + 1 not in seqs)) for first in starts]

    before = ranges(*spans(known), seen_s=500, times=3) if known else pl.DataFrame(schema=ASKED_RANGE)
    wanted = ranges(*spans(missing)) if missing else pl.DataFrame(schema=ASKED_RANGE)
    now = followed(wanted.drop("seen_at", "times", "asked_at"), before, NOW)
    assert now.select("from_seq", "to_seq").rows() == spans(missing)
    assert [row["times"] for row in now.iter_rows(named=True)] == [3 if first in known else 0 for first, _ in spans(missing)]


def test_the_largest_request_fits_into_64_kib():
    missing = [{"epoch": "\x01" * 64, "from_seq": 2**53 - 1, "to_seq": 2**53}] * MAX_RANGES
    window = {"meter": "m" * 64, "register": "r" * 64, "start": NOW + timedelta(microseconds=1), "end": NOW + timedelta(microseconds=2)}
    assert len(request(missing, [window] * MAX_WINDOWS)) <= 65_536


class Desk:
    """A ledger, a fleet and a requester, whose clock stands still until it is moved."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ledger, self.fleet, self.now_s = Ledger(folder / "ledger.sqlite"), Fleet(folder / "gateways.sqlite"), 0.0
        self.windows = pl.DataFrame(schema={name: ASKED_WINDOW[name] for name in list(ASKED_WINDOW)[:-3]})
        self.requester = BackfillRequester(
            self.fleet, self.ledger, regions=lambda: REGIONS, windows=lambda _now: self.windows, now=lambda: NOW + timedelta(seconds=self.now_s),
        )
        monkeypatch.setattr("ingest.requests.time.monotonic", lambda: self.now_s)

    def receive(self, *seqs: int, gateway: str = "gw-1") -> None:
        head = {**WHO, "gateway": gateway, "epoch": "x", "outcome": "decoded"}
        self.ledger.settle(conform(pl.DataFrame([{**head, "message": seq, "seq": seq} for seq in seqs]), SETTLEMENT), max(seqs))

    def asked(self, after_s: float, line: Line | None = None) -> list[dict[str, object]]:
        line = line or Line()
        self.now_s += after_s
        self.requester.once(line)
        assert {where for where, _ in line.sent} <= {TOPIC}
        return [json.loads(payload) for _, payload in line.sent]


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Iterator[Desk]:
    one = Desk(tmp_path, monkeypatch)
    yield one
    one.ledger.close()
    one.fleet.close()


def test_gaps_are_asked_for_until_they_close_and_lost_ones_never(desk):
    desk.receive(1, 2, 6, 9)
    desk.ledger.record_lost(WHO["enterprise"], "gw-1", "x", 7, 8)
    assert desk.asked(10) == []
    missing = {"v": 1, "missing": [{"epoch": "x", "from_seq": 3, "to_seq": 5}], "windows": []}
    assert desk.asked(RANGE_S) == [missing]
    assert desk.asked(RANGE_S - 1) == []
    desk.receive(4)
    assert desk.asked(5) == [{**missing, "missing": [{"epoch": "x", "from_seq": seq, "to_seq": seq} for seq in (3, 5)]}]
    desk.receive(3, 5)
    assert desk.asked(86_400) == []


def test_a_gateway_that_is_not_registered_is_not_asked(desk):
    desk.receive(1, 5, gateway="gw-9")
    assert desk.asked(10) == desk.asked(RANGE_S) == []


def test_what_the_broker_did_not_acknowledge_is_asked_for_again(desk):
    desk.receive(1, 5)
    desk.asked(10)
    assert len(desk.asked(RANGE_S, Line(alive=False))) == 1
    assert len(desk.asked(5)) == 1
    assert desk.asked(5) == []


def test_many_gaps_are_asked_for_in_several_requests(desk):
    desk.receive(*range(1, 2 * MAX_RANGES + 20, 2))
    desk.asked(10)
    first, = desk.asked(RANGE_S)
    second, = desk.asked(5)
    assert (len(first["missing"]), len(second["missing"])) == (MAX_RANGES, 9)


def test_windows_are_asked_for_where_no_message_is_missing(desk):
    window = {**WHO, "meter": "E-1", "register": "r", "start": NOW - timedelta(hours=9), "end": NOW - timedelta(hours=8)}
    desk.windows = conform(pl.DataFrame([window]), pl.Schema(desk.windows.schema))
    desk.receive(1, 3)
    desk.asked(10)
    request_, = desk.asked(WINDOW_S)
    assert (len(request_["missing"]), request_["windows"]) == (1, [])
    desk.receive(2)
    request_, = desk.asked(5)
    assert request_ == {"v": 1, "missing": [], "windows": [
        {"meter": "E-1", "register": "r", "from": "2026-11-19T19:00:00+00:00", "to": "2026-11-19T20:00:00+00:00"},
    ]}
    for times in range(1, WINDOW_TIMES):
        assert len(desk.asked(WINDOW_S * 2 ** (times - 1))) == 1
    assert desk.asked(86_400) == []


def test_a_new_process_goes_on_where_the_one_before_was(desk):
    desk.receive(1, 5)
    desk.asked(10)
    assert len(desk.asked(RANGE_S)) == 1
    desk.requester = BackfillRequester(
        desk.fleet, desk.ledger, regions=lambda: REGIONS, windows=lambda _now: desk.windows, now=lambda: NOW + timedelta(seconds=desk.now_s),
    )
    assert desk.asked(RANGE_S - 5) == []
    assert len(desk.asked(5)) == 1


@pytest.mark.parametrize("alive", [True, False])
def test_a_command_is_published_until_the_broker_has_it(desk, alive):
    desk.fleet.want_command("spBv1.0/g/NCMD/n", b"rebirth", 5)
    CommandPublisher(desk.fleet, now=lambda: NOW).once(Line(alive=alive))
    assert [one.topic for one in desk.fleet.commands(NOW + timedelta(days=1))] == ([] if alive else ["spBv1.0/g/NCMD/n"])
