"""`tcewatch calc intervals` on measured data: published totals, and the same energy by hour, day, month and year."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from portal.cli.main import build

pytestmark = pytest.mark.needs("shared-data")
APP = build()
GRAINS = ("reading", "hour", "day", "month", "year")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tcewatch(*arguments: str | Path) -> str:
    result = CliRunner().invoke(APP, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def calc(readings: str | Path, registers: pl.DataFrame, by: str, zone: str, *more: str | Path) -> pl.DataFrame:
    registers.write_csv("registers.csv")
    tcewatch(
        "calc", "intervals", "--readings", readings, "--registers", "registers.csv", "--by", by, "--zone", zone,
        "--out", f"{by}.parquet", "--rejected", "rejected.parquet", *more,
    )
    return pl.read_parquet(f"{by}.parquet")


def register(meter: str | list[str], unit: str, **more: Any) -> pl.DataFrame:
    return pl.DataFrame({"meter": meter}).with_columns(
        medium=pl.lit("other"), unit=pl.lit(unit), **{name: pl.lit(value) for name, value in {"kind": "cumulative", **more}.items()},
    )


def aside() -> dict[str, int]:
    """How many readings each rule set aside in the last run."""
    rules = pl.read_parquet("rejected.parquet")["broken_rules"].explode()
    return dict(rules.value_counts().iter_rows())


def conserved(readings: str | Path, registers: pl.DataFrame, zone: str) -> dict[str, pl.DataFrame]:
    """The tables of all grains, whose sums are the same for every meter; every one is a sum of the next finer one's rows."""
    found = {by: calc(readings, registers, by, zone) for by in GRAINS}
    totals = [
        table.group_by("meter", "register").agg(pl.col("quantity").sum()).sort("meter", "register")["quantity"].to_list() for table in found.values()
    ]
    for total in totals[1:]:
        assert total == pytest.approx(totals[0], rel=1e-9, abs=1e-9)
    for (fine, coarse), every in zip(pairwise(GRAINS[1:]), ("1d", "1mo", "1y"), strict=True):
        low = pl.col("start").dt.convert_time_zone(zone).dt.truncate(every).dt.convert_time_zone("UTC")
        summed = found[fine].group_by("meter", "register", low).agg(pl.col("quantity").sum()).sort("meter", "register", "start")
        whole = found[coarse].sort("meter", "register", "start")
        assert summed["start"].to_list() == whole["start"].to_list()
        assert summed["quantity"].to_list() == pytest.approx(whole["quantity"].to_list(), rel=1e-9, abs=1e-9 * max(map(abs, totals[0])))
    return found


# --- gas of industrial and commercial meters --------------------------------------------------------------------------

GAS = {  # published, rounded to a litre
    "0001": 58187.198, "00010": 154303.989, "00011": 96624.845, "00012": 23552.654, "00014": 61003.408, "00016": 61229.258, "0002": 384405.266,
    "0003": 80013.731, "0005": 288523.938, "0006": 99684.133, "0008": 169240.789,
}


def gas(folder: Path, meter: str) -> pl.DataFrame:
    table = pl.read_csv(folder / "gas-meters-cn" / f"G_Data{meter}.csv.zst", infer_schema=False)
    return table.select(meter=pl.lit(meter), read_at="CreateDate", value="BTotal")


def test_gas_meters_give_their_published_consumption(shared_data: Path) -> None:
    table = pl.concat([gas(shared_data, meter) for meter in GAS])
    table.write_csv("gas.csv")
    found = conserved("gas.csv", register(list(GAS), "m3"), "Asia/Shanghai")
    value = pl.col("value").cast(pl.Float64)
    ends = dict(table.sort("read_at").group_by("meter").agg(value.last() - value.first()).iter_rows())
    # The one meter that was replaced: 294.094522 is the last value of the old one, 92.030256 the first of the new one.
    ends["00016"] += 294.094522 - 92.030256
    hours = dict(found["hour"].group_by("meter").agg(pl.col("quantity").sum()).iter_rows())
    assert hours == {meter: pytest.approx(total, rel=1e-9) for meter, total in ends.items()}
    assert hours == {meter: pytest.approx(total, abs=0.0006) for meter, total in GAS.items()}
    assert aside() == {"duplicate": 2}
    suspect = found["reading"].filter(pl.col("quality") == "suspect")
    assert suspect.select("meter", "quantity", "covered_ratio").rows() == [("00016", 0.0, 0.0)]
    assert (found["reading"]["quantity"] >= 0).all()  # a step back of 0.006 is no consumption, and no reset


