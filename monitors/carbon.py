"""CO2 of enterprises: fuels, grid electricity, heat, process and what is passed on; levels and grades of the carbon code (evaluation_methods 5)."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import polars as pl

from config import schemas
from config.calendar import is_period, period_days
from config.carbon import GRID, NATIONAL
from config.names import folded
from config.phrases import with_chinese
from config.units import KG_PER_T, dimension, factor, heating_value_in, to_base
from monitors.coefficients import WATER
from monitors.energy import CONSUMED, FLOW_SIGNS, INPUT_FLOWS, anywhere, beside, is_inner
from monitors.limits import MIN_COVERED_RATIO
from monitors.numbers import SIGNIFICANT_DIGITS, number

HEAT: Final = "heat"
MONTHS: Final = 12
_CODE: Final = re.compile(r"(?<![\w`])[a-z][a-z0-9_]+(?![\w`])", re.ASCII)
SECTOR: Final = pl.Schema({  # FIGURE with the sector, and the mean of the sector where it is published
    **schemas.FIGURE, "sector": pl.String(), "sector_intensity": pl.Float64(),
})
_KEYS: Final = ["carrier", "unit", "_region", "_lhv_unit"]
_ZH: Final[Mapping[str, str]] = {  # pieces of a derivation; the order of what is put in stays
    "{} {} {} x {} kg/{} = {} t": "{} {} {} × {} kg/{} = {} t", "{}: own primary, no CO2": "{}：自产一次能源，不计 CO2",
    "process {} t": "过程排放 {} t",
    "sum {} t": "合计 {} t", "{} t / {} (10,000 yuan) = {}": "{} t ÷ {} 万元 = {}",
    "over the mean of {} enterprises of the sector, {}: {}": "与行业 {} 家企业的均值 {} 之比：{}",
    "over the published mean of the sector, {}: {}": "与公布的行业均值 {} 之比：{}", "missing: {}": "缺少：{}", "; ": "；",
}
LANGUAGES: Final[Mapping[str, Callable[[str], str]]] = {"en": str, "zh": _ZH.__getitem__}


class _Found(NamedTuple):
    """CO2 for one of the row's unit, or for one kJ where a heating value is given; or why there is none."""

    kg: float | None
    per_kj: bool
    year: int | None
    source: str | None
    reason: str | None


