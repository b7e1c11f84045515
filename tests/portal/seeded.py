"""A small site for the portal's tests: two parks, three enterprises, a year of data through the real stages, and what went wrong."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from config import settings as site_settings
from pipeline.evaluate import Evaluator
from pipeline.roll import Roller
from pipeline.settle import Settler
from pipeline.site import Site
from pipeline.watch import Watcher
from store.journal import Arrival

NOW = datetime(2026, 3, 10, 4, 30, tzinfo=UTC)  # 12:30 in Shanghai
CARBIDE, FERRO, FOREIGN = "91150900MA0T00011P", "91150900MA0T00021Q", "91150900MA0T00031R"
XSS = "<script>alert(1)</script>电石厂"
FORMULA = '=HYPERLINK("http://example.invalid","click")'
PASSWORD = "correct horse battery"
POISON = b"\xff\xfe<b>not json</b>\x00"
MARKUP = b'{"v":1,"readings":"<img src=x onerror=alert(1)>"}'
PHOTO = b"<script>alert(1)</script>"
EVIDENCE = hashlib.sha256(PHOTO).hexdigest()
METERS = (("E-1", "active_import", "electricity", "kWh", "electricity", 900.0), ("C-1", "mass", "coal", "t", "raw_coal", 0.6),
          ("W-1", "volume", "water", "m3", "water_tap", 4.0), ("G-1", "volume", "gas", "Nm3", "natural_gas_high", 20.0),
          ("O-1", "mass", "oil", "t", "diesel", 0.01))


@dataclass(frozen=True)
class Health:
    """A service that is said to be well."""

    name: str
    alive: bool = True
    ready: bool = True
    detail: str = ""
    since: datetime = NOW
    figures: Mapping[str, int] = field(default_factory=dict)


class Running:
    """Services as the portal sees them."""

    def __init__(self, *services: Health) -> None:
        self.services = services

    def health(self) -> Mapping[str, Health]:
        return {one.name: one for one in self.services}


def opened(folder: Path) -> Site:
    """The site of that folder."""
    return Site(site_settings.build({"site": {"data_dir": folder}, "store": {"database_url": f"sqlite:///{folder}/site.db"}}))


def seeded(folder: Path) -> Site:
    """The site, with everything that happened on it."""
    site = opened(folder)
    long_ago = datetime(2024, 1, 1, tzinfo=UTC)
    site.register.apply(_register(), by="tests", known_from=long_ago)
    people = site.people
    people.add_user("admin", PASSWORD, ["admin"], None, NOW)
    people.add_user("regulator", PASSWORD, ["regulator"], ["P1"], NOW)
    people.add_user("viewer", PASSWORD, ["viewer"], ["P2"], NOW)
    people.add_user("nobody", PASSWORD, ["viewer"], [], NOW)
    site.figures.apply(_figures(), maker="maker", at=NOW)
    site.figures.check_all(checker="checker", at=NOW)
    site.reported.monthly.apply(_monthly(), maker="maker", at=NOW)
    site.reported.monthly.check_all(checker="checker", at=NOW)
    site.reported.budgets.apply(_budgets(), maker="maker", at=NOW)
    site.reported.budgets.check_all(checker="checker", at=NOW)
    site.confirmations.add("calcium_carbide", "comprehensive_energy", "GB 21343-2023", "someone", date(2026, 1, 5), "printed copy")
    for enterprise in (CARBIDE, FERRO, FOREIGN):
        _send(site, enterprise)
    settler = Settler(site)
    while settler.once():
        pass
    _edit(site)
    Roller(site).once()
    _flag(site)
    Evaluator(site, lambda: NOW).once()
    Watcher(site, lambda: NOW).once()
    return site


def _register() -> dict[str, pl.DataFrame]:
    owners = [enterprise for enterprise in (CARBIDE, FERRO, FOREIGN) for _ in METERS]
    meters = pl.DataFrame({
        "enterprise": owners, "meter": [meter[0] for meter in METERS] * 3, "gateway": ["GW-1"] * len(owners),
        "medium": [meter[2] for meter in METERS] * 3,
    })
    due = {"E-1": date(2026, 4, 1), "C-1": date(2026, 1, 31)}  # soon, and past; the others are not entered
    meters = meters.with_columns(calibration_due=pl.col("meter").replace_strict(due, default=None, return_dtype=pl.Date()))
    registers = meters.select("enterprise", "meter").with_columns(
        register=pl.Series([meter[1] for meter in METERS] * 3), unit=pl.Series([meter[3] for meter in METERS] * 3), kind=pl.lit("cumulative"),
    )
    into_carbide = (pl.col("enterprise") == CARBIDE) & pl.col("carrier").is_in(["electricity", "raw_coal"])
    assignments = registers.select("enterprise", "meter", "register").with_columns(
        carrier=pl.Series([meter[4] for meter in METERS] * 3)
    ).with_columns(product=pl.when(into_carbide).then(pl.lit("calcium_carbide")))
    return {
        "region": pl.DataFrame({"region": ["150900", "150400"], "name_zh": ["乌兰察布市", "赤峰市"], "name_en": ["Ulanqab", "Chifeng"]}),
        "park": pl.DataFrame({
            "park": ["P1", "P2"], "region": ["150900", "150400"], "name_zh": ["甲园区", "乙园区"], "name_en": ["Park A", "Park B"],
        }),
        "enterprise": pl.DataFrame({
            "enterprise": [CARBIDE, FERRO, FOREIGN], "name_zh": [XSS, "铁合金厂", FORMULA], "name_en": [XSS, "Ferroalloy works", FORMULA],
            "park": ["P1", "P1", "P2"], "industry": ["电石制造", "铁合金冶炼", "机械加工"], "plant_status": ["existing"] * 3,
        }),
        "gateway": pl.DataFrame({"enterprise": [CARBIDE, FERRO, FOREIGN], "gateway": ["GW-1"] * 3, "region": ["150900", "150900", "150400"]}),
        "meter": meters, "register": registers, "assignment": assignments,
        "project": pl.DataFrame({
            "project": ["N-1", "N-2"], "enterprise": [CARBIDE, FOREIGN], "park": ["P1", "P2"], "name_zh": [XSS, FORMULA],
            "approved_on": [date(2025, 3, 1)] * 2, "approval": [FORMULA, XSS],
        }),
    }


def _edit(site: Site) -> None:
    """One edit that counts (and changes nothing: what it confirms is not suspect) and one that waits, each of another park."""
    assert site.edits.keep_evidence(PHOTO, name="照片 1.jpg", by="maker", at=NOW) == EVIDENCE
    site.minutes.add("N-1", date(2026, 3, 1), XSS, PHOTO, name="照片 1.jpg", by="maker", at=NOW)  # the same file
    row = {"meter": "E-1", "register": "active_import", "kind": "confirm", "reason": XSS, "evidence": EVIDENCE}
    spans = {"start": NOW - timedelta(days=3), "end": NOW - timedelta(days=2)}
    ids = site.edits.propose(pl.DataFrame([{**row, **spans, "enterprise": one} for one in (CARBIDE, FOREIGN)]), maker="maker", at=NOW)
    site.edits.check(ids[:1], checker="checker", at=NOW)


def _flag(site: Site) -> None:
    """Flags as the interval rules would raise them: a reset and a wrap of one register, and a step above the rating of another park's."""
    keys = {(one["enterprise"], one["meter"]): one["register_key"] for one in site.register.registers().to_dicts()}
    rows = [(CARBIDE, "W-1", "reset"), (CARBIDE, "W-1", "wrap"), (FOREIGN, "E-1", "over_rating")]
    start = NOW - timedelta(days=1)
    site.derived.replace("flags", pl.DataFrame([
        {"register_key": keys[enterprise, meter], "start": start, "end": start + timedelta(hours=8), "flag": flag, "before": 512.0, "after": 2.0,
         "quantity": 0.0, "day": start.date()} for enterprise, meter, flag in rows
    ]), pl.DataFrame(schema={"register_key": pl.UInt32(), "day": pl.Date()}))


