"""What validation says, as the API tells it."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from config.schemas import FAILED, INSTANT, PERIOD_VERDICT, VERDICT_COUNT, conform
from pipeline.site import Site
from store.derived import Table
from tests.portal.seeded import CARBIDE, FERRO, FOREIGN

DAY = date(2030, 1, 2)
START = datetime(2030, 1, 1, 16, tzinfo=UTC)
ASKED = "/api/v1/data-quality/verdicts?from=2030-01-02&to=2030-01-02"


@pytest.fixture
def judged(site: Site) -> Iterator[None]:
    """Two broken readings of each register, on a day that no other test asks for."""
    keys = site.register.names().select("register_key")
    days = keys.with_columns(day=pl.lit(DAY))
    of_day = days.with_columns(start=pl.lit(START, INSTANT), end=pl.lit(START + timedelta(days=1), INSTANT))
    failed = pl.concat([
        of_day.with_columns(
            copy=pl.lit(copy), value=pl.lit(7.0), severity=pl.lit("error"), broken_rules=pl.lit(rules), unknown_rules=pl.lit("rating"),
        )
        for copy, rules in enumerate(("range negative", "jump"))
    ])
    counts = pl.concat([of_day.with_columns(rule=pl.lit(rule), verdict=pl.lit(said), readings=pl.lit(1)) for rule, said in (
        ("range", "failed"), ("rating", "unknown"), (None, "passed"),
    )], how="vertical_relaxed")
    periods = of_day.with_columns(rule=pl.lit("day_start"), verdict=pl.lit("failed"), measure=pl.lit(900.0))
    judged_day = pl.Schema({**PERIOD_VERDICT, "day": pl.Date()})
    tables: dict[Table, tuple[pl.DataFrame, pl.Schema]] = {
        "verdicts": (failed, FAILED), "verdict_counts": (counts, VERDICT_COUNT), "day_starts": (periods, judged_day),
    }
    for name, (rows, schema) in tables.items():
        site.derived.replace(name, conform(rows, schema), days)
    yield
    for name, (rows, schema) in tables.items():
        site.derived.replace(name, conform(rows.clear(), schema), days)


@pytest.mark.usefixtures("judged")
def test_readings_that_broke_a_rule_are_listed_with_all_their_rules(log_in: Callable[[str], Any]) -> None:
    api = log_in("admin")
    items = api.get(f"{ASKED}&enterprise={CARBIDE}&meter=E-1").json()["items"]
    assert [(row["meter"], row["read_at"][:10], row["copy"], row["broken_rules"], row["unknown_rules"]) for row in items] == [
        ("E-1", "2030-01-01", 0, "range negative", "rating"), ("E-1", "2030-01-01", 1, "jump", "rating"),
    ]
    assert [row["copy"] for row in api.get(f"{ASKED}&enterprise={CARBIDE}&meter=E-1&rule=negative").json()["items"]] == [0]
    assert api.get(f"{ASKED}&enterprise={CARBIDE}&rule=neg").json()["items"] == []


@pytest.mark.usefixtures("judged")
def test_counts_and_periods_are_told_beside_them(log_in: Callable[[str], Any]) -> None:
    api = log_in("admin")
    counts = api.get(f"{ASKED}&of=counts&enterprise={CARBIDE}&meter=E-1").json()["items"]
    assert [(row["rule"], row["verdict"], row["readings"]) for row in counts] == [
        (None, "passed", 1), ("range", "failed", 1), ("rating", "unknown", 1),
    ]
    periods = api.get(f"{ASKED}&of=periods&enterprise={CARBIDE}&meter=E-1").json()["items"]
    assert [(row["rule"], row["verdict"], row["measure"]) for row in periods] == [("day_start", "failed", 900.0)]


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize("of", ["readings", "counts", "periods"])
def test_nobody_is_told_of_another_park_and_pages_hold_everything_once(log_in: Callable[[str], Any], of: str) -> None:
    for name, own in {"regulator": {CARBIDE, FERRO}, "viewer": {FOREIGN}, "nobody": set()}.items():
        whole = log_in(name).get(f"{ASKED}&of={of}").json()["items"]
        assert {row["enterprise"] for row in whole} == own
    api, seen, cursor = log_in("regulator"), [], ""
    while cursor is not None:
        page = api.get(f"{ASKED}&of={of}&limit=3{f'&cursor={cursor}' if cursor else ''}").json()
        seen += page["items"]
        cursor = page["next"]
    assert seen == api.get(f"{ASKED}&of={of}").json()["items"]


def test_days_in_the_wrong_order_are_refused(log_in: Callable[[str], Any]) -> None:
    assert log_in("admin").get("/api/v1/data-quality/verdicts?from=2030-01-02&to=2030-01-01").status_code == 400