def carbon(
    quantities: pl.DataFrame, factors: pl.DataFrame, year: int, *, media: Sequence[str] = (), figures: pl.DataFrame | None = None,
    levels: pl.DataFrame | None = None, names_zh: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Sum the CO2 of enterprises in a year, and divide it by value added where figures are given.

    A factor is the newest one of a year up to `year`, named in `factor_year` and `source` (decisions.md 24); one without a year is a guide's
    default. A measured heating value takes the place of the one that a factor was computed with; a factor for energy needs one. Grid
    electricity is that of `grid_region` (empty: the national one), less its renewable share; what is passed on counts negative, so that net
    power may be negative; own primary electricity and heat carry no CO2. Water and consumed media carry none of their own. Fuel used as raw
    material has no combustion factor: its emission is to be part of `process_t`. Whatever is unknown leaves the sum empty, never the sum of
    the rest.

    An intensity is that of the measured part where less than 90 % of the year is covered; `missing` says so.

    Args:
        quantities: CARBON_QUANTITY; rows of other years are left out.
        factors: CARBON_FACTOR.
        year: whose emissions.
        media: codes of consumed media.
        figures: FIGURE of that year, or of its twelve months, with `sector`, and `sector_intensity` where the mean of the sector is published;
            else it is the sum of the sector's emissions over the sum of its value added, of the enterprises here that have both.
        levels: CARBON_LEVEL.
        names_zh: what carriers are called in the Chinese texts; one that is not among them is called by its code.

    Returns:
        CARBON, one row for each enterprise of the quantities, and of the figures where they are given.

    >>> from config.carbon import carbon_factors
    >>> used = pl.DataFrame({"enterprise": ["E"], "period": ["2026"], "carrier": ["electricity"], "quantity": [1000.0], "unit": ["kWh"]})
    >>> carbon(used, carbon_factors(), 2026).select("emissions_t", "factor_year").row(0)
    (0.5306, '2023')
    """
    rows = _of_year(schemas.conform(quantities, schemas.CARBON_QUANTITY), year)
    rows = _emitted(rows, factors, year, media)
    names = names_zh or {}
    sums = _sums(rows, year, names)
    known = schemas.empty(SECTOR) if figures is None else _of_year(schemas.conform(figures, SECTOR), year)
    result = _with_intensity(sums, known, given=figures is not None)
    result = _with_levels(result, schemas.empty(schemas.CARBON_LEVEL) if levels is None else levels, year)
    result = with_chinese(result)
    called = {reason: _CODE.sub(lambda code: names.get(code[0], code[0]), reason) for reason in result["missing_zh"].drop_nulls()}
    result = result.with_columns(pl.col("missing_zh").replace(called))
    said = [_derivation(language).alias(name) for language, name in (("en", "derivation"), ("zh", "derivation_zh"))]
    return schemas.conform(result.with_columns(year=pl.lit(year)).with_columns(said), schemas.CARBON)


def misfits(quantities: pl.DataFrame, factors: pl.DataFrame, year: int) -> list[tuple[int, str, str, str]]:
    """What `monitors.energy_misfits` does not see: an unknown grid region, a row without a carrier, periods in each other, `process_t` twice.

    Returns:
        Row (from 0), column, what is wrong, and what would be right.
    """
    regions = _regions(factors)
    rows = _of_year(schemas.conform(quantities, schemas.CARBON_QUANTITY).with_row_index("_row"), year)
    problems = [
        (row, "grid_region", f"{region!r} is no grid region of the table", f"Write one of {', '.join(dict.fromkeys(regions.values()))}.")
        for row, region in rows.drop_nulls("grid_region").select("_row", "grid_region").iter_rows() if folded(region) not in regions
    ]
    problems += [
        (row, "carrier", "the cell is empty", "Write the carrier; a row without one gives process_t only.")
        for row in rows.filter(pl.col("carrier").is_null() & (pl.col("quantity").is_not_null() | pl.col("process_t").is_null()))["_row"]
    ]
    length, keys = pl.col("period").str.len_chars(), ["enterprise", "site", "process", "product", "carrier", "flow"]
    inside = [(length > shorter) & (length == shorter).any().over([*keys, pl.col("period").str.slice(0, shorter)]) for shorter in (4, 7)]
    problems += [
        (row, "period", f"{period} lies in a longer period of the same carrier", "Give the carrier by years, by months or by days.")
        for row, period in rows.filter(inside[0] | inside[1]).select("_row", "period").iter_rows()
    ]
    place = ["enterprise", "site", "process", "product", "period", "process_t"]
    repeated = (pl.col("process_t") != 0) & ~pl.struct(place).is_first_distinct()
    problems += [
        (row, "process_t", "stands a second time for the same period", "A figure counts once for each row: write it in one of them.")
        for row in rows.filter(repeated)["_row"]
    ]
    return sorted(problems)


def _of_year(rows: pl.DataFrame, year: int) -> pl.DataFrame:
    return rows.filter(pl.col("period").str.slice(0, 4) == f"{year:04}")


def _regions(factors: pl.DataFrame) -> dict[str, str]:
    """What a grid region may be called: its code or its Chinese name."""
    rows = factors.filter(pl.col("region").is_not_null()).select("region", "region_zh").unique(maintain_order=True).iter_rows()
    return {folded(name): code for code, zh in rows for name in (code, zh) if name is not None}


def _emitted(rows: pl.DataFrame, factors: pl.DataFrame, year: int, media: Sequence[str]) -> pl.DataFrame:
    """Add the emission of each row, its factor, and why it is unknown."""
    by = ["enterprise", "period"]
    flow = pl.col("flow").fill_null("consumed")
    signed = flow.replace_strict(dict(FLOW_SIGNS), default=None, return_dtype=pl.Float64())
    carries = pl.col("carrier").is_not_null() & ~pl.col("carrier").is_in([*WATER, *media]) & pl.col("use").ne_missing("medium")
    feedstock = pl.col("use") == "feedstock"
    rows = rows.with_columns(
        _region=pl.when(pl.col("carrier") == GRID).then(
            pl.col("grid_region").fill_null(NATIONAL).str.strip_chars().str.to_lowercase().replace_strict(_regions(factors), default=None),
        ),
        _lhv_unit=pl.when(pl.col("lhv").is_not_null()).then(pl.col("lhv_unit").fill_null("?")),
        _carries=carries.fill_null(value=False), _feedstock=feedstock.fill_null(value=False), _inner=is_inner(rows, flow, by),
    )
    told = anywhere(rows, pl.col("_feedstock") & ~pl.col("_inner"), by)
    # Raw material that only a process names is part of what the enterprise's own rows burn: it is taken off there.
    rows = rows.with_columns(_taken_off=pl.col("_inner") & pl.col("_feedstock") & ~told).filter(
        ~pl.col("_inner") | pl.col("_taken_off") | pl.col("process_t").is_not_null()
    )
    needs = rows.filter("_carries").select(_KEYS).unique(maintain_order=True)
    found = [_factor(factors, year, *need) for need in needs.iter_rows()]
    columns = pl.DataFrame(found, schema={
        "_kg": pl.Float64(), "_per_kj": pl.Boolean(), "_year": pl.Int32(), "_source": pl.String(), "_reason": pl.String(),
    }, orient="row")
    rows = rows.join(pl.concat([needs, columns], how="horizontal"), on=_KEYS, how="left", nulls_equal=True, maintain_order="left")
    own = (flow == "own_primary") & pl.col("carrier").is_in([GRID, HEAT])
    counts = pl.col("_carries") & (~pl.col("_inner") | pl.col("_taken_off"))
    burnt = counts & (~pl.col("_feedstock") | pl.col("_taken_off"))
    kg = pl.when(own).then(0.0).otherwise(pl.col("_kg") * pl.when(pl.col("_per_kj")).then("lhv").otherwise(1.0))
    consumed, brought_in = flow.is_in(CONSUMED) & ~pl.col("_inner"), flow.is_in(INPUT_FLOWS) & ~pl.col("_inner")
    twice = beside(rows, consumed, brought_in, by)
    process = pl.col("process_t").is_not_null().any().over("enterprise")
    rows = rows.with_columns(
        _counts=counts, _kg=pl.when(burnt).then(kg), _own=own,
        _net=pl.when(burnt).then(
            pl.when("_taken_off").then(-signed).otherwise(signed) * pl.col("quantity") * (1 - pl.col("renewable_ratio").fill_null(0.0)),
        ),
    )
    reason = (
        pl.when(counts & (pl.col("quantity").is_null() | pl.col("quantity").is_nan())).then(pl.format("{}: no quantity in {}", "carrier", "period"))
        .when(counts & twice).then(pl.format(
            "{}: consumed stands beside purchased, own primary or stock rows, which counts it twice; keep one of the two", "carrier",
        ))
        .when(burnt & ~own).then("_reason")
    )
    raw = pl.when(counts & pl.col("_feedstock") & ~process).then(
        pl.format("{} used as raw material has no combustion factor: give its emission in process_t", "carrier"),
    )
    return rows.with_columns(_reason=reason, _raw=raw, _t=pl.col("_net") * pl.col("_kg") / KG_PER_T)


def _factor(factors: pl.DataFrame, year: int, carrier: str, unit: str, region: str | None, lhv_unit: str | None) -> _Found:
    rows = factors.filter(pl.col("carrier") == carrier, pl.col("region").eq_missing(pl.lit(region, dtype=pl.String())) | pl.col("region").is_null())
    where = carrier if region is None else f"{carrier} ({region})"
    if rows.is_empty():
        return _Found(None, False, None, None, f"no CO2 factor of {where} is in the table: name the kind of fuel as `tcewatch tables carbon_factors` "
                      "lists it, or bring its factor (`tcewatch tables add`)")
    dated = rows.filter(pl.col("year") <= year).sort("year")
    if dated.is_empty() and (dated := rows.filter(pl.col("year").is_null())).is_empty():
        first = rows["year"].sort()[0]
        return _Found(None, False, None, None, f"no CO2 factor of {where} is published for {year} or before; the first is of {first}")
    row = dated.row(-1, named=True)
    if row["kgco2_per_unit"] is None:
        return _Found(None, False, None, None, f"the table has no number for the CO2 of {where} ({row['remark']})")
    source = row["source"]
    if row["year"] is None:
        source += f" (default without a year: {row['remark']})" if row["remark"] else " (default without a year)"
    elif row["year"] < year:
        source += f" (factor of {row['year']}, the newest published, for {year})"
    kg, reason, per_kj = _in_unit(row, unit, lhv_unit)
    return _Found(kg, per_kj, row["year"], source, reason)


def _in_unit(row: Mapping[str, Any], unit: str, lhv_unit: str | None) -> tuple[float | None, str | None, bool]:
    """CO2 for one `unit`, or with a heating value for what one of `lhv_unit` makes it; why there is none; and whether it is the latter."""
    by_energy = dimension(row["unit"]) == "energy"
    if lhv_unit is not None and (by_energy or row["lhv_kj_per_unit"] is not None):
        per_kj = row["kgco2_per_unit"] / (to_base(row["unit"]) if by_energy else row["lhv_kj_per_unit"])
        measured = heating_value_in(lhv_unit)
        amount = factor(unit, measured[1].removeprefix("kJ/")) if measured else None
        if measured is None or amount is None:
            return None, f"lhv_unit {lhv_unit} does not fit {row['carrier']} in {unit}", False
        return per_kj * measured[0] * amount, None, True
    scale = factor(unit, row["unit"])
    if scale is None:
        return None, f"the CO2 factor of {row['carrier']} is for one {row['unit']}, the quantity is in {unit}: give lhv and lhv_unit", False
    return float(f"{row['kgco2_per_unit'] * scale:.14g}"), None, False


def _sums(rows: pl.DataFrame, year: int, names: Mapping[str, str]) -> pl.DataFrame:
    first, last = period_days(str(year))
    spans = {period: (end - start).days + 1 for period in rows["period"].drop_nulls().unique() for start, end in [period_days(period)]}
    days = pl.col("period").replace_strict(spans, default=0, return_dtype=pl.Float64())
    covered = rows.filter("_counts", ~pl.col("_inner")).group_by("enterprise", "carrier", "period", maintain_order=True).agg(
        pl.when(pl.col("quantity").is_not_null()).then(pl.col("covered_ratio").fill_null(1.0)).otherwise(0.0).mean(), _days=days.first(),
    ).group_by("enterprise", "carrier", maintain_order=True).agg(
        (pl.col("covered_ratio") * pl.col("_days")).sum() / ((last - first).days + 1),
    ).group_by("enterprise").agg(pl.col("covered_ratio").min())
    part = pl.when(pl.col("carrier") == GRID).then(pl.lit("electricity_t")).when(pl.col("carrier") == HEAT).then(pl.lit("heat_t"))
    rows = rows.with_columns(_part=part.otherwise(pl.lit("fuel_t")))
    used = pl.col("_t").is_not_null() & ~pl.col("_own")
    in_part = {name: pl.col("_part") == name for name in ("fuel_t", "electricity_t", "heat_t")}
    sums = rows.group_by("enterprise", maintain_order=True).agg(
        *(
            pl.when(~(pl.col("_reason").is_not_null() & mine).any()).then(pl.col("_t").filter(mine).sum()).alias(name)
            for name, mine in in_part.items()
        ),
        process_t=pl.when(pl.col("process_t").is_not_null().any()).then(pl.col("process_t").sum()),
        factor_year=pl.col("_year").filter(used & in_part["electricity_t"]).drop_nulls().unique().sort().cast(pl.String()).str.join(" "),
        source=pl.col("_source").filter(used).drop_nulls().unique(maintain_order=True).str.join("; "),
        _reasons=pl.concat_list("_reason", "_raw").explode(empty_as_null=False).drop_nulls().unique(maintain_order=True),
        _any=(pl.col("_counts") | pl.col("process_t").is_not_null()).any(),
    ).join(covered, on="enterprise", how="left", maintain_order="left")
    for language in LANGUAGES:
        sums = sums.join(_pieces(rows, language, names if language == "zh" else {}), on="enterprise", how="left", maintain_order="left")
    nothing = pl.when(~pl.col("_any")).then(pl.lit([f"no carrier of {year}"])).otherwise("_reasons")
    parts = pl.sum_horizontal(*in_part, pl.col("process_t").fill_null(0.0))
    return sums.with_columns(pl.col("factor_year", "source").replace("", None), _reasons=nothing).with_columns(
        emissions_t=pl.when(pl.col("_reasons").list.len() == 0).then(parts),
    )


def _pieces(rows: pl.DataFrame, language: str, names: Mapping[str, str]) -> pl.DataFrame:
    """The arithmetic of each carrier, which may have a name, by enterprise."""
    say = LANGUAGES[language]
    groups = rows.filter(pl.col("_net").is_not_null(), pl.col("_kg").is_not_null()).group_by(
        "enterprise", "carrier", "unit", "_kg", "_own", maintain_order=True,
    ).agg(pl.col("_net", "_t").sum())
    groups = groups.with_columns(pl.col("carrier").replace(names))
    product = pl.format(say("{} {} {} x {} kg/{} = {} t"), "carrier", number("_net"), "unit", number("_kg"), "unit", number("_t"))
    piece = pl.when("_own").then(pl.format(say("{}: own primary, no CO2"), "carrier")).otherwise(product)
    return groups.group_by("enterprise", maintain_order=True).agg(piece.alias(f"_pieces_{language}"))


def _with_intensity(sums: pl.DataFrame, figures: pl.DataFrame, *, given: bool) -> pl.DataFrame:
    value = pl.col("value_added_10k_cny")
    yearly = is_period("year")
    monthly, said = is_period("month"), pl.col("_said")
    months = pl.col("period").filter(said & ~yearly).n_unique()
    counts = yearly | (monthly & ~yearly.any().over("enterprise"))
    known = figures.with_columns(_said=counts & value.is_not_null()).group_by("enterprise", maintain_order=True).agg(
        pl.col("sector", "sector_intensity").drop_nulls().first(), _sectors=pl.col("sector").drop_nulls().n_unique(), _months=months,
        _bases=pl.struct("price_basis", "base_year").filter(said).n_unique(),
        value_added_10k_cny=pl.when(said.any() & (yearly.any() | (months == MONTHS))).then(value.filter(said).sum()),
    )
    rows = sums.join(known, on="enterprise", how="full" if given else "left", coalesce=True, maintain_order="left_right" if given else "left")
    none = pl.lit([], dtype=pl.List(pl.String()))
    rows = rows.with_columns(
        _reasons=pl.when(pl.col("_any").is_null()).then(pl.lit(["no quantities of the enterprise"])).otherwise(pl.col("_reasons").fill_null([])),
    )
    usable = value.is_not_null() & (pl.col("_bases") == 1)
    partly = pl.col("emissions_t").is_not_null() & (pl.col("covered_ratio") < MIN_COVERED_RATIO)
    why = pl.concat_list(
        pl.when(partly).then(pl.format("the measured part only, {} % covered", (100 * pl.col("covered_ratio")).round(1))),
        pl.when(value.is_null() & (pl.col("_months") > 0)).then(pl.format("value added of {} of 12 months only", "_months"))
        .when(value.is_null()).then(pl.lit("no value added")),
        pl.when(pl.col("_bases") > 1).then(pl.lit("value added of different price bases")),
        pl.when(usable & (value <= 0)).then(pl.format("value added is {}: no intensity", value)),
        pl.when(pl.col("_sectors").fill_null(0) != 1).then(pl.lit("no sector: no grade")),
    ).list.drop_nulls()
    rows = rows.with_columns(
        intensity=pl.when(usable & (value > 0)).then(pl.col("emissions_t") / value), _why=why if given else none,
        sector=pl.when(pl.col("_sectors") == 1).then("sector"),
    )
    both = pl.col("intensity").is_not_null() & pl.col("sector").is_not_null()
    published = pl.col("sector_intensity").is_not_null()
    total = pl.col("emissions_t").filter(both).sum().over("sector") / value.filter(both).sum().over("sector")
    rows = rows.with_columns(
        _published=published, _members=both.sum().over("sector"),
        sector_intensity=pl.when(published).then("sector_intensity").when(both).then(total),
    )
    mean = pl.col("sector_intensity")
    return rows.with_columns(
        relative_intensity=pl.when(both & (mean > 0)).then(pl.col("intensity") / mean),
        missing=pl.concat_list("_reasons", "_why", pl.concat_list(
            pl.when(both & (mean <= 0)).then(pl.format("the mean of the sector is {}: no grade", mean)),
        ).list.drop_nulls()).list.join("; ").replace("", None),
    )


def _with_levels(rows: pl.DataFrame, levels: pl.DataFrame, year: int) -> pl.DataFrame:
    last = period_days(str(year))[1]
    sources: list[str] = []
    for measure, name in (("level", "intensity"), ("grade", "relative_intensity")):
        held = levels.filter(
            pl.col("measure") == measure, pl.col("valid_from").is_null() | (pl.col("valid_from") <= last),
            pl.col("valid_to").is_null() | (pl.col("valid_to") > last),
        )
        held = held.filter(pl.col("valid_from").eq_missing(held["valid_from"].max()))  # of several editions the one that began last
        figure = pl.col(name).round_sig_figs(SIGNIFICANT_DIGITS)
        chosen = pl.lit(None, dtype=pl.String())
        for step in held.sort("above", descending=True, nulls_last=True).iter_rows(named=True):
            within = figure.is_not_null() if step["up_to"] is None else figure <= step["up_to"]
            chosen = pl.when(within).then(pl.lit(step["code"])).otherwise(chosen)
        rows = rows.with_columns(chosen.alias(measure))
        for step in held.head(1).iter_rows(named=True):
            gone = step["superseded_from"] is not None and step["superseded_from"] <= last
            sources.append(step["source"] + (f"; superseded by {step['superseded_by']} from {step['superseded_from']}" if gone else ""))
    said = "; ".join(dict.fromkeys(sources))
    return rows.with_columns(level_source=pl.when(pl.any_horizontal(pl.col("level", "grade").is_not_null())).then(pl.lit(said)))


def _derivation(language: str) -> pl.Expr:
    say = LANGUAGES[language]
    none = pl.lit([], dtype=pl.List(pl.String()))
    graded = pl.col("relative_intensity").is_not_null()
    pieces = pl.concat_list(
        pl.when(pl.col("process_t").is_not_null()).then(pl.format(say("process {} t"), number("process_t"))),
        pl.when(pl.col("emissions_t").is_not_null()).then(pl.format(say("sum {} t"), number("emissions_t"))),
        pl.when(pl.col("intensity").is_not_null()).then(pl.format(
            say("{} t / {} (10,000 yuan) = {}"), number("emissions_t"), number("value_added_10k_cny"), number("intensity"),
        )),
        pl.when(graded).then(pl.when("_published").then(pl.format(
            say("over the published mean of the sector, {}: {}"), number("sector_intensity"), number("relative_intensity"),
        )).otherwise(pl.format(
            say("over the mean of {} enterprises of the sector, {}: {}"), "_members", number("sector_intensity"), number("relative_intensity"),
        ))),
        pl.when(pl.col("missing").is_not_null()).then(pl.format(say("missing: {}"), "missing_zh" if language == "zh" else "missing")),
    ).list.drop_nulls()
    return pl.concat_list(pl.coalesce(f"_pieces_{language}", none), pieces).list.join(say("; "))