def _figures() -> pl.DataFrame:
    return pl.DataFrame({
        "enterprise": [CARBIDE, CARBIDE, FERRO, FOREIGN], "period": ["2025"] * 4,
        "figure": ["output", *["value_added_10k_cny"] * 3], "value": [4000.0, 9000.0, 5000.0, 7000.0],
        "unit": ["t", None, None, None], "product": ["calcium_carbide", None, None, None],
        "indicator": ["comprehensive_energy", None, None, None], "feedstock": [None] * 4,
    })


def _monthly() -> pl.DataFrame:
    """Bills of 28 days of which one is far off (604,800 kWh were metered), and an opening stock. None of it changes what counts."""
    month = {"enterprise": CARBIDE, "period": "2026-02", "flow": "consumed"}
    bill = {**month, "carrier": "electricity", "kind": "bill", "unit": "kWh", "quantity": 600_000.0, "document": XSS}
    stock = {"carrier": "raw_coal", "unit": "t", "document": None}
    return pl.DataFrame([
        bill, {**bill, "enterprise": FOREIGN, "quantity": 500_000.0, "document": "B-2"},
        {**bill, **stock, "kind": "stock_taking", "flow": "opening_stock", "period": "2026-02-01", "quantity": 100.0},
        {**bill, **stock, "kind": "receipt", "flow": "purchased", "period": "2026-02-10", "quantity": 300.0},
    ], infer_schema_length=None)


