"""`tcewatch gateway`: enrol one, check one, replay a table or a log through MQTT as one."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import typer
from rich.console import Console
from rich.progress import Progress

from config.errors import BadInputError, Problem
from ingest.simulate import History, Outgoing, Publisher, log_lines, paced, payloads
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json
from portal.cli.conformity import conformity
from portal.cli.decode import content_of
from portal.cli.enroll import enroll
from portal.cli.files import SUFFIXES, Column, read_tables

app = typer.Typer(help="Gateways: let one in, check one, replay data as one.", no_args_is_help=True)
app.command()(enroll)
app.command("check")(conformity)
_COLUMNS = (
    Column("enterprise", "text", "18-character credit code"), Column("gateway", "text", "id of the gateway"),
    Column("meter", "text", "id of the meter"), Column("register", "text", "name of the register", required=False, default="main"),
    Column("read_at", "instant", "time of the reading"), Column("value", "number", "what the register showed"),
    Column("unit", "text", "unit of the value", required=False),
)


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(help="A table (CSV, Parquet, xlsx) of readings, or a log of TOPIC PAYLOAD lines (.zst too).")],
    url: Annotated[str | None, typer.Option(help="mqtt://[user:password@]host[:port] (default: the settings' broker).")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Messages a second at most.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.001, help="Replay in time, so many times faster than life (tables only).")] = None,
    region: Annotated[str, typer.Option(help="6-digit region of the topics.")] = "150600",
    epoch: Annotated[str | None, typer.Option(help="Start of the gateways' count (default: now).")] = None,
    first_seq: Annotated[int, typer.Option(min=1, help="Number of each gateway's first message.")] = 1,
    readings: Annotated[int, typer.Option(min=1, max=10_000, help="Readings of one message at most.")] = 100,
    form: Annotated[Literal["rows", "columns"], typer.Option(help="Row form or column form.")] = "rows",
    receipts: Annotated[float, typer.Option(help="Seconds to wait for receipts afterwards.")] = 0.0,
    answer_requests: Annotated[float, typer.Option(help="Seconds to answer requests for back-fill afterwards (tables only).")] = 0.0,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a file's readings through MQTT as gateways do, at QoS 1, and print counts."""
    host, port, username, password = _address(url, settings)
    if not (len(region) == 6 and region.isascii() and region.isdigit()):
        raise BadInputError([Problem("--region", f"{region!r} is no region code", "Write six digits, for example 150600.")])
    is_table = str(file).lower().endswith(SUFFIXES)
    if speed is not None and not is_table:
        raise BadInputError([Problem("--speed", "a log has no times of its own", "Use --rate.")])
    if answer_requests and not is_table:
        raise BadInputError([Problem("--answer-requests", "a log is replayed as it is, whatever is asked", "Use a table.")])
    messages: Iterator[Outgoing]
    if is_table:
        table = read_tables({"readings": (str(file), _COLUMNS)})["readings"].frame
        messages = payloads(table, region=region, epoch=epoch or datetime.now(UTC).isoformat(timespec="seconds"), first_seq=first_seq,
                            per_message=readings, form=form)
    else:
        messages = log_lines(content_of(file).splitlines())
    told: Counter[str] = Counter()
    history, requests = History(), SimpleQueue[tuple[str, bytes]]()

    def listen(topic: str, payload: bytes) -> None:
        if topic.endswith("/requests"):
            requests.put((topic, payload))
            return
        receipt = json.loads(payload)
        told.update(receipts=1, **{name: receipt[name] for name in ("stored", "duplicate", "conflicting", "rejected_count")})
        if not as_json:
            print(f"receipt: {payload.decode()}")

    kinds = [kind for kind, wanted in (("receipts", receipts or answer_requests), ("requests", answer_requests)) if wanted]
    gateways = [("+", "+")] if not is_table else table.select("enterprise", "gateway").unique().rows()
    topics = [f"tce/v1/{region if is_table else '+'}/{enterprise}/{gateway}/{kind}" for enterprise, gateway in gateways for kind in kinds]
    publisher = Publisher(host, port, username, password, subscribe=topics, on_message=listen)
    if answer_requests:
        messages = history.keep(messages)
    began = time.monotonic()
    try:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("messages", total=None)
            for group in paced(messages, speed) if speed is not None else _groups(messages):
                publisher.publish(group, rate=rate)
                bar.update(task, completed=publisher.published)
        seconds = time.monotonic() - began
        time.sleep(receipts)
        until = time.monotonic() + answer_requests
        while (left_s := until - time.monotonic()) > 0:
            with suppress(Empty):
                told["answered"] += publisher.publish(history.answers(*requests.get(timeout=left_s)))
    finally:
        publisher.close()
    counts = {"published": publisher.published, "seconds": round(seconds, 3), **told}
    if as_json:
        show_json(counts)
    else:
        print(", ".join(f"{name} {count}" for name, count in counts.items()))


def _groups(messages: Iterator[Outgoing], size: int = 1000) -> Iterator[list[Outgoing]]:
    group: list[Outgoing] = []
    for message in messages:
        group.append(message)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _address(url: str | None, settings: Path | None) -> tuple[str, int, str | None, str | None]:
    if url is None:
        mqtt = settings_from(settings).mqtt
        return mqtt.host, mqtt.port, mqtt.username, mqtt.password.get_secret_value() if mqtt.password else None
    parts = urlsplit(url)
    try:
        port = parts.port or 1883
    except ValueError:
        port = 0
    if parts.scheme != "mqtt" or not parts.hostname or not port:
        raise BadInputError([Problem("--url", f"{url!r} is no address of a broker", "Write mqtt://user:password@host:1883.")])
    return parts.hostname, port, parts.username and unquote(parts.username), parts.password and unquote(parts.password)
