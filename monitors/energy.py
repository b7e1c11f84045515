"""Physical quantities to coal equivalent on both bases, and sums of it (GB/T 2589-2020; decisions.md 7, 10-13)."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final, Literal

import polars as pl

from config import schemas
from config.calendar import period_days
from config.units import KG_PER_T, factor
from monitors.coefficients import CALORIFIC, EQUIVALENT, FRESH_WATER, UNCONVENTIONAL_WATER, WATER, Law, answers
from monitors.quantities import KEYS

FLOW_SIGNS: Final[Mapping[str, int]] = {  # decisions.md 10
    "consumed": 1, "purchased": 1, "own_primary": 1, "opening_stock": 1, "closing_stock": -1, "sold": -1, "converted_out": -1, "recovered": -1,
    # Beside consumed: book stock less taken stock (decisions.md 12), and what a reported figure that counts has beyond the metered.
    "stock_difference": 1, "figure_difference": 1,
}
CONSUMED: Final = ("consumed", "stock_difference", "figure_difference")
INPUT_FLOWS: Final = ("purchased", "own_primary", "opening_stock", "closing_stock")  # another way to the same figure as `consumed`
USES: Final = ("fuel", "feedstock", "medium")
MAX_REASONS: Final = 6
_COMPUTED: Final = tuple(name for name in schemas.ENERGY if name not in schemas.QUANTITY)


def energy(quantities: pl.DataFrame, coefficients: pl.DataFrame) -> pl.DataFrame:
    """Convert quantities to coal equivalent on the calorific (当量) and the equivalent (等价) basis (GB/T 2589-2020, clause 5).

    A measured lower heating value (`lhv`, `lhv_unit`) comes before any coefficient. A coefficient counts only if it is in force
    on every day of the row's period: a year in which it changes has to be given by months or days, or divided (`by_coefficients`).
    Fuels carry the same value
    on both bases; electricity and heat have an equivalent value only where a dated one is in the table. Consumed media have one
    only where a list names it (decisions.md 7), and their `use` becomes `medium`. Water carriers have no energy.

    Args:
        quantities: QUANTITY in any unit of the carrier; optionally `lhv`, `lhv_unit` (kJ/kg, MJ/m3, GJ/t ...), `lhv_source`,
            `lhv_missing` (why days have no heating value; added to `missing`), `renewable_ratio`, `in_force` (of `by_coefficients`).
        coefficients: COEFFICIENT.

    Returns:
        ENERGY in the order of the rows, further columns kept. The coefficients are kgce for one of the row's own `unit`; a basis
        without a value is null, never zero, and `missing` says why. The two bases are never added.

    >>> bought = pl.DataFrame({"period": ["2025"], "carrier": ["electricity"], "quantity": [1.0], "unit": ["10^4 kWh"]})
    >>> table = pl.DataFrame({"carrier": ["electricity"], "basis": ["calorific"], "unit": ["kWh"], "kgce_per_unit": [0.1229],
    ...                       "valid_from": [date(2008, 6, 1)], "source": ["GB/T 2589-2020 app. A"]})
    >>> energy(bought, table).select("calorific_tce", "equivalent_tce").row(0)
    (1.229, None)
    """
    law = Law(coefficients)
    further = [name for name in quantities.columns if name not in schemas.ENERGY]
    rows = pl.concat([schemas.conform(quantities, schemas.QUANTITY), quantities.select(further)], how="horizontal")
    lhv = pl.col("lhv") if "lhv" in further else pl.lit(None, dtype=pl.Float64())
    lhv_unit = pl.col("lhv_unit") if "lhv_unit" in further else pl.lit(None, dtype=pl.String())
    asked = pl.coalesce("in_force", "period") if "in_force" in further else pl.col("period")
    rows = rows.with_columns(_lhv=lhv, _lhv_unit=pl.when(lhv.is_not_null()).then(lhv_unit.fill_null("?")), _asked=asked)
    keys = ["carrier", "unit", "_asked", "_lhv_unit"]
    found = answers(law, rows.select(keys).unique(maintain_order=True))
    rows = rows.join(found, on=keys, how="left", nulls_equal=True, maintain_order="left")
    measured = pl.col("_lhv").is_not_null()
    given = pl.col("lhv_source") if "lhv_source" in further else pl.lit(None, dtype=pl.String())
    said = pl.format("{} {} {}", pl.coalesce(given + ":", pl.lit("measured heating value")), "_lhv", "_lhv_unit")
    rows = rows.with_columns(
        *(pl.col(f"{basis}_kgce_per_unit") * pl.when(measured).then("_lhv").otherwise(1.0) for basis in (CALORIFIC, EQUIVALENT)),
        *(
            pl.when(measured & pl.col(f"{basis}_kgce_per_unit").is_not_null()).then(said).otherwise(f"{basis}_source").alias(f"{basis}_source")
            for basis in (CALORIFIC, EQUIVALENT)
        ),
        use=pl.when("_medium").then(pl.lit("medium")).otherwise("use"),
    )
    return rows.with_columns(
        *((pl.col("quantity") * pl.col(f"{basis}_kgce_per_unit") / KG_PER_T).alias(f"{basis}_tce") for basis in (CALORIFIC, EQUIVALENT)),
        missing=_missing(),
    ).with_columns(
        missing=pl.concat_str("missing", _no_heating_value(further), separator="; ", ignore_nulls=True).replace("", None),
    ).select(*schemas.QUANTITY, *further, *_COMPUTED)


def in_one_row(energy_rows: pl.DataFrame) -> pl.DataFrame:
    """ENERGY with one row for each quantity again, where its days had different heating values (`monitors.heating`).

    The coefficient is then the weighted one, and all sources and reasons are named. A basis is null where a part with a quantity
    has none. Other rows, and the order, stay as they are.
    """
    rows = energy_rows.select(schemas.ENERGY.names())
    keys = [*KEYS, "period"]
    divided = pl.struct(keys).is_duplicated()
    if not rows.select(divided.any()).item():
        return rows
    amount = pl.col("quantity")
    weight = amount.abs()

    def together(name: str) -> pl.Expr:
        whole = (pl.col(name).is_not_null() | amount.is_null()).all() & pl.col(name).is_not_null().any()
        return pl.when(whole).then(pl.col(name).sum()).alias(name)

    def named(name: str) -> pl.Expr:
        return pl.col(name).drop_nulls().unique(maintain_order=True).str.join("; ").replace("", None).alias(name)

    numbered = rows.with_row_index("_row")
    joined = numbered.filter(divided).group_by(keys, maintain_order=True).agg(
        pl.col("_row", "covered_ratio").first(), quantity=pl.when(amount.is_not_null().any()).then(amount.sum()),
        estimated_ratio=pl.when(weight.sum() > 0).then((pl.col("estimated_ratio").fill_null(0.0) * weight).sum() / weight.sum()),
        **{name: together(name) for name in ("calorific_tce", "equivalent_tce")},
        **{name: named(name) for name in ("calorific_source", "equivalent_source", "missing")},
    ).with_columns(
        (pl.when(pl.col("quantity") != 0).then(pl.col(f"{basis}_tce") * KG_PER_T / pl.col("quantity"))).alias(f"{basis}_kgce_per_unit")
        for basis in (CALORIFIC, EQUIVALENT)
    )
    return pl.concat([numbered.filter(~divided), joined.select(numbered.columns)]).sort("_row").drop("_row")


def in_periods(energy_rows: pl.DataFrame, by: Literal["month", "year"]) -> pl.DataFrame:
    """Put rows of days or months under the month or year in which they lie, for `sum_energy` to add up.

    Args:
        energy_rows: ENERGY, further columns kept. A row of a longer period stays as it is.
        by: the longer period.

    Returns:
        The rows with that `period`. Days of it for which a carrier has no row at its place are not covered: `covered_ratio` is the smaller for it.
    """
    keys = [*KEYS, "_within"]
    within = pl.col("period").str.head({"month": 7, "year": 4}[by])
    days = {
        period: float((last - first).days + 1)
        for period in energy_rows.select(pl.concat([pl.col("period"), within]).unique()).to_series() for first, last in [period_days(period)]
    }
    length = pl.col("period").replace_strict(days, return_dtype=pl.Float64())
    rows = energy_rows.with_columns(_within=within)
    had = rows.select(*keys, "period").unique().group_by(keys).agg(_had=length.sum()).with_columns(
        _share=(pl.col("_had") / pl.col("_within").replace_strict(days, return_dtype=pl.Float64())).clip(upper_bound=1.0)
    )
    found = rows.join(had, on=keys, how="left", nulls_equal=True, maintain_order="left")
    return found.with_columns(
        period="_within", covered_ratio=pl.when(pl.col("_share") < 1).then(pl.col("covered_ratio").fill_null(1.0) * pl.col("_share"))
        .otherwise("covered_ratio"),
    ).select(energy_rows.columns)


def sum_energy(energy_rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Sum coal equivalent, electricity and water over groups, each flow with its sign (decisions.md 10 and 16).

    A basis is null where one of its parts has a quantity but no coefficient, and where `consumed` stands beside `purchased`,
    `own_primary` or a stock of the same carrier, which would count it twice; `missing` names both. What processes and products use of a
    carrier is no second input where the enterprise's own rows (without process and product) say what came in: it counts in sums by process
    or product only, and as the feedstock part. A part without a quantity (nothing was measured) leaves the sum of the rest, and its
    carrier counts as not covered. Consumed media without a value never take part, and water leaves the energy as it is. `feedstock_tce`,
    `renewable_tce` and `new_renewable_tce` are parts of the calorific sum. 1 t of water is taken as 1 m3.

    Args:
        energy_rows: ENERGY, optionally with `renewable_ratio` and, of electricity, `new_renewable_ratio` (the newly added part of it). A null
            `flow` is `consumed`; a null `covered_ratio` or `estimated_ratio` belongs to a reported figure, which counts as complete.
        by: group columns, for instance enterprise and period.

    Returns:
        The group columns and ENERGY_SUM. `covered_ratio` is that of the worst carrier (decisions.md 6), over its rows by
        their days; `estimated_ratio` is weighted by calorific energy.
    """
    renewable, new = (
        pl.col(name) if name in energy_rows.columns else pl.lit(None, dtype=pl.Float64()) for name in ("renewable_ratio", "new_renewable_ratio")
    )
    units = energy_rows["unit"].drop_nulls().unique().to_list()
    to_kwh = pl.col("unit").replace_strict({unit: factor(unit, "kWh") for unit in units}, default=None, return_dtype=pl.Float64())
    to_m3 = pl.col("unit").replace_strict({unit: _water_m3(unit) for unit in units}, default=None, return_dtype=pl.Float64())
    days = {period: (last - first).days + 1 for period in energy_rows["period"].drop_nulls().unique() for first, last in [period_days(period)]}
    flow = pl.col("flow").fill_null("consumed")
    signed = flow.replace_strict(dict(FLOW_SIGNS), default=None, return_dtype=pl.Float64())
    water, known, amount = pl.col("carrier").is_in(WATER), pl.col("quantity").is_not_null(), signed * pl.col("quantity")
    counts = ~water & pl.col("use").ne_missing("medium")
    new_part = pl.when((pl.col("carrier") != "electricity") | (renewable.fill_null(0.0) == 0)).then(0.0).otherwise(new)
    is_feedstock = pl.col("use") == "feedstock"
    sorted_out = energy_rows.with_columns(_inner=is_inner(energy_rows, flow, by))
    # Of a carrier whose rows of the enterprise do not say what is feedstock, its processes do.
    said = anywhere(sorted_out, is_feedstock & ~pl.col("_inner"), by)
    rows = sorted_out.filter(~pl.col("_inner") | (is_feedstock & ~said)).with_columns(
        _feedstock=pl.when(is_feedstock).then(signed * pl.col("calorific_tce")),
        _feedstock_equivalent=pl.when(is_feedstock).then(signed * pl.col("equivalent_tce")),
    )
    consumed, brought_in = flow.is_in(CONSUMED) & ~pl.col("_inner"), flow.is_in(INPUT_FLOWS)
    rows = rows.with_columns(
        _twice=beside(rows, consumed, brought_in, by),
    ).with_columns(
        pl.when(~pl.col("_inner")).then(name).alias(name) for name in ("quantity", "calorific_tce", "equivalent_tce", "missing")
    ).with_columns(
        _calorific=signed * pl.col("calorific_tce"), _equivalent=signed * pl.col("equivalent_tce"),
        _counts=counts, _calorific_open=counts & known & pl.col("calorific_tce").is_null(),
        _equivalent_open=counts & known & pl.col("equivalent_tce").is_null(),
        _renewable=signed * pl.col("calorific_tce") * renewable,
        _new=signed * pl.col("calorific_tce") * new_part, _new_equivalent=signed * pl.col("equivalent_tce") * new_part,
        _new_open=counts & known & new_part.is_null(),
        _kwh=pl.when(pl.col("carrier") == "electricity").then(amount * to_kwh),
        _fresh=pl.when(pl.col("carrier").is_in(FRESH_WATER)).then(amount * to_m3),
        _unconventional=pl.when(pl.col("carrier").is_in(UNCONVENTIONAL_WATER)).then(amount * to_m3),
        _days=pl.when(~pl.col("_inner")).then(pl.col("period").replace_strict(days, default=1, return_dtype=pl.Float64())).otherwise(0.0),
        _covered=pl.when(known).then(pl.col("covered_ratio").fill_null(1.0)).otherwise(0.0),
        _estimated=pl.when(~pl.col("_inner")).then(pl.col("estimated_ratio").fill_null(0.0)), _weight=pl.col("calorific_tce").abs().fill_null(0.0),
    )
    totals = [
        "_calorific", "_equivalent", "_feedstock", "_feedstock_equivalent", "_renewable", "_new", "_new_equivalent",
        "_kwh", "_fresh", "_unconventional",
    ]
    carriers = rows.group_by([*by, pl.col("carrier").alias("_carrier")], maintain_order=True).agg(
        *(pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in totals),
        pl.col("_counts", "_calorific_open", "_equivalent_open", "_new_open").any(),
        pl.col("_twice").any(),
        _covered=(pl.col("_covered") * pl.col("_days")).sum() / pl.col("_days").sum(),
        _estimated=(pl.col("_estimated") * pl.col("_weight")).sum(), _plain_estimate=pl.col("_estimated").mean(),
        _weight=pl.col("_weight").sum(), missing=pl.col("missing").drop_nulls().unique(maintain_order=True),
    )
    twice = pl.format("{}: consumed stands beside purchased, own primary or stock rows, which counts it twice; keep one of the two", "_carrier")

    def counted_twice(name: str) -> pl.Expr:
        """Whether a carrier that is part of the total is counted twice: water is no part of the energy, nor coal of the electricity."""
        return (pl.col("_twice") & pl.col(name).is_not_null()).any()

    sums = carriers.group_by(list(by), maintain_order=True).agg(
        *(
            pl.when(pl.col(name).is_not_null().any() & ~counted_twice(name) & ~pl.col(gap).any()).then(pl.col(name).sum()).alias(name)
            for name, gap in (("_calorific", "_calorific_open"), ("_equivalent", "_equivalent_open"))
        ),
        *(
            pl.when(pl.col(name).is_not_null().any() & ~counted_twice(name)).then(pl.col(name).sum()).alias(name)
            for name in totals if name not in ("_calorific", "_equivalent")
        ),
        pl.col("_counts", "_twice", "_new_open").any(),
        covered_ratio=pl.col("_covered").min(),
        estimated_ratio=pl.when(pl.col("_weight").sum() > 0).then(pl.col("_estimated").sum() / pl.col("_weight").sum())
        .otherwise(pl.col("_plain_estimate").mean()),
        missing=pl.col("missing").explode(empty_as_null=False), _twice_carriers=twice.filter("_twice"),
    )
    reasons = pl.col("missing").list.unique(maintain_order=True)
    nothing = pl.when(~pl.col("_counts")).then(pl.lit("no energy carrier in this group"))
    listed = pl.concat_list(
        pl.col("_twice_carriers"), pl.concat_list(nothing).list.drop_nulls(), reasons.list.head(MAX_REASONS),
        pl.concat_list(pl.when(reasons.list.len() > MAX_REASONS).then(pl.format("and {} more", reasons.list.len() - MAX_REASONS))).list.drop_nulls(),
    )
    open_sum = pl.col("_calorific").is_null()
    return sums.with_columns(
        calorific_tce="_calorific", equivalent_tce="_equivalent",
        feedstock_tce=pl.when(~open_sum).then(pl.col("_feedstock").fill_null(0.0)), renewable_tce=pl.when(~open_sum).then("_renewable"),
        feedstock_equivalent_tce=pl.when(pl.col("_equivalent").is_not_null()).then(pl.col("_feedstock_equivalent").fill_null(0.0)),
        new_renewable_tce=pl.when(~open_sum & ~pl.col("_new_open")).then("_new"),
        new_renewable_equivalent_tce=pl.when(pl.col("_equivalent").is_not_null() & ~pl.col("_new_open")).then("_new_equivalent"),
        electricity_kwh="_kwh", fresh_water_m3="_fresh", unconventional_water_m3="_unconventional",
        missing=pl.when(listed.list.len() > 0).then(listed.list.join("; ")),
    ).select(*by, *schemas.ENERGY_SUM)


