"""Gateways that send over HTTP: what is answered, what the journal has then, and that a token opens nothing else."""

import gzip
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from fastapi import FastAPI

from config import settings as site_settings
from config.errors import BadInputError, StoreFullError
from pipeline.intake import SharedCommit
from pipeline.settle import Settler
from pipeline.site import Site
from portal.app import create_app
from store.journal import HISTORY, LIVE, Arrival, Journal
from tests.e2e.conftest import ENTERPRISES, register_tables
from tests.portal.conftest import TestClient
from tests.portal.test_auth import every_route

MINE, OTHER = ENTERPRISES
NOW = datetime.now(UTC).replace(microsecond=0)
PUSH = f"/api/v1/gateways/{MINE}/GW-01/readings"
LIMIT = 65_536


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(site_settings.build({"site": {"data_dir": tmp_path}}))
    site.register.apply(register_tables(), by="tests", known_from=datetime(2025, 1, 1, tzinfo=UTC))
    yield site
    site.close()


@pytest.fixture
def app(site: Site) -> FastAPI:
    return create_app(site)


@pytest.fixture
def gateway(app: FastAPI, site: Site) -> Any:
    """A client that sends the token of the first enterprise's gateway."""
    return client(app, site.people.add_gateway_token("gw", (MINE, "GW-01"), NOW, None))


def client(app: FastAPI, token: str) -> Any:
    return TestClient(app, follow_redirects=False, headers={"Authorization": f"Bearer {token}"})


def payload(seq: int = 1, *meters: str, value: float = 5.0) -> bytes:
    readings = [{"meter": meter, "register": "active_import", "ts": NOW.isoformat(), "value": value} for meter in meters or ("E-1",)]
    return json.dumps({"v": 1, "epoch": "e", "seq": seq, "readings": readings}).encode()


def settle(site: Site) -> None:
    settler = Settler(site)
    while settler.once():
        pass


@pytest.mark.parametrize(("kind", "lane"), [("readings", LIVE), ("backfill", HISTORY)])
def test_what_is_pushed_is_in_the_journal_when_the_answer_comes(gateway: Any, site: Site, kind: str, lane: int) -> None:
    answer = gateway.post(f"/api/v1/gateways/{MINE}/GW-01/{kind}", content=payload())
    assert answer.status_code == 202
    message = site.journal.get(answer.json()["receipt"])
    assert message is not None
    assert (message.door, message.topic, message.identity, message.payload, message.lane) == (
        "http", f"tce/v1/159901/{MINE}/GW-01/{kind}", f"{MINE}/GW-01", payload(), lane,
    )
    assert answer.headers["location"] == f"/api/v1/receipts/{message.id}"


@pytest.mark.parametrize(("headers", "pack"), [
    ({}, gzip.compress), ({"Content-Type": "application/json+gzip"}, gzip.compress), ({"Content-Encoding": "gzip"}, gzip.compress),
    ({}, zstandard.compress), ({"Content-Type": "application/json+zstd"}, zstandard.compress), ({"Content-Encoding": "zstd"}, zstandard.compress),
    ({"Content-Type": "application/json; charset=utf-8"}, bytes),
])
def test_a_packed_message_is_kept_as_it_came_and_read_when_it_is_settled(gateway: Any, site: Site, headers: Any, pack: Any) -> None:
    packed = pack(payload())
    receipt = gateway.post(PUSH, content=packed, headers=headers).json()["receipt"]
    assert site.journal.get(receipt).payload == packed  # type: ignore[union-attr]
    settle(site)
    assert gateway.get(f"/api/v1/receipts/{receipt}").json()["stored"] == 1


def test_a_packing_that_nobody_reads_is_refused_before_anything_is_kept(gateway: Any, site: Site) -> None:
    answer = gateway.post(PUSH, content=b"x", headers={"Content-Encoding": "br"})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")
    assert site.journal.last_id() == 0


