"""A fresh SQLite database, and a small register to fill it with."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from store.database import Database, opened
from store.register import RegisterStore

STEEL, COKE = "91150400MA0EXAMP0J", "91150400MA0EXAMP1M"
KNOWN = datetime(2025, 1, 1, tzinfo=UTC)
Tables = dict[str, pl.DataFrame]


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Iterator[Database]:
    with opened(f"sqlite:///{shutil.copy(migrated, tmp_path / 'tcewatch.db')}") as one:
        yield one


@pytest.fixture
def tables() -> Callable[[], Tables]:
    """`tables()`: two enterprises in one park, two meters, each with one register that is assigned to a carrier."""

    def build() -> Tables:
        meters = {"enterprise": [STEEL, STEEL], "meter": ["E-1", "W-1"]}
        return {
            "region": pl.DataFrame({"region": ["150400"], "name_zh": ["赤峰市"], "name_en": ["Chifeng"]}),
            "park": pl.DataFrame({"park": ["north"], "region": ["150400"], "name_zh": ["北园"]}),
            "enterprise": pl.DataFrame({
                "enterprise": [STEEL, COKE], "name_zh": ["示例钢铁", "示例焦化"], "park": ["north", "north"], "plant_status": ["existing", "new"],
            }),
            "gateway": pl.DataFrame({"enterprise": [STEEL], "gateway": ["gw-1"], "region": ["150400"]}),
            "meter": pl.DataFrame({**meters, "gateway": ["gw-1", None], "medium": ["electricity", "water"]}),
            "register": pl.DataFrame({
                **meters, "register": ["import", "main"], "unit": ["kWh", "m3"], "kind": ["cumulative", "cumulative"],
                "modulus": [1e6, None], "multiplier": [40.0, 1.0],
            }),
            "assignment": pl.DataFrame({**meters, "register": ["import", "main"], "carrier": ["electricity", "water_tap"]}),
        }

    return build


@pytest.fixture
def register(database: Database, tables: Callable[[], Tables]) -> RegisterStore:
    """A register store that holds `tables()`, known since 2025."""
    store = RegisterStore(database)
    store.apply(tables(), by="registrar", known_from=KNOWN)
    return store
