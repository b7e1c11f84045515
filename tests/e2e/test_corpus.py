"""The corpus of bad input through a real broker: each in quarantine, found, and replayed once its cause is mended; the good stored bit for bit."""

import signal
from datetime import UTC, datetime, timedelta

import paho.mqtt.publish as paho
import polars as pl
import pytest

from ingest.simulate import Outgoing, Publisher
from pipeline.replay import sent
from tests.conftest import wait_for
from tests.ingest.corpus import CODE, GATEWAY, ROOT, body, cases, message, neighbours, reading, registered


@pytest.mark.needs("mosquitto")
def test_whatever_is_sent_is_either_stored_bit_for_bit_or_in_quarantine_with_its_bytes(start_mosquitto, processes, free_port) -> None:
    broker = start_mosquitto("message_size_limit 2000000")
    site = processes(broker.port, f"[portal]\nport = {free_port()}\n")
    adapters = site.site()
    adapters.register.apply(registered(), by="test", known_from=datetime(2025, 1, 2, tzinfo=UTC))
    now = datetime.now(UTC).replace(microsecond=0)
    # Row 32: a retained reading waits at the broker before the platform comes; it is old, and not taken.
    paho.single(f"{ROOT}/{GATEWAY}/readings", body(9_999, reading(now, value=999.0)), qos=1, retain=True, hostname="127.0.0.1", port=broker.port)
    process = site.start("run")
    wait_for(lambda: "connected" in site.log(), "the collector", seconds=60)
    corpus = [case for case in cases(now) if "\x00" not in case.topic]
    payloads = [message(case, number, now) for number, case in enumerate(corpus)]
    publisher = Publisher("127.0.0.1", broker.port)
    publisher.publish([Outgoing(case.topic, payload, now) for case, payload in zip(corpus, payloads, strict=True)])
    # Row 34: yesterday's message again, byte by byte: its readings count as duplicates.
    publisher.publish([Outgoing(f"{ROOT}/{GATEWAY}/readings", payloads[0], now)])
    publisher.close()
    total = len(corpus) + 1
    wait_for(lambda: adapters.ledger.totals().received == total, f"{total} messages", seconds=90)

    expected = {at: value for number, case in enumerate(corpus) if case.payload is None for at, value in neighbours(number, now)}
    singles = sum(case.payload is None for case in corpus)
    totals = adapters.ledger.totals()
    assert (totals.received, totals.undecodable) == (total, len(corpus) - singles)
    assert (totals.stored, totals.duplicate, totals.conflicting, totals.rejected) == (2 * singles, 2, 0, singles + 1)
    for number, case in enumerate(corpus, start=1):
        index = 1 if case.payload is None else -1
        row = adapters.quarantine.get(number, index)
        assert row is not None, case
        assert row["reasons"][0] == case.reason, case
        assert row["topic"] == case.topic
        if case.reason != "unknown_topic":
            assert (row["enterprise"], row["gateway"]) == (CODE, GATEWAY)
        original = sent(adapters, number)
        assert original is not None
        assert original.payload == payloads[number - 1]
        found = adapters.quarantine.page(filters={"reason": case.reason, "topic": case.topic}, limit=1000)
        assert (number, index) in found.select("message", "index").rows()
    _replay_what_can_be_mended(site, adapters, corpus)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0, site.log()
    store = adapters.readings()
    kept = store.span(None, now - timedelta(days=3000), now + timedelta(days=900))
    store.close()
    mended = kept.filter(pl.col("message") > total)
    assert sorted(mended["value"]) == [1.0, 65535.0]
    first = kept.filter(pl.col("message") <= total)
    assert dict(first.select("read_at", "value").iter_rows()) == expected  # nothing moved, zeroed, or of the retained one
    assert first.height == len(expected)
    adapters.close()


def _replay_what_can_be_mended(site, adapters, corpus) -> None:
    numbers = {case.name: number for number, case in enumerate(corpus, start=1)}
    names = {"enterprise": CODE, "register": "active_import", "unit": "kWh", "kind": "cumulative"}
    adapters.register.apply({
        "meter": pl.DataFrame([{"enterprise": CODE, "meter": "X-8f3a91c2", "gateway": GATEWAY, "medium": "electricity"}]),
        "register": pl.DataFrame([{**names, "meter": "X-8f3a91c2"}, {**names, "meter": "E-2", "error_values": "16777215"}]),
    }, by="test", known_from=datetime.now(UTC))
    places = (f"{numbers['a meter of the imagination']}:1", str(numbers["error value 65535"]))
    done = site.call("quarantine", "replay", *places, "--settings", site.settings)
    assert (done["messages"], done["settled"], done["stored"], done["rejected"]) == (2, 2, 2, 0)