# --- water of households ----------------------------------------------------------------------------------------------

def water(folder: Path) -> pl.DataFrame:
    table = pl.read_csv(next((folder / "water-meters-daiad").glob("*.csv.zst")), separator=";", infer_schema=False)
    local = pl.col("datetime").str.to_datetime("%d/%m/%Y %H:%M:%S")
    # An hour that comes twice is written once only in this file: its first passing.
    at = local.dt.replace_time_zone("Europe/Madrid", ambiguous="earliest").dt.convert_time_zone("UTC")
    return table.select(meter="user key", read_at=at, value="meter reading")


def test_water_meters_with_small_steps_back_give_the_difference_of_their_ends(shared_data: Path) -> None:
    table = water(shared_data)
    table.write_parquet("water.parquet")
    meters = table["meter"].unique().sort().to_list()
    found = conserved("water.parquet", register(meters, "L", resolution=1.0), "Europe/Madrid")
    assert found["hour"]["quantity"].sum() == pytest.approx(5_045_723, rel=1e-9)
    assert aside() == {"duplicate": 46, "conflicting_copy": 6, "spike": 5}
    assert set(found["reading"]["quality"].unique()) == {"measured"}
    # Adding up what rises gives 548 l more (565 with the conflicting values in another order), as every step back counts again.
    value = pl.col("value").cast(pl.Float64)
    rises = value.diff().over("meter").clip(lower_bound=0)
    assert table.sort("meter", "read_at", maintain_order=True).select(rises.sum()).item() == 5_046_271
    assert found["reading"].filter(pl.col("quantity") > 0)["quantity"].sum() == pytest.approx(5_045_723, rel=1e-9)


# --- messages of electricity meters -----------------------------------------------------------------------------------

@pytest.fixture
def decoded(shared_data: Path) -> pl.DataFrame:
    log = shared_data / "mqtt-kpm33b" / "MQTT_ENY_NOW_20260112_lines0001-1400.log.zst"
    tcewatch("decode", log, "--profile", "kpm33b", "--zone", "Europe/Vienna", "--out", "decoded.csv")
    return pl.read_csv("decoded.csv", infer_schema_length=None)


def registers_of(decoded: pl.DataFrame, **more: Any) -> pl.DataFrame:
    named = decoded.select("meter", "register", "unit").unique().sort("meter", "register")
    return named.with_columns(medium=pl.lit("electricity"), kind=pl.lit("cumulative"), **{name: pl.lit(value) for name, value in more.items()})


def test_decoded_messages_with_conflicts_false_zeros_and_a_wrong_clock_give_what_the_meters_used(decoded: pl.DataFrame) -> None:
    # The meters were put up in 2026: what is dated before that has a wrong clock.
    found = conserved("decoded.csv", registers_of(decoded, valid_from="2026-01-01"), "Europe/Vienna")
    used = dict(
        found["hour"].filter(pl.col("register") == "active_import").group_by("meter").agg(pl.col("quantity").sum()).iter_rows(),
    )
    meters = {number: f"33B1225950{number}" for number in ("027", "028", "029", "030")}
    assert used == {meters["027"]: pytest.approx(104.257 - 56.331, rel=1e-9), meters["028"]: 0.0, meters["029"]: 0.0}
    # Of 031.057, again 31.057 and 0 at each of its 141 instants, the second is a duplicate and the zero does not count.
    rejected = pl.read_parquet("rejected.parquet").filter(pl.col("register") == "active_import").group_by("meter").agg(
        pl.col("value").filter(pl.col("broken_rules").list.contains("conflicting_copy")).max().alias("most"), pl.len(),
    ).sort("meter")
    assert rejected.rows() == [(meters["028"], 0.0, 280), (meters["029"], None, 418), (meters["030"], None, 279)]


def test_a_clock_that_is_years_off_moves_its_consumption_and_adds_nothing_today(decoded: pl.DataFrame) -> None:
    found = calc("decoded.csv", registers_of(decoded), "year", "Europe/Vienna").filter(
        pl.col("meter") == "33B1225950029", pl.col("register") == "active_import",
    )
    years = dict(found.select(pl.col("start").dt.convert_time_zone("Europe/Vienna").dt.year(), "quantity").iter_rows())
    assert years == {2005: pytest.approx(127.643 - 117.607, rel=1e-9), 2026: 0.0}
    # The fall to zero between them is a reset: the years in between are not covered.
    assert found["quality"].to_list() == ["suspect", "suspect"]


