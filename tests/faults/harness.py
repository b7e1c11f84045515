"""The balance harness: gateways that write down what they send, real processes to break, and set arithmetic at the end."""

import csv
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from config import settings as site_settings
from ingest.simulate import Outgoing, Publisher
from pipeline.site import Site
from store.ledger import Totals

TCEWATCH = Path(sys.executable).with_name("tcewatch")
CONTROLS = Path(__file__).with_name("controls.py")
REGION, GATEWAY, METERS = "159901", "GW-01", ("E-1", "E-2", "E-3")
ENTERPRISES = ("91159901MA0EXAMP1D", "91159901MA0EXAMP4N")
EPOCH = "2026-03-01T00:00:00+08:00"
# Ten days ago: neither in the future nor too old, and whole days lie behind it.
FIRST_INSTANT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=10)
Reading = tuple[str, str, datetime, float]  # enterprise, meter, instant, value


def wait_for(holds: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Poll until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.03)


# --- the generator ----------------------------------------------------------------------------------------------------

class Sent(NamedTuple):
    """One message as it was sent."""

    enterprise: str
    seq: int | None  # None: it carries no number that could be read
    good: tuple[Reading, ...]
    bad: int  # readings that break a rule
    payload: bytes
    decodes: bool = True


def message(enterprise: str, seq: int, good: Sequence[Reading], bad: Sequence[dict[str, object]] = (), *, epoch: str = EPOCH) -> Sent:
    """A message of the contract, in row form."""
    rows = [{"meter": meter, "register": "active_import", "ts": at.isoformat(), "value": value} for _, meter, at, value in good]
    payload = json.dumps({"v": 1, "epoch": epoch, "seq": seq, "readings": [*rows, *bad]}).encode()
    return Sent(enterprise, seq, tuple(good), len(bad), payload)


def topic(enterprise: str, kind: str = "readings") -> str:
    """A topic of the one gateway of an enterprise."""
    return f"tce/v1/{REGION}/{enterprise}/{GATEWAY}/{kind}"


