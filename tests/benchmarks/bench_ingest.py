"""Decode + screen on one core at 100 readings a message: `python tests/benchmarks/bench_ingest.py`."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

AIM_READINGS_PER_S = 1.2e6
MESSAGES, READINGS, BATCH = 5_000, 100, 500
RUNS = 5


def main() -> None:
    """Print readings/s of decode + screen for both forms, the best of some runs in a process with one Polars thread."""
    done = subprocess.run(
        [sys.executable, __file__, "measure"], env={**os.environ, "POLARS_MAX_THREADS": "1"}, check=True, capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
    )
    for form, rate in json.loads(done.stdout).items():
        print(
            f"decode + screen, {form} form, {READINGS} readings a message, {rate / 1e6:.2f} M readings per core-second "
            f"(aim {AIM_READINGS_PER_S / 1e6} M)"
        )


def measure() -> dict[str, float]:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    import polars as pl

    from config.schemas import REGISTER, conform
    from config.settings import ScreenSettings
    from ingest.decode import decode
    from ingest.routes import Routes
    from ingest.screen import screen
    from store.journal import Message

    start = datetime(2026, 11, 1, tzinfo=UTC)
    enterprises = [f"9115062179{number:08}" for number in range(10)]
    registers = conform(
        pl.DataFrame({"enterprise": enterprises}).join(pl.DataFrame({"meter": [f"E-{meter:03}" for meter in range(1000)]}), how="cross")
        .with_row_index("register_key").with_columns(
            gateway=pl.lit("gw-1"), register=pl.lit("active_import"), unit=pl.lit("kWh"), kind=pl.lit("cumulative"),
            range_low=pl.lit(0.0), range_high=pl.lit(1e9), known_from=pl.lit(start - timedelta(days=30)),
        ),
        REGISTER,
    )

    def payload(form: str, number: int) -> bytes:
        read_at = start + timedelta(minutes=number)
        meters = [f"E-{(number * READINGS + row) % 1000:03}" for row in range(READINGS)]
        values = [number * 1.25 + row * 17.031 for row in range(READINGS)]
        head = {"v": 1, "epoch": "2026-11-01T00:00:00Z", "seq": number + 1}
        if form == "row":
            stamp = read_at.astimezone().isoformat()
            rows = [
                {"meter": meter, "register": "active_import", "ts": stamp, "value": value, "unit": "kWh"}
                for meter, value in zip(meters, values, strict=True)
            ]
            return json.dumps({**head, "readings": rows}).encode()
        ms = int(read_at.timestamp() * 1000)
        return json.dumps({**head, "meter": meters, "register": ["active_import"] * READINGS, "ts": [ms] * READINGS, "value": values}).encode()

    def messages(form: str) -> list[Message]:
        return [
            Message(number + 1, "mqtt", f"tce/v1/150621/{enterprises[number % 10]}/gw-1/readings", None, None, payload(form, number),
                    start + timedelta(minutes=number, seconds=1), False)
            for number in range(MESSAGES)
        ]

    routes, bounds, rates = Routes(), ScreenSettings(), {}
    for form in ("row", "column"):
        given, best = messages(form), 0.0
        for _ in range(RUNS):
            began, accepted = time.process_time(), 0  # other programs on the machine do not count
            for first in range(0, MESSAGES, BATCH):
                accepted += screen(decode(given[first : first + BATCH], routes).readings, registers, bounds).accepted.height
            best = max(best, accepted / (time.process_time() - began))
            assert accepted == MESSAGES * READINGS
        rates[form] = best
    return rates


if __name__ == "__main__":
    if sys.argv[1:] == ["measure"]:
        print(json.dumps(measure()))
    else:
        main()
