"""Topic and identity -> sender."""

import pytest
from sent import STEEL, topic

from config.settings import RouteSettings
from ingest.reasons import UndecodableError
from ingest.routes import Routes


def route(pattern: str, gateway: str = "r", **more: str) -> RouteSettings:
    return RouteSettings(topic=pattern, enterprise="e", gateway=gateway, profile="kpm33b", **more)


def test_a_topic_of_the_contract_names_its_sender() -> None:
    sender = Routes().sender(topic(gateway="gw_A-1", kind="backfill"), None)
    assert (sender.enterprise, sender.gateway, sender.profile, sender.kind, sender.numbered) == (STEEL, "gw_A-1", "own_json", "backfill", True)


@pytest.mark.parametrize(("pattern", "sent", "matches"), [
    ("MQTT_ENY_NOW", "MQTT_ENY_NOW", True), ("MQTT_ENY_NOW", "MQTT_ENY_NOW/1", False), ("plant/+/up", "plant/7/up", True),
    ("plant/#", "plant/7/up", True), ("plant/+/up", "plant/7/8/up", False), ("#", "$SYS/broker", False),
])
def test_a_route_takes_what_its_topic_filter_matches(pattern, sent, matches) -> None:
    routes = Routes([route(pattern)])
    if matches:
        assert routes.sender(sent, None).gateway == "r"
    else:
        with pytest.raises(UndecodableError, match="unknown_topic"):
            routes.sender(sent, None)


def test_the_first_route_that_matches_counts_and_an_identity_is_asked_for_where_it_is_set() -> None:
    routes = Routes([route("a", "first", identity="alice"), route("a", "second"), route("a", "third")])
    assert [routes.sender("a", who).gateway for who in ("alice", "bob", None)] == ["first", "second", "second"]


def test_a_route_never_stands_in_for_a_topic_of_the_contract() -> None:
    with pytest.raises(UndecodableError):
        Routes([route("#")]).sender(topic(enterprise="too-short"), None)
