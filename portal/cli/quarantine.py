"""`tcewatch quarantine`: what could not be taken over, with its reason and its bytes; found, shown, and replayed once the cause is mended."""

import base64
import getpass
import sys
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import polars as pl
import typer

from config.errors import BadInputError, Problem
from pipeline.replay import Replayed, chosen, replay, sent
from pipeline.site import Site
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows
from portal.cli.follow import settled
from portal.raw import RAW_SHOWN, readable
from store.database import opened
from store.quarantine import WHOLE_MESSAGE, Filters, Quarantine

app = typer.Typer(help="Messages and readings that could not be taken over.", no_args_is_help=True)
_NAMED = 20
_SHOWN = (
    "message", "index", "kind", "readings", "reasons", "enterprise", "gateway", "meter", "register", "read_at", "value", "unit", "raw_size",
    "received_at", "replayed_as",
)
_COUNTED = ("decoded", "stored", "duplicate", "conflicting", "rejected")
Kind = Literal["undecodable", "rejected", "rest"]
KindOption = Annotated[Kind | None, typer.Option(help="Only whole messages, single readings, or what stands for further readings of a message.")]
ReasonOption = Annotated[str | None, typer.Option(help="Only this reason.")]
EnterpriseOption = Annotated[str | None, typer.Option(help="Only this enterprise.")]
GatewayOption = Annotated[str | None, typer.Option(help="Only this gateway.")]
MeterOption = Annotated[str | None, typer.Option(help="Only this meter.")]
RegisterOption = Annotated[str | None, typer.Option(help="Only this register.")]
TopicOption = Annotated[str | None, typer.Option(help="Only topics with this in them.")]
TextOption = Annotated[str | None, typer.Option(help="Only what has this in its bytes, its topic or its ids.")]
SinceOption = Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="Received at or after, as 2026-11-20 or 2026-11-20T08:00.")]
UntilOption = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Received before.")]


