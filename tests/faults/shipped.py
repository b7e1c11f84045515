"""The shipped configuration of the broker in a real Mosquitto, with only paths and ports put in, and clients that wait for its answers."""

import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties

from ingest.enrolment import AccessFiles, Identity, new_password, password_hash

SOURCE = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
CONF = (SOURCE / "mosquitto.conf").read_text(encoding="utf-8")
REGION, ENTERPRISE, OTHER = "150600", "91150600EXAMPLE001", "91150600EXAMPLE002"


def own(kind: str, *, enterprise: str = ENTERPRISE, region: str = REGION) -> str:
    return f"tce/v1/{region}/{enterprise}/gw-1/{kind}"


def until(holds: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def write_authority(folder: Path) -> None:
    """A site's own authority (ca.pem, ca.key) and the broker's certificate from it (server.pem, server.key)."""
    now, key, server = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def signed(name: str, public: Any, *more: tuple[Any, bool]) -> bytes:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site")])
        built = x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])).issuer_name(issuer).public_key(
            public).serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
        for extension, critical in more:
            built = built.add_extension(extension, critical=critical)
        return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def private(one: Any) -> bytes:
        return one.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    ca, names = x509.BasicConstraints(ca=True, path_length=None), x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    (folder / "ca.pem").write_bytes(signed("site", key.public_key(), (ca, True)))
    (folder / "ca.key").write_bytes(private(key))
    (folder / "server.pem").write_bytes(signed("localhost", server.public_key(), (names, False)))
    (folder / "server.key").write_bytes(private(server))