def is_inner(rows: pl.DataFrame, flow: pl.Expr, by: Sequence[str]) -> pl.Expr:
    """Whether a row says what becomes of a carrier inside the enterprise, where other rows of the group say what came in or was sold of it."""
    if {"process", "product"} & set(by):
        return pl.lit(value=False)
    inside = pl.col("process").is_not_null() | pl.col("product").is_not_null()
    comes_in = flow.is_in(["purchased", "own_primary"]) & ~inside
    is_made, is_sold = (flow == "converted_out") & inside, (flow == "sold") & ~inside
    at_the_gate = anywhere(rows, comes_in, by) | (anywhere(rows, is_made, by) & anywhere(rows, is_sold, by))
    return inside & flow.is_in([*CONSUMED, "converted_out", "recovered"]) & at_the_gate


def anywhere(rows: pl.DataFrame, which: pl.Expr, by: Sequence[str]) -> pl.Expr:
    """Whether such a row is among those of the carrier in an enterprise's period: at the same site, or where one of the two names no site."""
    found, keys = which.fill_null(value=False), [*dict.fromkeys((*by, "enterprise", "period", "carrier"))]
    if not rows.select(found.any()).item():
        return pl.lit(value=False)
    nowhere = pl.col("site").is_null()
    return found.any().over([*keys, "site"]) | (found & nowhere).any().over(keys) | (nowhere & found.any().over(keys))


