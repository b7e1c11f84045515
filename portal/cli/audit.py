"""`tcewatch audit`: whether the records of who did what, the journal and the evidence are as they were written."""

from typing import Annotated

import typer

from pipeline.site import Site
from portal.cli.common import EXIT_BAD_INPUT, JsonOption, SettingsOption, settings_from, show_json, show_rows
from store.audit import AuditLog
from store.database import opened

app = typer.Typer(help="Records of who did what, chained by hash.", no_args_is_help=True)


@app.command()
def verify(settings: SettingsOption = None, as_json: JsonOption = False) -> None:
    """Follow the chains of the audit records and of the journal, and hash the evidence; name what was altered, removed or put in (exit 3)."""
    site = Site(settings_from(settings))
    found, head = site.audit.verify(), site.audit.head()
    journal = site.journal.verify(settled=max(site.ledger.cursors().values()))
    evidence = site.edits.verify_evidence()
    site.close()
    if as_json:
        broken = [place._asdict() for place in journal.broken]
        records = {"checked": found.checked, "broken": found.broken, "what": found.what, "head": head}
        show_json({**records, "journal": {"checked": journal.checked, "broken": broken},
                   "evidence": {"checked": evidence.checked, "broken": evidence.broken}})
    else:
        if found.broken is None:
            typer.echo(f"{found.checked} records hold. Last hash: {head}")
        else:
            typer.echo(f"The audit records are not as they were written: {found.what}. {found.checked} records before it hold.", err=True)
        if journal.intact:
            typer.echo(f"{journal.checked} messages of the journal hold.")
        for place in journal.broken:
            typer.echo(f"The journal is not as it was written: {place.segment}, message {place.message}: {place.what}.", err=True)
        if not evidence.broken:
            typer.echo(f"{evidence.checked} evidence files hold.")
        for sha256, what in evidence.broken.items():
            typer.echo(f"The evidence is not as it was kept: {sha256} {what}.", err=True)
    if found.broken is not None or not journal.intact or evidence.broken:
        raise typer.Exit(EXIT_BAD_INPUT)


@app.command("list")
def list_(
    after: Annotated[int, typer.Option(help="Go on after this record.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Records to show.")] = 100,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show records in order."""
    with opened(settings_from(settings).database_url) as database:
        rows = AuditLog(database).entries(after=after, limit=limit)
    show_rows(rows.to_dicts(), rows.columns, as_json=as_json)
