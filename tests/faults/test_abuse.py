"""What a hostile or mistaken gateway can try on the shipped broker; for each protection a run without it, in which the abuse succeeds."""

import gzip
import itertools
import json
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config import settings as site_settings
from config.settings import MqttSettings
from ingest import certificates
from ingest.collector import Collector
from ingest.connection import Received
from ingest.enrolment import Identity
from pipeline import services
from pipeline.site import Site
from store.journal import HISTORY, LIVE, Arrival, Journal
from tests.faults.shipped import ENTERPRISE, OTHER, REGION, Broker, Client, clients, own, running, storm, until, without

GATEWAY, THIEF, EPOCH = f"{ENTERPRISE}_gw-1", f"{OTHER}_gw-1", "2026-11-20T08:00:00+08:00"
Connect = Callable[..., Client]
pytestmark = pytest.mark.needs("mosquitto")
_minutes = itertools.count(1)


def reading(**changes: Any) -> dict[str, Any]:
    """A good one, at an instant that no other has."""
    at = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=next(_minutes))
    return {"meter": "E-1", "register": "r", "ts": at.isoformat(), "value": 1.0, **changes}


def payload(seq: int, *readings: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({"v": 1, "epoch": EPOCH, "seq": seq, "readings": readings or [reading()], **changes}).encode()


class Works:
    """A site that collects and settles from a broker, in this process."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        mqtt = {"port": broker.platform, "username": "tcewatch", "password": "platform", "linger_ms": 1}
        self.site = Site(site_settings.build({"site": {"data_dir": folder}, "mqtt": mqtt}))
        owners = {"enterprise": [ENTERPRISE, OTHER]}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("store.register_shapes.uscc.validate", str)  # made-up codes
            self.site.register.apply({
                "region": pl.DataFrame({"region": [REGION]}), "park": pl.DataFrame({"park": ["P1"], "region": [REGION]}),
                "enterprise": pl.DataFrame({**owners, "name_zh": ["A", "B"], "park": ["P1"] * 2}),
                "gateway": pl.DataFrame({**owners, "gateway": ["gw-1"] * 2, "region": [REGION] * 2}),
                "meter": pl.DataFrame({**owners, "meter": ["E-1"] * 2, "gateway": ["gw-1"] * 2, "medium": ["electricity"] * 2}),
                "register": pl.DataFrame({**owners, "meter": ["E-1"] * 2, "register": ["r"] * 2, "unit": ["kWh"] * 2, "kind": ["cumulative"] * 2}),
            }, by="tests", known_from=datetime(2024, 1, 1, tzinfo=UTC))
        stop = threading.Event()
        self._services = services.Services(services.build(self.site, ["collect", "settle"], stop), stop)
        self._services.start()
        with clients(broker) as connect:  # until the collector has subscribed, what is published is nobody's
            gateway = connect(GATEWAY)
            until(lambda: gateway.publish(own("sandbox")) and self.site.journal.last_id(), "a collector that has subscribed")

    def settled(self, messages: int) -> None:
        """Wait until so many more messages than at the last call have come, and all are settled."""
        journal, ledger, before = self.site.journal, self.site.ledger, self._seen
        until(lambda: journal.last_id() >= before + messages, f"{messages} messages")
        until(lambda: not any(journal.read(ledger.cursor(lane), 1, lane) for lane in (LIVE, HISTORY)), "settling")
        self._seen = journal.last_id()

    def mark(self) -> None:
        """What has come so far does not count."""
        self._seen = 0
        self.settled(1)

    def values(self, enterprise: str) -> list[float]:
        """What is stored of an enterprise."""
        keys = self.site.register.names().filter(pl.col("enterprise") == enterprise)["register_key"].to_list()
        rows = self.site.readings().span(keys, datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
        return sorted(rows["value"].to_list())

    def refused(self) -> list[str]:
        """Reasons of what is in quarantine, the newest message first."""
        return [reason for reasons in self.site.quarantine.page(limit=1000)["reasons"] for reason in reasons]

    def close(self) -> None:
        assert self._services.end()
        self.site.close()


@contextmanager
def at_work(program: Path, folder: Path, change: Callable[[str], str] = str) -> Iterator[tuple[Broker, Works, Connect]]:
    with running(program, folder / "broker", change) as broker, closing(Works(folder / "site", broker)) as works, clients(broker) as connect:
        works.mark()
        yield broker, works, connect


@pytest.fixture(scope="module")
def mosquitto(program: Callable[[str], Path]) -> Path:
    return program("mosquitto")


@pytest.fixture(scope="module")
def plant(mosquitto: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Works]]:
    """The shipped broker and a site on it, for all tests that break nothing."""
    with at_work(mosquitto, tmp_path_factory.mktemp("abuse")) as (broker, works, _):
        yield broker, works


@pytest.fixture
def works(plant: tuple[Broker, Works]) -> Works:
    plant[1].mark()
    return plant[1]


@pytest.fixture
def connect(plant: tuple[Broker, Works]) -> Iterator[Connect]:
    with clients(plant[0]) as make:
        yield make


# --- topics ---

def test_a_gateway_is_heard_on_its_own_topics_and_hears_its_own_receipts(works: Works, connect: Connect) -> None:
    platform, gateway = connect("tcewatch", as_gateway=False), connect(GATEWAY)
    platform.subscribe("tce/v1/#")
    gateway.subscribe(own("receipts"), own("requests"))
    for kind in ("readings", "backfill", "state", "sandbox"):
        assert gateway.publish(own(kind), b'{"v":1,"state":"online"}' if kind == "state" else payload(1)) == "Success"
    for topic in (own("receipts"), own("requests"), "elsewhere"):
        assert gateway.publish(topic) == "Not authorized"
    platform.wait(lambda: {own(kind) for kind in ("readings", "backfill", "state", "sandbox")} <= platform.topics())
    gateway.wait(lambda: own("receipts") in gateway.topics())


def test_a_foreign_topic_is_refused_and_told_where_the_protocol_can_tell(works: Works, connect: Connect) -> None:
    before, thief = works.values(ENTERPRISE), connect(THIEF)
    assert thief.publish(own("readings"), payload(1, reading(value=666.0))) == "Not authorized"
    assert thief.publish(own("state"), b'{"v":1,"state":"offline"}') == "Not authorized"
    thief.publish(own("readings", enterprise=OTHER), payload(1))
    works.settled(1)
    assert works.values(ENTERPRISE) == before


def test_without_the_access_list_a_reading_gets_into_the_name_of_another_enterprise(mosquitto: Path, tmp_path: Path) -> None:
    with at_work(mosquitto, tmp_path, without("acl_file")) as (_, works, connect):
        assert connect(THIEF).publish(own("readings"), payload(1, reading(value=666.0))) == "Success"
        works.settled(1)
        assert works.values(ENTERPRISE) == [666.0]


def test_a_refusal_that_mqtt_3_cannot_tell_shows_as_a_gap(works: Works, connect: Connect) -> None:
    gateway, epoch = connect(GATEWAY, protocol="3.1.1"), "3.1.1"
    for seq, region in ((1, REGION), (2, "159999"), (3, REGION)):
        assert gateway.publish(own("readings", region=region), payload(seq, epoch=epoch)) == "Success"
    works.settled(2)
    gaps = works.site.ledger.gaps().filter(pl.col("epoch") == epoch)
    assert gaps.select("from_seq", "to_seq", "lost").rows() == [(2, 2, False)]


def test_a_route_opens_its_own_topics_to_its_own_gateway(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path) as broker, clients(broker) as connect:
        broker.access.grant(Identity(REGION, ENTERPRISE, "gw-1", ("shelly/+/status", "shelly/+/rpc")), "another")
        with (broker.folder / "acl").open("a") as acl:
            acl.write("\nuser tcewatch\ntopic write shelly/+/rpc\n")
        broker.reload()
        until(lambda: connect(GATEWAY, password="another").is_in, "the new password")
        gateway, thief, platform = connect(GATEWAY, password="another"), connect(THIEF), connect("tcewatch", as_gateway=False)
        gateway.subscribe("shelly/1/rpc")
        thief.subscribe("#")
        assert gateway.publish("shelly/1/status") in {"Success", "No matching subscribers"}
        assert gateway.publish("shelly/1/other") == thief.publish("shelly/1/status") == "Not authorized"
        assert platform.publish("shelly/1/rpc") == "Success"
        gateway.wait(lambda: "shelly/1/rpc" in gateway.topics())
        assert thief.got == []


WILD = ("#", "+/+/+", "tce/v1/+/+/+/receipts", f"tce/v1/{REGION}/#", "$SYS/#", "$share/x/#", f"$share/x/{own('readings')}")


def overheard(connect: Connect) -> set[str]:
    """What another gateway hears with subscriptions to everything, its own receipt (which it must hear) left out."""
    thief, gateway, platform = connect(THIEF), connect(GATEWAY), connect("tcewatch", as_gateway=False)
    thief.subscribe(*WILD)
    gateway.publish(own("state"), b'{"v":1,"state":"online"}', retain=True)
    gateway.publish(own("sandbox"))
    platform.publish(own("receipts"))
    platform.publish(own("receipts", enterprise=OTHER), b"mine")
    thief.wait(lambda: own("receipts", enterprise=OTHER) in thief.topics())
    connect(THIEF).subscribe(*WILD)  # what is retained comes at once
    return thief.topics() - {own("receipts", enterprise=OTHER)}


def test_wildcards_hear_nothing_of_others(connect: Connect) -> None:
    assert overheard(connect) == set()


def test_without_the_access_list_wildcards_hear_everything(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path, without("acl_file")) as broker, clients(broker) as connect:
        heard = overheard(connect)
    assert {own("sandbox"), own("receipts"), "$SYS/broker/version"} <= heard


@pytest.mark.parametrize(("topic", "arrives"), [(own("state"), True), (own("state", enterprise=OTHER), False)])
def test_a_last_will_reaches_the_own_state_only(connect: Connect, topic: str, arrives: bool) -> None:
    assert will_arrives(connect, topic) == arrives


def test_without_the_access_list_a_forged_will_speaks_for_another(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path, without("acl_file")) as broker, clients(broker) as connect:
        assert will_arrives(connect, own("state", enterprise=OTHER))


def will_arrives(connect: Connect, topic: str) -> bool:
    """Whether the will of a gateway that vanishes is heard; a message after it tells when it would have been."""
    platform, witness = connect("tcewatch", as_gateway=False), connect(THIEF)
    platform.subscribe("tce/v1/#")
    gateway = connect(GATEWAY, will=(topic, b'{"v":1,"state":"offline"}'))
    assert gateway.is_in
    gateway.vanish()
    gateway.wait(lambda: gateway.gone)
    connect(GATEWAY).publish(own("sandbox"), b"after")  # the same client id: the old connection and its will are done with by now
    witness.publish(own("sandbox", enterprise=OTHER), b"after")
    platform.wait(lambda: sum(text == b"after" for _, text, _ in platform.got) == 2)
    return (topic, b'{"v":1,"state":"offline"}', False) in platform.got


# --- what a message says ---

EVIL = (
    "E-1,enterprise=x", "E-1 value=9", "E-1\nreading,meter=E-1 value=9", "E-1=", "E-1\\", '"E-1"', 'x" |> drop(columns: ["_value"])',
    "'; DROP TABLE message; --",
    "../E-1", "E-1\u0000", "\u200bE-1", "\u202eE-1", "Е-1", "#", "+", "$SYS", "%u", "{{7*7}}", "<b>E-1</b>", "x" * 500,
)


def test_ids_that_inject_end_in_quarantine_and_reach_no_series(works: Works, connect: Connect) -> None:
    gateway, before = connect(GATEWAY), (works.values(ENTERPRISE), works.values(OTHER), len(works.refused()))
    series = works.site.register.names().height
    for number, name in enumerate(EVIL, 1):
        gateway.publish(own("readings"), payload(number, reading(meter=name), reading(register=name), epoch="evil"))
        gateway.publish(own("backfill"), payload(number, enterprise=name, epoch="evil-2"))
        gateway.publish(own("readings"), payload(number, gateway=name, epoch="evil-3"))
    works.settled(3 * len(EVIL))
    reasons = works.refused()
    assert len(reasons) == before[2] + 4 * len(EVIL)
    assert set(reasons[:4 * len(EVIL)]) == {"unknown_meter", "unknown_register", "topic_payload_mismatch"}
    assert (works.values(ENTERPRISE), works.values(OTHER), works.site.register.names().height) == (*before[:2], series)


def test_the_same_way_leads_a_good_reading_into_its_series(works: Works, connect: Connect) -> None:
    connect(GATEWAY).publish(own("readings"), payload(1, reading(value=77.0), enterprise=ENTERPRISE, gateway="gw-1", epoch="good"))
    works.settled(1)
    assert 77.0 in works.values(ENTERPRISE)


def test_a_message_that_names_another_enterprise_is_refused_whole(works: Works, connect: Connect) -> None:
    before = works.values(ENTERPRISE), works.values(OTHER)
    connect(THIEF).publish(own("readings", enterprise=OTHER), payload(1, reading(value=666.0), enterprise=ENTERPRISE, epoch="forged"))
    works.settled(1)
    row = works.site.quarantine.page(limit=1).row(0, named=True)
    assert (row["reasons"], row["enterprise"], row["topic"]) == (["topic_payload_mismatch"], OTHER, own("readings", enterprise=OTHER))
    assert (works.values(ENTERPRISE), works.values(OTHER)) == before


def test_where_that_is_not_looked_at_the_message_is_taken_but_still_as_its_senders(mosquitto: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.profiles.own_json._check_head", lambda *_: None)
        with at_work(mosquitto, tmp_path) as (_, works, connect):
            connect(THIEF).publish(own("readings", enterprise=OTHER), payload(1, reading(value=666.0), enterprise=ENTERPRISE))
            works.settled(1)
            assert (works.values(ENTERPRISE), works.values(OTHER)) == ([], [666.0])


BOMBS = {
    "unpacked_too_large": gzip.compress(b" " * 50_000_000), "not_json": b"[" * 60_000,
    "wrong_version": json.dumps({f"k{number}": 0 for number in range(5000)}).encode(), "bad_compression": b"\x1f\x8b" + bytes(1000),
}


@pytest.mark.parametrize("reason", BOMBS)
def test_a_bomb_ends_in_quarantine_and_the_next_message_is_stored(works: Works, connect: Connect, reason: str) -> None:
    gateway = connect(GATEWAY)
    value = float(1000 + list(BOMBS).index(reason))
    assert len(BOMBS[reason]) < 65_536
    gateway.publish(own("readings"), BOMBS[reason])
    gateway.publish(own("readings"), payload(1, reading(value=value), epoch=reason))
    works.settled(2)
    assert works.refused()[0] == reason
    assert value in works.values(ENTERPRISE)


# --- sessions ---

QUEUED = 20


def left_after_a_take_over(broker: Broker, clean: bool) -> int:
    """How many of the messages that waited for an absent collector it gets after a gateway has connected under its client id."""
    with clients(broker) as connect:
        collector = connect("tcewatch", client_id="tcewatch-collector-2", as_gateway=False, clean=False)
        collector.subscribe(own("readings"))
        collector.close()
        gateway = connect(GATEWAY)
        for number in range(QUEUED):
            gateway.publish(own("readings"), b"%d" % number)
        thief = connect(THIEF, client_id="tcewatch-collector-2", clean=clean)
        assert thief.is_in
        thief.publish(own("sandbox", enterprise=OTHER))
        assert thief.got == []
        thief.close()
        back = connect("tcewatch", client_id="tcewatch-collector-2", as_gateway=False, clean=False)
        assert back.session_present or clean  # a loss that the collector cannot see
        back.subscribe(own("readings"))
        gateway.publish(own("readings"), b"last")
        back.wait(lambda: any(text == b"last" for _, text, _ in back.got))
        return len(back.got) - 1


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "resume"])
def test_nobody_takes_over_the_session_of_the_collector(plant: tuple[Broker, Works], clean: bool) -> None:
    assert left_after_a_take_over(plant[0], clean) == QUEUED


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "resume"])
def test_where_the_client_id_is_free_a_take_over_deletes_what_waits(mosquitto: Path, tmp_path: Path, clean: bool) -> None:
    with running(mosquitto, tmp_path, without("use_username_as_clientid")) as broker:
        assert left_after_a_take_over(broker, clean) == 0


class TakesRetained(Collector):
    """The protection switched off: a retained reading is taken for a new one."""

    def _arrival(self, message: Received) -> Arrival | None:
        return super()._arrival(message._replace(retained=False))


def collected_retained(kind: type[Collector], broker: Broker, folder: Path) -> tuple[list[str], int]:
    """Topics that a collector which comes anew takes from the retained messages of a gateway, and how many it ignores."""
    stop = threading.Event()
    settings = MqttSettings(port=broker.platform, username="tcewatch", password="platform", client_id=f"anew-{kind.__name__}", linger_ms=1)
    with ExitStack() as ending:
        journal = ending.enter_context(closing(Journal(folder)))
        collector = kind(settings, journal, stop=stop)
        thread = threading.Thread(target=collector.run)
        thread.start()
        ending.callback(thread.join, 15)
        ending.callback(stop.set)
        until(lambda: journal.last_id() + collector.ignored_retained >= 2, "two retained messages")
        return sorted(one.topic for one in journal.read(0, 10)), collector.ignored_retained


def test_a_retained_reading_is_not_taken_again_but_a_retained_state_is_heard(
    plant: tuple[Broker, Works], works: Works, connect: Connect, tmp_path: Path,
) -> None:
    gateway = connect(GATEWAY)
    gateway.publish(own("readings"), payload(1, reading(value=88.0), epoch="retained"), retain=True)
    gateway.publish(own("state"), b'{"v":1,"state":"online"}', retain=True)
    works.settled(2)
    assert works.values(ENTERPRISE).count(88.0) == 1  # when it came it was new
    try:
        assert collected_retained(Collector, plant[0], tmp_path / "kept") == ([own("state")], 1)
        assert collected_retained(TakesRetained, plant[0], tmp_path / "control") == ([own("readings"), own("state")], 0)
    finally:
        gateway.publish(own("readings"), b"", retain=True)  # no longer retained


def test_a_broker_without_retained_messages_would_refuse_state_and_last_will_too(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path, lambda text: f"{text}retain_available false\n") as broker, clients(broker) as connect:
        gateway = connect(GATEWAY)
        assert gateway.publish(own("state"), b'{"v":1,"state":"online"}', retain=True) == "gone"
        assert connect(GATEWAY, will=(own("state"), b"{}")).reason == "Retain not supported"


# --- who is let in ---

def test_strangers_are_refused_on_both_doors(connect: Connect) -> None:
    for door in (True, False):
        assert connect(None, as_gateway=door).reason == "Not authorized"
        assert connect("nobody", as_gateway=door, password="x").reason == "Not authorized"
    assert connect(GATEWAY, password="guess").reason == "Not authorized"
    assert connect(GATEWAY, password="").reason == "Not authorized"


def test_where_anonymous_access_is_allowed_a_stranger_is_in(mosquitto: Path, tmp_path: Path) -> None:
    def change(text: str) -> str:
        return text.replace("allow_anonymous false", "allow_anonymous true")

    with running(mosquitto, tmp_path, change) as broker, clients(broker) as connect:
        assert connect(None, as_gateway=False).is_in
        assert not connect(None).is_in  # without a user name there is no client id on the gateways' listener


def test_a_revoked_gateway_is_out_after_the_reload_and_not_before(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path) as broker, clients(broker) as connect:
        other = connect(THIEF)
        assert broker.access.revoke(GATEWAY)
        gateway = connect(GATEWAY)
        assert gateway.is_in  # the control: the broker has not read its files yet
        broker.reload()
        gateway.wait(lambda: gateway.gone)  # who is in is put out
        assert connect(GATEWAY).reason == "Not authorized"
        assert other.is_in


def test_new_credentials_end_the_old_ones(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path) as broker, clients(broker) as connect:
        old = broker.passwords[GATEWAY]
        broker.enrol(ENTERPRISE)
        broker.reload()
        until(lambda: not connect(GATEWAY, password=old).is_in, "the old password to be refused")
        gateway = connect(GATEWAY)
        assert gateway.publish(own("readings")) in {"Success", "No matching subscribers"}


def by_certificate(text: str) -> str:
    for line in ("require_certificate true", "use_identity_as_username true"):
        assert f"#{line}" in text
        text = text.replace(f"#{line}", line)
    return text


def test_a_gateway_with_a_certificate_is_who_its_certificate_says(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path / "broker", by_certificate) as broker, clients(broker) as connect:
        broker.enrol(ENTERPRISE, by_password=False)
        broker.reload()
        mine = issued(broker, GATEWAY, tmp_path)
        gateway = connect(None, certificate=mine)
        until(lambda: gateway.publish(own("readings")) in {"Success", "No matching subscribers"}, "the own topics")
        assert gateway.publish(own("readings", enterprise=OTHER)) == "Not authorized"
        pretender = connect(THIEF, certificate=mine)  # the name in the certificate counts
        assert pretender.publish(own("readings", enterprise=OTHER)) == "Not authorized"
        assert not connect(GATEWAY, password="x").is_in
        broker.access.revoke(GATEWAY)
        broker.reload()
        late = connect(None, certificate=mine)
        until(lambda: late.publish(own("readings")) == "Not authorized", "the topics to be closed")


def issued(broker: Broker, name: str, folder: Path) -> Path:
    """A certificate of the site's authority, its key beside it."""
    key, request = certificates.new_request(name)
    authority = [(broker.folder / f"ca.{suffix}").read_bytes() for suffix in ("pem", "key")]
    (folder / f"{name}.key").write_bytes(key)
    (folder / f"{name}.pem").write_bytes(certificates.sign(request, *authority, at=datetime.now(UTC), days=5))
    return folder / f"{name}.pem"


# --- load ---

BIG, TIMES = 6_000_000, 5


def flooded(broker: Broker, connect: Connect) -> tuple[int, bool]:
    """By how many KB the broker's memory grows when a gateway sends huge messages for an absent collector; whether it was cut off."""
    platform = connect("tcewatch", client_id="absent", as_gateway=False, clean=False)
    platform.subscribe("tce/v1/#")
    platform.close()
    before, cut = broker.memory_kb(), False
    for _ in range(TIMES):
        gateway = connect(GATEWAY, protocol="3.1.1")
        cut = gateway.publish(own("readings"), bytes(BIG)) == "gone" or cut
    assert connect(THIEF).publish(own("readings", enterprise=OTHER)) == "Success"  # others are not disturbed
    return broker.memory_kb() - before, cut


def test_an_oversized_packet_is_cut_off_before_it_takes_memory(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path) as broker, clients(broker) as connect:
        grown_kb, cut = flooded(broker, connect)
    assert cut
    assert grown_kb < BIG / 1000


def test_without_a_largest_packet_the_broker_keeps_it_all(mosquitto: Path, tmp_path: Path) -> None:
    with running(mosquitto, tmp_path, without("max_packet_size")) as broker, clients(broker) as connect:
        grown_kb, cut = flooded(broker, connect)
    assert not cut
    assert grown_kb > 0.9 * TIMES * BIG / 1000


@pytest.mark.parametrize("kind", ["readings", "state"])
def test_the_largest_message_of_the_contract_still_passes(works: Works, connect: Connect, kind: str) -> None:
    assert connect(GATEWAY).publish(own(kind), b" " * 65_536) == "Success"


FILES, ROOM = 120, 60  # the shipped 65,536 open files and 20,000 connections, made small


def collector_comes_back(mosquitto: Path, folder: Path, change: Callable[[str], str]) -> bool:
    """Whether the collector gets in within 5 s while the gateways' listener is stormed."""
    with running(mosquitto, folder, change, files=FILES) as broker:
        held = storm(broker.gateways, 2 * FILES)
        try:
            with clients(broker) as connect:
                return connect("tcewatch", client_id="tcewatch-collector", as_gateway=False, within_s=5.0).is_in
        finally:
            for one in held:
                one.close()


def small(text: str) -> str:
    assert "max_connections 20000" in text
    return text.replace("max_connections 20000", f"max_connections {ROOM}")


def test_a_storm_of_connections_leaves_the_collector_its_place(mosquitto: Path, tmp_path: Path) -> None:
    assert collector_comes_back(mosquitto, tmp_path, small)


def test_without_a_bound_on_the_gateways_listener_the_storm_shuts_the_collector_out(mosquitto: Path, tmp_path: Path) -> None:
    assert not collector_comes_back(mosquitto, tmp_path, lambda text: text.replace("max_connections 20000\n", ""))


class SlowLine:
    """Passes bytes on to a port, so many a second each way, and counts the connections."""

    def __init__(self, port: int, bytes_per_s: int) -> None:
        self._to, self._chunk = port, max(1, bytes_per_s // 50)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.connections = self._listener.getsockname()[1], 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._listener, selectors.EVENT_READ)
            while not self._stop.is_set():
                if ready.select(0.05):
                    self.connections += 1
                    near, _ = self._listener.accept()
                    far = socket.create_connection(("127.0.0.1", self._to))
                    for one, other in ((near, far), (far, near)):
                        self._threads.append(threading.Thread(target=self._pass_on, args=(one, other)))
                        self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        source.settimeout(0.05)
        while not self._stop.wait(0.02):
            try:
                some = source.recv(self._chunk)
                if not some:
                    break
                sink.sendall(some)
            except TimeoutError:
                continue
            except OSError:
                break
        sink.close()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()


def test_a_slow_line_delivers_all_over_one_connection(mosquitto: Path, tmp_path: Path) -> None:
    messages: Sequence[bytes] = [b"%d %s" % (number, b"x" * 8000) for number in range(25)]
    with running(mosquitto, tmp_path / "broker") as broker, closing(SlowLine(broker.platform, 100_000)) as line, ExitStack() as ending:
        journal, stop = ending.enter_context(closing(Journal(tmp_path / "journal"))), threading.Event()
        settings = MqttSettings(port=line.port, username="tcewatch", password="platform", keepalive_s=2)
        collector = Collector(settings, journal, stop=stop)
        thread = threading.Thread(target=collector.run)
        thread.start()
        ending.callback(thread.join, 15)
        ending.callback(stop.set)
        connect = ending.enter_context(clients(broker))
        gateway = connect(GATEWAY)
        until(lambda: gateway.publish(own("sandbox")) and journal.last_id(), "a collector that has subscribed")
        for message in messages:
            gateway.publish(own("readings"), message)
        until(lambda: sum(one.topic == own("readings") for one in journal.read(0, 1000)) >= len(messages), "all messages", 30)
        assert [one.payload for one in journal.read(0, 1000) if one.topic == own("readings")] == messages
        assert line.connections == 1
