"""`tcewatch calc quantities|energy|balance|intensity`: the accounts on files (GB/T 2589-2020)."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, Literal
from zoneinfo import ZoneInfo

import polars as pl
import typer

from config import coal_equivalents, schemas
from config.carbon import carbon_factors
from config.energy_figures import energy_figures
from config.errors import Problem
from config.units import known_units
from monitors import accounts
from monitors import energy as core
from monitors.allocation import UNKNOWN, divided, held
from monitors.coefficients import CALORIFIC, WATER
from monitors.energy_misfits import coefficient_misfits, misfits
from monitors.intensity import intensity
from monitors.quantities import quantities
from portal.cli.calc_columns import ENTERPRISE, PERIOD, PLACES, RATIOS, SUMS, above_one, at, site_tables, twice, without_empty
from portal.cli.common import instant_of
from portal.cli.files import Column, Table, check_output, columns_of, read_tables, schema_option, write_table

FLOW: Final = Column("flow", "text", "how it enters the balance", required=False, allowed=tuple(core.FLOW_SIGNS), default="consumed")
USE: Final = Column("use", "text", "what it is used as", required=False, allowed=core.USES, default="fuel")
INTERVALS: Final = (
    Column("enterprise", "text", "any id; left out: meters are unique", required=False),
    Column("meter", "text", "id of the meter"),
    Column("register", "text", "register of the meter", required=False, default="main"),
    Column("start", "instant", "start of the interval"),
    Column("end", "instant", "end of the interval, not included"),
    Column("quantity", "number", "consumption in the interval; empty: unknown", nullable=True),
    Column("unit", "text", "unit of the quantity", allowed=known_units()),
    *RATIOS,
)
ASSIGNMENTS: Final = (
    ENTERPRISE,
    Column("meter", "text", "id of the meter"),
    Column("register", "text", "register of the meter", required=False, default="main"),
    Column("carrier", "text", "code of the coefficient table, or water_tap, water_ground, ..."),
    FLOW, USE, *PLACES,
    Column("share_ratio", "number", "share of the register that belongs here, or that the key divides", required=False, default=1.0, low=0),
    Column("valid_from", "day or instant", "first day on which it holds", required=False),
    Column("valid_to", "day or instant", "first day on which it no longer holds", required=False),
    Column("allocation", "text", "key by which it is divided, month by month, among the register's rows with this key; left out: by share_ratio",
           required=False, allowed=("output", "register")),
    Column("key_meter", "text", "of allocation register: the meter whose quantity is this row's part of the key", required=False),
    Column("key_register", "text", "its register", required=False, default="main"),
)
OUTPUTS: Final = (
    ENTERPRISE, Column("product", "text", "code of the product"), PERIOD,
    Column("output", "number", "what was made of it", low=0),
    Column("output_unit", "text", "its unit", required=False),
)
HOLDINGS: Final = (
    ENTERPRISE, Column("site", "text", "site as the assignments name it"),
    Column("owner", "text", "enterprise for which the site counts"),
    Column("valid_from", "day or instant", "first day on which it does", required=False),
    Column("valid_to", "day or instant", "first day on which it no longer does", required=False),
)
QUANTITIES: Final = (
    ENTERPRISE, PERIOD,
    Column("carrier", "text", "code of the coefficient table, or water_tap, water_ground, ..."),
    Column("quantity", "number", "in `unit`; empty: unknown", nullable=True),
    Column("unit", "text", "unit of the quantity", allowed=known_units()),
    FLOW, USE,
    Column("renewable_ratio", "number", "renewable share of it", required=False, low=0),
    Column("new_renewable_ratio", "number", "of electricity: newly added renewable share; no part of the region's assessment", required=False, low=0),
    Column("lhv", "number", "measured lower heating value, before any coefficient", required=False, above=0),
    Column("lhv_unit", "text", "its unit: kJ/kg, MJ/m3, GJ/t, ...", required=False),
    Column("lhv_source", "text", "whose value it is, as `calc heating-value` says it", required=False),
    Column("lhv_missing", "text", "days without a heating value; goes into `missing`", required=False),
    *RATIOS, *PLACES,
)
QUANTITIES_OUT: Final = columns_of(schemas.QUANTITY, {
    "quantity": "of all registers of the carrier, by their shares; empty: unknown", "flow": "how it enters the balance", "use": "what it is used as",
    "covered_ratio": "share of the period that data cover", "estimated_ratio": "share of the quantity that is estimated",
})
COEFFICIENTS: Final = (
    Column("carrier", "text", "code of the carrier"),
    Column("basis", "text", "calorific (当量值) or equivalent (等价值)", allowed=("calorific", "equivalent")),
    Column("unit", "text", "unit of the carrier", allowed=known_units()),
    Column("kgce_per_unit", "number", "coal equivalent of one unit", unit="kgce", above=0),
    Column("valid_from", "day", "first day on which it holds"),
    Column("valid_to", "day", "first day on which it no longer holds", required=False),
    Column("source", "text", "document and place in it"),
    Column("rate_year", "number", "equivalent electricity and heat: the year whose rate it is", required=False),
    Column("provisional", "flag", "it stands in until the rate of the year before is published; results say so", required=False),
    Column("known_from", "instant", "from when the row was known; of several for one day the one known last holds; empty: always", required=False),
)
ENERGY_OUT: Final = (
    Column("calorific_kgce_per_unit", "number", "coefficient used, for one of the row's unit", unit="kgce"),
    Column("calorific_tce", "number", "energy on the calorific basis", unit="tce"),
    Column("calorific_source", "text", "where the coefficient is from"),
    Column("equivalent_kgce_per_unit", "number", "coefficient used, for one of the row's unit", unit="kgce"),
    Column("equivalent_tce", "number", "energy on the equivalent basis", unit="tce"),
    Column("equivalent_source", "text", "where the coefficient is from"),
    Column("missing", "text", "why a basis is empty"),
)
SUM_PARTS: Final = (
    Column("feedstock_equivalent_tce", "number", "feedstock_tce on the equivalent basis", unit="tce", nullable=True),
    Column("new_renewable_tce", "number", "calorific part that is newly added renewable electricity; empty: not said", unit="tce", nullable=True),
    Column("new_renewable_equivalent_tce", "number", "the same on the equivalent basis", unit="tce", nullable=True),
)
NAMED_FIGURES: Final = (  # where period is one of the sum's columns
    *(
        column for figure, what in (
            ("gross", "all of it"), ("assessment", "without feedstock and newly added renewable power"),
            ("limit", "as unit-product limits compare it"),
            ("limit_excluded", "the same for limits without feedstock"),
        ) for column in (
            Column(f"{figure}_calorific_tce", "number", f"energy, {what}, calorific", unit="tce", nullable=True),
            Column(f"{figure}_equivalent_tce", "number", "the same on the equivalent basis", unit="tce", nullable=True),
            Column(f"{figure}_source", "text", "the rule by which it is so", nullable=True),
        )
    ),
    Column("figures_missing", "text", "why a named figure is empty though the energy is not", nullable=True),
)
BALANCED: Final = (
    ENTERPRISE, PERIOD,
    Column("block", "text", "supply + conversion - use = closing", allowed=("supply", "conversion", "use", "closing")),
    Column("row", "text", "flow, or loss, total, residual, comprehensive_energy; supplied and passed_on follow by difference"),
    Column("process", "text", "process of a conversion or use", nullable=True), Column("product", "text", "product of a use", nullable=True),
    Column("carrier", "text", "empty: all carriers", nullable=True),
    Column("quantity", "number", "with its sign", nullable=True), Column("unit", "text", "the carrier's first unit", nullable=True),
    Column("calorific_tce", "number", "energy on the calorific basis, with its sign", unit="tce", nullable=True),
    Column("equivalent_tce", "number", "energy on the equivalent basis, with its sign", unit="tce", nullable=True),
    Column("known_by", "text", "how it is known", allowed=("given", "difference", "sum")),
    Column("missing", "text", "why a basis is empty, or what differs", nullable=True),
    Column("missing_zh", "text", "the same in Chinese", nullable=True),
)
LINKED: Final = (
    ENTERPRISE, PERIOD,
    *(Column(name, "text", "kind or name of the node at that end") for name in ("source_kind", "source", "target_kind", "target")),
    Column("carrier", "text", "what flows; empty: loss", nullable=True),
    Column("calorific_tce", "number", "energy on the calorific basis", unit="tce", nullable=True),
    Column("equivalent_tce", "number", "energy on the equivalent basis", unit="tce", nullable=True),
)
ENTERPRISE_SUMS: Final = (ENTERPRISE, PERIOD, *SUMS)
INTENSITIES: Final = columns_of(schemas.INTENSITY, {
    "water_m3_per_10k_cny": "fresh water", "all_water_m3_per_10k_cny": "mine and reclaimed water too", "missing": "why a figure is empty",
    "coverage_ratio": "share of the value added whose enterprises have calorific energy", "covered_ratio": "share of the period that data cover",
    "base_year": "of constant prices",
})
FIGURES: Final = (
    ENTERPRISE, Column("park", "text", "park of the enterprise", required=False), PERIOD,
    Column("value_added_10k_cny", "number", "industrial value added; empty: unknown", unit="10^4 CNY", nullable=True),
    Column("output_value_10k_cny", "number", "output value", unit="10^4 CNY", required=False, low=0),
    Column("price_basis", "text", "current or constant prices", required=False),
    Column("base_year", "number", "year of the constant prices", required=False),
)


def _place(zone: str) -> str:
    from portal.cli.calc import place  # that module takes its commands from this one

    return str(place(zone))


def quantities_command(
    intervals: str = typer.Option(..., "--intervals", help="Output of `calc intervals`."),
    assignments: str = typer.Option(..., "--assignments", help="What the registers measure."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    by: Literal["month", "day", "year"] = typer.Option("month", "--by", help="Length of a period."),
    zone: str = typer.Option("Asia/Shanghai", "--zone", callback=_place, help="Time zone of the calendar, and of times without an offset."),
    outputs: str | None = typer.Option(None, "--outputs", help="Output of products by month or year: the key of allocation `output`."),
    holdings: str | None = typer.Option(None, "--holdings", help="For which enterprise each site counts, from when on."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--intervals": INTERVALS, "--assignments": ASSIGNMENTS, "--outputs": OUTPUTS, "--holdings": HOLDINGS, "--out": QUANTITIES_OUT,
    }),
) -> None:
    """Sum intervals to quantities of carriers by enterprise, site, process, product and period."""
    check_output(out)

    def check(read: Mapping[str, Table]) -> list[Problem]:
        measured, assigned = read["intervals"], read["assignments"]
        return [
            *above_one(measured, "covered_ratio", "estimated_ratio"), *above_one(assigned, "share_ratio"),
            *at(measured, pl.col("end") <= pl.col("start"), "end", "is not after start", "Write the end of the interval, which is not included"),
            *_order(assigned), *_registers(measured, assigned), *_keys(assigned, with_outputs=outputs is not None), *_more_than_whole(assigned),
            *(twice(read["outputs"], ["enterprise", "product", "period"], "Keep one row for each product and period") if outputs else ()),
            *((*_order(read["holdings"]), *_overlaps(read["holdings"])) if holdings else ()),
        ]

    read = read_tables({
        "intervals": (intervals, INTERVALS), "assignments": (assignments, ASSIGNMENTS),
        "outputs": (outputs, OUTPUTS), "holdings": (holdings, HOLDINGS),
    }, zone=zone, day_zone=zone, check=check)
    measured, assigned = read["intervals"], read["assignments"]
    by_enterprise = measured.frame["enterprise"].is_not_null().any()
    keys = ["enterprise", "meter", "register"] if by_enterprise else ["meter", "register"]
    names = pl.concat([assigned.frame.select(keys), measured.frame.select(keys)]).unique(maintain_order=True).with_row_index("register_key")
    found = measured.frame.join(names, on=keys, nulls_equal=True)
    keyed = names.rename({"meter": "key_meter", "register": "key_register", "register_key": "key_register_key"})
    taken = assigned.frame.join(names, on=keys, nulls_equal=True).join(
        keyed, on=[f"key_{name}" if name != "enterprise" else name for name in keys], how="left", nulls_equal=True,
    )
    units = found.group_by("register_key").agg(pl.col("unit").first())
    stray = found.filter(~pl.col("register_key").is_in(taken["key_register_key"].drop_nulls().implode())).join(
        taken, on="register_key", how="anti"
    ).select(keys).unique(maintain_order=True)
    if not stray.is_empty():
        listed = ", ".join("/".join(str(part) for part in row) for row in stray.head(5).iter_rows())
        typer.echo(f"{stray.height} registers have intervals but no assignment and are in no sum: {listed}", err=True)
    # A register without intervals has to show as not covered, in the unit of its fellows.
    silent = taken.join(units, on="register_key", how="anti")
    fellows = dict(taken.join(units, on="register_key").select("carrier", "unit").unique("carrier", maintain_order=True).iter_rows())
    defaults = dict(coal_equivalents.coefficients(site_tables()).select("carrier", "unit").iter_rows()) | dict.fromkeys(WATER, "m3") | fellows
    units = pl.concat([units, silent.select(
        "register_key", unit=pl.col("carrier").replace_strict(defaults, default=None, return_dtype=pl.String())
    ).unique("register_key")])
    consumed = found.with_columns(quality=pl.lit(None, dtype=schemas.QUALITY)).select(*schemas.INTERVAL.names())
    owned = held(taken, read["holdings"].frame) if "holdings" in read else schemas.conform(taken, schemas.ASSIGNMENT)
    made = read["outputs"].frame if "outputs" in read else pl.DataFrame(schema={**dict.fromkeys(("enterprise", "product", "period"), pl.String()),
                                                                                 "output": pl.Float64()})
    shared = divided(schemas.conform(owned, schemas.ASSIGNMENT), consumed, made, zone=zone)
    if (open_shares := shared.filter(pl.col("allocation") == UNKNOWN)).height:
        listed = ", ".join(open_shares["valid_from"].dt.convert_time_zone(zone).dt.strftime("%Y-%m").unique(maintain_order=True).head(5))
        typer.echo(f"{open_shares.height} shares by a key are not known and count as not covered: {listed}", err=True)
    result = quantities(consumed, schemas.conform(units, schemas.REGISTER), shared, by=by, zone=zone)
    write_table(without_empty(result, PLACES, assigned), out)


def energy_command(
    quantities: str = typer.Option(..., "--quantities", help="Quantities of carriers."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    coefficients: str | None = typer.Option(None, "--coefficients", help="Further dated coefficients; they come before the shipped ones."),
    by: str | None = typer.Option(None, "--sum", help="Sum over groups of these columns, such as enterprise,period."),
    periods: Literal["month", "year"] | None = typer.Option(None, "--periods", help="Of --sum: add up the rows of each month or year."),
    as_of: str | None = typer.Option(None, "--as-of", metavar="INSTANT", help="Only coefficients that were known then (known_from)."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--quantities": QUANTITIES, "--coefficients": COEFFICIENTS,
        "--out, after the columns of the quantities": ENERGY_OUT, "--out of --sum, after its columns": (*SUMS, *SUM_PARTS, *NAMED_FIGURES),
    }),
) -> None:
    """Convert quantities to coal equivalent on both bases; with --sum, add them up by flow."""
    check_output(out)
    if periods and by is None:
        raise typer.BadParameter("asks for sums; give --sum enterprise,period", param_hint="--periods")
    rows, result = _converted(quantities, coefficients, as_of)
    if by is None:
        computed = [column.name for column in ENERGY_OUT]
        given = [name for name in rows.frame.columns if name in rows.given and name not in computed]
        write_table(result.select(*given, *computed), out)
        return
    groups = list(dict.fromkeys(name.strip() for name in by.split(",") if name.strip()))
    if unknown := [name for name in groups if name not in result.columns] or ([by] if not groups else []):
        raise typer.BadParameter(f"{', '.join(unknown)} is no column; the rows have {', '.join(rows.frame.columns)}", param_hint="--sum")
    if summed := [name for name in groups if name in schemas.ENERGY_SUM]:
        raise typer.BadParameter(f"{', '.join(summed)} is what is summed; name what the sums are for, such as enterprise,period", param_hint="--sum")
    result = core.in_periods(result, periods) if periods else result
    for row in (*_taken_off_twice(result), *(() if {"process", "product"} & set(groups) else _more_than_used(result))):
        typer.echo(row, err=True)
    sums = core.sum_energy(result, groups)
    write_table(core.figures(sums, energy_figures(site_tables())) if "period" in groups else sums, out)


def balance_command(
    quantities: str = typer.Option(..., "--quantities", help="Quantities of carriers by flow, process and product."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    coefficients: str | None = typer.Option(None, "--coefficients", help="Further dated coefficients; they come before the shipped ones."),
    links: str | None = typer.Option(None, "--links", help="Where the same goes as flows from node to node, for a Sankey diagram."),
    as_of: str | None = typer.Option(None, "--as-of", metavar="INSTANT", help="Only coefficients that were known then (known_from)."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--quantities": QUANTITIES, "--coefficients": COEFFICIENTS, "--out": BALANCED, "--links": LINKED,
    }),
) -> None:
    """Arrange the energy of enterprises as a balance: what came in, was converted, was used, and what does not close."""
    check_output(out, *(path for path in (links,) if path is not None))
    _, result = _converted(quantities, coefficients, as_of)
    found = accounts.balance(result)
    write_table(found, out)
    if links is not None:
        write_table(accounts.links(found), links)


def _converted(quantities: str, coefficients: str | None, as_of: str | None) -> tuple[Table, pl.DataFrame]:
    """The quantities as they were read, and their ENERGY with all of their columns."""
    then = None if as_of is None else instant_of(as_of, ZoneInfo("Asia/Shanghai"), "--as-of")
    shipped = coal_equivalents.coefficients(site_tables(), then)

    def law_of(read: Mapping[str, Table]) -> pl.DataFrame:
        if "coefficients" not in read:
            return shipped
        rows = read["coefficients"].frame.with_row_index("_row")
        unfit = [row for row, column, *_ in _unfit_coefficients(rows) if column == "unit"]
        brought = rows.filter(~pl.col("_row").is_in(unfit)).drop("_row").drop_nulls(["carrier", "unit"]).with_columns(  # the rest is told
            pl.col("basis").fill_null(CALORIFIC), pl.col("valid_from").fill_null(date(2000, 1, 1)), pl.col("source").fill_null(""),
        )
        return coal_equivalents.overlay(shipped, coal_equivalents.with_rates_named(brought))

    def check(read: Mapping[str, Table]) -> list[Problem]:
        rows = read["quantities"]
        more = pl.col("new_renewable_ratio") > pl.col("renewable_ratio").fill_null(0.0)
        return [
            *((*_order(read["coefficients"]), *_no_coefficients(read["coefficients"]), *_two_coefficients(read["coefficients"]))
              if coefficients else ()),
            *above_one(rows, "covered_ratio", "estimated_ratio", "renewable_ratio"),
            *at(rows, more, "new_renewable_ratio", "is above renewable_ratio", "It is the newly added part of it"),
            *(Problem(rows.where(row, column), what, remedy)
              for row, column, what, remedy in misfits(rows.frame, law_of(read), carrier_names())),
        ]

    read = read_tables({"quantities": (quantities, QUANTITIES), "coefficients": (coefficients, COEFFICIENTS)}, check=check, as_of=then)
    return read["quantities"], core.energy(read["quantities"].frame, law_of(read))


def carrier_names() -> dict[str, str]:
    """What carriers are called in Chinese and English, with their codes."""
    rows = coal_equivalents.coefficient_rows(site_tables())
    return {name.partition(", ")[0].partition("（")[0]: row.carrier for row in rows for name in (row.name_zh, row.name_en) if name is not None}


def _no_coefficients(table: Table) -> list[Problem]:
    """Coefficients that cannot be meant: in a unit, basis or size that is not the carrier's."""
    reference = coal_equivalents.coefficients()
    unfit = _unfit_coefficients(table.frame)
    told = {row for row, *_ in unfit}
    far = [(row, "kgce_per_unit", what, remedy) for row, what, remedy in coal_equivalents.far_from_reference(table.frame, reference)
           if row not in told]
    return [Problem(table.where(row, column), what, remedy) for row, column, what, remedy in sorted([*unfit, *far])]


