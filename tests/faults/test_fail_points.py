"""The process killed at each place where a crash could lose or double something: after the next start both balances close."""

import signal

import pytest

from tests.faults.harness import check, covered, wait_for

pytestmark = pytest.mark.needs("mosquitto")


def visited(start_mosquitto, plant, fleet, fail_point: str, control: str = ""):
    """Killed at a fail-point while messages of every kind flow, started again; what is found at the end."""
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port)
    process = works.connected("collect", "settle", control=control, fail_point=fail_point)
    gateways.say(20)
    gateways.flow()
    if process.poll() is None:
        gateways.contradict(3)
        gateways.spoil()
        gateways.again(list(gateways.history.values())[:10])
    assert process.wait(timeout=60) == -signal.SIGKILL, works.log()
    del works.running["collect settle"]
    works.connected("collect", "settle", control=control)
    gateways.pause()
    gateways.say(1)
    works.rest()
    numbers = {code: set(range(1, gateways.next_seq(code))) for code in gateways.enterprises}
    if not control:
        wait_for(lambda: {code: covered(gateways, code) for code in numbers} == numbers, "a receipt for each message")
    works.stop()
    return check(works, gateways)


@pytest.mark.parametrize("fail_point", ["after_commit:2", "before_ack:3", "mid_batch:2", "mid_settle:2", "after_receipt:1"])
def test_a_kill_at_a_fail_point_loses_nothing_and_doubles_nothing(start_mosquitto, plant, fleet, fail_point):
    assert visited(start_mosquitto, plant, fleet, fail_point).wrong == ()


@pytest.mark.parametrize(("control", "fail_point", "said"), [
    ("forgets_redeliveries", "after_commit:2", "not in the journal as often as they were sent"),
    ("answers_before_it_has_stored", "mid_batch:3", "not in the store"),
    ("takes_every_reading_for_new", "mid_settle:2", "more than once in the store"),
])
def test_the_same_with_one_protection_off_is_noticed(start_mosquitto, plant, fleet, control, fail_point, said):
    assert said in " ".join(visited(start_mosquitto, plant, fleet, fail_point, control).wrong)
