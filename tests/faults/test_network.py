"""A network that is silent or slow, and a collector that stands still: found out in time, no flapping, nothing lost."""

import signal
import time

import pytest

from tests.faults.harness import check, wait_for
from tests.faults.nemesis import Proxy

pytestmark = pytest.mark.needs("mosquitto")
KEEPALIVE_S = 2


@pytest.fixture
def between(start_mosquitto):
    """A broker, and the proxy through which the collector reaches it."""
    broker = start_mosquitto()
    proxy = Proxy(broker.port)
    yield broker, proxy
    proxy.close()


def test_a_silent_cut_is_noticed_within_two_keepalives_and_nothing_is_lost(between, plant, fleet):
    broker, proxy = between
    works, gateways = plant(proxy.port), fleet(broker.port)
    works.connected("collect", "settle")
    gateways.flow()
    wait_for(lambda: works.site.journal.last_id() > 50, "messages")
    proxy.stall()
    began = time.monotonic()
    wait_for(lambda: "waiting" in works.log(), "noticing that nothing answers", 2 * KEEPALIVE_S + 3.0)  # and a few seconds for a busy machine
    assert time.monotonic() - began > KEEPALIVE_S / 2, "a cut takes time to tell from a quiet minute"
    proxy.cut()
    proxy.heal()
    gateways.pause()
    gateways.say(1)
    works.rest(len(gateways.sent))
    works.stop()
    assert check(works, gateways).wrong == ()


def test_a_slow_network_is_slow_and_the_sessions_stay(between, plant, fleet):
    broker, proxy = between
    works, gateways = plant(proxy.port), fleet(broker.port)
    works.connected("collect", "settle")
    proxy.slow(20_000)
    gateways.say(100)  # 60 kB, more than a keepalive long
    works.rest(200)
    assert works.connects() == 2, "one session for live readings, one for history"
    assert proxy.connections <= 3  # receipts have a connection too
    works.stop()
    assert check(works, gateways).wrong == ()


def test_a_collector_that_stood_still_takes_up_its_session_and_loses_nothing(between, plant, fleet):
    broker, proxy = between
    works, gateways = plant(proxy.port), fleet(broker.port)
    process = works.connected("collect", "settle")
    gateways.flow()
    wait_for(lambda: works.site.journal.last_id() > 50, "messages")
    before, connections = works.connects(), proxy.connections
    process.send_signal(signal.SIGSTOP)
    log = broker.config.with_suffix(".log")
    late = [f"tcewatch-collector{lane} has exceeded timeout" for lane in ("", "-backfill")]  # the connection for receipts counts for neither
    wait_for(lambda: all(line in log.read_text() for line in late), "the broker giving up both sessions")
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: works.connects() >= before + 2, "both sessions again")
    assert proxy.connections > connections
    gateways.pause()
    gateways.say(1)
    works.rest(len(gateways.sent))
    works.stop()
    assert check(works, gateways).wrong == ()


def test_the_control_that_acknowledges_on_arrival_loses_what_it_held_when_it_was_killed(between, plant, fleet):
    broker, proxy = between
    works, gateways = plant(proxy.port), fleet(broker.port, per_second=1000.0)
    works.connected("collect", control="acknowledges_on_arrival", environment={"TCEWATCH_MQTT__LINGER_MS": "500"})
    gateways.flow()
    wait_for(lambda: works.site.journal.last_id() > 50, "messages")
    wait_for(lambda: len(gateways.sent) > works.site.journal.last_id() + 150, "messages that it holds")
    works.end("collect", signal.SIGKILL)
    gateways.pause()
    works.connected("collect", "settle")
    gateways.say(1)
    works.rest()
    works.stop()
    assert "missing in the end" in " ".join(check(works, gateways, undisturbed=False).wrong)