class Fleet:
    """One gateway for each enterprise, in a thread of its own; everything they send is in `sent`.

    They send what the broker has not acknowledged again, on a new connection too, keep their history and send from it
    what is asked for, as gateways do.
    """

    def __init__(self, port: int, *, enterprises: Sequence[str] = ENTERPRISES, per_second: float = 100.0, answers: bool = True) -> None:
        self.enterprises, self._per_second = tuple(enterprises), per_second
        self.sent: list[Sent] = []
        self.history: dict[tuple[str, int], Sent] = {}
        self.receipts: dict[str, list[dict[str, Any]]] = {code: [] for code in enterprises}
        self.requests: list[dict[str, Any]] = []
        self.backfilled = 0
        self._next = dict.fromkeys(enterprises, 1)
        self._orders: queue.Queue[tuple[list[Outgoing], threading.Event]] = queue.Queue()
        self._flowing, self._halt = threading.Event(), threading.Event()
        topics = [topic(code, kind) for code in enterprises for kind in (("receipts", "requests") if answers else ("receipts",))]
        self._publisher = Publisher("127.0.0.1", port, subscribe=topics, on_message=self._hear)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
        self._thread.start()

    # What is sent, in words.

    def flow(self) -> None:
        """Let new readings flow until `pause`."""
        self._flowing.set()

    def pause(self) -> None:
        """Send nothing new."""
        self._flowing.clear()

    def say(self, count: int = 1) -> None:
        """Each gateway sends so many new messages; returns when the broker has them."""
        self._send([self._new(code) for _ in range(count) for code in self.enterprises])

    def again(self, which: Iterable[Sent], kind: str = "readings") -> None:
        """Messages of the past once more, with their seq and under new packet ids."""
        self._send(list(which), kind)

    def contradict(self, count: int = 1) -> None:
        """Other values for instants that were sent already, under numbers of their own."""
        for code in self.enterprises:
            past = [one for one in self.history.values() if one.enterprise == code and one.good][-count:]
            self._send([self._enter(code, [(code, meter, at, value + 0.5) for _, meter, at, value in one.good]) for one in past])

    def spoil(self) -> None:
        """Poison: what nobody can read, and a message of which one reading only is good."""
        for code in self.enterprises:
            junk = [b"", b"{", b"\xff\xfe\x00", b"[]", json.dumps({"v": 1, "readings": []}).encode()]
            self._send([Sent(code, None, (), 0, payload, decodes=False) for payload in junk])
            at = FIRST_INSTANT.isoformat()
            bad = [
                {"meter": "E-1", "register": "active_import", "ts": at, "value": "12"},
                {"meter": "E-9", "register": "active_import", "ts": at, "value": 1.0},
            ]
            self._send([self._enter(code, self._instant(code, self._next[code])[:1], bad)])

    def keep_back(self, count: int) -> list[Sent]:
        """Messages that are counted and in the history and never leave the gateway: gaps."""
        return [self._new(code) for _ in range(count) for code in self.enterprises]

    def fill(self, gaps: pl.DataFrame) -> None:
        """What a person does who reads the list of gaps: send them from the history."""
        ranges = gaps.select("enterprise", "from_seq", "to_seq").iter_rows()
        self.again([self.history[code, seq] for code, first, last in ranges for seq in range(first, last + 1)], "backfill")

    def send(self, messages: Sequence[Sent], kind: str = "readings") -> None:
        """Messages made by a test; they are written down like all others."""
        for one in messages:
            if one.seq is not None:
                self.history.setdefault((one.enterprise, one.seq), one)
                self._next[one.enterprise] = max(self._next[one.enterprise], one.seq + 1)
        self._send(messages, kind)

    def next_seq(self, enterprise: str) -> int:
        """The number of its next message."""
        return self._next[enterprise]

    def close(self) -> None:
        """Send what is ordered, then end."""
        self._halt.set()
        self._thread.join(60)
        self._publisher.close()
        if self._error is not None:
            raise self._error

    def _instant(self, code: str, seq: int) -> list[Reading]:
        # Values never repeat within a register, so that a value names its instant.
        return [(code, meter, FIRST_INSTANT + timedelta(seconds=seq), float(seq) + place) for place, meter in enumerate(METERS)]

    def _new(self, code: str) -> Sent:
        return self._enter(code, self._instant(code, self._next[code]))

    def _enter(self, code: str, good: Sequence[Reading], bad: Sequence[dict[str, object]] = ()) -> Sent:
        one = message(code, self._next[code], good, bad)
        self._next[code] += 1
        self.history[code, one.seq or 0] = one
        return one

    def _send(self, messages: Sequence[Sent], kind: str = "readings") -> None:
        done = threading.Event()
        self._orders.put((self._outgoing(messages, kind), done))
        while not done.wait(0.1):
            if self._error is not None:
                raise self._error

    def _outgoing(self, messages: Sequence[Sent], kind: str) -> list[Outgoing]:
        self.sent += messages
        return [Outgoing(topic(one.enterprise, kind), one.payload) for one in messages]

    def _run(self) -> None:
        step_s = 0.05
        try:
            while True:
                try:
                    outgoing, done = self._orders.get(timeout=step_s)
                except queue.Empty:
                    if self._halt.is_set():
                        return
                    if self._flowing.is_set():
                        count = max(1, round(self._per_second * step_s / len(self.enterprises)))
                        self._publisher.publish(self._outgoing([self._new(code) for _ in range(count) for code in self.enterprises], "readings"))
                    continue
                self._publisher.publish(outgoing)
                done.set()
        except BaseException as error:  # noqa: BLE001 - the test asks for it
            self._error = error

    def _hear(self, where: str, payload: bytes) -> None:
        _, _, _, enterprise, _, kind = where.split("/")
        said = json.loads(payload)
        if kind == "receipts":
            self.receipts[enterprise].append(said)
            return
        self.requests.append(said)
        wanted = [
            self.history[enterprise, seq]
            for gap in said.get("missing", []) if gap["epoch"] == EPOCH
            for seq in range(gap["from_seq"], gap["to_seq"] + 1) if (enterprise, seq) in self.history
        ]
        self.backfilled += len(wanted)
        self._orders.put((self._outgoing(wanted, "backfill"), threading.Event()))