# --- documented events of pulse registers -----------------------------------------------------------------------------

def events_of(folder: Path, meter: str) -> pl.DataFrame:
    """What the log says that the register showed, as readings; a raw line with a wrong stamp as it stood there."""
    log = pl.read_csv(folder / "register-defect-events" / f"ampds_{meter}_events.csv")
    pairs = [
        (at, value) for before in ("before", "after") for at, value in log.select(f"unix_ts_{before}", f"register_{before}").iter_rows()
        if at is not None and value is not None
    ]
    doubles = log.filter(pl.col("kind") == "duplicate_timestamp").select("unix_ts_before", "register_after")
    return pl.DataFrame([*pairs, *doubles.rows()], schema={"at": pl.Int64, "value": pl.Float64}, orient="row").select(
        meter=pl.lit(meter), read_at=pl.from_epoch("at").dt.to_string("%Y-%m-%dT%H:%M:%SZ"), value="value",
    )


def test_a_documented_reset_across_a_gap_loses_and_invents_nothing(shared_data: Path) -> None:
    table = pl.concat([events_of(shared_data, meter) for meter in ("WHW", "WHG")])
    table.write_csv("events.csv")
    found = conserved("events.csv", register(["WHW", "WHG"], "L", resolution=25.0), "America/Vancouver")
    used = dict(found["day"].group_by("meter").agg(pl.col("quantity").sum()).iter_rows())
    ends = {meter: (frame["value"].first(), frame["value"].last()) for (meter,), frame in table.sort("read_at").group_by("meter")}
    # The publisher continued the register as raw + 74822.447: as if nothing had been used in the gap. So do we, and call it unknown.
    assert used["WHW"] == pytest.approx(ends["WHW"][1] + 74822.447 - ends["WHW"][0], rel=1e-9)
    assert used["WHG"] == pytest.approx(ends["WHG"][1] - ends["WHG"][0], rel=1e-9)
    unknown = found["reading"].filter(pl.col("quality") == "suspect")
    assert unknown.select("meter", pl.col("start").dt.epoch("s"), pl.col("end").dt.epoch("s"), "quantity", "covered_ratio").rows() == [
        ("WHW", 1342287780, 1342310580, 0.0, 0.0),
    ]


# --- load of a steel works --------------------------------------------------------------------------------------------

def steel(folder: Path, *, corrected: bool) -> pl.DataFrame:
    table = pl.read_csv(next((folder / "steel-daewoo").glob("*.csv*")), infer_schema=False)
    at = pl.col("date").str.to_datetime("%d/%m/%Y %H:%M")
    if corrected:  # the last row of each day is stamped 00:00 of the same date: it belongs to the midnight that follows
        at = pl.when(at.dt.time() == pl.time(0)).then(at.dt.offset_by("1d")).otherwise(at)
    return table.select(meter=pl.lit("steel"), read_at=at.dt.to_string("%Y-%m-%d %H:%M"), value="Usage_kWh")


def test_the_steel_works_load_adds_up_to_its_published_total_by_day_and_month(shared_data: Path) -> None:
    steel(shared_data, corrected=True).write_csv("steel.csv")
    found = conserved("steel.csv", register("steel", "kWh", kind="interval", stamp="end"), "Asia/Seoul")
    assert found["hour"]["quantity"].sum() == pytest.approx(671_433.60, rel=1e-9)
    assert (found["day"].height, found["month"].height, found["hour"].height) == (243, 8, 5832)
    assert all(set(found[by]["covered_ratio"]) == {1.0} for by in ("hour", "day", "month"))
    assert aside() == {}


def test_stamps_of_the_wrong_date_need_a_mapping_and_can_be_seen_without_it(shared_data: Path) -> None:
    """No rule can tell that 00:00 means the next midnight: the total is right, the day before gets the quarter of each."""
    steel(shared_data, corrected=False).write_csv("steel.csv")
    days = calc("steel.csv", register("steel", "kWh", kind="interval", stamp="end"), "day", "Asia/Seoul")
    assert days["quantity"].sum() == pytest.approx(671_433.60, rel=1e-9)
    local = days.select(pl.col("start").dt.convert_time_zone("Asia/Seoul").dt.date().cast(pl.String), pl.col("covered_ratio").round(4))
    assert (local.height, local.row(0), local.row(-1)) == (244, ("2017-12-31", 0.0104), ("2018-08-31", 0.9896))