def beside(rows: pl.DataFrame, one: pl.Expr, other: pl.Expr, by: Sequence[str]) -> pl.Expr:
    """Whether a row is of one kind and a row of the other kind is `anywhere`."""
    if not rows.select((one.any() & other.any()).fill_null(value=False)).item():
        return pl.lit(value=False)
    return (one & anywhere(rows, other, by)) | (other & anywhere(rows, one, by))


def figures(sums: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Add the named figures to sums of energy: gross, assessment and limit figures, each with its source.

    A figure is the sum less the parts that its rule takes off (发改环资〔2022〕803号: feedstock and newly added renewable power are no part
    of the region's assessment, while 综合能耗 of GB/T 2589 and unit-product limits stay as they are). A rule counts that is in force on all
    days of the period.

    Args:
        sums: ENERGY_SUM with `period`.
        rules: ENERGY_FIGURE.

    Returns:
        `sums`, then for each figure FIGURE_calorific_tce, FIGURE_equivalent_tce and FIGURE_source, and `figures_missing`, which says why
        a figure is empty though the sum is not.
    """
    parts = {"feedstock": ("feedstock_tce", "feedstock_equivalent_tce"), "new_renewable": ("new_renewable_tce", "new_renewable_equivalent_tce")}
    spans = {period: period_days(period) for period in sums["period"].unique()}
    found, reasons = [], []
    for (figure,), dated in rules.group_by(["figure"], maintain_order=True):
        held = {
            period: next((row for row in dated.iter_rows(named=True) if row["valid_from"] <= first and last < (row["valid_to"] or date.max)), None)
            for period, (first, last) in spans.items()
        }
        source = pl.col("period").replace_strict(
            {period: row["source"] if row else None for period, row in held.items()}, default=None, return_dtype=pl.String(),
        )
        for position, basis in enumerate((CALORIFIC, EQUIVALENT)):
            value = pl.col(f"{basis}_tce")
            for kind, names in parts.items():
                off = [period for period, row in held.items() if row and kind in (row["takes_off"] or "").split(";")]
                value = pl.when(pl.col("period").is_in(off)).then(value - pl.col(names[position])).otherwise(value)
                if position == 0:
                    unknown = pl.col("period").is_in(off) & pl.col("calorific_tce").is_not_null() & pl.col(names[0]).is_null()
                    reasons.append(pl.when(unknown).then(pl.lit(f"{figure}: it is not said how much is {kind} ({kind}_ratio)")))
            found.append(pl.when(source.is_not_null()).then(value).alias(f"{figure}_{basis}_tce"))
        found.append(source.alias(f"{figure}_source"))
        reasons.append(pl.when(source.is_null()).then(pl.format(f"{figure}: no rule of this figure is in force in all of {{}}", "period")))
    return sums.with_columns(*found, figures_missing=pl.concat_str(reasons, separator="; ", ignore_nulls=True).replace("", None))


def _water_m3(unit: str) -> float | None:
    volume = factor(unit, "m3")
    return volume if volume is not None else factor(unit, "t")


def _no_heating_value(further: Sequence[str]) -> pl.Expr:
    if "lhv_missing" not in further:
        return pl.lit(None, dtype=pl.String())
    taken = pl.when(pl.col("calorific_tce").is_not_null()).then(pl.lit("; the coefficient is taken for these days")).otherwise(pl.lit(""))
    return pl.format("{}: {}{}", "carrier", "lhv_missing", taken)


def _missing() -> pl.Expr:
    calorific, equivalent = pl.col("calorific_reason"), pl.col("equivalent_reason")
    return (
        pl.when(pl.col("quantity").is_null() | pl.col("quantity").is_nan()).then(pl.format("{}: no quantity in {}", "carrier", "period"))
        .when(calorific.is_null() & equivalent.is_null()).then(None)
        .when(calorific == equivalent).then(calorific)
        .otherwise(pl.concat_str(pl.format("calorific: {}", calorific), pl.format("equivalent: {}", equivalent), separator="; ", ignore_nulls=True))
    )
