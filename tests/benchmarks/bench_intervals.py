"""`calc intervals --by hour` end to end on Parquet, and its rules beside plain Python: `python tests/benchmarks/bench_intervals.py`."""

import importlib.util
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
AIM_READINGS_PER_S = 2e6
REGISTERS, DAYS, PER_DAY = 1000, 30, 96
SAMPLE_REGISTERS = 4
RUNS = 3


def main() -> None:
    """Print readings/s from file to file, readings/s of the rules alone, and their ratio to the plain reference."""
    sys.path.insert(0, str(ROOT))
    import polars as pl
    from typer.testing import CliRunner

    from config.schemas import EVENT, REGISTER, conform
    from monitors.intervals import intervals
    from portal.cli.calc import app

    readings, registers = park()
    with tempfile.TemporaryDirectory() as folder:
        r, g, o = (str(Path(folder) / name) for name in ("r.parquet", "g.parquet", "o.parquet"))
        readings.drop("register_key").write_parquet(r)
        registers.drop("register_key").write_parquet(g)
        command = ["intervals", "--readings", r, "--registers", g, "--by", "hour", "--out", o]
        took = best(lambda: CliRunner().invoke(app, command, catch_exceptions=False, standalone_mode=False))
        hours = pl.read_parquet(o).height
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"calc intervals --by hour, {readings.height / 1e6:.2f} M readings of {REGISTERS} registers in order of arrival -> {hours} hours, "
        f"Parquet to Parquet: {readings.height / took / 1e6:.2f} M readings/s (aim {AIM_READINGS_PER_S / 1e6}), peak {peak_mb:.0f} MB with its making"
    )

    kernel_rows = as_readings(readings)
    known, events = conform(registers, REGISTER), pl.DataFrame(schema=EVENT)
    alone = best(lambda: intervals(kernel_rows, known, events, by="hour", zone="Asia/Shanghai"))
    plain = reference()
    sample = kernel_rows.filter(pl.col("register_key") < SAMPLE_REGISTERS)
    rows = {key: frame.rows(named=True) for (key,), frame in sample.partition_by("register_key", as_dict=True).items()}
    declared = {key: known.filter(pl.col("register_key") == key).rows(named=True) for key in rows}

    def by_hand() -> None:
        for key, mine in rows.items():
            steps = plain.plain(mine, declared[key], []).steps
            plain.spread(steps, "hour", "Asia/Shanghai")

    slow = best(by_hand) / sample.height
    print(
        f"the rules alone: {readings.height / alone / 1e6:.2f} M readings/s; plain Python with the same rules {1 / slow / 1e3:.0f} k readings/s: "
        f"{slow * readings.height / alone:.0f} times as fast"
    )


def park():  # type: ignore[no-untyped-def]  # polars is imported late, so that the benchmark can be asked for without it
    """Readings with all columns of the contract, 1 % of them late, a false zero now and then; and their registers."""
    import polars as pl

    row = pl.int_range(REGISTERS * DAYS * PER_DAY, eager=True)
    key, slot = row // (DAYS * PER_DAY), row % (DAYS * PER_DAY)
    names = pl.DataFrame({"register_key": pl.int_range(REGISTERS, dtype=pl.UInt32, eager=True)}).with_columns(
        enterprise="91150400MA0N" + (pl.col("register_key") // 50).cast(pl.String).str.zfill(6),
        meter="E-" + pl.col("register_key").cast(pl.String).str.zfill(5), register=pl.lit("active_import"),
    )
    readings = pl.DataFrame({
        "register_key": key.cast(pl.UInt32), "read_at": (1_748_707_200_000_000 + slot * 900_000_000).cast(pl.Datetime("us", "UTC")),
        "step": (row * 2_654_435_761 % 1000) / 100,
    }).with_columns(value=pl.col("step").cum_sum().over("register_key")).with_columns(
        value=pl.when(pl.int_range(pl.len()) * 7919 % 20_000 == 17).then(0.0).otherwise("value"),
        received_at=pl.col("read_at") + pl.duration(hours=pl.when(pl.int_range(pl.len()) * 7919 % 100 == 3).then(30).otherwise(0)),
    ).drop("step").sort("received_at", maintain_order=True).join(names, on="register_key", how="left", maintain_order="left")
    registers = names.with_columns(
        medium=pl.lit("electricity"), unit=pl.lit("kWh"), kind=pl.lit("cumulative"), modulus=pl.lit(1e6), max_rate_per_h=pl.lit(100.0),
        resolution=pl.lit(0.01), multiplier=pl.lit(1.0),
    )
    return readings, registers


def as_readings(readings):  # type: ignore[no-untyped-def]
    """READING of the park."""
    import polars as pl

    from config.schemas import READING, conform

    numbered = readings.with_columns(copy=pl.lit(0), quality=pl.lit(0), message=pl.int_range(pl.len(), dtype=pl.Int64))
    return conform(numbered, READING)


def reference():  # type: ignore[no-untyped-def]
    """The plain rules that the tests hold the kernel against."""
    spec = importlib.util.spec_from_file_location("plain_rules", ROOT / "tests" / "monitors" / "plain_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def best(work) -> float:  # type: ignore[no-untyped-def]
    """Seconds of the best of some runs."""
    took = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


if __name__ == "__main__":
    main()
