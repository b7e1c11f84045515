"""Never connected but deaf: an error in a thread that nobody foresaw ends the process, non-zero and at once."""

import re
from datetime import datetime, timedelta

import pytest

from tests.faults.harness import wait_for

pytestmark = pytest.mark.needs("mosquitto")


@pytest.mark.parametrize(("service", "fail_point"), [
    ("collect", "after_commit:2=raise"), ("settle", "mid_settle:1=raise"), ("receipts", "after_receipt:1=raise"),
])
def test_an_error_in_collecting_settling_or_answering_ends_the_process_within_two_seconds(start_mosquitto, plant, fleet, service, fail_point):
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port)
    process = works.connected("collect", "settle", fail_point=fail_point)
    gateways.say(1)
    gateways.flow()
    wait_for(lambda: process.poll() is not None, "the end of the process")
    works.running.clear()
    assert process.returncode == 1
    log = works.log()
    died, stopped = (
        datetime.fromisoformat(re.search(rf"(\S+Z) \[error *\] {words}", log)[1])
        for words in (f"service died.*service={service}", "stopped .*because=.FailPointError")
    )
    assert stopped - died < timedelta(seconds=2)
