"""The conformity report of one gateway of a site: its messages from the journal, with what the site knows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from config.errors import BadInputError, Problem
from ingest import conformity
from ingest.certificates import Facts
from ingest.reasons import UndecodableError
from ingest.routes import Routes
from pipeline.site import Site
from store.journal import Message

LOOKED_AT: Final = 200_000  # of all gateways' newest messages; a busier site sees a shorter time
KEPT: Final = 5_000  # of the gateway's own
_AT_ONCE: Final = 10_000


def recent(site: Site, enterprise: str, gateway: str, since: datetime) -> list[Message]:
    """What a gateway sent since then, in order of arrival: the newest KEPT of those among the newest LOOKED_AT of all."""
    routes, journal = Routes(site.settings.routes), site.journal
    newest: list[Message] = []
    last = journal.last_id()
    for end in range(last, max(0, last - LOOKED_AT), -_AT_ONCE):
        addresses = journal.addresses(range(max(1, end - _AT_ONCE + 1), end + 1))
        own = [number for number, (_, topic) in sorted(addresses.items(), reverse=True) if _is_of(topic, routes, enterprise, gateway)]
        newest += [one for number in own[:KEPT - len(newest)] if (one := journal.get(number)) is not None and one.received_at >= since]
        oldest = journal.get(min(addresses)) if addresses else None
        if len(newest) >= KEPT or (oldest is not None and oldest.received_at < since):
            break
    return newest[::-1]


def region_of(site: Site, enterprise: str, gateway: str) -> str:
    """Where a gateway is registered.

    Raises:
        BadInputError: it is not in the register.
    """
    known = {(row["enterprise"], row["gateway"]): row["region"] for row in site.register.gateways().iter_rows(named=True)}
    if (enterprise, gateway) not in known:
        remedy = "Add it to the register first: `tcewatch register import FILE`; `register export` shows what is there."
        raise BadInputError([Problem(f"gateway {gateway} of {enterprise}", "is not in the register", remedy)])
    return str(known[enterprise, gateway])


def report(
    site: Site, enterprise: str, gateway: str, messages: Sequence[Message], *, at: datetime, arrived: bool = True, certificate: Facts | None = None,
) -> conformity.Report:
    """Look at messages of a registered gateway (`ingest.conformity.report`).

    Raises:
        BadInputError: it is not in the register.
    """
    region = region_of(site, enterprise, gateway)
    states = {(row["enterprise"], row["gateway"]): row["state"] for row in site.fleet.gateways().iter_rows(named=True)}
    return conformity.report(
        messages, site.register.registers(history=True), site.settings.screen, enterprise=enterprise, gateway=gateway,
        region=region, at=at, routes=Routes(site.settings.routes), max_payload_bytes=site.settings.mqtt.max_payload_bytes,
        arrived=arrived, state=states.get((enterprise, gateway)), certificate=certificate,
    )


def _is_of(topic: str, routes: Routes, enterprise: str, gateway: str) -> bool:
    try:
        sender = routes.sender(topic, None)  # the broker does not tell identities
    except UndecodableError:
        return False
    return (sender.enterprise, sender.gateway) == (enterprise, gateway)
