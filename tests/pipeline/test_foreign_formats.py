"""Messages of other formats on the whole way: routes, settle, memory in the ledger, quarantine, commands."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from config import settings as site_settings
from config.errors import SettingsError
from ingest.profiles.sparkplug_b import Payload
from ingest.replay import arrival
from pipeline.settle import Settler
from pipeline.site import Site
from store.journal import Arrival

AT_MS = 1_795_147_200_000
NOW = datetime.fromtimestamp(AT_MS / 1000, UTC) + timedelta(seconds=1)
ENTERPRISE, GATEWAY = "91159901MA0EXAMP4N", "GW-01"  # of the small park
ROUTE = {"topic": "spBv1.0/plant/+/node/#", "enterprise": ENTERPRISE, "gateway": GATEWAY, "profile": "sparkplug_b"}


@pytest.fixture
def site(new_site, tmp_path):
    one = new_site(tmp_path)
    routes = [ROUTE, {**ROUTE, "topic": "nhjc/up", "profile": "nhjc"}]
    one.settings = site_settings.build({"site": {"data_dir": tmp_path / "data"}, "routes": routes})
    return one


def sparkplug(kind: str, seq: int, value: float, at_ms: int, *, named: bool) -> tuple[str, bytes]:
    said = Payload(timestamp=at_ms, seq=seq)
    said.metrics.add(alias=7, double_value=value, **({"name": "active_import", "datatype": 10} if named else {}))
    return f"spBv1.0/plant/{kind}/node/E-1", said.SerializeToString()


def arrive(site: Site, sent: tuple[str, bytes]) -> int:
    return site.journal.append([Arrival("mqtt", sent[0], None, None, sent[1], NOW)])[0]


def settle(site: Site) -> None:
    settler = Settler(site)  # a new one each time: what it remembers must be in the ledger
    while settler.once():
        pass


def counts(site: Site) -> tuple[int, int]:
    told = site.ledger.totals()
    return told.stored, told.rejected


def test_data_before_its_birth_is_kept_asked_for_and_read_after_a_replay(site) -> None:
    early = sparkplug("DDATA", 5, 10.0, AT_MS, named=False)
    first = arrive(site, early)
    settle(site)
    assert counts(site) == (0, 1)
    (command,) = site.fleet.commands(NOW)
    assert (command.topic, command.message) == ("spBv1.0/plant/NCMD/node", first)
    birth = Payload(timestamp=AT_MS, seq=0)
    birth.metrics.add(name="bdSeq", datatype=4, long_value=1)
    arrive(site, ("spBv1.0/plant/NBIRTH/node", birth.SerializeToString()))
    arrive(site, sparkplug("DBIRTH", 1, 11.0, AT_MS + 1, named=True))
    settle(site)
    arrive(site, sparkplug("DDATA", 2, 12.0, AT_MS + 2, named=False))
    site.journal.append([arrival(site.journal.get(first), None, NOW)])
    settle(site)
    assert counts(site) == (3, 1)
    assert site.fleet.commands(NOW) == [command]  # the replay and what came in order ask for nothing
    assert site.fleet.gateways()["state"].to_list() == ["online"]


def test_an_upload_of_another_enterprise_is_refused_whole(site) -> None:
    item = {"dataCode": "active_import", "dataValue": "5", "statType": "0", "statDate": "2026-11-20 12:00:00"}
    for enterprise in (ENTERPRISE, "91150621MA0EXAMPLE"):
        arrive(site, ("nhjc/up", json.dumps({"deviceId": "E-1", "enterpriseCode": enterprise, "data": [item]}).encode()))
    settle(site)
    assert counts(site)[0] == 1
    assert site.quarantine.page(limit=9)["reasons"].to_list() == [["topic_payload_mismatch"]]


def test_a_route_that_cannot_be_used_keeps_the_service_from_starting(tmp_path) -> None:
    site = Site(site_settings.build({"site": {"data_dir": tmp_path / "data"}, "routes": [{**ROUTE, "profile": "nope"}]}))
    with pytest.raises(SettingsError, match="there is no profile nope"):
        Settler(site)
    site.close()