def _two_coefficients(table: Table) -> list[Problem]:
    return twice(table, ["carrier", "basis", "known_from", "valid_from"], "Keep one: of two coefficients from the same day on none can be chosen")


def _more_than_used(energy_rows: pl.DataFrame) -> list[str]:
    """Sentences on carriers of which more was made than is said to be used, and nothing is said of the gate: the rest counts as passed on."""
    flow, inside = pl.col("flow").fill_null("consumed"), pl.col("process").is_not_null() | pl.col("product").is_not_null()
    made, used = flow == "converted_out", flow.is_in(core.CONSUMED)
    rest = pl.col("calorific_tce").filter(made).sum() - pl.col("calorific_tce").filter(used).sum()
    found = energy_rows.group_by("enterprise", "period", "carrier", maintain_order=True).agg(
        rest=rest, both=made.any() & used.any(), gate=(~inside & ~made & ~used).any(), _made=pl.col("calorific_tce").filter(made).sum(),
    ).filter("both", ~pl.col("gate"), pl.col("rest") > 1e-9 * pl.col("_made"))
    return [
        f"{enterprise} {period}: {rest:.6g} tce more of {carrier} was made than is said to be used, and counts as passed on; "
        "what was lost inside is use: give it as consumed" for enterprise, period, carrier, rest, *_ in found.iter_rows()
    ]


