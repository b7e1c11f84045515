"""What is known of gateways: entered with each batch, the same after every repetition."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import StoreUnavailableError
from config.schemas import DECODED, SETTLEMENT, conform
from store.fleet import ASKED_RANGE, ASKED_WINDOW, COMMAND_EVERY_S, SAMPLES, Fleet
from store.journal import Message

NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)


class State(NamedTuple):
    state: str
    epoch: str | None = None
    software: str | None = None


class Said(NamedTuple):
    message: int
    enterprise: str
    gateway: str
    state: State


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    one = Fleet(tmp_path / "gateways.sqlite")
    yield one
    one.close()


def enter(
    fleet: Fleet, numbers: list[int], *, step_s: float = 900, delay_s: float = 2, door: str = "mqtt", live: bool = True, gateway: str = "g",
    states: dict[int, State] | None = None, retained: bool = False, known: bool = True,
) -> None:
    """Messages with these ids and seqs, `step_s` apart, each with readings taken `delay_s` and a minute and `delay_s` before."""
    messages = [Message(number, door, "t", None, None, b"", NOON + timedelta(seconds=step_s * number), retained) for number in numbers]
    heads = [{"message": one.id, "enterprise": "e", "gateway": gateway, "epoch": "x", "seq": one.id, "outcome": "decoded"} for one in messages]
    readings = [
        {"message": one.id, "read_at": one.received_at - timedelta(seconds=delay_s + more), "received_at": one.received_at}
        for one in messages for more in (60, 0)
    ]
    said = [Said(number, "e", gateway, state) for number, state in (states or {}).items()]
    registered = conform(pl.DataFrame(heads), SETTLEMENT).head(len(heads) if known else 0)
    fleet.record(messages, registered, conform(pl.DataFrame(readings), DECODED), said, live=live)


def one(fleet: Fleet) -> dict[str, object]:
    return fleet.gateways().row(0, named=True)


def test_of_each_gateway_it_knows_when_it_spoke_how_its_clock_goes_and_how_often_it_speaks(fleet):
    enter(fleet, [1, 2, 3])
    found = one(fleet)
    assert (found["last_message_at"], found["last_reading_at"]) == (NOON + timedelta(seconds=2700), NOON + timedelta(seconds=2698))
    assert (found["clock_offset_s"], found["usual_interval_s"], found["samples"], found["state"]) == (2.0, 900.0, 3, None)


def test_a_message_that_is_late_by_days_does_not_move_the_offset(fleet):
    enter(fleet, [1, 2, 3, 4])
    enter(fleet, [5], delay_s=3 * 86_400)
    assert one(fleet)["clock_offset_s"] == 2.0


def test_a_clock_in_the_future_shows_as_offset_and_not_as_the_last_reading(fleet):
    enter(fleet, [1, 2, 3], delay_s=-8 * 3600)
    found = one(fleet)
    assert (found["clock_offset_s"], found["last_reading_at"]) == (-28_800.0, None)


def test_history_says_nothing_of_the_clock_but_that_the_gateway_is_there(fleet):
    enter(fleet, [1, 2], live=False)
    assert (one(fleet)["clock_offset_s"], one(fleet)["last_message_at"]) == (None, NOON + timedelta(seconds=1800))


@pytest.mark.parametrize("how", [{"door": "file"}, {"door": "replay"}, {"known": False}])
def test_a_file_a_replay_and_a_gateway_that_is_not_registered_are_not_a_gateway_speaking(fleet, how):
    enter(fleet, [1, 2], **how)
    assert fleet.gateways().is_empty()


def test_messages_in_a_burst_are_one_moment(fleet):
    for burst in range(5):
        enter(fleet, list(range(burst * 1000, burst * 1000 + 9)), step_s=0.9)  # every 15 minutes, nine within 9 s
    found = one(fleet)
    assert found["samples"] <= 10
    assert found["usual_interval_s"] == pytest.approx(900, abs=10)


def test_only_the_newest_moments_count(fleet):
    enter(fleet, list(range(1, SAMPLES + 1)), delay_s=500)
    enter(fleet, list(range(SAMPLES + 1, 2 * SAMPLES + 1)), delay_s=1)
    assert (one(fleet)["samples"], one(fleet)["clock_offset_s"]) == (SAMPLES, 1.0)


def test_a_state_holds_from_when_it_was_first_said(fleet):
    enter(fleet, [1], states={1: State("online", "x", "vendor 2.1")})
    enter(fleet, [2], states={2: State("online", "x", "vendor 2.2")})
    found = one(fleet)
    assert (found["state"], found["since"], found["software"], found["epoch"]) == ("online", NOON + timedelta(seconds=900), "vendor 2.2", "x")
    assert found["connected_at"] == NOON + timedelta(seconds=1800)
    enter(fleet, [3], states={3: State("offline")})
    found = one(fleet)
    assert (found["state"], found["since"], found["software"]) == ("offline", NOON + timedelta(seconds=2700), "vendor 2.2")


def test_an_earlier_state_that_is_entered_again_takes_nothing_back(fleet):
    enter(fleet, [2], states={2: State("offline")})
    enter(fleet, [1], states={1: State("online")})
    assert one(fleet)["state"] == "offline"


def test_a_retained_state_tells_what_was_said_and_not_that_the_gateway_spoke_now(fleet):
    enter(fleet, [1], states={1: State("online")}, retained=True)
    found = one(fleet)
    assert (found["state"], found["connected_at"], found["last_message_at"]) == ("online", None, None)


def test_the_highest_number_of_each_local_day_is_kept(fleet):
    enter(fleet, [1, 30, 40, 50], step_s=1800)
    assert fleet.highest().select("day", "highest_seq").rows() == [(date(2026, 11, 20), 1), (date(2026, 11, 21), 50)]


MESSAGES = st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True).map(sorted)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(MESSAGES, min_size=1, max_size=6), cut=st.integers(1, 8))
def test_a_batch_that_is_entered_again_whole_or_in_parts_changes_nothing(tmp_path_factory, batches, cut):
    once, again = (Fleet(tmp_path_factory.mktemp("fleet") / "g.sqlite") for _ in range(2))
    for batch in batches:
        states = {number: State("online" if number % 3 else "offline") for number in batch if number % 2}
        enter(once, batch, states=states)
        enter(again, batch[:cut], states={number: state for number, state in states.items() if number in batch[:cut]})
        enter(again, batch, states=states)
        enter(again, batch, states=states)
    assert once.gateways().equals(again.gateways())
    assert once.highest().equals(again.highest())
    once.close()
    again.close()


def test_a_command_is_published_once_for_each_message_that_calls_for_it_and_once_a_minute_at_most(fleet):
    fleet.want_command("spBv1.0/g/NCMD/n", b"rebirth", 5)
    fleet.want_command("spBv1.0/g/NCMD/n", b"rebirth", 5)
    wanted, = fleet.commands(NOON)
    fleet.command_sent(wanted, NOON)
    fleet.want_command(*wanted)
    assert fleet.commands(NOON + timedelta(days=1)) == []
    fleet.want_command(wanted.topic, b"rebirth", 6)
    assert fleet.commands(NOON + timedelta(seconds=COMMAND_EVERY_S - 1)) == []
    assert [one.message for one in fleet.commands(NOON + timedelta(seconds=COMMAND_EVERY_S))] == [6]


def test_a_command_that_was_wanted_anew_while_it_was_on_its_way_stays_wanted(fleet):
    fleet.want_command("t", b"a", 5)
    wanted, = fleet.commands(NOON)
    fleet.want_command("t", b"b", 6)
    fleet.command_sent(wanted, NOON)
    assert [one.payload for one in fleet.commands(NOON + timedelta(seconds=COMMAND_EVERY_S))] == [b"b"]


def test_what_was_asked_is_remembered_by_the_next_process(fleet, tmp_path):
    who = {"enterprise": "e", "gateway": "g", "seen_at": NOON, "times": 2, "asked_at": None}
    ranges = conform(pl.DataFrame([{**who, "epoch": "x", "from_seq": 3, "to_seq": 9}]), ASKED_RANGE)
    windows = conform(pl.DataFrame([{**who, "meter": "m", "register": "r", "start": NOON, "end": NOON + timedelta(hours=1)}]), ASKED_WINDOW)
    fleet.remember_asked(ranges, windows)
    other = Fleet(tmp_path / "gateways.sqlite")
    assert other.asked_ranges().equals(ranges)
    assert other.asked_windows().equals(windows)
    other.close()


def test_a_file_that_is_no_database_is_told_with_what_to_do(tmp_path):
    (tmp_path / "g.sqlite").write_bytes(b"not a database" * 4000)
    with pytest.raises(StoreUnavailableError, match="Set the file aside"):
        Fleet(tmp_path / "g.sqlite")
