"""Prometheus metrics, read from the ledger and the services when they are asked for; nothing is counted twice."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated

import polars as pl
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from config.errors import TcewatchError
from pipeline import quality
from portal import operation
from portal.context import NotLoggedInError, Portal, portal_of
from portal.scope import ForbiddenError

Families = Iterator[Metric]


class SiteCollector(Collector):
    """The figures of one site at the moment of the scrape; what cannot be read is left out and `tcewatch_up` says so."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def collect(self) -> Families:
        """All metric families."""
        answers = GaugeMetricFamily("tcewatch_up", "1 where the figures of this part could be read", labels=["part"])
        parts = {
            "ledger": self._balance, "gateways": self._gateways, "casebook": self._findings, "services": self._services, "disk": self._disk,
        }
        for part, read in parts.items():
            try:
                families = list(read())
            except TcewatchError:
                answers.add_metric([part], 0)
            else:
                answers.add_metric([part], 1)
                yield from families
        yield answers

    def _balance(self) -> Families:
        site, totals = self._portal.site, self._portal.site.ledger.totals()
        messages = CounterMetricFamily("tcewatch_messages", "Messages: received = decoded + undecodable", labels=["outcome"])
        for outcome, count in (("received", totals.received), ("decoded", totals.decoded_messages), ("undecodable", totals.undecodable)):
            messages.add_metric([outcome], count)
        yield messages
        readings = CounterMetricFamily("tcewatch_readings", "Readings: decoded = stored + duplicate + conflicting + rejected", labels=["outcome"])
        for outcome in ("decoded", "stored", "duplicate", "conflicting", "rejected"):
            readings.add_metric([outcome], getattr(totals, outcome))
        yield readings
        yield GaugeMetricFamily("tcewatch_messages_missing", "Messages that sequence gaps show as missing", value=totals.missing)
        yield GaugeMetricFamily("tcewatch_messages_waiting", "Messages in the journal that are not settled yet", value=site.waiting())

    def _disk(self) -> Families:
        free = self._portal.site.free_mb() * (1 << 20)
        yield GaugeMetricFamily("tcewatch_disk_free_bytes", "Free space of the disk that holds data_dir", value=free)

    def _gateways(self) -> Families:
        site, now = self._portal.site, self._portal.clock()
        registered = site.register.gateways().select("enterprise", "gateway")
        missing = GaugeMetricFamily("tcewatch_gateway_messages_missing", "Messages missing by sequence", labels=["enterprise", "gateway"])
        each = site.ledger.sequences().join(registered, on=["enterprise", "gateway"], how="semi").group_by("enterprise", "gateway")
        for enterprise, gateway, count in each.agg(pl.col("missing").sum()).sort("enterprise", "gateway").iter_rows():
            missing.add_metric([enterprise, gateway], count)
        yield missing
        fleet = registered.join(quality.gateways(site, now), on=["enterprise", "gateway"], how="left")
        gateways = GaugeMetricFamily("tcewatch_gateways", "Registered gateways by status", labels=["status"])
        for status in ("online", "offline", "silent", "unknown"):
            gateways.add_metric([status], int((fleet["status"].fill_null("unknown") == status).sum()))
        yield gateways
        yield GaugeMetricFamily("tcewatch_gateways_clock_wrong", "Gateways whose clock is wrong", value=int(fleet["clock_wrong"].sum()))
        signs = quality.registers(site, now)
        registers = GaugeMetricFamily("tcewatch_registers", "Registers that show a sign", labels=["sign"])
        for sign in ("stale", "frozen"):
            registers.add_metric([sign], int(signs[sign].sum()))
        yield registers

    def _findings(self) -> Families:
        alerts = GaugeMetricFamily("tcewatch_alerts_open", "Open alerts", labels=["severity"])
        severities = [one.severity for one in self._portal.site.casebook.open_alerts()]
        for severity in ("info", "warning", "critical"):
            alerts.add_metric([severity], severities.count(severity))
        yield alerts
        notices = GaugeMetricFamily("tcewatch_notices", "Notices by state", labels=["state"])
        for state, count in self._portal.site.outbox.counts().items():
            notices.add_metric([state], count)
        yield notices

    def _services(self) -> Families:
        alive = GaugeMetricFamily("tcewatch_service_alive", "1 where the service's thread runs", labels=["service"])
        ready = GaugeMetricFamily("tcewatch_service_ready", "1 where nothing keeps the service from its work", labels=["service"])
        dropped = GaugeMetricFamily("tcewatch_broker_messages_dropped", "Messages that the broker has dropped since its start, as it tells")
        for one in operation.running(self._portal).values():
            alive.add_metric([one.name], one.alive)
            ready.add_metric([one.name], one.ready)
            if "broker_messages_dropped" in one.figures:
                dropped.add_metric([], one.figures["broker_messages_dropped"])
        yield alive
        yield ready
        yield dropped


def exposition(portal: Portal) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(SiteCollector(portal))
    return generate_latest(registry)


def may_scrape(request: Request, portal: Annotated[Portal, Depends(portal_of)]) -> None:
    """Let a scraper on this machine pass, and any other with a bearer token that may read everything.

    A request that a proxy handed on is not from this machine, wherever the proxy runs.

    Raises:
        NotLoggedInError: neither holds.
        ForbiddenError: the token is for a part only.
    """
    if _from_this_machine(request):
        return
    principal = portal.door.bearer(request)
    if principal is None:
        raise NotLoggedInError
    if principal.parks is not None or not principal.allows("read"):
        raise ForbiddenError


def _from_this_machine(request: Request) -> bool:
    if request.client is None or {"x-forwarded-for", "forwarded", "x-real-ip"} & set(request.headers.keys()):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
