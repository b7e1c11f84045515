"""The broker's configuration, loaded by a real Mosquitto with only paths and ports put in."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties

SOURCE = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
CONF = (SOURCE / "mosquitto.conf").read_text(encoding="utf-8")
OPTIONS = dict(re.findall(r"^([a-z_]+) +(\S+)$", CONF, re.MULTILINE))
ENTERPRISE, OTHER = "91150600EXAMPLE001", "91150600EXAMPLE002"

pytestmark = [
    pytest.mark.needs("mosquitto"), pytest.mark.enable_socket,
    pytest.mark.skipif(shutil.which("openssl") is None or shutil.which("mosquitto_passwd") is None, reason="no openssl or mosquitto_passwd here"),
]


def own(kind: str, *, enterprise: str = ENTERPRISE) -> str:
    return f"tce/v1/150600/{enterprise}/gw-1/{kind}"


def listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Broker:
    """The shipped configuration on free ports."""

    def __init__(self, folder: Path, program: Path, ports: tuple[int, int]) -> None:
        self.folder, self.gateways, self.platform = folder, *ports
        for name in ("acl", "add-gateway"):
            shutil.copy(SOURCE / name, folder)
        self.passwords = {"tcewatch": "platform"}
        subprocess.run(["mosquitto_passwd", "-b", "-c", folder / "passwords", "tcewatch", "platform"], check=True, capture_output=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", folder / "server.key", "-out", folder / "server.pem"],
            check=True, capture_output=True,
        )
        shutil.copy(folder / "server.pem", folder / "ca.pem")
        text = CONF.replace("/mosquitto/certs/", f"{folder}/").replace("/mosquitto/config/", f"{folder}/").replace("/mosquitto/data/", f"{folder}/")
        text = text.replace("listener 8883", f"listener {ports[0]} 127.0.0.1").replace("listener 1883", f"listener {ports[1]} 127.0.0.1")
        # Started by root it would give up its rights, and the folder of a test is root's own.
        text += "user root\n" if os.geteuid() == 0 else ""
        (folder / "mosquitto.conf").write_text(text)
        self.program = program

    def add_gateway(self, enterprise: str) -> str:
        done = subprocess.run(
            ["sh", self.folder / "add-gateway", "150600", enterprise, "gw-1"], check=True, capture_output=True, text=True,
            env=dict(os.environ, MOSQUITTO_CONFIG=str(self.folder)),
        )
        user, password = (re.search(rf"^{word} +(\S+)$", done.stdout, re.MULTILINE).group(1) for word in ("user", "password"))  # type: ignore[union-attr]
        self.passwords[user] = password
        return user


class Client:
    """A client of MQTT 5 that waits for the answers."""

    def __init__(self, broker: Broker, user: str, *, client_id: str = "", as_gateway: bool = True, password: str | None = None) -> None:
        self.got: list[tuple[str, bytes]] = []
        self._answers: dict[int, Any] = {}
        self._news = threading.Condition()
        self.reason: str | None = None
        self.it = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        self.it.username_pw_set(user, password or broker.passwords[user])
        if as_gateway:
            self.it.tls_set(ca_certs=str(broker.folder / "ca.pem"), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.it.on_connect = lambda _c, _u, _f, reason, _p: self._tell(lambda: setattr(self, "reason", str(reason)))
        self.it.on_publish = lambda _c, _u, mid, reason, _p: self._tell(lambda: self._answers.__setitem__(mid, reason))
        self.it.on_subscribe = lambda _c, _u, mid, reasons, _p: self._tell(lambda: self._answers.__setitem__(mid, reasons[0]))
        self.it.on_message = lambda _c, _u, message: self._tell(lambda: self.got.append((message.topic, message.payload)))
        self.it.connect("127.0.0.1", broker.gateways if as_gateway else broker.platform, keepalive=10, properties=self._session())
        self.it.loop_start()
        self.wait(lambda: self.reason is not None)

    @staticmethod
    def _session() -> Properties:
        properties = Properties(mqtt.PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 60
        return properties

    def _tell(self, change: Callable[[], None]) -> None:
        with self._news:
            change()
            self._news.notify_all()

    def wait(self, ready: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(ready, timeout=10)

    def publish(self, topic: str, payload: bytes = b"{}") -> str:
        mid = self.it.publish(topic, payload, qos=1).mid
        self.wait(lambda: mid in self._answers)
        return str(self._answers[mid])

    def subscribe(self, topic: str) -> None:
        _, mid = self.it.subscribe(topic, qos=1)
        assert mid is not None
        self.wait(lambda: mid in self._answers)

    def close(self) -> None:
        self.it.disconnect()
        self.it.loop_stop()
        self.it._reset_sockets()  # a refused client keeps its wake-up sockets open


@pytest.fixture(scope="module")
def broker(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
    made = Broker(tmp_path_factory.mktemp("broker"), program("mosquitto"), ports)
    made.add_gateway(ENTERPRISE)
    made.add_gateway(OTHER)
    log = (made.folder / "log").open("wb")
    with log, subprocess.Popen([made.program, "-c", made.folder / "mosquitto.conf"], stdout=log, stderr=log) as process:
        try:
            for _ in range(200):
                if process.poll() is not None:
                    pytest.fail(f"mosquitto refused the configuration: {(made.folder / 'log').read_text()}", pytrace=False)
                if all(listening(port) for port in ports):
                    break
                threading.Event().wait(0.05)
            yield made
        finally:
            process.terminate()


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(user: str, **options: Any) -> Client:
        clients.append(Client(broker, user, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_a_gateway_reaches_the_platform_on_its_own_topics_only(connect: Callable[..., Client]) -> None:
    platform = connect("tcewatch", as_gateway=False)
    platform.subscribe("tce/v1/#")
    gateway = connect(f"{ENTERPRISE}_gw-1")
    assert gateway.reason == "Success"
    for kind in ("readings", "backfill", "state", "sandbox"):
        assert gateway.publish(own(kind)) in {"Success", "No matching subscribers"}
    for topic in (own("readings", enterprise=OTHER), own("receipts"), own("requests"), "elsewhere"):
        assert gateway.publish(topic) == "Not authorized"
    platform.wait(lambda: len(platform.got) >= 4)
    assert {topic for topic, _ in platform.got} == {own(kind) for kind in ("readings", "backfill", "state", "sandbox")}


def test_a_gateway_hears_its_own_receipts_and_nothing_of_others(connect: Callable[..., Client]) -> None:
    gateway, other, platform = connect(f"{ENTERPRISE}_gw-1"), connect(f"{OTHER}_gw-1"), connect("tcewatch", as_gateway=False)
    gateway.subscribe("#")
    other.publish(own("readings", enterprise=OTHER))
    platform.publish(own("receipts", enterprise=OTHER))
    platform.publish(own("receipts"), b"mine")
    gateway.wait(lambda: bool(gateway.got))
    assert gateway.got == [(own("receipts"), b"mine")]


def test_a_gateway_cannot_take_over_the_collectors_session(connect: Callable[..., Client]) -> None:
    collector = connect("tcewatch", client_id="tcewatch-collector", as_gateway=False)
    collector.subscribe("tce/v1/#")
    thief = connect(f"{OTHER}_gw-1", client_id="tcewatch-collector")
    assert thief.reason == "Success"
    gateway = connect(f"{ENTERPRISE}_gw-1")
    gateway.publish(own("readings"), b"still here")
    collector.wait(lambda: (own("readings"), b"still here") in collector.got)
    assert collector.it.is_connected()


def test_a_wrong_password_is_refused(connect: Callable[..., Client]) -> None:
    assert connect(f"{ENTERPRISE}_gw-1", password="guess").reason == "Not authorized"


def test_the_limits_say_what_the_contract_needs() -> None:
    assert int(OPTIONS["max_queued_messages"]) >= 1_000_000  # never 0: before 2.0.22 that could mean none
    assert 65_536 < int(OPTIONS["max_packet_size"]) <= 70_000
    assert int(OPTIONS["memory_limit"]) > int(OPTIONS["max_queued_bytes"])
    assert OPTIONS["persistence"] == OPTIONS["autosave_on_changes"] == OPTIONS["set_tcp_nodelay"] == "true"
    assert "retain_available" not in OPTIONS
    assert "2.0.22" in CONF.split("listener")[0]


@pytest.mark.parametrize(
    "words", [("15060", ENTERPRISE, "gw-1"), ("150600", "short", "gw-1"), ("150600", ENTERPRISE, "gw/1"), ("150600", ENTERPRISE, "gw+"), ("150600",)]
)
def test_add_gateway_refuses_names_that_do_not_fit(words: tuple[str, ...], tmp_path: Path) -> None:
    shutil.copy(SOURCE / "acl", tmp_path)
    before = (tmp_path / "acl").read_bytes()
    done = subprocess.run(
        ["sh", SOURCE / "add-gateway", *words], env=dict(os.environ, MOSQUITTO_CONFIG=str(tmp_path)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr
    assert (tmp_path / "acl").read_bytes() == before


def test_add_gateway_refuses_a_gateway_that_is_there(broker: Broker) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        broker.add_gateway(ENTERPRISE)
    assert failed.value.returncode == 3
