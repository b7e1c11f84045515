"""`tcewatch gateway check`: how well a gateway keeps the contract, from what it sent or from a file."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from ingest import certificates
from ingest.conformity import TITLES, Report
from pipeline.conformity import recent, region_of, report
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json
from portal.cli.decode import content_of, each_is_json
from portal.cli.enroll import read_file
from store.journal import Message


def conformity(
    enterprise: Annotated[str, typer.Argument(help="Credit code of the enterprise.")],
    gateway: Annotated[str, typer.Argument(help="Id of the gateway, as registered.")],
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="Look at what it sent in the last so many seconds.")] = 600,
    file: Annotated[Path | None, typer.Option(help="Look at these instead: a payload, one a line, or TOPIC PAYLOAD lines (.zst too).")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Its certificate (PEM).")] = None,
    ca_cert: Annotated[Path | None, typer.Option(help="The authority that the certificate has to come from (PEM).")] = None,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report on what a gateway sent: format, sequence, clock, registers, units, values, rate, certificate. Live or on `sandbox`."""
    if ca_cert is not None and certificate is None:
        raise typer.BadParameter("--ca-cert is compared with --certificate; give both")
    authority = None if ca_cert is None else read_file(ca_cert)
    facts = None if certificate is None else certificates.examine(read_file(certificate), authority)
    now = datetime.now(UTC)
    with closing(Site(settings_from(settings))) as site:
        region = region_of(site, enterprise, gateway)
        if file is None:
            messages = recent(site, enterprise, gateway, now - timedelta(seconds=seconds))
        else:
            own = f"tce/v1/{region}/{enterprise}/{gateway}/readings"
            messages = [Message(number, "mqtt", topic, None, None, payload, now, retained=False)
                        for number, (topic, payload) in enumerate(_payloads(content_of(file), own), 1)]
        found = report(site, enterprise, gateway, messages, at=now, arrived=file is None, certificate=facts)
    if as_json:
        show_json(found.as_json())
    else:
        _show(found)


def _payloads(content: bytes, topic: str) -> Iterator[tuple[str, bytes]]:
    """Topic and payload of each message of a file."""
    lines = content.split(b"\n")
    if all(line.startswith(b"tce/") or not line.strip() for line in lines):
        for line in filter(bytes.strip, lines):
            named, _, payload = line.partition(b" ")
            yield named.decode("utf-8", "replace"), payload
    elif each_is_json(lines):
        yield from ((topic, line) for line in lines if line.strip())
    else:
        yield topic, content


def _show(found: Report) -> None:
    typer.echo(f"{found.gateway} of {found.enterprise}: {found.verdict.upper()} ({found.messages} messages, {found.readings} readings)")
    for one in found.checks:
        typer.echo(f"\n{one.verdict.upper():<12}{TITLES[one.id].en} {TITLES[one.id].zh}")
        for text in (one.evidence, one.remedy):
            for line in filter(None, text):
                typer.echo(f"{'':<12}{'-> ' if text is one.remedy else ''}{line}")