def test_a_receipt_is_pending_until_its_message_is_settled_and_then_tells_every_reading(gateway: Any, site: Site) -> None:
    receipt = gateway.post(PUSH, content=payload(7, "E-1", "E-99")).json()["receipt"]
    assert gateway.get(f"/api/v1/receipts/{receipt}").json() == {"receipt": receipt, "state": "pending"}
    settle(site)
    told = gateway.get(f"/api/v1/receipts/{receipt}").json()
    assert {name: told[name] for name in ("state", "outcome", "epoch", "seq", "decoded", "stored", "rejected")} == {
        "state": "settled", "outcome": "decoded", "epoch": "e", "seq": 7, "decoded": 2, "stored": 1, "rejected": 1,
    }
    [refused] = told["rejected_readings"]
    assert (refused["index"], refused["meter"], refused["reason"]) == (1, "E-99", "unknown_meter")
    assert set(refused["text"]) == {"zh", "en"}


def test_a_message_that_nobody_can_read_is_taken_and_its_receipt_says_so(gateway: Any, site: Site) -> None:
    receipts = [gateway.post(PUSH, content=body).json()["receipt"] for body in (b"\xff{", b"")]
    settle(site)
    assert [gateway.get(f"/api/v1/receipts/{one}").json()["reason"] for one in receipts] == ["not_json", "empty"]
    assert site.quarantine.get(receipts[0], -1)["raw"] == b"\xff{"  # type: ignore[index]


