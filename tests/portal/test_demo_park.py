import itertools
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path

import polars as pl
import pytest
import zstandard
from stdnum.cn import uscc

from config import coal_equivalents, limit_tables, schemas, tables
from config.calendar import day_span
from config.settings import RouteSettings
from config.units import FIVE_MEDIA
from monitors.energy import energy, sum_energy
from monitors.limits import limits, parameter_columns
from portal.demo import generate, model, park
from portal.demo.generate import EVENTS, GAP_SLOTS, Outgoing, Step
from store.database import Database
from store.figures import Figures
from store.register import RegisterStore

TODAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 21, 5, 40, tzinfo=UTC)
FIRST, YESTERDAY = date(2025, 1, 1), date(2026, 11, 20)
START = day_span(YESTERDAY, model.ZONE)[0]
DATA = Path(str(resources.files("portal.demo").joinpath("data")))


def is_live(step: Step) -> bool:
    return step.pause_s == generate.LIVE_S


@pytest.fixture(scope="module")
def history() -> list[Outgoing]:
    return list(generate.history(FIRST, YESTERDAY))


@pytest.fixture(scope="module")
def caught_up() -> list[Step]:
    return list(itertools.takewhile(lambda step: not is_live(step), generate.replay(START, lambda: NOW)))


@pytest.fixture(scope="module")
def products() -> pl.DataFrame:
    [(_, _, figures)] = park.figures(TODAY)
    return figures.filter(pl.col("figure") == "output", pl.col("period") == "2025")


@pytest.fixture(scope="module")
def energies() -> pl.DataFrame:
    """ENERGY by month of what the model of the park consumes."""
    measured = model.monthly(park.meters(), FIRST, TODAY, model.SEED)
    rows = measured.join(park.meters().select("enterprise", "meter", "carrier", "flow", "product", "unit"), on=["enterprise", "meter"])
    quantities = rows.filter(pl.col("carrier").is_not_null()).with_columns(covered_ratio=pl.lit(1.0), estimated_ratio=pl.lit(0.0))
    return energy(quantities.select(pl.col("*").exclude("key", "meter")), coal_equivalents.coefficients())


def unpacked(message: Outgoing) -> dict[str, list[object]]:
    payload = message.payload
    document: dict[str, list[object]] = json.loads(zstandard.ZstdDecompressor().decompress(payload) if payload[:1] != b"{" else payload)
    return document


def shown(messages: list[Outgoing], gateway: str, meter: str) -> list[tuple[int, float]]:
    """What a register sent in column form, in the order of sending: epoch milliseconds and value."""
    found: list[tuple[int, float]] = []
    for message in messages:
        if gateway in message.topic:
            body = unpacked(message)
            rows = zip(body["meter"], body["ts"], body["value"], strict=True)
            found += [(ts, value) for name, ts, value in rows if name == meter]  # type: ignore[misc]
    return found


def test_every_enterprise_is_marked_as_an_example_and_has_a_valid_credit_code() -> None:
    assert len(park.ENTERPRISES) >= 7
    for one in park.ENTERPRISES.values():
        assert uscc.is_valid(one.code)
        assert one.name_zh.startswith("示例")
        assert one.name_en.startswith("Example")


def test_the_park_measures_all_five_media() -> None:
    assert set(park.meters()["medium"]) == set(FIVE_MEDIA)
    assert set(park.meters().filter(pl.col("shop") == "steel")["medium"]) == set(FIVE_MEDIA)


def test_register_and_figures_are_taken_over_by_the_doors_that_all_use_and_a_second_time_change_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'park.db'}")
    database.upgrade()
    register, figures = RegisterStore(database), Figures(database)
    first = register.apply(park.register_tables(), by="demo", known_from=NOW)
    again = register.apply(park.register_tables(), by="demo", known_from=NOW + timedelta(hours=1))
    assert (first.changed, again.added, again.changed) == (0, 0, 0)
    assert register.registers().height == park.meters().height + len(park.KPM_METERS) * len(park.KPM_REGISTERS)
    for maker, checker, frame in park.figures(TODAY):
        figures.apply(frame, maker=maker, at=NOW)
        assert figures.check_all(maker=maker, checker=checker, at=NOW) == frame.height
    assert set(figures.outputs()["product"]) == {one.product[0] for one in park.ENTERPRISES.values() if one.product}
    database.close()


