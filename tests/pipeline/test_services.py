import threading
import time

import pytest

from pipeline.services import SERVICES, Service, Services, build


def wait_quietly(stop: threading.Event) -> None:
    stop.wait()


def test_services_run_until_told_to_stop_and_then_all_end():
    stop = threading.Event()
    running = Services([Service("a", wait_quietly), Service("b", wait_quietly)], stop)
    running.start()
    assert all(one.alive and one.ready for one in running.health().values())
    stop.set()
    assert running.wait() is None
    assert running.end()
    assert not any(one.alive for one in running.health().values())


def test_a_service_that_dies_ends_the_wait_with_its_error_within_a_second():
    def dies(_stop: threading.Event) -> None:
        raise ValueError("broken")

    running = Services([Service("good", wait_quietly), Service("bad", dies)], threading.Event())
    running.start()
    began = time.monotonic()
    error = running.wait()
    assert isinstance(error, ValueError)
    assert time.monotonic() - began < 1.0
    assert not running.health()["bad"].alive
    running.end()


def test_a_service_that_returns_by_itself_counts_as_dead_too():
    running = Services([Service("short", lambda _stop: None)], threading.Event())
    running.start()
    assert isinstance(running.wait(), RuntimeError)
    running.end()


def test_a_service_that_ends_at_once_when_told_to_stop_has_not_died(monkeypatch):
    stop = threading.Event()
    services = Services([Service("quick", wait_quietly)], stop)
    services.start()
    dead = services._dead

    def told_to_stop_meanwhile():
        stop.set()
        while dead() is None:
            time.sleep(0.01)
        return dead()

    monkeypatch.setattr(services, "_dead", told_to_stop_meanwhile)
    assert services.wait() is None


def test_a_service_that_cannot_work_now_is_alive_and_not_ready_and_says_why():
    running = Services([Service("settle", wait_quietly, lambda: "the store is away")], threading.Event())
    running.start()
    health = running.health()["settle"]
    assert (health.alive, health.ready, health.detail) == (True, False, "the store is away")
    running.end()


def test_every_named_service_can_be_built_and_an_unknown_one_is_refused(site):
    names = [service.name for service in build(site, SERVICES, threading.Event())]
    assert [name for name in names if name not in ("receipts", "backfill")] == list(SERVICES)
    with pytest.raises(ValueError, match="no service 'roller'"):
        build(site, ["roller"], threading.Event())


def test_what_somebody_should_look_at_stands_in_the_detail_of_a_service_that_works_and_gives_way_to_a_problem():
    problems = [""]
    watched = Service("collect", wait_quietly, lambda: problems[0], lambda: "the broker drops", lambda: {"broker_messages_dropped": 3})
    running = Services([watched], threading.Event())
    running.start()
    health = running.health()["collect"]
    assert (health.ready, health.detail, health.figures) == (True, "the broker drops", {"broker_messages_dropped": 3})
    problems[0] = "the broker is away"
    health = running.health()["collect"]
    assert (health.ready, health.detail) == (False, "the broker is away")
    running.end()


def test_a_service_that_hangs_holds_up_the_end_only_as_long_as_it_is_given():
    hangs = threading.Event()
    running = Services([Service("hangs", lambda _stop: hangs.wait() and None)], threading.Event())
    running.start()
    assert not running.end(within_s=0.05)
    hangs.set()
    assert running.end()
