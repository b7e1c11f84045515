"""`tcewatch decode`: what a message, or a log of messages, says in a given format.

In a log a payload of hex digits alone stands for these bytes (`mosquitto_sub -F '%t %x'` writes such a log); no format that is text
has such a payload.
"""

import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

import polars as pl
import typer
import zstandard

from config.errors import BadInputError, Problem
from config.schemas import READING_QUALITY
from ingest.decode import decode
from ingest.mapping_file import Mapping, load
from ingest.profiles import NAMES
from ingest.routes import OWN_TOPIC, Routes, Sender
from portal.cli.files import check_output, write_table
from store.journal import Message

_HEX = re.compile(rb"([0-9a-fA-F]{2})+")
_OUT = ("enterprise", "gateway", "meter", "register", "read_at", "value", "unit", "quality")
_UNKNOWN = ""
_SHIPPED = tuple(name for name in NAMES if name != "mapping")


def command(
    file: Annotated[Path, typer.Argument(help="One payload, payloads one a line, or a log of TOPIC PAYLOAD lines (.zst too).")],
    profile: Annotated[str, typer.Option(help=f"Format: {', '.join(_SHIPPED)}, or the path of a mapping file (.toml).")],
    topic: Annotated[str | None, typer.Option(help="The topic of the payloads (default: none, or that of each line of a log).")] = None,
    zone: Annotated[str, typer.Option(help="Zone of local times in the payload.")] = "Asia/Shanghai",
    out: Annotated[str, typer.Option(help="Readings, by suffix (- = CSV on standard output).")] = "-",
    rejected: Annotated[str | None, typer.Option(help="What could not be read: line, reason.")] = None,
) -> None:
    """Read messages of a format and write their readings as a table."""
    mapping = load(Path(profile), Mapping) if profile.endswith(".toml") else None
    if mapping is None and profile not in _SHIPPED:
        raise typer.BadParameter(f"{profile!r} is not known; use one of {', '.join(_SHIPPED)}, or a mapping file", param_hint="--profile")
    if zone not in available_timezones():
        raise typer.BadParameter(f"{zone!r} is no time zone; write a name such as Asia/Shanghai", param_hint="--zone")
    check_output(out, rejected)
    messages = [
        Message(line, "file", name, None, None, payload, datetime.now(UTC), False) for line, (name, payload) in enumerate(_messages(file, topic), 1)
    ]
    found = decode(messages, _OneProfile("mapping" if mapping else profile, zone, mapping))
    good = found.readings.filter(pl.col("fault").is_null())
    quality = pl.col("quality").replace_strict(dict(enumerate(READING_QUALITY)), return_dtype=pl.String)
    write_table(good.with_columns(quality, pl.col("enterprise", "gateway").replace(_UNKNOWN, None)).select(_OUT), out, zone=zone)
    bad = pl.concat([
        found.heads.filter(pl.col("outcome") == "undecodable").select(line="message", reason="reason"),
        found.readings.filter(pl.col("fault").is_not_null()).select(line="message", reason="fault"),
    ])
    if rejected is not None:
        write_table(bad.sort("line"), rejected)
    elif bad.height:
        why = ", ".join(f"{count} {reason}" for reason, count in bad["reason"].value_counts(sort=True).iter_rows())
        typer.echo(f"{good.height} readings, {bad.height} rejected ({why}); --rejected FILE lists them", err=True)


def content_of(file: Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in .zst.

    Raises:
        BadInputError: it is not there or cannot be read.
    """
    try:
        content = file.read_bytes()
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True).read() if file.suffix == ".zst" else content
    except FileNotFoundError:
        raise BadInputError([Problem(str(file), "there is no such file", "Check the name and the folder.")]) from None
    except (OSError, zstandard.ZstdError) as error:
        raise BadInputError([Problem(str(file), f"it cannot be read ({error})", "Check that the file is whole.")]) from error


def each_is_json(lines: list[bytes]) -> bool:
    """Whether every line is a document of its own, judged by the first."""
    try:
        return bool(lines) and isinstance(json.loads(lines[0]), dict)
    except (ValueError, RecursionError):
        return False


def _messages(file: Path, topic: str | None) -> Iterator[tuple[str, bytes]]:
    content = content_of(file)
    lines = content.splitlines()
    if each_is_json(lines):
        yield from ((topic or "", line) for line in lines if line.strip())
        return
    if topic is not None or content.lstrip()[:1] in (b"{", b"["):
        yield topic or "", content
        return
    for line in lines:
        name, _, payload = line.partition(b" ")
        yield name.decode("utf-8", "replace"), bytes.fromhex(payload.decode()) if _HEX.fullmatch(payload) else payload


class _OneProfile(Routes):
    """Every topic is read in one format; a topic of the contract names its sender, any other leaves it open."""

    def __init__(self, profile: str, zone: str, mapping: Mapping | None) -> None:
        super().__init__()
        self._profile, self._zone, self._read_as = profile, ZoneInfo(zone), mapping

    def sender(self, topic: str, identity: str | None) -> Sender:  # noqa: ARG002 - the shape of Routes
        own = OWN_TOPIC.fullmatch(topic)
        enterprise, gateway = (own["enterprise"], own["gateway"]) if own else (_UNKNOWN, _UNKNOWN)
        return Sender(enterprise, gateway, self._profile, "readings", self._zone, numbered=False, topic=topic, mapping=self._read_as)
