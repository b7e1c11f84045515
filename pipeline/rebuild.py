"""Derive everything again from the journal and the register's history, beside the live tables."""

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

import polars as pl

from pipeline.evaluate import EVALUATED_ON, evaluated
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site


class _Apart:
    """Takes the place of the quarantine: what was set aside when it came is not set aside again."""

    def add(self, rows: pl.DataFrame) -> None:
        del rows


def rebuilt(site: Site, folder: Path, *, upto: Mapping[int, int], progress: Callable[[int], None] = lambda _done: None) -> Site:
    """A site in `folder` whose readings and derived tables come from the journal's messages alone.

    It shares the database (register, figures, confirmations) and the journal, and changes neither.

    Args:
        site: where the live tables are.
        folder: an empty folder.
        upto: the last message of each lane (`Ledger.cursors`). They are settled in the order of the live ledger, as far as it knows.
        progress: told how many messages are settled.
    """
    shadow = site.beside(folder)
    shadow.__dict__["quarantine"] = _Apart()
    settler, roller = Settler(shadow), Roller(shadow)
    done, reached = 0, dict.fromkeys(upto, 0)
    for lane, last in [*site.ledger.runs(), *upto.items()]:
        reached[lane] = max(reached[lane], min(last, upto[lane]))
        while settled := settler.once(upto=reached):
            done += settled
            progress(done)
    while roller.once():
        pass
    day = site.ledger.get_state(EVALUATED_ON)
    if day is not None:
        for name, frame in evaluated(shadow, date.fromisoformat(day)).items():
            shadow.derived.write_result(name, frame)
    return shadow
