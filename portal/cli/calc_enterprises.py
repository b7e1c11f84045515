"""`tcewatch calc access` and `projects`: who is on line in a park, and where new projects stand, on files."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Final

import polars as pl
import typer

from config import key_units as law
from config import limit_tables, schemas
from config.errors import Problem
from config.units import FIVE_MEDIA
from monitors.access import MEMBERS as KINDS
from monitors.access import access, shares
from monitors.projects import expected_energy, project_states
from portal.cli.calc_columns import at, site_tables, twice
from portal.cli.files import Column, Table, check_output, columns_of, read_tables, schema_option, write_table

OnOption = Annotated[datetime, typer.Option("--on", formats=["%Y-%m-%d"], help="The day as of which.")]
_REGION: Final = Column("region", "text", "6 digits of the park's region, whose goals and conditions hold; empty: those of anywhere", required=False)
_PARAMETERS: Final = r"^[^=;]+=[^=;]+(;[^=;]+=[^=;]+)*$"
MEMBERS: Final = (
    Column("park", "text", "where it lies"), Column("enterprise", "text", "any id; a row for each park in which it lies"),
    Column("members", "text", "key energy user or not; empty: not known", required=False, allowed=KINDS), _REGION,
)
POINTS: Final = (
    Column("park", "text", "where it lies"), Column("enterprise", "text", "whose data"),
    Column("medium", "text", "what is measured", allowed=tuple(FIVE_MEDIA)), Column("name", "text", "meter, or the point that has none"),
    Column("delivers", "flag", "whether its data come; empty: there is no meter yet", nullable=True),
)
DECLARED: Final = (
    Column("enterprise", "text", "who has given its list"), Column("park", "text", "for which park; empty: for all", required=False),
    Column("medium", "text", "a medium that it uses", allowed=tuple(FIVE_MEDIA)),
)
PROJECTS: Final = (
    Column("project", "text", "any id"), Column("park", "text", "where it is built"),
    *(Column(name, "text", said, required=False) for name, said in (
        ("enterprise", "who builds it"), ("name_zh", "its name"), ("name_en", "its name"), ("product", "code of the limit table"),
        ("indicator", "of the limit"), ("feedstock", "included or excluded"), ("design_unit", "of design_value"),
        ("parameters", "of the limit, as clinker_ratio=0.72;altitude_m=1300"), ("approval", "document"), ("source", "where this stands"),
    )),
    Column("design_value", "number", "unit consumption of the design", unit="column design_unit", required=False),
    Column("approved_calorific_tce", "number", "approved energy of a year", unit="tce", required=False, low=0),
    Column("approved_equivalent_tce", "number", "the same, equivalent basis", unit="tce", required=False, low=0),
    *(Column(name, "day", said, required=False) for name, said in (
        ("approved_on", "day of the approval"), ("start_by", "by when it must begin"), ("started_on", "when it began"),
        ("planned_operation_on", "planned start of operation"), ("operating_from", "start of operation"), ("ended_on", "given up or closed"),
    )),
    _REGION,
)
QUOTAS: Final = (
    Column("project", "text", "of --projects"), Column("day", "day", "of the movement"),
    Column("kind", "text", "what happened to the quota", allowed=("granted", "used", "reclaimed")),
    Column("calorific_tce", "number", "energy of a year", unit="tce", low=0), Column("document", "text", "by which", required=False),
)
_OF_ACCESS: Final = {
    "state": "online, not_delivering, no_meter, not_used, unknown", "lacking": "meters that do not deliver, or media without a meter",
    "undeclared": "metered, but not in the declared list", "missing": "why the state is not known", "missing_zh": "the same in Chinese",
}
_OF_SHARES: Final = {
    "share_ratio": "on line, of those that use it; empty while one is unknown", "at_least_ratio": "were all the unknown ones off line",
    "at_most_ratio": "were they on line", "meets": "the goal; empty where that is not known", "missing": "why a figure is empty",
    "source": "of the goal",
}
_OF_PROJECTS: Final = {
    "state": "not_approved, approved, overdue (not begun in time), building, operating, ended", "reclaim_due": "not begun in time, and quota is left",
    "advanced": "whether the design reaches level 1", "meets_required": "whether it reaches the level that a document asks for",
    "missing": "what is not known", "missing_zh": "the same in Chinese", "limit_source": "of the limit",
}


def access_command(
    on: OnOption,
    members: str = typer.Option(..., "--members", help="The enterprises of each park."),
    points: str = typer.Option(..., "--points", help="Plant-level meters, and points that have none yet."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV: each enterprise and medium, and what it lacks."),
    declared: str | None = typer.Option(None, "--declared", help="Media that enterprises have declared to use."),
    share: str | None = typer.Option(None, "--shares", help="Further output: of each park the share on line, against the goals in force."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--members": MEMBERS, "--points": POINTS, "--declared": DECLARED, "--out": columns_of(schemas.ACCESS, _OF_ACCESS),
        "--shares": columns_of(schemas.ACCESS_SHARE, _OF_SHARES),
    }),
) -> None:
    """Tell which enterprises are fully on line by medium, who lacks which meter, and the shares of key and other enterprises."""
    check_output(out, share)

    def check(read: Mapping[str, Table]) -> list[Problem]:
        known = read["members"]
        places, problems = known.frame.select("park", "enterprise").unique(), twice(known, ["park", "enterprise"], "Keep one row of each place")
        problems += _regions(known)
        for name, keys in (("points", ["park", "enterprise"]), ("declared", ["enterprise"])):
            if name in read:
                stray = read[name].frame.with_row_index("_row").join(places, on=keys, how="anti")["_row"]
                problems += at(read[name], pl.int_range(pl.len()).is_in(stray.implode()), "enterprise", "is not among --members there",
                               "Add it to --members, or mend the park")
        return problems

    read = read_tables({"members": (members, MEMBERS), "points": (points, POINTS), "declared": (declared, DECLARED)}, check=check)
    nobody = pl.DataFrame(schema=dict.fromkeys(("enterprise", "park", "medium"), pl.String()))
    lists = read["declared"].frame if "declared" in read else nobody
    rows = access(read["members"].frame, lists, read["points"].frame)
    if share is not None:
        regions = read["members"].frame.select("park", "region").unique("park")
        write_table(shares(rows, law.access_goals(site_tables()), regions, on.date()), share)
    write_table(rows, out)


def projects_command(
    on: OnOption,
    projects: str = typer.Option(..., "--projects", help="New projects with approval, design and dates."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV: where each stands, its quota, its design."),
    quotas: str | None = typer.Option(None, "--quotas", help="Granted, used and reclaimed quotas."),
    expected: str | None = typer.Option(None, "--expected", help="Further output: what projects that do not operate yet will add, by month."),
    to: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m"], help="Last month of --expected (default: December of the year).")] = None,
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--projects": PROJECTS, "--quotas": QUOTAS, "--out": columns_of(schemas.PROJECT_STATE, _OF_PROJECTS),
        "--expected": columns_of(schemas.EXPECTED_ENERGY, {"missing": "why something is not known", "source": "of the approval"}),
    }),
) -> None:
    """Tell where new projects stand: state, quota, design against the advanced level, and what they will add."""
    check_output(out, expected)
    last = to.date() if to else date(on.year, 12, 31)
    if last < on.date().replace(day=1):
        raise typer.BadParameter("--to lies before --on")

    def check(read: Mapping[str, Table]) -> list[Problem]:
        rows = read["projects"]
        problems = [*twice(rows, ["project"], "Keep one row of each project"), *_regions(rows)]
        problems += at(rows, ~pl.col("parameters").str.contains(_PARAMETERS), "parameters", "give no parameters",
                       "Write clinker_ratio=0.72;altitude_m=1300")
        if "quotas" in read:
            stray = ~pl.col("project").is_in(rows.frame["project"].implode())
            problems += at(read["quotas"], stray, "project", "is not among --projects", "Add it, or mend the name")
        return problems

    read = read_tables({"projects": (projects, PROJECTS), "quotas": (quotas, QUOTAS)}, check=check)
    moved = read["quotas"].frame if "quotas" in read else schemas.empty(schemas.QUOTA)
    regions, folder = read["projects"].frame.select("park", "region").unique("park"), site_tables()
    states = project_states(read["projects"].frame, moved, limit_tables.limits(folder), law.entry_conditions(folder), regions, on.date())
    if expected is not None:
        write_table(expected_energy(states, on.date(), last, on.date()), expected)
    write_table(states, out)


def _regions(rows: Table) -> list[Problem]:
    """Regions that are none, and parks in two of them."""
    several = rows.frame.group_by("park").agg(pl.col("region").n_unique()).filter(pl.col("region") > 1)["park"]
    return [
        *at(rows, ~pl.col("region").str.contains("^[0-9]{6}$"), "region", "is no region", "Write the 6 digits of the administrative code"),
        *at(rows, pl.col("park").is_in(several.implode()), "region", "is not the same in all rows of the park", "Write one region for a park"),
    ]


COMMANDS: Final = {"access": access_command, "projects": projects_command}
