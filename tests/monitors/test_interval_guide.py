"""The examples of the guide to validation, computed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config.schemas import EVENT, READING, REGISTER
from monitors.intervals import intervals

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "vee.md"
START = datetime(2026, 1, 1, tzinfo=UTC)


def examples() -> list[list[str]]:
    """The rows of the table of examples: readings, register, consumption, set aside, flags, why."""
    text = GUIDE.read_text(encoding="utf-8").partition("### Examples")[2].partition("\n\n|")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in cell.split(",")]


def test_the_guide_has_an_example_of_each_decision_about_a_fall() -> None:
    table = "".join(f"{row[3]} {row[4]} " for row in examples())
    assert all(word in table for word in ("transient", "spike", "wrap", "reset", "jitter", "over_rating", "negative"))


@pytest.mark.parametrize("example", examples(), ids=lambda example: example[0])
def test_the_example_of_the_guide_is_what_comes_out(example: list[str]) -> None:
    shown, known, expected, aside, flags, _ = example
    given: dict[str, Any] = {"register_key": 1, "meter": "M", "register": "main", "medium": "electricity", "unit": "kWh", "kind": "cumulative"}
    if known:
        name, _, value = known.partition(" ")
        given[name] = float(value) if value else True
    timed = [(START + timedelta(minutes=15 * place), value) for place, value in enumerate(numbers(shown))]
    readings = pl.DataFrame([(1, at, 0, value, 0, at, place) for place, (at, value) in enumerate(timed)], schema=READING, orient="row")
    registers = pl.DataFrame([{**dict.fromkeys(REGISTER), **given}], schema=REGISTER)
    found = intervals(readings, registers, pl.DataFrame(schema=EVENT), by="reading", zone="UTC")
    assert found.intervals["quantity"].to_list() == pytest.approx(numbers(expected))
    assert [f"{value:g} {' '.join(rules)}" for value, rules in found.set_aside.select("value", "broken_rules").iter_rows()] == [
        each.strip() for each in aside.split(",") if each
    ]
    assert found.flags["flag"].to_list() == flags.split()
