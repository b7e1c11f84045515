import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
import urllib3

from config.errors import StoreUnavailableError, UnknownCodeError
from config.settings import InfluxSettings
from store.influxdb import InfluxReadingStore
from store.readings import ReadingStore
from tests.contracts.influxd_server import InfluxServer
from tests.contracts.reading_store import ReadingStoreContract, at, counts, kept, names, readings

pytestmark = pytest.mark.needs("influxd")
_number = itertools.count()


@pytest.fixture(scope="module")
def server(program: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    server = InfluxServer(program("influxd"), tmp_path_factory.mktemp("influxd"))
    yield server
    server.stop()


@pytest.fixture
def bucket(server: InfluxServer) -> str:
    return server.new_bucket(f"bucket-{next(_number)}")


@pytest.fixture
def store(server: InfluxServer, bucket: str) -> Iterator[ReadingStore]:
    store = InfluxReadingStore(_settings(server, bucket), names)
    yield store
    store.close()


def _settings(server: InfluxServer, bucket: str, **others: object) -> InfluxSettings:
    usual = {"url": server.url, "org": server.org, "bucket": bucket, "token": server.token}
    return InfluxSettings.model_validate(usual | others)


class TestInfluxReadingStore(ReadingStoreContract):
    @pytest.fixture
    def open_store(self, server: InfluxServer, bucket: str) -> Callable[[], ReadingStore]:
        return lambda: InfluxReadingStore(_settings(server, bucket), names)

    def check_seen(self, frame: pl.DataFrame) -> None:
        """A server gives no snapshot of a write that is under way, but never half a reading."""
        assert frame.null_count().sum_horizontal().item() == 0


def test_several_stores_see_what_one_of_them_appends(server: InfluxServer, bucket: str, store: ReadingStore) -> None:
    other = InfluxReadingStore(_settings(server, bucket), names)
    assert other.latest().is_empty()
    store.append(readings((1, 1, 0, 10.0), (1, 2, 3, 20.0)))
    assert kept(other) == kept(store) == [(1, 0, 0, 10.0, 1), (2, 3, 0, 20.0, 1)]
    assert other.span([1], at(1), at(2), pad=1)["value"].to_list() == [10.0]
    other.close()


def test_a_restart_of_the_server_loses_nothing_and_is_waited_out(server: InfluxServer, store: ReadingStore) -> None:
    store.append(readings((1, 1, 0, 10.0)))
    server.kill()
    with pytest.raises(StoreUnavailableError, match=r"InfluxDB at http.* cannot be used now"):
        store.append(readings((2, 1, 0, 11.0)))
    with pytest.raises(StoreUnavailableError):
        store.ready()
    server.start()
    store.ready()
    assert counts(store.append(readings((2, 1, 0, 11.0)))) == {2: (0, 0, 1)}
    assert kept(store) == [(1, 0, 0, 10.0, 1), (1, 0, 1, 11.0, 2)]


def test_each_start_of_the_server_is_an_incarnation(server: InfluxServer, store: ReadingStore) -> None:
    before = store.incarnation()
    assert before
    server.kill()
    with pytest.raises(StoreUnavailableError, match="cannot be used now"):
        store.incarnation()
    server.start()
    assert store.incarnation() not in ("", before)


def test_a_wrong_token_and_a_missing_bucket_say_what_to_set(server: InfluxServer, bucket: str) -> None:
    for changed, hint in (({"token": "wrong"}, "token"), ({"bucket": "elsewhere"}, "Create the bucket")):
        store = InfluxReadingStore(_settings(server, **{"bucket": bucket, **changed}), names)
        for use in (store.ready, store.count, lambda store=store: store.append(readings((1, 1, 0, 1.0)))):
            with pytest.raises(StoreUnavailableError, match=hint):
                use()
        store.close()


def test_how_long_the_bucket_keeps_its_readings_is_known(server: InfluxServer, bucket: str, store: ReadingStore) -> None:
    assert store.keeps_for() is None
    short = InfluxReadingStore(_settings(server, server.new_bucket("a-week", retention_s=7 * 86_400)), names)
    assert short.keeps_for() == timedelta(days=7)
    short.close()
    missing = InfluxReadingStore(_settings(server, "elsewhere"), names)
    with pytest.raises(StoreUnavailableError, match="Create the bucket"):
        missing.keeps_for()
    missing.close()


def test_readings_beyond_the_retention_are_refused_and_the_rest_is_stored(server: InfluxServer) -> None:
    store = InfluxReadingStore(_settings(server, server.new_bucket("short", retention_s=7 * 86_400)), names)
    now = datetime.now(UTC)
    old, new = now - timedelta(days=30), now - timedelta(hours=1)
    rows = readings((1, 1, 0, 1.0), (1, 2, 0, 2.0), (2, 1, 0, 1.0), (3, 1, 0, 1.0))
    rows = rows.with_columns(read_at=pl.Series([old, new, old, new]).dt.cast_time_unit("us"))
    appended = store.append(rows)
    assert counts(appended) == {1: (1, 0, 0), 3: (1, 0, 0)}
    assert appended.refused.select("message", "register_key").rows() == [(1, 1), (2, 1)]
    assert "retention" in appended.refused["reason"][0]
    assert counts(store.append(rows)) == {1: (1, 0, 0), 3: (1, 0, 0)}
    store.close()


def test_readings_whose_field_has_another_type_in_the_bucket_are_refused(server: InfluxServer, bucket: str, store: InfluxReadingStore) -> None:
    foreign = f"reading,enterprise=x,meter=y,register=z value=1i {at(0).timestamp() * 1e6:.0f}"
    store._send(foreign.encode())
    appended = store.append(readings((1, 1, 0, 1.0), (2, 1, 0, 1.0)))
    assert counts(appended) == {}
    assert appended.refused.select("message", "value").rows() == [(1, 1.0), (2, 1.0)]
    assert "field type conflict" in appended.refused["reason"][0]


def test_values_and_instants_that_the_server_cannot_hold_are_refused_before_they_are_sent(store: ReadingStore) -> None:
    rows = readings((1, 1, 0, float("nan")), (1, 1, 1, float("inf")), (1, 1, 2, 3.0), (1, 1, 3, 4.0))
    rows = rows.with_columns(read_at=pl.when(pl.col("value") == 4.0).then(datetime(2300, 1, 1, tzinfo=UTC)).otherwise("read_at"))
    appended = store.append(rows)
    assert (appended.stored, appended.refused.height) == (1, 3)
    assert [row[3] for row in kept(store)] == [3.0]


def test_a_key_without_a_name_never_reaches_the_server(server: InfluxServer, bucket: str) -> None:
    store = InfluxReadingStore(_settings(server, bucket), lambda: names().head(3))
    with pytest.raises(UnknownCodeError, match="register_key '7'"):
        store.append(readings((1, 7, 0, 1.0)))
    store.close()


@pytest.mark.parametrize("text", [
    'M") |> drop()', 'M" or true or r.meter == "', "M\nreading,meter=X value=1 1", "M\r\n", "M,enterprise=other", "M=1", "M value=9",
    "M\\", '"', "${x}",
    "M\x00", "", " ", "M 1", "\u200bM", "\uff2d", "M" * 65, "'; DROP TABLE reading; --", "../M", "M|", "#", "M\t", "\u2028",
])
@pytest.mark.parametrize("tag", ["enterprise", "meter", "register"])
def test_a_name_that_is_no_id_never_reaches_a_line_or_a_query(server: InfluxServer, bucket: str, tag: str, text: str) -> None:
    table = names().with_columns(pl.when(pl.col("register_key") == 1).then(pl.lit(text)).otherwise(pl.col(tag)).alias(tag))
    store = InfluxReadingStore(_settings(server, bucket), lambda: table)
    sent: list[object] = []
    store._call = store._ask = lambda *what: sent.append(what)  # type: ignore[method-assign, assignment, func-returns-value]
    for use in (lambda: store._lines(readings((1, 1, 0, 1.0))), lambda: store.span([1], at(0), at(1)), lambda: store.latest([1, 2])):
        with pytest.raises(UnknownCodeError, match=tag):
            use()
    assert sent == []
    store.close()


def test_a_bucket_s_name_is_a_text_in_a_query(server: InfluxServer) -> None:
    for name in ("b) |> drop()", "b\\", "b${1}"):
        store = InfluxReadingStore(_settings(server, server.new_bucket(name)), names)
        store.append(readings((1, 1, 0, 10.0)))
        assert kept(store) == [(1, 0, 0, 10.0, 1)]
        store.close()


def test_series_of_others_in_the_bucket_are_left_alone(bucket: str, store: InfluxReadingStore) -> None:
    store._send(b"reading,enterprise=x,meter=y,register=z value=1,quality=0i,received_at=1i,message=1i 1")
    store.append(readings((1, 1, 0, 10.0)))
    assert kept(store) == [(1, 0, 0, 10.0, 1)]


def test_a_register_that_gets_its_name_later_is_found(server: InfluxServer, bucket: str) -> None:
    known = [names().head(2)]
    store = InfluxReadingStore(_settings(server, bucket), lambda: known[0])
    store.append(readings((1, 1, 0, 10.0)))
    known[0] = names()
    assert counts(store.append(readings((2, 9, 0, 10.0)))) == {2: (1, 0, 0)}
    assert store.latest()["register_key"].to_list() == [1, 9]
    store.close()


# --- answers that a real server gives seldom ----------------------------------------------------------------------------

class _Gate(ThreadingHTTPServer):
    """Stands before the real server; `answers` are given to writes in its place, one each, `(status, body, passed_on)`."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.answers, self.writes = behind, list[tuple[int, str, bool]](), 0


class _Handler(BaseHTTPRequestHandler):
    server: _Gate
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        writes = self.path.startswith("/api/v2/write")
        self.server.writes += writes
        status, text, passed_on = self.server.answers.pop(0) if writes and self.server.answers else (0, "", True)
        if passed_on:
            headers = {name: value for name, value in self.headers.items() if name.lower() in ("authorization", "content-type", "accept")}
            with urllib3.PoolManager() as pool:
                real = pool.request("POST", self.server.behind + self.path, body=body, headers=headers)
            if not status:
                status, text = real.status, real.data.decode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def gate(server: InfluxServer) -> Iterator[_Gate]:
    with _Gate(server.url) as gate:
        thread = threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield gate
        gate.shutdown()
        thread.join()


@pytest.fixture
def gated(server: InfluxServer, bucket: str, gate: _Gate) -> Iterator[ReadingStore]:
    store = InfluxReadingStore(_settings(server, bucket, url=f"http://127.0.0.1:{gate.server_port}", timeout_s=5), names)
    yield store
    store.close()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(gate: _Gate, gated: ReadingStore, status: int) -> None:
    gate.answers = [(status, '{"code": "unavailable", "message": "busy"}', False)] * 2
    assert counts(gated.append(readings((1, 1, 0, 1.0)))) == {1: (1, 0, 0)}
    assert gate.writes == 3


def test_a_server_that_stays_busy_is_given_up_for_now_and_nothing_is_lost(gate: _Gate, gated: ReadingStore) -> None:
    gate.answers = [(429, '{"code": "unavailable", "message": "busy"}', False)] * 4
    with pytest.raises(StoreUnavailableError, match="busy"):
        gated.append(readings((1, 1, 0, 1.0)))
    assert counts(gated.append(readings((1, 1, 0, 1.0)))) == {1: (1, 0, 0)}


def test_a_write_that_went_in_without_an_answer_counts_once(gate: _Gate, gated: ReadingStore) -> None:
    batch = readings((1, 1, 0, 1.0), (2, 1, 0, 2.0), (2, 1, 1, 5.0), (3, 1, 0, 1.0))
    gate.answers = [(503, "", True)] * 4  # each is stored, none is acknowledged
    with pytest.raises(StoreUnavailableError):
        gated.append(batch)
    assert gated.count() == 2  # the first copies; the second copy waits for their answer
    assert counts(gated.append(batch)) == {1: (1, 0, 0), 2: (1, 0, 1), 3: (0, 1, 0)}
    assert kept(gated) == [(1, 0, 0, 1.0, 1), (1, 0, 1, 2.0, 2), (1, 1, 0, 5.0, 2)]


def test_a_line_that_the_server_cannot_read_is_refused_and_the_rest_is_sent_again(gate: _Gate, gated: InfluxReadingStore) -> None:
    batch = readings((1, 1, 0, 1.0), (2, 1, 1, 2.0), (3, 1, 2, 3.0), (4, 1, 1, 2.0))
    line = gated._body(batch).decode().splitlines()[1]
    gate.answers = [(400, f'{{"code": "invalid", "message": "unable to parse \'{line}\': not to my taste"}}', False)]
    appended = gated.append(batch)
    assert counts(appended) == {1: (1, 0, 0), 3: (1, 0, 0)}
    assert appended.refused.select("message", "reason").rows() == [(2, "not to my taste"), (4, "not to my taste")]


def test_a_body_that_is_too_large_is_cut_in_two(gate: _Gate, gated: ReadingStore) -> None:
    gate.answers = [(413, '{"code": "request too large", "message": "too large"}', False)]
    assert gated.append(readings(*[(1, 1, n, float(n)) for n in range(5)])).stored == 5
    assert (gate.writes, gated.count()) == (3, 5)


def test_a_single_line_that_is_never_taken_is_refused(gate: _Gate, gated: ReadingStore) -> None:
    gate.answers = [(413, '{"code": "request too large", "message": "too large"}', False)] * 3
    appended = gated.append(readings((1, 1, 0, 1.0), (2, 1, 1, 2.0)))
    assert (counts(appended), appended.refused["message"].to_list()) == ({}, [1, 2])
