"""A small site in a temporary folder: one enterprise, one gateway, an electricity and a coal register."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from config import settings as site_settings
from pipeline.site import Site
from store.journal import LIVE, Arrival

ENTERPRISE, GATEWAY = "91159901MA0EXAMP4N", "GW-01"
TOPIC = f"tce/v1/159901/{ENTERPRISE}/{GATEWAY}/readings"
KNOWN_FROM = datetime(2024, 12, 1, tzinfo=UTC)


def register_tables() -> dict[str, pl.DataFrame]:
    meter = {"enterprise": ENTERPRISE, "gateway": GATEWAY}
    return {
        "region": pl.DataFrame({"region": ["159901"], "name_zh": ["示例区"], "name_en": ["Example"]}),
        "park": pl.DataFrame({"park": ["p1"], "region": ["159901"], "name_zh": ["示例园"], "name_en": ["Example park"]}),
        "enterprise": pl.DataFrame({"enterprise": [ENTERPRISE], "name_zh": ["示例电石"], "name_en": ["Example carbide"], "park": ["p1"]}),
        "gateway": pl.DataFrame({"enterprise": [ENTERPRISE], "gateway": [GATEWAY], "region": ["159901"]}),
        "meter": pl.DataFrame([{**meter, "meter": "E-1", "medium": "electricity"}, {**meter, "meter": "C-1", "medium": "coal"}]),
        "register": pl.DataFrame([
            {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "unit": "kWh", "kind": "cumulative"},
            {"enterprise": ENTERPRISE, "meter": "C-1", "register": "feed", "unit": "t", "kind": "cumulative"},
        ]),
        "assignment": pl.DataFrame([
            {"enterprise": ENTERPRISE, "meter": "E-1", "register": "active_import", "carrier": "electricity", "product": "calcium_carbide"},
            {"enterprise": ENTERPRISE, "meter": "C-1", "register": "feed", "carrier": "raw_coal", "product": "calcium_carbide"},
        ]),
    }


Reading = tuple[str, str, datetime, float]


@pytest.fixture
def new_site(migrated: Path) -> Iterator[Callable[[Path], Site]]:
    """`new_site(folder)`: a site with the small park registered."""
    sites: list[Site] = []

    def make(folder: Path) -> Site:
        (folder / "data").mkdir(parents=True)
        shutil.copy(migrated, folder / "data" / "tcewatch.db")
        one = Site(site_settings.build({"site": {"data_dir": folder / "data"}}))
        one.register.apply(register_tables(), by="test", known_from=KNOWN_FROM)
        sites.append(one)
        return one

    yield make
    for one in sites:
        one.close()


@pytest.fixture
def site(new_site: Callable[[Path], Site], tmp_path: Path) -> Site:
    return new_site(tmp_path)


@pytest.fixture
def arrive() -> Callable[..., int]:
    """`arrive(site, seq, [(meter, register, instant, value), ...])`: one message at the door; its journal id."""

    def at_the_door(
        site: Site, seq: int, readings: list[Reading], *, payload: bytes | None = None, received_at: datetime | None = None, lane: int = LIVE
    ) -> int:
        rows = [{"meter": meter, "register": register, "ts": at.isoformat(), "value": value} for meter, register, at, value in readings]
        body = json.dumps({"v": 1, "epoch": "2025-01-01T00:00:00+08:00", "seq": seq, "readings": rows}).encode() if payload is None else payload
        when = received_at or max((reading[2] for reading in readings), default=datetime(2025, 6, 1, tzinfo=UTC))
        return site.journal.append([Arrival("mqtt", TOPIC, None, None, body, when, lane=lane)])[0]

    return at_the_door


@pytest.fixture
def deliver(site: Site, arrive: Callable[..., int]) -> Callable[..., int]:
    """`arrive` at the one site of a test."""
    return partial(arrive, site)
