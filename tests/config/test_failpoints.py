"""Fail-points: nothing unless armed, the named visit of the named place where armed, a wrong name told at once."""

import os
import signal
import subprocess
import sys

import pytest

from config import failpoints

THREE_VISITS = """
from config import failpoints
for visit in (1, 2, 3):
    print(visit, flush=True)
    failpoints.reach("after_commit")
    failpoints.reach("mid_batch")
print("end")
"""


def visited(armed: str | None) -> tuple[int, list[str], str]:
    environment = {name: value for name, value in os.environ.items() if name != "TCEWATCH_FAIL_POINT"}
    done = subprocess.run(
        [sys.executable, "-c", THREE_VISITS], env=environment | ({"TCEWATCH_FAIL_POINT": armed} if armed else {}), capture_output=True, check=False,
    )
    return done.returncode, done.stdout.decode().split(), done.stderr.decode()


def test_nothing_happens_unless_the_environment_arms_a_place() -> None:
    assert visited(None) == (0, ["1", "2", "3", "end"], "")


@pytest.mark.parametrize(("armed", "seen"), [("after_commit", ["1"]), ("after_commit:2", ["1", "2"]), ("mid_batch:3", ["1", "2", "3"])])
def test_the_process_is_killed_at_the_visit_that_is_armed(armed, seen) -> None:
    assert visited(armed) == (-signal.SIGKILL, seen, "")


def test_a_place_that_is_visited_less_often_than_armed_kills_nothing() -> None:
    assert visited("after_commit:4") == (0, ["1", "2", "3", "end"], "")


def test_a_place_can_raise_instead() -> None:
    code, seen, said = visited("after_commit:2=raise")
    assert (code, seen) == (1, ["1", "2"])
    assert "fail-point after_commit" in said


@pytest.mark.parametrize("armed", ["nowhere", "after_commit:x", "after_commit:1=sleep"])
def test_a_place_that_does_not_exist_is_told_at_the_start(armed) -> None:
    code, seen, said = visited(armed)
    assert (code, seen) == (1, [])
    assert "one of after_commit" in said


def test_each_place_is_visited_in_the_code(pytestconfig) -> None:
    code = "".join(path.read_text() for folder in ("ingest", "pipeline", "store") for path in (pytestconfig.rootpath / folder).glob("*.py"))
    assert {name: code.count(f'failpoints.reach("{name}")') for name in failpoints.NAMES} == dict.fromkeys(failpoints.NAMES, 1)
