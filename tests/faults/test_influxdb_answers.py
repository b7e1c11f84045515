"""Answers to a write that the real InfluxDB cannot be made to give when a test wants them."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

import store.influxdb
from config.errors import StoreUnavailableError
from config.settings import InfluxSettings
from store.influxdb import InfluxReadingStore
from tests.contracts.reading_store import counts, names, readings

HTML = b"<html><body><h1>Bad Gateway \xe9</h1></body></html>"
BUSY = b'{"code": "unavailable", "message": "busy"}'
Answer = tuple[int, bytes, dict[str, str]]
HANGS, DROPS = (-1, b"", {}), (-2, b"", {})  # no answer: until the client gives up; the connection closed
BATCH = readings((1, 1, 0, 1.0), (2, 2, 0, 2.0))
OTHER = readings((3, 3, 0, 3.0))


class Scripted(ThreadingHTTPServer):
    """Gives `answers` in turn, then 204 to each write; knows of nothing that was written. `bodies` are all writes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.to_queries, self.bodies = list[Answer](), list[Answer](), list[bytes]()


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/api/v2/write"):
            self.server.bodies.append(body)
            status, text, headers = self.server.answers.pop(0) if self.server.answers else (204, b"", {})
        else:
            status, text, headers = self.server.to_queries.pop(0) if self.server.to_queries else (200, b"\r\n", {})
        if (status, text, headers) == HANGS:
            time.sleep(0.4)
        if status < 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def store_(server: Scripted, request: pytest.FixtureRequest) -> Iterator[InfluxReadingStore]:
    case = getattr(request.node, "callspec", None)
    hangs = case is not None and case.params.get("answer") == HANGS
    timeout_s = 0.2 if hangs else 20.0  # elsewhere no busy machine may look like a server that hangs
    settings = InfluxSettings.model_validate({"url": f"http://127.0.0.1:{server.server_port}", "token": "t", "timeout_s": timeout_s})
    store = InfluxReadingStore(settings, names)
    yield store
    store.close()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited between attempts; nobody waits them."""
    waited: list[float] = []
    monkeypatch.setattr(store.influxdb._retrying, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("answer", [
    (429, BUSY, {}), (500, BUSY, {}), (503, BUSY, {}), (502, HTML, {}), (504, b"", {}), HANGS, DROPS,
    (200, HTML, {}), (400, HTML, {}), (404, HTML, {}), (413, HTML, {}), (422, HTML, {}), (302, HTML, {"Location": "/login"}),
    (401, b'{"code": "unauthorized", "message": "unauthorized access"}', {}), (404, b'{"code": "not found", "message": "bucket not found"}', {}),
], ids=str)
def test_a_write_without_influxdb_s_word_refuses_nothing_counts_nothing_and_goes_on_once_it_is_mended(
    server: Scripted, store_: InfluxReadingStore, answer: Answer
) -> None:
    for _ in range(3):  # as often as the caller likes
        server.answers = [answer] * 8
        with pytest.raises(StoreUnavailableError):
            store_.append(BATCH)
        assert store_._unanswered.height == BATCH.height  # what is remembered does not grow
    server.answers = []
    server.bodies.clear()
    appended = store_.append(BATCH)
    assert (counts(appended), appended.refused.height) == ({1: (1, 0, 0), 2: (1, 0, 0)}, 0)
    assert {line for body in server.bodies for line in body.splitlines()} == set(store_._body(BATCH.with_columns(copy=0)).splitlines())
    assert store_._unanswered.is_empty()


def test_rows_that_may_be_in_are_written_again_before_any_others(server: Scripted, store_: InfluxReadingStore) -> None:
    server.answers = [DROPS] * 4
    with pytest.raises(StoreUnavailableError):
        store_.append(BATCH)
    unanswered = server.bodies[-1]
    server.bodies.clear()
    server.answers = [DROPS] * 4
    with pytest.raises(StoreUnavailableError):
        store_.append(OTHER)
    assert set(server.bodies) == {unanswered}
    server.bodies.clear()
    assert counts(store_.append(OTHER)) == {3: (1, 0, 0)}
    assert server.bodies[0] == unanswered
    assert b"meter=M-3" in server.bodies[1]


def test_two_requests_of_one_append_are_both_written_again_where_one_failed(server: Scripted, store_: InfluxReadingStore) -> None:
    many = readings(*[(n // 100, n % 2000, n // 2000, float(n)) for n in range(12_000)])
    server.answers = [(204, b"", {}), *[(503, BUSY, {})] * 8]
    with pytest.raises(StoreUnavailableError, match="busy"):
        store_.append(many)
    server.answers = []
    server.bodies.clear()
    assert store_.append(many).stored == 12_000
    assert len({line for body in server.bodies for line in body.splitlines()}) == 12_000


def test_pauses_grow_differ_and_are_as_long_as_the_server_asks(server: Scripted, store_: InfluxReadingStore, pauses: list[float]) -> None:
    for _ in range(5):
        server.answers = [(503, BUSY, {})] * 3
        store_.append(BATCH)
    assert len(pauses) == len(set(pauses)) == 15
    assert all(0 <= pause <= 5 for pause in pauses)
    pauses.clear()
    server.answers = [(429, BUSY, {"Retry-After": "3"})] * 2
    store_.append(BATCH)
    assert len(pauses) == 2
    assert min(pauses) >= 3


def test_a_server_that_asks_for_a_long_rest_has_it(server: Scripted, store_: InfluxReadingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [(503, BUSY, {"Retry-After": "60"})]
    with pytest.raises(StoreUnavailableError, match="busy"):
        store_.append(BATCH)
    now_s = time.monotonic()
    for later_s, writes in ((0.0, 1), (58.0, 1), (61.0, 3)):  # then both what may be in and what is asked for
        monkeypatch.setattr(store.influxdb.time, "monotonic", lambda later_s=later_s: now_s + later_s)
        if later_s < 60:
            with pytest.raises(StoreUnavailableError, match="left alone"):
                store_.append(BATCH)
        else:
            assert store_.append(BATCH).stored == 2
        assert len(server.bodies) == writes


def test_all_lines_that_one_answer_names_are_refused_and_the_rest_is_sent_again(server: Scripted, store_: InfluxReadingStore) -> None:
    batch = readings((1, 1, 0, 1.0), (2, 2, 0, 2.0), (3, 3, 0, 3.0), (4, 4, 0, 4.0)).with_columns(copy=pl.lit(0, pl.UInt8))
    lines = store_._body(batch).decode().splitlines()
    told = f"unable to parse '{lines[1]}': bad number\\nunable to parse '{lines[3]}': bad time"
    server.answers = [(400, f'{{"code": "invalid", "message": "{told}"}}'.encode(), {})]
    appended = store_.append(batch)
    assert counts(appended) == {1: (1, 0, 0), 3: (1, 0, 0)}
    assert appended.refused.select("message", "reason").rows() == [(2, "bad number"), (4, "bad time")]
    assert b"".join(server.bodies[1:]).splitlines() == [lines[0].encode(), lines[2].encode()] * (len(server.bodies) - 1)


def test_what_a_proxy_in_front_of_the_server_can_take_at_once_is_remembered(server: Scripted, store_: InfluxReadingStore) -> None:
    server.answers = [(413, HTML, {})]
    assert store_.append(readings(*[(1, key, 0, 1.0) for key in range(100)])).stored == 100
    server.bodies.clear()
    assert store_.append(readings(*[(2, key, 1, 1.0) for key in range(100)])).stored == 100
    assert [body.count(b"\n") for body in server.bodies] == [50, 50]


@pytest.mark.parametrize("answer", [(200, HTML, {}), (200, b"<html>ok</html>", {}), (500, HTML, {}), (200, b'{"code": "x"}', {}), DROPS], ids=str)
def test_an_answer_to_a_query_that_is_not_influxdb_s_is_never_taken_for_an_empty_store(
    server: Scripted, store_: InfluxReadingStore, answer: Answer
) -> None:
    server.to_queries = [answer] * 4
    with pytest.raises(StoreUnavailableError):
        store_.append(BATCH)
    assert server.bodies == []
    for use in (store_.ready, store_.count, store_.latest, store_.incarnation, store_.keeps_for):
        server.to_queries = [answer] * 32
        with pytest.raises(StoreUnavailableError):
            use()
