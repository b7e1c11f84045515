"""A journal on a disk that lies or breaks: nothing is acknowledged that is not on the disk, and what is lost is known exactly."""

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness import Fleet, Plant, check, stored_rows, wait_for
from tests.faults.test_outages import missing, received, sent

pytestmark = pytest.mark.needs("mosquitto")
_CALL = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?:\(\d+<(?P<file>[^>]*)>,? ?(?P<rest>.*)| resumed>.*)")


def traced_child(process: subprocess.Popen[bytes]) -> int:
    """The process that strace runs."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def acknowledged_before_synced(trace: str) -> tuple[int, int]:
    """Of the acknowledgements that left, how many, and how many of them while the journal had bytes that were not synced."""
    dirty, sent_acks, too_early = False, 0, 0
    syncing: set[str] = set()
    for call in filter(None, map(_CALL.match, trace.splitlines())):
        name, file, pid = call["name"], call["file"] or "", call["pid"]
        if re.search(r"\d{4}-\d\d-\d\d\.sqlite-wal$", file):
            if name == "pwrite64":
                dirty = True
            elif "unfinished" in call["rest"]:
                syncing.add(pid)
            else:
                dirty = False
        elif name in {"fdatasync", "fsync"} and not file and pid in syncing:
            syncing.discard(pid)
            dirty = False
        elif name == "sendto" and '"@\\2' in (call["rest"] or ""):  # PUBACK
            sent_acks += 1
            too_early += dirty
    return sent_acks, too_early


@pytest.mark.needs("strace")
@pytest.mark.parametrize("control", ["", "does_not_sync"])
def test_no_acknowledgement_leaves_before_what_it_acknowledges_is_on_the_disk(start_mosquitto, plant, fleet, tmp_path, control, program):
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port)
    trace = tmp_path / "trace"
    command = [str(program("strace")), "-f", "-y", "-qq", "-s", "8", "-o", str(trace), "-e", "trace=pwrite64,fdatasync,fsync,sendto"]
    process = works.connected("collect", before=command, control=control)
    for _ in range(5):
        gateways.say(5)
        wait_for(lambda: works.site.journal.last_id() >= len(gateways.sent), "messages")
    os.kill(traced_child(process), signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    acknowledgements, too_early = acknowledged_before_synced(trace.read_text())
    assert acknowledgements >= 3
    assert bool(too_early) == bool(control), (acknowledgements, too_early)


@pytest.mark.needs("strace")
def test_a_disk_that_does_not_sync_has_nothing_acknowledged_and_loses_nothing(start_mosquitto, plant, fleet, tmp_path, program):
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port)
    process = works.connected("collect")
    gateways.say(5)
    wait_for(lambda: works.site.journal.last_id() == 10, "messages")
    trace = tmp_path / "trace"
    failing = [str(program("strace")), "-f", "-o", str(trace), "-p", str(process.pid), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]
    with subprocess.Popen(failing, stderr=subprocess.PIPE, text=True) as breaker:
        assert "attached" in breaker.stderr.readline()
        gateways.say(20)
        wait_for(lambda: "EIO" in trace.read_text() and ("waiting" in works.log() or process.poll() is not None), "telling it")
        works.end("collect", signal.SIGKILL)
        breaker.wait(timeout=20)
    works.connected("collect", "settle")
    gateways.say(1)
    works.rest(len(gateways.sent))
    works.stop()
    assert check(works, gateways).wrong == ()


def damaged(works: Plant, gateways: Fleet, hurt) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """Some messages settled, some in the journal only; power cut; the last segment hurt. What was there, and what of it was settled."""
    works.connected("collect")
    works.start("settle")
    gateways.say(40)
    works.rest(80)
    works.end("settle", signal.SIGKILL)
    gateways.say(40)
    wait_for(lambda: works.site.journal.last_id() == 160, "messages")
    works.end("collect", signal.SIGKILL)
    data = works.site.data_dir
    kept = shutil.copytree(data, data.with_name("as-the-power-cut-left-it"))
    works.site.close()
    works._site = None
    shutil.rmtree(data)
    kept.rename(data)
    hurt(next(iter((data / "journal").glob("????-??-??.sqlite-wal"))))
    everything = sent(gateways)
    return everything, {(code, seq) for code, seq in everything if seq <= 40}


def tail_torn(wal: Path) -> None:
    wal.write_bytes(wal.read_bytes()[: round(wal.stat().st_size * 0.9)])


def bit_flipped(wal: Path) -> None:
    content = bytearray(wal.read_bytes())
    content[round(len(content) * 0.8)] ^= 1
    wal.write_bytes(content)


def half_gone(wal: Path) -> None:
    wal.write_bytes(wal.read_bytes()[: round(wal.stat().st_size * 0.6)])


@pytest.mark.parametrize("hurt", [tail_torn, bit_flipped, half_gone])
def test_what_a_damaged_journal_lost_is_told_and_fetched_again(start_mosquitto, plant, fleet, hurt):
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port, answers=False)
    everything, settled = damaged(works, gateways, hurt)
    left = received(works, gateways)
    assert left < everything
    assert "the tail is gone" in works.site.journal.verify(settled=works.site.ledger.cursor()).broken[0].what
    works.connected("collect", "settle")
    gateways.say(1)
    wait_for(lambda: missing(works) == everything - left - settled, "what was settled is in the store, the rest is missing")
    assert "are gone" in works.site.journal.verify(settled=works.site.ledger.cursor()).broken[0].what
    gateways.fill(works.site.ledger.gaps())
    wait_for(lambda: missing(works) == set(), "what was missing is filled in")
    works.stop()
    assert stored_rows(works) == Counter({reading: 1 for one in gateways.history.values() for reading in one.good})


def spoilt(wal: Path) -> None:
    wal.unlink()
    wal.with_name(wal.name.removesuffix("-wal")).write_bytes(b"no database any more" * 5000)


def test_a_segment_that_cannot_be_read_is_set_aside_and_what_was_not_settled_of_it_is_fetched_again(start_mosquitto, plant, fleet):
    broker = start_mosquitto()
    works, gateways = plant(broker.port), fleet(broker.port, answers=False)
    everything, settled = damaged(works, gateways, spoilt)
    works.connected("collect", "settle")
    gateways.say(1)
    wait_for(lambda: missing(works) == everything - settled, "what was not settled is missing")
    (name,) = works.site.journal.damaged()
    assert name in [one.segment for one in works.site.journal.verify().broken]
    assert "set aside" in works.log()
    gateways.fill(works.site.ledger.gaps())
    wait_for(lambda: missing(works) == set(), "what was missing is filled in")
    works.stop()
    assert stored_rows(works) == Counter({reading: 1 for one in gateways.history.values() for reading in one.good})
