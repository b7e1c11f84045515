"""Thousands of histories in memory: whatever happens in whatever order, both balances close; and what planted bugs look like."""

import logging

import polars as pl
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from store.journal import Arrival
from store.readings import Appended, Judged, judge
from tests.pipeline.simulation import MemoryJournal, MemoryReadings, World

EVERY_WAY = settings(max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
UNTIL_FOUND = settings(EVERY_WAY, max_examples=400, phases=[Phase.generate], derandomize=True, print_blob=False)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


def test_in_any_history_both_balances_close_and_each_reading_is_there_once() -> None:
    run_state_machine_as_test(World, settings=EVERY_WAY)


class ForgetsRedeliveries(MemoryJournal):
    def append(self, arrivals: list[Arrival]) -> None:
        super().append([one._replace(dup=False) for one in arrivals])


class TakesAllForNew(MemoryReadings):
    def judged(self, readings: pl.DataFrame, kept: pl.DataFrame) -> Judged:
        return judge(readings, kept.clear())


class HidesItsRestarts(MemoryReadings):
    def incarnation(self) -> str:
        return "1"


class AnswersBeforeItHasStored(MemoryReadings):
    """What is given with one call is written with the next."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[pl.DataFrame] = []

    def append(self, readings: pl.DataFrame) -> Appended:
        while self._held:
            super().append(self._held.pop())
        self._held.append(readings)
        return judge(readings, readings.clear()).appended


@pytest.mark.parametrize("broken", [ForgetsRedeliveries, TakesAllForNew, HidesItsRestarts, AnswersBeforeItHasStored])
def test_a_planted_bug_is_found(broken) -> None:
    part = "journal_type" if issubclass(broken, MemoryJournal) else "readings_type"
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(type("Broken", (World,), {part: broken}), settings=UNTIL_FOUND)
