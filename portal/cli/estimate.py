"""`tcewatch edits estimate`: estimates for the gaps of registers, as edits that wait for a person's check."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import polars as pl
import typer

from config.errors import BadInputError, Problem
from pipeline.estimate import MAKER, propose
from pipeline.site import Site
from portal.cli.calc_estimate import LINKS
from portal.cli.common import JsonOption, SettingsOption, settings_from, show_json, show_rows
from portal.cli.files import Table, read_tables

_NAMES: Final = ("enterprise", "meter", "register")
_SHOWN: Final = ("edit", *_NAMES, "start", "end", "quantity", "low", "high", "unit", "method", "reason")


def estimate_command(
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First local day.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last local day, included.")],
    method: Annotated[
        Literal["auto", "linear", "like_days", "linked"], typer.Option(help="How; auto: by the smallest error of back-tests."),
    ] = "auto",
    enterprise: Annotated[str | None, typer.Option(help="Only this enterprise.")] = None,
    meter: Annotated[list[str] | None, typer.Option(help="Only this meter; may be given several times.")] = None,
    linked: Annotated[str | None, typer.Option(help="Which register goes with which: [enterprise], meter, [register], linked_meter, ...")] = None,
    maker: Annotated[str, typer.Option(help="Who answers for the proposals, and so cannot check them.")] = MAKER,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose estimates for what is not measured from --from to --to; they count once a person has checked them."""
    if last < first:
        raise BadInputError([Problem("--to", "is before --from", "Give a later day.")])
    site = Site(settings_from(settings))
    names = site.register.names()
    chosen = names.filter(pl.col("enterprise") == enterprise) if enterprise is not None else names
    lost = [("--enterprise", enterprise)] if chosen.is_empty() else [("--meter", name) for name in meter or () if name not in chosen["meter"]]
    problems = [Problem(option, f"{name} is not in the register", "`tcewatch register export` shows what is.") for option, name in lost]
    links = None
    if linked is not None:
        given = read_tables({"linked": (linked, LINKS)}, zone=site.settings.site.zone)["linked"]
        links = _links(given, names, problems)
    if problems:
        raise BadInputError(problems)
    keys = chosen if not meter else chosen.filter(pl.col("meter").is_in(meter))
    found = propose(
        site, first.date(), last.date(), now=datetime.now(UTC), maker=maker, method=method, registers=keys["register_key"].to_list(), links=links,
    )
    site.close()
    rows = found.drop("register_key").to_dicts()
    if as_json:
        show_json(rows)
        return
    show_rows(rows, _SHOWN, as_json=False)
    typer.echo(f"{found['edit'].count()} estimates proposed, {found['edit'].null_count()} gaps without one; `tcewatch edits list` shows what waits")


def _links(given: Table, names: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """LINK from the rows of a file; a register that is not registered becomes a problem."""
    on = [name for name in _NAMES if name != "enterprise" or "enterprise" in given.given]
    known = names.unique(on, keep="none")
    rows = given.frame.join(known, on=on, how="left", maintain_order="left").join(
        known.rename({"meter": "linked_meter", "register": "linked_register", "register_key": "linked_key"}),
        on=["linked_meter", "linked_register", *on[:-2]], how="left", maintain_order="left", suffix="_linked",
    )
    for column, key in (("meter", "register_key"), ("linked_meter", "linked_key")):
        what, remedy = "the register is not known, or several enterprises have it", "Name a registered one, with its enterprise"
        problems.extend(Problem(given.where(row, column), what, remedy) for row in rows[key].is_null().arg_true())
    again = rows["register_key"].is_not_null() & ~rows["register_key"].is_first_distinct()
    problems.extend(Problem(given.where(row), "the register has a row before", "Link each register to one other") for row in again.arg_true())
    return rows.with_columns(linked=pl.format("{} / {}", "linked_meter", "linked_register"))
