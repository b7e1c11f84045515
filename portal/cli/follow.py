"""Waiting until messages of a command are settled: by the running service, or here where none runs."""

import sys
import time
from collections.abc import Sequence
from typing import Final

import polars as pl

from config.errors import StoreUnavailableError
from pipeline.settle import Settler
from pipeline.site import Site
from portal.cli.run import hold, is_held
from store.journal import HISTORY

FOLLOW_S: Final = 60.0  # without progress


def settled(site: Site, messages: Sequence[int]) -> pl.DataFrame:
    """SETTLEMENT of those of the messages (of the lane of history, rising) that are settled in the end."""
    if messages:
        _follow(site, messages[-1])
    parts = [
        site.ledger.settlements(first - 1, last - first + 1).filter(pl.col("message").is_in(messages))
        for first, last in _spans(messages)
    ]
    return pl.concat([site.ledger.settlements(0, 0), *parts])


def _spans(messages: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of ids without a hole."""
    spans: list[tuple[int, int]] = []
    for message in messages:
        if spans and spans[-1][1] + 1 == message:
            spans[-1] = (spans[-1][0], message)
        else:
            spans.append((message, message))
    return spans


def _follow(site: Site, last: int) -> None:
    if is_held(site.data_dir, "settle"):
        at = site.ledger.cursor(HISTORY)
        deadline = time.monotonic() + FOLLOW_S
        while at < last and time.monotonic() < deadline:
            time.sleep(0.1)
            if (now := site.ledger.cursor(HISTORY)) > at:
                at, deadline = now, time.monotonic() + FOLLOW_S
        return
    lock = hold(site.data_dir, "settle")
    settler = Settler(site)
    try:
        while settler.once():
            if sys.stderr.isatty():
                print(f"\r{site.ledger.cursor(HISTORY)} of {last} messages", end="", file=sys.stderr)
    except StoreUnavailableError as error:
        print(f"tcewatch: {error}", file=sys.stderr)  # what is in the journal is settled when the store is there
    finally:
        lock.close()