def _taken_off_twice(energy_rows: pl.DataFrame) -> list[str]:
    """Sentences on carriers whose own output is taken off beside what was sold of it, or though it came in bought as well."""
    flow, outside = pl.col("flow"), pl.col("process").is_null() & pl.col("product").is_null()
    other_way = flow.is_in([*core.INPUT_FLOWS, "sold"])
    found = energy_rows.group_by("enterprise", "period", "carrier", maintain_order=True).agg(
        made=(flow == "converted_out").any(), used=flow.fill_null("consumed").is_in(core.CONSUMED).any(),
        twice=((flow == "converted_out") & outside).any() & ((flow == "sold") & outside).any(),
        beside=flow.filter(other_way).unique(maintain_order=True).str.join(", "),
    ).filter(pl.col("twice") | (pl.col("made") & ~pl.col("used")), pl.col("beside") != "")
    return [
        f"{enterprise} {period}: {carrier} has converted_out beside {beside} and no consumed: its output is taken off as passed on; "
        "give what of it was used as consumed, or leave converted_out away where sold and stock say it" if not used else
        f"{enterprise} {period}: {carrier} has converted_out beside consumed and {beside}: what is sold of the own output is taken off twice; "
        "name the process of converted_out and consumed, or leave the two away" for enterprise, period, carrier, _, used, _, beside
        in found.iter_rows()
    ]