# --- the processes ----------------------------------------------------------------------------------------------------

def register_tables() -> dict[str, pl.DataFrame]:
    """Two enterprises with a gateway and three meters each."""
    meters = [{"enterprise": code, "meter": meter} for code in ENTERPRISES for meter in METERS]
    return {
        "region": pl.DataFrame({"region": [REGION]}),
        "park": pl.DataFrame({"park": ["p1"], "region": [REGION]}),
        "enterprise": pl.DataFrame([{"enterprise": code, "name_zh": f"示例{code[-1]}", "park": "p1"} for code in ENTERPRISES]),
        "gateway": pl.DataFrame([{"enterprise": code, "gateway": GATEWAY, "region": REGION} for code in ENTERPRISES]),
        "meter": pl.DataFrame([one | {"gateway": GATEWAY, "medium": "electricity"} for one in meters]),
        "register": pl.DataFrame([one | {"register": "active_import", "unit": "kWh", "kind": "cumulative"} for one in meters]),
        "assignment": pl.DataFrame([one | {"register": "active_import", "carrier": "electricity"} for one in meters]),
    }


@dataclass
class Plant:
    """A site and its `tcewatch run` processes."""

    settings: Path
    environment: dict[str, str]
    influx: Any = None
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _site: Site | None = None

    @property
    def site(self) -> Site:
        """The adapters of this process, beside the running ones."""
        if self._site is None:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in self.environment.items():
                    if name.startswith("TCEWATCH_"):
                        patch.setenv(name, value)
                self._site = Site(site_settings.load(self.settings))
        return self._site

    def start(
        self, *services: str, control: str = "", fail_point: str = "", before: Sequence[str] = (), environment: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """`tcewatch run SERVICE ...`; a control is the same with one protection switched off."""
        command = [*before, str(TCEWATCH)] if not control else [*before, sys.executable, str(CONTROLS), control]
        more = (environment or {}) | ({"TCEWATCH_FAIL_POINT": fail_point} if fail_point else {})
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [*command, "run", *services, "--settings", self.settings], env=os.environ | self.environment | more, stdout=log, stderr=log
            )
        self.running[" ".join(services)] = process
        return process

    def connected(self, *services: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start and wait until it has both its sessions at the broker."""
        before = self.connects()
        process = self.start(*services, **how)
        wait_for(lambda: self.connects() >= before + 2 or process.poll() is not None, "connecting")
        return process

    def connects(self) -> int:
        """How often a session was taken up."""
        return self.log().count("connected ")

    def end(self, name: str, how: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        process = self.running.pop(name)
        process.send_signal(how)
        return process.wait(timeout=30)

    def stop(self) -> None:
        """End all as an operator does; each must say that all is well."""
        codes = {name: self.end(name) for name in list(self.running)}
        assert set(codes.values()) <= {0}, f"{codes}\n{self.log()[-4000:]}"

    def close(self) -> None:
        """Kill what is left."""
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(timeout=20)
        if self._site is not None:
            self._site.close()

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def rebuilt_equals_live(self) -> bool:
        """`tcewatch rebuild --compare`."""
        command = [TCEWATCH, "rebuild", "--compare", "--json", "--settings", self.settings]
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, check=False, timeout=120)
        assert done.returncode in {0, 3}, done.stderr.decode()
        return bool(json.loads(done.stdout)["equal"])

    def rest(self, expected: int = 0, *, seconds: float = 60.0, quiet_s: float = 0.6) -> None:
        """Wait until `expected` messages are in the journal, all that is there is settled, and nothing more comes."""
        journal, ledger = self.site.journal, self.site.ledger
        deadline = time.monotonic() + seconds
        last, since = (-1, -1), time.monotonic()
        while True:
            now, settled = journal.last_id(), ledger.totals().received
            if (now, settled) != last or settled < now:
                last, since = (now, settled), time.monotonic()
            elif now >= expected and time.monotonic() - since >= quiet_s:
                return
            assert time.monotonic() < deadline, f"{now} of {expected} messages, {ledger.totals()}\n{self.log()[-3000:]}"
            time.sleep(0.05)

    @property
    def _log(self) -> Path:
        return self.settings.with_name("log")


def make_plant(folder: Path, port: int, more: str = "", influx: Any = None) -> Plant:
    """A site in a folder on the broker at that port, with its register; on InfluxDB where one is given."""
    settings = folder / "tcewatch.toml"
    lines = f"[mqtt]\nport = {port}\nkeepalive_s = 2\n[portal]\nport = 0\n[roll]\ninterval_s = 0.3\nevaluate_interval_s = 0.5\n"
    environment = {}
    if influx is not None:
        lines += '[store]\nreadings = "influxdb"\n[store.influxdb]\ntimeout_s = 5\n'
        lines += f'url = "{influx.url}"\norg = "{influx.org}"\nbucket = "{influx.bucket}"\n'
        environment["TCEWATCH_STORE__INFLUXDB__TOKEN"] = influx.token
    settings.write_text(lines + more)
    plant = Plant(settings, environment, influx)
    plant.site.register.apply(register_tables(), by="test", known_from=datetime(2025, 1, 1, tzinfo=UTC))
    return plant


# --- the checker ------------------------------------------------------------------------------------------------------

class Balance(NamedTuple):
    """What was found; `wrong` says in sentences what does not add up."""

    totals: Totals
    journal: int  # messages in the journal
    stored: int  # rows in the store
    wrong: tuple[str, ...]


def stored_rows(plant: Plant) -> Counter[Reading]:
    """Every row of the store: of InfluxDB by its own query API, of DuckDB by its file (no process may hold it)."""
    if plant.influx is not None:
        return Counter(_asked_of_influx(plant.influx))
    far = FIRST_INSTANT - timedelta(days=4000), FIRST_INSTANT + timedelta(days=4000)
    rows = plant.site.readings().span(None, *far).join(plant.site.register.names(), on="register_key")
    return Counter(rows.select("enterprise", "meter", "read_at", "value").iter_rows())


def check(plant: Plant, fleet: Fleet, *, undisturbed: bool = True, complete: bool = True) -> Balance:
    """Both balances, from what was sent, the journal, the ledger and the store.

    Args:
        plant: nothing runs on it any more.
        fleet: closed.
        undisturbed: the broker always had the gateways and lost nothing: every message is in the journal as often as it was sent.
        complete: nothing is missing in the end.
    """
    wrong: list[str] = []

    def must(holds: object, sentence: str) -> None:
        if not holds:
            wrong.append(sentence)

    known = {(one.enterprise, one.payload): one for one in fleet.sent}
    journal, ledger = plant.site.journal, plant.site.ledger
    came: list[Sent] = []
    after, count, strangers = 0, 0, 0
    while batch := journal.read(after, 5000):
        after, count = batch[-1].id, count + len(batch)
        arrived = [known.get((one.topic.split("/")[3], one.payload)) for one in batch if not one.topic.endswith("/state")]
        came += [one for one in arrived if one is not None]
        strangers += sum(one is None for one in arrived)
    must(strangers == 0, f"{strangers} messages in the journal that nobody sent")

    # Messages: published = received + reported missing; received = decoded + undecodable.
    totals, gaps = ledger.totals(), ledger.gaps()
    missing = {(code, seq) for code, first, last in gaps.select("enterprise", "from_seq", "to_seq").iter_rows() for seq in range(first, last + 1)}
    received = {(one.enterprise, one.seq) for one in came if one.seq is not None}
    published = {(one.enterprise, one.seq) for one in fleet.sent if one.seq is not None}
    must(published <= received | missing, f"neither received nor reported missing: {sorted(published - received - missing)[:10]}")
    must(not received & missing, f"received and reported missing: {sorted(received & missing)[:10]}")
    must(not missing - set(fleet.history), f"reported missing and never counted by a gateway: {sorted(missing - set(fleet.history))[:10]}")
    must(not (complete and missing), f"missing in the end: {sorted(missing)[:10]}")
    if undisturbed:
        often = Counter((one.enterprise, one.payload) for one in fleet.sent)
        often.subtract(Counter((one.enterprise, one.payload) for one in came))
        differing = {(code, payload[:80]): number for (code, payload), number in often.items() if number}
        must(not differing, f"{len(differing)} messages are not in the journal as often as they were sent: {list(differing.items())[:3]}")
    must(totals.received == count, f"received {totals.received}, in the journal {count}")
    must(totals.missing == len(missing), f"missing {totals.missing}, in the list of gaps {len(missing)}")
    must(totals.undecodable == sum(not one.decodes for one in came), f"undecodable {totals.undecodable}")
    must(totals.decoded_messages == sum(one.decodes for one in came), f"decoded messages {totals.decoded_messages}")

    # Readings: decoded = stored + duplicate + conflicting + rejected; each in the store once.
    good = [reading for one in came for reading in one.good]
    values, instants = set(good), {reading[:3] for reading in good}
    want = {"decoded": len(good) + sum(one.bad for one in came), "stored": len(instants), "conflicting": len(values) - len(instants),
            "duplicate": len(good) - len(values), "rejected": sum(one.bad for one in came)}
    found = {name: getattr(totals, name) for name in want}
    must(found == want, f"readings are {found}, from the journal {want}")
    rows = stored_rows(plant)
    must(set(rows) == values, f"not in the store: {sorted(values - set(rows))[:5]}; there and never sent: {sorted(set(rows) - values)[:5]}")
    must(not rows or max(rows.values()) == 1, f"more than once in the store: {[row for row, number in rows.items() if number > 1][:5]}")

    # Receipts never promise what is not there; and the chain.
    for code, told in fleet.receipts.items():
        promised = max((one["contiguous_seq"] for one in told), default=0)
        up_to = {seq for enterprise, seq in received if enterprise == code}
        must(set(range(1, promised + 1)) <= up_to, f"a receipt for {code} says that all up to {promised} came")
    must(journal.verify(settled=ledger.cursor()).intact, "the chain of the journal is broken")
    return Balance(totals, count, sum(rows.values()), tuple(wrong))


def covered(fleet: Fleet, enterprise: str) -> set[int]:
    """The seqs that its receipts account for."""
    return {seq for one in fleet.receipts[enterprise] for seq in range(one["from_seq"], one["to_seq"] + 1)}


def _asked_of_influx(influx: Any) -> Iterable[Reading]:
    flux = (
        f'from(bucket: "{influx.bucket}") |> range(start: 1970-01-01T00:00:00Z, stop: 2200-01-01T00:00:00Z)'
        ' |> filter(fn: (r) => r._measurement == "reading" and r._field == "value")'
    )
    request = urllib.request.Request(
        f"{influx.url}/api/v2/query?org={influx.org}", json.dumps({"query": flux, "dialect": {"annotations": []}}).encode(),
        {"Authorization": f"Token {influx.token}", "Content-Type": "application/json", "Accept": "application/csv"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    for part in text.split("\r\n\r\n"):
        for row in csv.DictReader(io.StringIO(part)):
            if row.get("_time") and row["enterprise"] in ENTERPRISES:
                yield row["enterprise"], row["meter"], datetime.fromisoformat(row["_time"]), float(row["_value"])