def test_figures_cover_the_closed_year_and_the_months_that_are_over() -> None:
    [(maker, checker, frame)] = park.figures(TODAY)
    assert maker != checker
    periods = set(frame["period"])
    assert {"2025", "2025-01", "2026-10"} <= periods
    assert not {"2026", "2026-11"} & periods
    months = frame.filter(pl.col("period").str.starts_with("2025-")).group_by("enterprise", "figure").agg(pl.col("value").sum())
    years = frame.filter(pl.col("period") == "2025").join(months, on=["enterprise", "figure"], suffix="_months")
    assert years.filter((pl.col("value") - pl.col("value_months")).abs() > 0.01).is_empty()


def test_confirmations_name_limits_that_exist_and_say_that_they_are_examples() -> None:
    law = set(limit_tables.limits().select("product", "indicator", "standard").iter_rows())
    for row in park.confirmations():
        assert (row["product"], row["indicator"], row["standard"]) in law
        assert "示例" in row["by"]
        assert "示例" in row["copy"]
        assert "xample" in row["remark"]


def test_the_example_coefficient_loads_and_is_marked(tmp_path: Path) -> None:
    for name, text in park.example_tables().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    table = coal_equivalents.coefficients(tmp_path)
    for day in (date(2025, 12, 31), date(2026, 1, 1)):
        [row] = tables.in_force(table, day, carrier="electricity", basis="equivalent").iter_rows(named=True)
        assert "示例" in row["source"]


def test_the_route_of_the_capture_is_a_valid_setting_for_a_registered_gateway() -> None:
    [route] = [RouteSettings.model_validate(route) for route in park.routes()]
    registered = park.register_tables()["gateway"].select("enterprise", "gateway").rows()
    assert (route.enterprise, route.gateway) in registered


def test_carbide_is_clearly_above_its_limit_ferrosilicon_near_it_and_the_others_below(energies: pl.DataFrame, products: pl.DataFrame) -> None:
    year = energies.filter(pl.col("product").is_not_null(), pl.col("period").str.starts_with("2025")).with_columns(period=pl.lit("2025"))
    made = products.rename({"value": "output", "unit": "output_unit"}).select(
        "enterprise", "product", "indicator", "period", "output", "output_unit",
        *(each.name for each in parameter_columns(limit_tables.limits()) if each.name in products.columns),
    )
    energy_sum = sum_energy(year, ["enterprise", "product", "period"])
    verdicts = limits(made, limit_tables.limits(), schemas.empty(schemas.CONFIRMATION), energy_sum=energy_sum)
    ratios = {product: (verdict, ratio) for product, verdict, ratio in verdicts.select("product", "verdict", 1 + pl.col("excess_ratio")).iter_rows()}
    assert ratios["calcium_carbide"][0] == "exceeds"
    assert ratios["calcium_carbide"][1] > 1.05
    assert ratios["ferrosilicon"][0] == "complies"
    assert 0.955 < ratios["ferrosilicon"][1] < 0.985
    others = {product: found for product, found in ratios.items() if product not in {"calcium_carbide", "ferrosilicon"}}
    assert {verdict for verdict, _ in others.values()} == {"complies"}
    assert max(ratio for _, ratio in others.values()) < 0.94
    assert len(others) == 4


def test_key_units_use_ten_thousand_tonnes_of_coal_equivalent_and_the_other_one_does_not(energies: pl.DataFrame) -> None:
    total = sum_energy(energies.filter(pl.col("period").str.starts_with("2025")), ["enterprise"])
    used = dict(total.select("enterprise", "calorific_tce").iter_rows())
    assert all((used[one.code] >= 10_000) == one.key_unit for one in park.ENTERPRISES.values())