def intensity_command(
    energy: str = typer.Option(..., "--energy", help="Output of `calc energy --sum enterprise,period`."),
    figures: str = typer.Option(..., "--figures", help="Value added of the enterprises."),
    out: str = typer.Option(..., "--out", help="Output file, or - for CSV."),
    by: Literal["enterprise", "park"] = typer.Option("enterprise", "--by", help="Whose intensity."),
    schema: bool = schema_option({  # noqa: ARG001 - acts when it is read
        "--energy": ENTERPRISE_SUMS, "--figures": FIGURES, "--out, after the enterprise or park": INTENSITIES,
    }),
) -> None:
    """Divide energy and water by value added, sum over sum."""
    check_output(out)

    def check(read: Mapping[str, Table]) -> list[Problem]:
        sums, values = read["energy"], read["figures"]
        no_park = pl.col("park").is_null() if by == "park" else pl.lit(value=False)
        return [
            *above_one(sums, "covered_ratio", "estimated_ratio"),
            *twice(sums, ["enterprise", "period"], "Sum the energy with `calc energy --sum enterprise,period`"),
            *twice(values, ["enterprise", "park", "period"], "Keep one row for each enterprise and period"),
            *at(values, no_park, "park", "the cell is empty", "Write the park of the enterprise, or use --by enterprise"),
            *mixed_price_bases(values, [by, "period"]),
        ]

    read = read_tables({"energy": (energy, ENTERPRISE_SUMS), "figures": (figures, FIGURES)}, check=check)
    sums, values = read["energy"], read["figures"]
    result = intensity(sums.frame, values.frame, by)
    if by == "enterprise":  # a row of the figures is a row of the result, and brings its further columns along
        keys = ["enterprise", "period"]
        further = [name for name in values.frame.columns if name in values.given and name not in result.columns]
        single = values.frame.filter(~pl.struct(keys).is_duplicated()).select(*keys, *further)
        result = result.join(single, on=keys, how="left", maintain_order="left")
    write_table(result, out)