@app.command("list")
def list_(
    reason: ReasonOption = None, kind: KindOption = None, enterprise: EnterpriseOption = None, gateway: GatewayOption = None,
    meter: MeterOption = None, register: RegisterOption = None, topic: TopicOption = None, text: TextOption = None,
    since: SinceOption = None, until: UntilOption = None,
    replayed: Annotated[bool | None, typer.Option("--replayed/--not-replayed", help="Only what was replayed, or was not.")] = None,
    after: Annotated[str | None, typer.Option(metavar="MESSAGE:INDEX", help="Go on after this row.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows to show.")] = 50,
    counts: Annotated[bool, typer.Option("--counts", help="Show how many messages and readings have each reason instead.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show rows, the newest first."""
    loaded = settings_from(settings)
    filters = Filters(
        reason=reason, kind=kind, enterprise=enterprise, gateway=gateway, meter=meter, register=register, topic=topic, text=text,
        since=_instant(since, loaded.zone), until=_instant(until, loaded.zone), replayed=replayed,
    )
    with opened(loaded.database_url) as database:
        quarantine = Quarantine(database)
        if counts:
            rows = quarantine.counts()
            show_rows(rows.to_dicts(), rows.columns, as_json=as_json)
            return
        page = quarantine.page(after=_after(after), limit=limit, filters=filters).to_dicts()
    if not as_json:
        page = [{name: _plain(", ".join(value) if name == "reasons" else value) for name, value in row.items()} for row in page]
    show_rows(page, _SHOWN, as_json=as_json)
    if len(page) == limit and not as_json:
        typer.echo(f"More: --after {page[-1]['message']}:{page[-1]['index']}")


@app.command(context_settings={"ignore_unknown_options": True})
def show(
    message: Annotated[int, typer.Argument(help="Number of the message.")],
    index: Annotated[int, typer.Argument(help="Position of the reading in it; -1: the whole message.")] = WHOLE_MESSAGE,
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes as they came to standard output, and nothing else.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one row with its bytes, as text or hexadecimal: of a reading that broke a rule, those of the whole message that it came in."""
    site = Site(settings_from(settings))
    row = site.quarantine.get(message, index)
    if row is None:
        raise BadInputError([_not_there(site.quarantine, message, index)])
    whole = None if row["raw"] or index == WHOLE_MESSAGE else sent(site, message)
    site.close()
    held = bytes(row["raw"] or b"") if whole is None else whole.payload
    row = {**row, "raw": held}
    if raw:
        sys.stdout.buffer.write(held)
        return
    if as_json:
        show_json({**row, "raw": base64.b64encode(held).decode()})
        return
    for name, value in row.items():
        if name != "raw":
            typer.echo(f"{name}: {'' if value is None else _plain(value)}")
    shown = readable(held[:RAW_SHOWN])
    typer.echo(f"raw: {shown['text']}" if "text" in shown else f"raw, in hexadecimal:\n{shown['hex']}")
    if len(held) > RAW_SHOWN:
        typer.echo(f"These are the first {RAW_SHOWN:,} of {len(held):,} bytes; --raw writes them all.")


@app.command("replay")
def replay_(
    places: Annotated[list[str] | None, typer.Argument(metavar="[MESSAGE[:INDEX] ...]", help="Messages, or single readings of them.")] = None,
    reason: ReasonOption = None, kind: KindOption = None, enterprise: EnterpriseOption = None, gateway: GatewayOption = None,
    meter: MeterOption = None, register: RegisterOption = None, topic: TopicOption = None, text: TextOption = None,
    since: SinceOption = None, until: UntilOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that was not replayed yet.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what was replayed before.")] = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let messages or readings come in again after the cause is mended: a register row added, a profile or a bound changed.

    They are judged by the register as it is known now, and by the time at which they first came in.
    """
    site = Site(settings_from(settings))
    zone = site.settings.zone
    filters = Filters(
        reason=reason, kind=kind, enterprise=enterprise, gateway=gateway, meter=meter, register=register, topic=topic, text=text,
        since=_instant(since, zone), until=_instant(until, zone),
    )
    named = {name: str(value) for name, value in filters.items() if value is not None}
    if bool(places) + bool(named) + everything != 1:
        remedy = "Name messages (1842, or 1842:5 for one reading), or filters such as --reason unknown_meter, or --all."
        raise BadInputError([Problem("quarantine replay", "what to replay is not clear" if places or named else "nothing is named", remedy)])
    by = f"{getpass.getuser()} (command line)"
    portions = [_named(site.quarantine, places, force=force)] if places else chosen(site, filters, force=force)
    told: dict[str, Any] = {"named": places} if places else {"filters": named}
    done = [replay(site, rows, by=by, details=told) for rows in portions]
    _tell(site, done, as_json=as_json)
    site.close()


def _tell(site: Site, done: list[Replayed], *, as_json: bool) -> None:
    messages = sorted(message for one in done for message in one.messages)
    left = sorted(message for one in done for message in one.left)
    became = settled(site, messages)
    counts = {name: int(became[name].sum()) for name in _COUNTED}
    unread = became["reason"].count()
    rows = sum(one.rows for one in done)
    summary = {"rows": rows, "messages": len(messages), "settled": became.height, **counts, "undecodable": unread, "left": len(left)}
    if as_json:
        show_json({**summary, "replayed_as": messages, "left": left})
        return
    print(", ".join(f"{name} {count}" for name, count in summary.items()))
    if not messages and not left:
        print("Nothing there waits to be replayed; --force replays again.")
    if left:
        print(f"Cannot be replayed, being a gateway's state or no longer in the journal: {', '.join(map(str, left[:_NAMED]))}")
    if became.height < len(messages):
        print("The rest is in the journal and will be settled by `tcewatch run`.")
    if counts["rejected"] or unread:
        print(f"What was refused again is in `tcewatch quarantine list`, from message {messages[0]} on.")


def _named(quarantine: Quarantine, places: list[str], *, force: bool) -> pl.DataFrame:
    """The rows that were named, all of a message where no index is given."""
    found, problems = [], []
    for text in places:
        message, index = _place(text)
        rows = quarantine.of_message(message)
        rows = rows if index is None else rows.filter(pl.col("index") == index)
        if rows.is_empty():
            problems.append(Problem(text, "is not in quarantine", "`tcewatch quarantine list` shows what is."))
        elif not force and rows["replayed_as"].null_count() == 0:
            problems.append(Problem(text, f"was replayed as message {rows['replayed_as'][0]}", "Give --force to replay it again."))
        found.append(rows if force else rows.filter(pl.col("replayed_as").is_null()))
    if problems:
        raise BadInputError(problems)
    return pl.concat(found).unique(["message", "index"], maintain_order=True)


def _not_there(quarantine: Quarantine, message: int, index: int) -> Problem:
    """Say what of the message is there, if anything."""
    there = quarantine.of_message(message)["index"].to_list()
    where = f"message {message} index {index}"
    if not there:
        return Problem(where, "is not in quarantine", "`tcewatch quarantine list` shows what is.")
    listed = ", ".join(map(str, there[:_NAMED])) + (", ..." if len(there) > _NAMED else "")
    return Problem(where, f"is not in quarantine, but index {listed} of the message", f"Name one: `tcewatch quarantine show {message} {there[0]}`.")


def _place(text: str) -> tuple[int, int | None]:
    """Message and index; an index that is left out is None."""
    message, colon, index = text.partition(":")
    try:
        return int(message), int(index) if colon else None
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no place; write MESSAGE:INDEX, for example 1842:-1") from None


def _after(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    message, index = _place(text)
    return message, WHOLE_MESSAGE if index is None else index


def _plain(value: Any) -> Any:
    """A value for a terminal, which must not be told what to do by what came in."""
    return ascii(value) if isinstance(value, str) and not value.isprintable() else value


def _instant(text: str | None, zone: ZoneInfo) -> datetime | None:
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant; write 2026-11-20 or 2026-11-20T08:00+08:00") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=zone)
