"""How many histories of the simulation go by in a minute: one process for each core, each with seeds of its own."""

import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path

import structlog
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

HISTORIES, STEPS = 300, 40


def histories(number: int) -> tuple[float, int]:
    """Let them happen; seconds of processor time, and steps taken."""
    from tests.pipeline.simulation import World

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    every_way = settings(max_examples=HISTORIES, stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    began_s = time.process_time()
    run_state_machine_as_test(seed(number)(World), settings=every_way)
    return time.process_time() - began_s, World.steps_taken


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    os.environ["POLARS_MAX_THREADS"] = "1"  # a frame of a few rows is the work of one
    began_s = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        done = pool.map(histories, range(cores), chunksize=1)
    passed_s, busy_s = time.monotonic() - began_s, sum(one[0] for one in done)
    steps = sum(one[1] for one in done) / (HISTORIES * cores)
    print(f"simulation: {HISTORIES * cores * 60 / passed_s:,.0f} histories a minute on {cores} cores, start included; "
          f"{HISTORIES * cores * 60 / busy_s:,.0f} a minute of one core, {steps:.0f} steps each")


if __name__ == "__main__":
    main()