def _registers(measured: Table, assigned: Table) -> list[Problem]:
    """Registers with intervals in several units, and assignments to a carrier that is misspelt or not measured in the register's unit."""
    keys = ["enterprise", "meter", "register"]
    units = measured.frame.group_by(keys).agg(pl.col("unit").first(), several=pl.col("unit").n_unique() > 1)
    problems = []
    if units["several"].any():
        other = pl.col("unit") != pl.col("unit").first().over(keys)
        remedy = "Convert the quantities of a register to one unit"
        problems += at(measured, other, "unit", "differs from the register's unit in its first row", remedy)
    if measured.frame["enterprise"].null_count() == measured.frame.height:
        keys.remove("enterprise")
    told = assigned.frame.select(*keys, "carrier").join(units.unique(keys), on=keys, how="left", nulls_equal=True, maintain_order="left")
    for row, column, what, remedy in unfit_carriers(told):
        if column == "carrier" and remedy.startswith("Near"):
            problems.append(Problem(assigned.where(row, "carrier"), what, remedy))
        elif column == "carrier":  # one of the user's own, whose coefficient `calc energy --coefficients` brings
            typer.echo(f"{assigned.where(row, column)}: {what}. Bring its coefficient to calc energy, or correct it: {remedy}", err=True)
        elif told["unit"][row] in known_units():
            why = f"{told['carrier'][row]} is not measured in {told['unit'][row]}, the unit of the register in {measured.name}"
            problems.append(Problem(assigned.where(row, "carrier"), why, "Write the carrier that the register measures, or convert its intervals"))
    return problems