class Broker:
    """The shipped configuration on free ports, with a gateway of each of two enterprises.

    Args:
        program: mosquitto.
        folder: empty.
        change: the configuration's text -> what is tried instead of it.
    """

    def __init__(self, program: Path, folder: Path, change: Callable[[str], str] = str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._program = folder, program
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            self.gateways, self.platform = one.getsockname()[1], two.getsockname()[1]
        write_authority(folder)
        (folder / "acl").write_text((SOURCE / "acl").read_text(encoding="utf-8"))
        (folder / "passwords").write_text(f"tcewatch:{password_hash('platform')}\n")
        self.passwords = {"tcewatch": "platform"}
        self.access = AccessFiles(folder)
        for enterprise in (ENTERPRISE, OTHER):
            self.enrol(enterprise)
        text = re.sub(r"/mosquitto/(certs|config|data)/", f"{folder}/", CONF)
        text = text.replace("listener 8883", f"listener {self.gateways} 127.0.0.1").replace("listener 1883", f"listener {self.platform} 127.0.0.1")
        # Started by root it would give up its rights, and the folder of a test is root's own.
        text += "user root\n" if os.geteuid() == 0 else ""
        (folder / "mosquitto.conf").write_text(change(text))
        self._process: subprocess.Popen[bytes] | None = None

    def enrol(self, enterprise: str, *, by_password: bool = True) -> str:
        """The user name of its gateway gw-1, with a new password."""
        identity = Identity(REGION, enterprise, "gw-1")
        password = new_password() if by_password else None
        self.access.grant(identity, password)
        self.passwords[identity.user] = password or ""
        return identity.user

    def start(self, *, files: int | None = None) -> None:
        """Run it; `files` bounds how many it may have open."""
        limit = [] if files is None else ["prlimit", f"--nofile={files}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*limit, self._program, "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=log)
        until(lambda: self._ended() or all(self._listens(port) for port in (self.gateways, self.platform)), "a broker that listens")
        assert not self._ended(), (self.folder / "log").read_text()

    def reload(self) -> None:
        """Let it read passwords and access list again; it does so within some milliseconds."""
        self._running.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def memory_kb(self) -> int:
        """The most memory that it ever had."""
        status = Path(f"/proc/{self._running.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _ended(self) -> bool:
        return self._running.poll() is not None

    @staticmethod
    def _listens(port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            return False


def without(*options: str) -> Callable[[str], str]:
    """The configuration with the lines of these options taken out: the protection switched off."""

    def change(text: str) -> str:
        for option in options:
            text, count = re.subn(rf"(?m)^{option} .*\n", "", text)
            assert count, f"the shipped configuration does not say {option}"
        return text

    return change


@contextmanager
def running(program: Path, folder: Path, change: Callable[[str], str] = str, *, files: int | None = None) -> Iterator[Broker]:
    broker = Broker(program, folder, change)
    broker.start(files=files)
    try:
        yield broker
    finally:
        broker.stop()


class Client:
    """A client that waits for the answers; `refused` says why it was not let in."""

    def __init__(
        self, broker: Broker, user: str | None, *, client_id: str = "", as_gateway: bool = True, password: str | None = None,
        protocol: Literal["5", "3.1.1"] = "5", clean: bool = True, will: tuple[str, bytes] | None = None, certificate: Path | None = None,
        within_s: float = 10.0,
    ) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self._answers: dict[int, Any] = {}
        self._news = threading.Condition()
        self.reason: str | None = None
        self.gone = False
        self.session_present = False
        is_v5 = protocol == "5"
        clean_session = None if is_v5 else clean
        self.it = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311, clean_session=clean_session,
            reconnect_on_failure=False,
        )
        if user is not None:
            self.it.username_pw_set(user, broker.passwords.get(user) if password is None else password)
        if will is not None:
            self.it.will_set(*will, qos=1, retain=True)
        if as_gateway:
            mine = [] if certificate is None else [str(certificate), str(certificate.with_suffix(".key"))]
            self.it.tls_set(str(broker.folder / "ca.pem"), *mine, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.it.on_connect = lambda _c, _u, flags, reason, _p: self._tell(lambda: self._connected(flags.session_present, str(reason)))
        self.it.on_disconnect = lambda *_: self._tell(lambda: setattr(self, "gone", True))
        self.it.on_publish = lambda _c, _u, mid, reason, _p: self._tell(lambda: self._answers.__setitem__(mid, reason))
        self.it.on_subscribe = lambda _c, _u, mid, reasons, _p: self._tell(lambda: self._answers.__setitem__(mid, reasons[0]))
        self.it.on_message = lambda _c, _u, one: self._tell(lambda: self.got.append((one.topic, one.payload, one.retain)))
        more: dict[str, Any] = {}
        if is_v5:
            properties = Properties(mqtt.PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 60
            more = {"properties": properties, "clean_start": clean}
        try:
            self.it.connect("127.0.0.1", broker.gateways if as_gateway else broker.platform, keepalive=10, **more)
        except (OSError, ssl.SSLError) as error:
            self.reason, self.gone = str(error), True
            return
        self.it.loop_start()
        with self._news:
            self._news.wait_for(lambda: self.reason is not None or self.gone, timeout=within_s)

    def _connected(self, session_present: bool, reason: str) -> None:
        self.session_present, self.reason = session_present, reason

    def _tell(self, change: Callable[[], None]) -> None:
        with self._news:
            change()
            self._news.notify_all()

    @property
    def is_in(self) -> bool:
        return self.reason == "Success" and not self.gone

    def wait(self, ready: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(ready, timeout=10)

    def publish(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> str:
        """What the broker answers ("gone": it ended the connection)."""
        mid = self.it.publish(topic, payload, qos=1, retain=retain).mid
        self.wait(lambda: mid in self._answers or self.gone)
        return str(self._answers.get(mid, "gone"))

    def subscribe(self, *topics: str) -> None:
        for topic in topics:
            _, mid = self.it.subscribe(topic, qos=1)
            assert mid is not None
            self.wait(lambda mid=mid: mid in self._answers)  # type: ignore[misc]  # mypy takes no lambda with a default

    def topics(self) -> set[str]:
        return {topic for topic, _, _ in self.got}

    def vanish(self) -> None:
        """Be gone without a word, as in a power cut."""
        connected = self.it.socket()
        assert isinstance(connected, socket.socket)
        connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.it.disconnect()
        self.it.loop_stop()
        self.it._reset_sockets()  # a refused client keeps its wake-up sockets open


@contextmanager
def clients(broker: Broker) -> Iterator[Callable[..., Client]]:
    """`connect(user, ...)`: a client that is closed at the end."""
    made: list[Client] = []

    def connect(user: str | None, **options: Any) -> Client:
        made.append(Client(broker, user, **options))
        return made[-1]

    try:
        yield connect
    finally:
        for client in made:
            client.close()


def storm(port: int, count: int) -> Sequence[socket.socket]:
    """Connections that say nothing; as many as the broker takes."""
    opened = []
    for _ in range(count):
        one = socket.socket()
        one.settimeout(0.5)
        try:
            one.connect(("127.0.0.1", port))
        except OSError:
            one.close()
            continue
        opened.append(one)
    return opened
