"""Places where a test may break the program: nothing happens unless the environment arms one before the start.

`TCEWATCH_FAIL_POINT=after_commit:3` kills the process, as a power cut would, at the third visit of `after_commit`;
`after_commit:3=raise` raises there instead, once.
"""

import os
import signal
from typing import Final

NAMES: Final = (
    "after_commit",  # the journal has the messages, the collector does not know it yet
    "before_ack",  # earlier commits are acknowledged, this one is not
    "mid_batch",  # bad rows are in quarantine, no reading of the batch is appended
    "mid_settle",  # readings are appended, neither counted nor is the cursor moved
    "after_receipt",  # the broker has the receipts, their cursor is not moved
)


class FailPointError(RuntimeError):
    """What an armed fail-point raises."""


def _armed(text: str) -> tuple[str, int, bool]:
    if not text:
        return "", 0, False
    place, _, action = text.partition("=")
    name, _, visit = place.partition(":")
    if name not in NAMES or not (visit or "1").isdigit() or action not in {"", "raise"}:
        raise ValueError(f"TCEWATCH_FAIL_POINT={text}: write NAME:VISIT or NAME:VISIT=raise, NAME one of {', '.join(NAMES)}")
    return name, int(visit or "1"), action == "raise"


def _reach_armed(name: str) -> None:
    global _left  # noqa: PLW0603 - visits are counted for the whole process
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        if _raises:
            raise FailPointError(f"fail-point {name}")
        os.kill(os.getpid(), signal.SIGKILL)


def _pass(_name: str) -> None:
    return


_name, _left, _raises = _armed(os.environ.get("TCEWATCH_FAIL_POINT", ""))
reach = _reach_armed if _name else _pass