def _send(site: Site, enterprise: str) -> None:
    """A reading every eight hours of the past 14 months; one gap, a repeated message, a conflict, refused readings, a poison."""
    region = "150400" if enterprise == FOREIGN else "150900"
    topic = f"tce/v1/{region}/{enterprise}/GW-1/readings"
    start, epoch = datetime(2024, 12, 31, 16, tzinfo=UTC), "2024-12-31T00:00:00+08:00"
    steps = int((NOW - start) / timedelta(hours=8))
    arrivals, seq = [], 0

    def send(readings: list[dict[str, object]], at: datetime, *, skip: int = 0) -> None:
        nonlocal seq
        seq += 1 + skip
        payload = json.dumps({"v": 1, "epoch": epoch, "seq": seq, "readings": readings}).encode()
        arrivals.append(Arrival("mqtt", topic, None, None, payload, at))

    for month in range(0, steps, 90):
        rows = [
            {"meter": meter, "register": register, "ts": (start + timedelta(hours=8 * step)).isoformat(), "value": round(1000 + rate * 8 * step, 3)}
            for step in range(month, min(month + 90, steps + 1)) for meter, register, _, _, _, rate in METERS
        ]
        send(rows, NOW - timedelta(minutes=30))
    last = {"meter": "E-1", "register": "active_import", "ts": (start + timedelta(hours=8 * (steps - 1))).isoformat()}
    if enterprise == CARBIDE:
        arrivals.append(arrivals[-1]._replace(received_at=NOW - timedelta(minutes=20)))
        send([{**last, "value": 5.0}], NOW - timedelta(minutes=10), skip=2)
        send([{**last, "meter": "E-9", "value": 5.0}, {**last, "value": "many"}], NOW - timedelta(minutes=5))
        arrivals.append(Arrival("mqtt", topic, None, None, POISON, NOW - timedelta(minutes=4)))
        arrivals.append(Arrival("mqtt", topic, None, None, MARKUP, NOW - timedelta(minutes=3)))
        arrivals.append(Arrival("mqtt", "nobody/knows", None, None, b"", NOW - timedelta(minutes=2)))
    site.journal.append(arrivals)


def _budgets() -> pl.DataFrame:
    goals = [
        ("enterprise", CARBIDE, "calorific_tce", "ceiling", "2025", 1000.0), ("enterprise", CARBIDE, "electricity_kwh", "ceiling", "2026", 1e9),
        ("park", "P1", "electricity_kwh", "ceiling", "2026", 100.0), ("park", "P2", "fresh_water_m3", "ceiling", "2026", None),
        ("region", "150900", "electricity_kwh", "reduction_ratio", "2026", 0.03),
    ]
    return pl.DataFrame([
        {level: subject, "measure": measure, "kind": kind, "period": period, "target": target, "source": "a letter <b>of the city</b>"}
        for level, subject, measure, kind, period, target in goals
    ])