def test_history_keeps_to_the_bounds_of_the_contract_and_counts_its_messages(history: list[Outgoing]) -> None:
    assert max(len(message.payload) for message in history) <= 65_536
    for topic, messages in itertools.groupby(sorted(history, key=lambda one: one.topic), key=lambda one: one.topic):
        assert [message.seq for message in messages] == list(range(1, len(history) // 8 + 1)), topic
    body = unpacked(history[0])
    assert len({len(body[name]) for name in ("meter", "register", "ts", "value")}) == 1
    assert len(body["ts"]) <= 10_000
    assert generate.missing(history) == 0
    hours = [ts for ts, _ in shown(history, "EXAMP7", "E-701")]
    assert hours == [round(START.timestamp() * 1000) - 3_600_000 * back for back in range(len(hours), 0, -1)]
    assert len(hours) == (YESTERDAY - FIRST).days * 24


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def some(seed: int) -> list[Outgoing]:
        return list(generate.history(date(2026, 11, 1), YESTERDAY, seed=seed))

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_cumulative_registers_never_fall_in_the_history(history: list[Outgoing]) -> None:
    for meter in ("E-401", "C-401", "W-401", "O-401"):
        values = [value for _, value in shown(history, "EXAMP4", meter)]
        assert values == sorted(values)


def test_the_replay_goes_on_where_the_history_has_ended(history: list[Outgoing], caught_up: list[Step]) -> None:
    told = [message for step in caught_up for message in step.messages]
    before, after = shown(history, "EXAMP4", "E-401"), shown(told[:40], "EXAMP4", "E-401")
    hourly = before[-1][1] - before[-2][1]
    assert after[0][0] == before[-1][0] + 3_600_000
    assert 0.5 * hourly < after[0][1] - before[-1][1] < 1.5 * hourly
    assert generate.missing([*history, *told]) == 0
    assert caught_up[0].messages[0].seq == 1 + max(message.seq or 0 for message in history)
    assert caught_up[-1].at <= NOW < caught_up[-1].at + timedelta(minutes=15)


@pytest.mark.parametrize("now", [START + timedelta(days=1), START + timedelta(days=2, seconds=-1)])
def test_every_event_is_planted_once_and_within_the_first_twenty_seconds_at_any_time_of_day(now: datetime) -> None:
    steps = list(itertools.takewhile(lambda step: not is_live(step), generate.replay(START, lambda: now)))
    assert sorted(name for step in steps for name in step.events) == sorted(EVENTS)
    last = max(index for index, step in enumerate(steps) if step.events)
    assert sum(step.pause_s for step in steps[: last + 1]) < 8.0  # the rest is room for publishing
    assert sum(step.pause_s for step in steps) < generate.CATCH_UP_S + 0.2


def step_of(steps: list[Step], event: str) -> Step:
    return next(step for step in steps if event in step.events)


def test_withheld_messages_are_missing_until_they_come_on_backfill_with_their_own_seq(caught_up: list[Step]) -> None:
    filled = next(index for index, step in enumerate(caught_up) if "backfill" in step.events)
    told = [message for step in caught_up[:filled] for message in step.messages]
    assert generate.missing(told) == GAP_SLOTS
    late = [message for message in caught_up[filled].messages if message.topic.endswith("/backfill")]
    assert generate.missing([*told, *late]) == 0
    assert len(late) == GAP_SLOTS


def test_the_declared_register_wraps_once_and_never_shows_its_modulus(caught_up: list[Step]) -> None:
    shop, meter = generate.WRAPPING
    modulus = park.meters().filter(pl.col("shop") == shop, pl.col("meter") == meter)["modulus"].item()
    steel = [message for step in caught_up for message in step.messages if "EXAMP1" in message.topic and "GW-01" in message.topic]
    values = [value for _, value in shown(steel, "EXAMP1", meter)]
    falls = [index for index in range(1, len(values)) if values[index] < values[index - 1]]
    assert len(falls) == 1
    assert caught_up[falls[0]].events == ("wrap",)
    assert 0 < values[falls[0]] < 100
    assert max(values) < modulus


def test_planted_messages_are_what_they_are_called(caught_up: list[Step]) -> None:
    [poison] = [message for message in step_of(caught_up, "poison").messages if message.seq is None and message.topic != park.KPM_TOPIC]
    with pytest.raises(json.JSONDecodeError):
        json.loads(poison.payload)
    cement = [message for message in step_of(caught_up, "duplicate").messages if "EXAMP3" in message.topic]
    assert len(cement) == 2
    assert cement[0] == cement[1]
    [carbide] = [message for message in step_of(caught_up, "unknown_meter").messages if "EXAMP4" in message.topic]
    assert "E-999" in unpacked(carbide)["meter"]
    late = step_of(caught_up, "wrong_clock")
    [ferroalloy] = [message for message in late.messages if "EXAMP5" in message.topic]
    assert max(unpacked(ferroalloy)["ts"]) > (NOW + timedelta(days=365)).timestamp() * 1000  # type: ignore[type-var, operator]
    [machine] = [message for message in step_of(caught_up, "wrong_type").messages if "EXAMP70" in message.topic]
    values = [reading["value"] for reading in unpacked(machine)["readings"]]  # type: ignore[index]
    assert [value for value in values if isinstance(value, str)] == ["12,7"]
    assert len(values) == 6


def test_the_real_capture_is_replayed_unchanged_and_in_order(caught_up: list[Step]) -> None:
    lines = zstandard.ZstdDecompressor().decompressobj().decompress((DATA / Path(generate.CAPTURE_FILE).name).read_bytes()).splitlines()
    told = [f"{message.topic} ".encode() + message.payload for step in caught_up for message in step.messages if message.topic == park.KPM_TOPIC]
    assert told == lines
    assert len(lines) == 1400


def moving_clock(start: datetime, step_s: float) -> Callable[[], datetime]:
    ticks = itertools.count()
    return lambda: start + timedelta(seconds=step_s * next(ticks))


def test_live_readings_go_on_rising_and_interval_values_come_once_a_quarter() -> None:
    clock = moving_clock(START + timedelta(days=1), 2.0)
    live = [step for step in itertools.islice(generate.replay(START, clock), 2000) if is_live(step)]
    messages = [message for step in live for message in step.messages if "EXAMP6" in message.topic]
    assert (live[-1].at - live[0].at) > timedelta(minutes=30)
    feed = shown(messages, "EXAMP6", "C-601")
    assert len(feed) == len(live)
    assert [value for _, value in feed] == sorted(value for _, value in feed)
    lighting = [ts for ts, _ in shown(messages, "EXAMP6", "E-603")]
    assert {later - earlier for earlier, later in itertools.pairwise(lighting)} == {900_000}
    assert generate.missing(messages) == 0


@pytest.mark.parametrize("day", [date(2025, 1, 1), date(2025, 8, 31), date(2025, 9, 1), date(2024, 12, 31), date(2028, 2, 29), date(2026, 12, 31)])
def test_a_day_follows_the_real_load_of_the_same_weekday_in_the_same_season(day: date) -> None:
    source = date(2018, 1, 1) + timedelta(days=model.source_day(day))
    assert source.weekday() == day.weekday()
    assert date(2018, 1, 1) <= source <= date(2018, 8, 31)
    in_year = day.timetuple().tm_yday
    mirrored = in_year if in_year <= 243 else 366 - in_year
    assert abs(source.timetuple().tm_yday - mirrored) <= 7


def test_steel_electricity_is_the_real_load_scaled() -> None:
    added = model.quarters(park.meters(), date(2025, 3, 3), day_span(date(2025, 3, 4), model.ZONE)[0], model.SEED)
    real = pl.read_csv(
        zstandard.ZstdDecompressor().decompress((DATA / Path(model.LOAD_FILE).name).read_bytes(), max_output_size=2**22),
        schema_overrides={"Usage_kWh": pl.Float64},
    )["Usage_kWh"]
    assert len(real) == 23_328
    assert round(real.sum(), 2) == 671_433.60
    day = real[model.source_day(date(2025, 3, 3)) * 96 :][:96]
    [incomer] = [name for name in added.columns if name.endswith("E-101/active_import")]
    ratio = added[incomer] / day
    assert ratio.max() / ratio.min() < 1.11  # type: ignore[operator]  # only the noise lies between them


def test_the_shipped_data_are_small_and_each_file_has_its_licence_note() -> None:
    notes = (DATA / "README.md").read_text(encoding="utf-8")
    files = [path for path in DATA.iterdir() if path.name != "README.md"]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert all(path.name in notes for path in files)
    assert "CC BY 4.0" in notes
    assert "Apache License 2.0" in notes


def test_an_interval_register_starts_with_the_first_hour_that_it_has_measured_whole(history: list[Outgoing]) -> None:
    [(first, value), *_] = shown(history, "EXAMP6", "E-603")
    assert first == (day_span(FIRST, model.ZONE)[0] + timedelta(hours=1)).timestamp() * 1000
    assert value > 0
