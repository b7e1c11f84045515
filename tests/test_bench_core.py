"""The benchmark of the analytics core at a hundredth of its size."""

import re
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent / "benchmarks" / "bench_core.py"


def test_a_quick_run_tells_speed_processor_time_and_ratios_to_the_references():
    parts = ("hours", "window", "screening", "rollup", "verdicts")
    done = subprocess.run([sys.executable, BENCH, "--quick", *parts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"all rules +\d+ ms, [\d.]+ M/s \(aim 12\), [\d.]+ CPU-s a million \(aim 0.13\)", done.stdout)
    assert re.search(r"plain Python .* ours is \d+ x \(aim 40\)", done.stdout)
    assert re.search(r"DuckDB, no rules .* -> 14,400 hours: ours is [\d.]+ x \(aim 2\)", done.stdout)  # of 20 registers x 30 days, as ours
    assert "-> 14,400 hours; " in done.stdout
    assert re.search(r"hours to days: 1,752,000 rows .* -> 73,000: .* peak \d+ MB", done.stdout)
    assert re.search(r"dirty window, the rules alone: 20 registers x 1 day", done.stdout)
    assert re.search(r"screening: 57,600 readings", done.stdout)
    assert re.search(r"verdicts: 3,600 rows of \d+ products -> .*'complies': \d+.* in process [\d.]+ s \(aim 3\), CPU [\d.]+ s;", done.stdout)
    assert re.search(r"Parquet to Parquet, [\d.]+ s, CPU [\d.]+ s, peak \d+ MB; DuckDB, value <= limit alone", done.stdout)