def test_a_message_sent_again_counts_once(gateway: Any, site: Site) -> None:
    receipts = [gateway.post(PUSH, content=payload(3)).json()["receipt"] for _ in range(2)]
    settle(site)
    told = [gateway.get(f"/api/v1/receipts/{one}").json() for one in receipts]
    assert [(one["stored"], one["duplicate"]) for one in told] == [(1, 0), (0, 1)]
    assert site.readings().span(None, NOW - timedelta(days=1), NOW + timedelta(days=1)).height == 1
    assert site.ledger.sequences()["highest_seq"].to_list() == [3]


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 202), (LIMIT + 1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_read_up_to_the_limit_and_no_further(gateway: Any, site: Site, size: int, status: int, *, chunked: bool) -> None:
    read = 0

    def parts() -> Iterator[bytes]:
        nonlocal read
        for _ in range(size // 1024):
            read += 1
            yield b" " * 1024
        yield b" " * (size % 1024)

    answer = gateway.post(PUSH, content=parts() if chunked else b" " * size)
    assert answer.status_code == status
    assert site.journal.last_id() == (1 if status == 202 else 0)
    if status == 413:
        assert answer.json()["max_bytes"] == LIMIT


def test_a_journal_without_room_answers_try_again_and_keeps_nothing(gateway: Any, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(site.journal, "append", lambda _arrivals: (_ for _ in ()).throw(StoreFullError(Path("journal"), "full")))
        answer = gateway.post(PUSH, content=payload())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert site.journal.last_id() == 0
    assert gateway.post(PUSH, content=payload()).status_code == 202


def test_pushes_that_come_together_share_a_commit_and_each_gets_its_own_id(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    sizes: list[int] = []
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def append(self, arrivals: Any) -> list[int]:
            sizes.append(len(arrivals))
            begun.set()
            assert go.wait(20)
            return journal.append(arrivals)

    intake, ids = SharedCommit(Slow()), {}  # type: ignore[arg-type]

    def send(number: int) -> None:
        ids[number] = intake.append(Arrival("http", f"t{number}", None, None, b"", NOW))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    threads[0].start()
    assert begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    while len(intake._waiting) < 7:
        threading.Event().wait(0.01)
    go.set()
    for thread in threads:
        thread.join(20)
    assert sizes == [1, 7]
    assert {journal.get(message).topic: number for number, message in ids.items()} == {f"t{number}": number for number in range(8)}  # type: ignore[union-attr]
    journal.close()


def test_a_commit_that_fails_fails_for_all_who_wait_and_for_nobody_after_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    intake = SharedCommit(journal)
    arrival = Arrival("http", "t", None, None, b"", NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "append", lambda _arrivals: (_ for _ in ()).throw(StoreFullError(tmp_path, "full")))
        with pytest.raises(StoreFullError):
            intake.append(arrival)
    assert intake.append(arrival) == 1
    journal.close()


# --- who may send ---

def test_another_gateways_address_looks_like_one_that_does_not_exist(gateway: Any, site: Site) -> None:
    answers = [gateway.post(f"/api/v1/gateways/{enterprise}/{name}/readings", content=payload())
               for enterprise, name in ((OTHER, "GW-01"), (MINE, "GW-02"), ("91159901MA0EXAMP9X", "GW-01"))]
    assert {answer.status_code for answer in answers} == {404}
    assert len({json.dumps(answer.json() | {"instance": ""}) for answer in answers}) == 1
    assert site.journal.last_id() == 0


def test_the_receipt_of_another_gateway_looks_like_one_that_does_not_exist(app: FastAPI, gateway: Any, site: Site) -> None:
    stranger = client(app, site.people.add_gateway_token("other", (OTHER, "GW-01"), NOW, None))
    receipt = gateway.post(PUSH, content=payload()).json()["receipt"]
    site.journal.append([Arrival("mqtt", f"tce/v1/159901/{OTHER}/GW-01/readings", None, None, payload(), NOW)])
    answers = [stranger.get(f"/api/v1/receipts/{number}") for number in (receipt, receipt + 1, 999)]
    assert {(answer.status_code, json.dumps(answer.json() | {"instance": ""})) for answer in answers} == {
        (404, json.dumps(answers[0].json() | {"instance": ""})),
    }
    assert gateway.get(f"/api/v1/receipts/{receipt}").status_code == 200


GATEWAYS_OWN = {"/api/v1/gateways/{enterprise}/{gateway}/{kind}", "/api/v1/receipts/{receipt}"}
OPEN = {"/login", "/language/{language}", "/health/live", "/health/ready"}
EXAMPLES = {"enterprise": MINE, "gateway": "GW-01", "kind": "readings", "receipt": "1", "park": "p1", "number": "1", "message": "1", "index": "0"}


def test_of_all_routes_a_gateways_token_opens_its_own_two_and_no_other(app: FastAPI, gateway: Any, site: Site) -> None:
    gateway.post(PUSH, content=payload(1, "E-99"))
    settle(site)
    opened, methods = set(), ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    everything = every_route(app)
    assert len(everything) > 40
    for route in everything:
        path = route.path.format(**{name: EXAMPLES.get(name, "zh") for name in route.param_convertors})
        for method in methods:
            answer = gateway.request(method, path, content=payload() if method == "POST" else None)
            if answer.status_code < 300 and route.path not in OPEN:
                opened.add(route.path)
            elif route.path.startswith("/api/v1") and route.path not in GATEWAYS_OWN and method in route.methods:
                assert answer.status_code == 401, (method, route.path)
    assert opened == GATEWAYS_OWN


def test_no_reader_sends(app: FastAPI, site: Site) -> None:
    reader = client(app, site.people.add_token("reader", ["read"], None, NOW, None))
    for one in (reader, TestClient(app)):
        assert one.post(PUSH, content=payload()).status_code == 401
        assert one.get("/api/v1/receipts/1").status_code == 401
    assert site.journal.last_id() == 0


def test_a_token_that_was_revoked_or_whose_gateway_is_gone_sends_nothing(gateway: Any, site: Site) -> None:
    tables = register_tables()
    gone = {"gateway": tables["gateway"].head(1).with_columns(withdrawn=True), "meter": tables["meter"].head(3).with_columns(gateway=None)}
    site.register.apply(gone, by="tests", known_from=NOW)
    assert gateway.post(PUSH, content=payload()).status_code == 404
    site.people.revoke_token("gw", NOW)
    assert gateway.post(PUSH, content=payload()).status_code == 401
    assert site.journal.last_id() == 0


def test_a_token_is_made_for_a_registered_gateway_only(site: Site) -> None:
    with pytest.raises(BadInputError, match="not registered"):
        site.people.add_gateway_token("gw", (MINE, "GW-09"), NOW, None)
    site.people.add_gateway_token("gw", (MINE, "GW-01"), NOW, None, by="me")
    assert site.people.tokens().select("scopes", "parks", "enterprise", "gateway").rows() == [([], [], MINE, "GW-01")]
