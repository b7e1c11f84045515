"""How many histories of the simulation go by in a minute on one core."""

import logging
import sys
import time
from pathlib import Path

import structlog
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.pipeline.simulation import World

HISTORIES, STEPS = 300, 40


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    every_way = settings(max_examples=HISTORIES, stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    began_s = time.process_time()
    run_state_machine_as_test(World, settings=every_way)
    minutes = (time.process_time() - began_s) / 60
    print(f"simulation: {HISTORIES / minutes:,.0f} histories and {World.steps_taken / minutes:,.0f} steps a minute of one core")


if __name__ == "__main__":
    main()