def unfit_carriers(rows: pl.DataFrame) -> list[tuple[int, str, str, str]]:
    """Carriers that are not known, and units in which none can be: a coefficient that is brought to `calc energy` may be for another unit.

    Args:
        rows: carrier and unit.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    law, others = coal_equivalents.coefficients(site_tables()), set(carbon_factors(site_tables())["carrier"])
    unknown = [
        misfit for misfit in misfits(rows.with_columns(period=pl.lit("2025")), law, carrier_names())
        if (misfit[1] == "carrier" and rows["carrier"][misfit[0]] not in others) or (misfit[1] == "unit" and rows["carrier"][misfit[0]] in WATER)
    ]
    as_coefficients = rows.with_columns(basis=pl.lit(None, pl.String()), kgce_per_unit=pl.lit(None, pl.Float64()))
    return sorted([*unknown, *(misfit for misfit in _unfit_coefficients(as_coefficients) if misfit[1] == "unit")])


def _unfit_coefficients(rows: pl.DataFrame) -> list[tuple[int, str, str, str]]:
    listed = coal_equivalents.coefficient_rows(site_tables())
    fluids = {row.carrier for row in listed if row.medium not in ("coal", "electricity", "heat")}
    return coefficient_misfits(rows, coal_equivalents.coefficients(), fluids)


def mixed_price_bases(table: Table, keys: Sequence[str | pl.Expr]) -> list[Problem]:
    """A problem for each row whose value added is of other prices than that of the first one with which it would be added."""
    basis = pl.format("{} {}", pl.col("price_basis").fill_null(""), pl.col("base_year").cast(pl.String()).fill_null(""))
    first = basis.filter(pl.col("value_added_10k_cny").is_not_null()).first().over(keys)
    other = pl.col("value_added_10k_cny").is_not_null() & (basis != first)
    return at(table, other, "price_basis", f"is not that of the first value added of the same {keys[0]}, with which it would be added",
              "Give both at the same prices, with the same base_year")


def _order(table: Table) -> list[Problem]:
    wrong = pl.col("valid_to") <= pl.col("valid_from")
    return at(table, wrong, "valid_to", "is not after valid_from", "Leave it empty or write a later day")


def _keys(assigned: Table, *, with_outputs: bool) -> list[Problem]:
    """What a key lacks: the product and its outputs, or the meter whose quantity it is."""
    by_output, by_register = pl.col("allocation") == "output", pl.col("allocation") == "register"
    group = ["enterprise", "meter", "register", "carrier", "flow", "allocation"]
    several = pl.col("allocation").is_not_null() & (pl.col("share_ratio") != pl.col("share_ratio").first().over(group))
    return [
        *at(assigned, by_output & pl.col("product").is_null(), "product", "the cell is empty", "Name the product whose output is the key"),
        *at(assigned, by_register & pl.col("key_meter").is_null(), "key_meter", "the cell is empty", "Name the meter whose quantity is the key"),
        *(() if with_outputs else at(assigned, by_output, "allocation", "asks for outputs", "Give --outputs with the output of the products")),
        *at(assigned, several, "share_ratio", "differs among the rows of one key", "Give each of them what the key divides"),
    ]


def _more_than_whole(assigned: Table) -> list[Problem]:
    """Rows on whose first day the shares of their register, carrier and flow add up to more than the register, which would count twice."""
    group = ["enterprise", "meter", "register", "carrier", "flow"]
    rows = assigned.frame.with_row_index("_row").with_columns(pl.col("flow").fill_null("consumed"))
    rows = rows.filter(pl.len().over(group) > 1).select("_row", *group, "allocation", "share_ratio", "valid_from", "valid_to")
    begins, begun, ended = pl.col("valid_from"), pl.col("valid_from_other"), pl.col("valid_to_other")
    then = rows.join(rows, on=group, nulls_equal=True, suffix="_other").filter(
        begun.is_null() | (begun <= begins).fill_null(value=False), ended.is_null() | begins.is_null() | (begins < ended),
    )
    share, keyed = pl.col("share_ratio_other"), pl.col("allocation_other").is_not_null()
    by_key = pl.struct("allocation_other", "share_ratio_other").filter(keyed).unique().struct.field("share_ratio_other").sum()
    found = then.group_by("_row").agg(together=share.filter(~keyed).sum() + by_key).filter(pl.col("together") > 1 + 1e-9).sort("_row")
    return [
        Problem(assigned.where(row, "share_ratio"), f"the shares of this register, carrier and flow add up to {together:.6g}",
                "They may add up to 1 at most") for row, together in found.iter_rows()
    ]


def _overlaps(table: Table) -> list[Problem]:
    """Rows of a site that hold on the same day."""
    rows = table.frame.with_row_index("_row").sort("enterprise", "site", "valid_from", nulls_last=False)
    site = ["enterprise", "site"]
    before, follows = pl.col("valid_to").shift(1).over(site), pl.int_range(pl.len()).over(site) > 0
    wrong = rows.filter(follows & (before.is_null() | pl.col("valid_from").is_null() | (before > pl.col("valid_from"))))["_row"]
    remedy = "End the earlier row (valid_to) where the later one begins"
    return [Problem(table.where(row, "valid_from"), "the site has another row for the same time", remedy) for row in wrong]


COMMANDS: Final = {"quantities": quantities_command, "energy": energy_command, "balance": balance_command, "intensity": intensity_command}
