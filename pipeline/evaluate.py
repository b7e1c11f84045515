"""Daily consumption -> energy, intensity and verdicts, for days, months, years and the products of every enterprise.

What only some days say is worked out in parts, a local month or year each, and a part only where something in it has changed.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal, NamedTuple

import polars as pl

from config import calendar, schemas
from monitors.accounts import balance
from monitors.allocation import divided, held, placed, present
from monitors.coefficients import by_coefficients, changing_carriers, coefficients_for
from monitors.energy import energy, in_one_row, sum_energy
from monitors.heating import heating_values, with_heating_values
from monitors.intensity import intensity
from monitors.limits import MIN_COVERED_RATIO, limits
from monitors.quantities import KEYS, assigned_in, quantities
from monitors.reconcile import by_days, corrections, reconcile, stock_balance
from monitors.renewable import with_renewable
from monitors.running import running_verdicts
from pipeline.budgets import Budgeted, budget_results, budgeted, tables_of
from pipeline.site import Site

FINGERPRINT = "evaluated"
PRODUCED: Final = "produced"  # flow of an assignment whose register counts a product
EVALUATED_ON = "evaluated_on"
Grain = Literal["day", "month", "year"]
# carriers: ENERGY; sums: enterprise, period, ENERGY_SUM; days: QUANTITY by day where figures are reported; moving: ENERGY by day of sites that move;
# made: QUANTITY of products by month
Frames = Mapping[str, pl.DataFrame]
_PERIOD_SUM: Final = pl.Schema({"enterprise": pl.String(), "period": pl.String(), **schemas.ENERGY_SUM})
_MODULES: Final = (
    "config.schemas", "config.units", "config.calendar", "monitors.quantities", "monitors.coefficients", "monitors.energy", "monitors.heating",
    "monitors.allocation", "monitors.rollup",
    __name__,
)


class _Known(NamedTuple):
    """What the results follow from, besides the daily tables."""

    registers: pl.DataFrame  # REGISTER
    assignments: pl.DataFrame  # ASSIGNMENT, with owners and with shares in place of keys
    produced: pl.DataFrame  # ASSIGNMENT of registers that count a product
    holdings: pl.DataFrame  # HOLDING
    homes: pl.DataFrame  # enterprise, site (null: its other sites), park
    statuses: pl.DataFrame  # enterprise, plant_status
    figures: pl.DataFrame  # FIGURE
    outputs: pl.DataFrame
    limits: pl.DataFrame  # LIMIT
    coefficients: pl.DataFrame  # COEFFICIENT
    confirmations: pl.DataFrame  # CONFIRMATION
    heating: pl.DataFrame  # HEATING_VALUE
    monthly: pl.DataFrame  # MONTHLY_FIGURE
    figure_rules: pl.DataFrame  # FIGURE_RULE
    benchmarks: pl.DataFrame  # BENCHMARK
    renewables: pl.DataFrame  # RENEWABLE
    budgets: Budgeted


class _Part(NamedTuple):
    """Whole local months or years, or January to a last day of a year."""

    name: str  # 2025-03, 2025, or 2025-01-01 to 2025-06-30
    grains: tuple[Grain, ...]
    first: date
    last: date  # included


@dataclass
class Evaluator:
    """Keeps the results equal to what the daily tables, the register, the figures and the tables of the law say."""

    site: Site
    clock: Callable[[], datetime]
    recomputed: tuple[str, ...] = ()  # the parts that the last evaluation worked out anew

    def once(self) -> bool:
        """Evaluate if anything has changed; whether it had."""
        today = self._today()
        fingerprint = self._fingerprint(today)
        if fingerprint == self.site.ledger.get_state(FINGERPRINT):
            return False
        known = _known(self.site)
        parts = _Kept(self.site, known, today)
        zone = self.site.settings.site.zone
        for name, frame in _results(known, today, parts.carried, self.site.derived.days("daily"), zone).items():
            self.site.derived.write_result(name, frame)
        self.site.derived.keep_parts(parts.names)
        self.recomputed = tuple(parts.recomputed)
        self.site.ledger.set_state(EVALUATED_ON, str(today))
        self.site.ledger.set_state(FINGERPRINT, fingerprint)
        return True

    def is_current(self) -> bool:
        """Whether the results are those of what the site has now."""
        return self._fingerprint(self._today()) == self.site.ledger.get_state(FINGERPRINT)

    def _today(self) -> date:
        return calendar.local_day(self.clock(), self.site.settings.site.zone)

    def _fingerprint(self, today: date) -> str:
        site = self.site
        shipped = (site.limits(), site.coefficients(), site.confirmations.frame(), site.figure_rules(), site.benchmarks(), *tables_of(site))
        law = [_hash(table) for table in shipped]
        return _print(_code(), site.derived.version("daily"), site.register.version(), site.reported.version(), str(today), law)


def evaluated(site: Site, today: date) -> Mapping[str, pl.DataFrame]:
    """All results from the daily tables, nothing taken from earlier ones; what the evaluator keeps."""
    known = _known(site)
    return _results(known, today, lambda part: _carried(site, known, today, part), site.derived.days("daily"), site.settings.site.zone)


def _known(site: Site) -> _Known:
    rules = site.figure_rules()
    return _Known(
        site.register.registers(), assignments(site), _owned(site).filter(pl.col("flow") == PRODUCED), site.register.holdings(), _homes(site),
        site.register.enterprises().select("enterprise", "plant_status"), site.figures.values(), site.figures.outputs(),
        site.limits(), site.coefficients(), site.confirmations.frame(),
        heating_values(site.reported.batches.frame(), rules), site.reported.monthly.frame(), rules, site.benchmarks(), site.figures.renewables(),
        budgeted(site),
    )


def assignments(site: Site) -> pl.DataFrame:
    """ASSIGNMENT as the accounts use them: with the owner of each site day by day, and with shares by month in place of keys.

    Registers that count a product are not among them.
    """
    owned = _owned(site).filter(pl.col("flow") != PRODUCED)
    keyed = owned.filter(pl.col("allocation").is_not_null())
    if keyed.is_empty():
        return owned
    keys = pl.concat([keyed["register_key"], keyed["key_register_key"].drop_nulls()]).unique()
    measured = site.derived.read("daily", date.min, date.max).filter(pl.col("register_key").is_in(keys.implode())).collect()
    return divided(owned, measured, site.figures.outputs(), zone=site.settings.site.zone)


def _owned(site: Site) -> pl.DataFrame:
    return schemas.conform(held(site.register.assignments(), site.register.holdings()), schemas.ASSIGNMENT)


def _homes(site: Site) -> pl.DataFrame:
    columns = ["enterprise", "site", "park"]
    whole = site.register.enterprises().with_columns(site=pl.lit(None, dtype=pl.String())).select(columns)
    return pl.concat([whole, site.register.sites().select(columns)])


def _results(known: _Known, today: date, carried: Callable[[_Part], Frames], days: list[date], zone: str) -> Mapping[str, pl.DataFrame]:
    done, keys = [carried(part) for part in _parts(day for day in days if day <= today)], ["enterprise", "period"]
    sums = pl.concat([schemas.empty(_PERIOD_SUM), *(part["sums"] for part in done)])
    carriers = pl.concat([schemas.empty(schemas.ENERGY), *(part["carriers"] for part in done)])
    metered = pl.concat([schemas.empty(schemas.QUANTITY), *(part["days"] for part in done)])
    reconciled = reconcile(known.monthly, metered, known.figure_rules)
    balances = stock_balance(known.monthly, metered, known.figure_rules, by="month")
    booked = _booked(known, corrections(reconciled, balances, metered), metered, carriers, today)
    carriers = pl.concat([carriers, booked])
    told = with_renewable(carriers, known.renewables)
    touched = pl.concat([booked.select(keys), told.filter(pl.col("renewable_ratio") > 0).select(keys)]).unique()
    if touched.height:
        anew = sum_energy(told.join(touched, on=keys, how="semi"), keys)
        sums = pl.concat([sums.join(touched, on=keys, how="anti"), schemas.conform(anew, _PERIOD_SUM)])
    sums = _without_days(sums, known.renewables).sort(keys)
    moving = pl.concat([schemas.empty(schemas.ENERGY), *(part["moving"] for part in done)])
    outputs = _with_counted(known, pl.concat([schemas.empty(schemas.QUANTITY), *(part["made"] for part in done)]), today)
    products = _judged_periods(outputs, today)
    located = with_renewable(_located(known, carriers, moving, zone), known.renewables)
    months = sums.filter(calendar.is_period("month"))["period"].unique() if known.budgets.budgets.height else ()
    lying = present(known.holdings, known.homes, months, zone=zone)
    return {
        "energy": sums,
        "carriers": carriers.sort(
            "enterprise", "period", "carrier", "site", "process", "product", "unit", "flow", "use"
        ),
        "balance": balance(carriers),
        "park_energy": _park_energy(located),
        "intensity": intensity(sums, known.figures, "enterprise"),
        "park_intensity": intensity(sums, known.figures, "park"),
        "reconciliation": reconciled,
        "stock_balance": balances,
        **budget_results(known.budgets, sums, told, located, lying, known.figures, today),
        "running": running_verdicts(outputs, carriers, known.limits, known.confirmations, today),
        "verdicts": limits(
            products, known.limits, known.confirmations, _product_energy(products, carried), benchmarks=known.benchmarks,
        ),
    }


def _without_days(sums: pl.DataFrame, stated: pl.DataFrame) -> pl.DataFrame:
    """The sums; a statement of renewable power for a month or year says nothing of its days."""
    said = stated.filter(pl.max_horizontal("renewable_kwh", "new_renewable_kwh") > 0).select("enterprise", _said="period").unique()
    length = pl.col("_said").str.len_chars()
    days = sums.filter(calendar.is_period("day")).select("enterprise", "period")
    open_days = days.join(said, on="enterprise").filter(pl.col("period").str.head(length) == pl.col("_said")).select("enterprise", "period").unique()
    marked = sums.join(open_days.with_columns(_open=True), on=["enterprise", "period"], how="left", maintain_order="left")
    return marked.with_columns(
        pl.when(pl.col("_open").is_null()).then(name).alias(name) for name in ("new_renewable_tce", "new_renewable_equivalent_tce")
    ).drop("_open")


def _with_counted(known: _Known, made: pl.DataFrame, today: date) -> pl.DataFrame:
    """The outputs that are reported, and those that registers counted of products of which nothing is reported in a year.

    A month counts when it is over and covered as a carrier has to be; what a meter missed would make the unit consumption look higher.
    """
    subject, year = ["enterprise", "product"], pl.col("period").str.slice(0, 4)
    months = made.group_by(*subject, "period", maintain_order=True).agg(
        output=pl.when(pl.col("quantity").is_not_null().all() & (pl.col("unit").n_unique() == 1)).then(pl.col("quantity").sum()),
        output_unit=pl.col("unit").first(), covered_ratio=pl.col("covered_ratio").min(),
    )
    over = [month for month in months["period"].unique() if calendar.period_days(month)[1] < today]
    whole = months.filter(pl.col("period").is_in(over), pl.col("covered_ratio") >= MIN_COVERED_RATIO, pl.col("output") >= 0).drop("covered_ratio")
    reported = known.outputs.select(*subject, _year=year).unique()
    unsaid = whole.with_columns(_year=year).join(reported, on=[*subject, "_year"], how="anti").drop("_year")
    counted = unsaid.join(known.statuses, on="enterprise", how="left")
    return pl.concat([known.outputs, counted], how="diagonal_relaxed") if counted.height else known.outputs


def _located(known: _Known, carriers: pl.DataFrame, moving: pl.DataFrame, zone: str) -> pl.DataFrame:
    """ENERGY by month with `park` and `block`: months of each site where it lies, and days of a site that moves within the month."""
    month = pl.col("period").str.slice(0, 7)
    months = carriers.filter(calendar.is_period("month")).with_columns(day=(pl.col("period") + "-01").str.to_date())
    days = moving.with_columns(period=month, day=pl.col("period").str.to_date())
    rows = pl.concat([months.join(days, on=["enterprise", "site", "period"], how="anti"), days])
    return placed(rows, known.holdings, known.homes, zone=zone).filter(pl.col("park").is_not_null())


def _park_energy(located: pl.DataFrame) -> pl.DataFrame:
    """PARK_ENERGY by month and year."""
    located = pl.concat([located, located.with_columns(period=pl.col("period").str.slice(0, 4))])
    found = (sum_energy(located, ["park", "period"]), sum_energy(located.filter(pl.col("block").is_not_null()), ["park", "block", "period"]))
    return pl.concat([schemas.conform(part, schemas.PARK_ENERGY) for part in found]).sort("park", "block", "period", nulls_last=False)


def _parts(days: Iterable[date]) -> Iterator[_Part]:
    """The months and years that have a day."""
    months = sorted({f"{day:%Y-%m}" for day in days})
    for month in months:
        yield _Part(month, ("day", "month"), *calendar.period_days(month))
    for year in sorted({month[:4] for month in months}):
        yield _Part(year, ("year",), *calendar.period_days(year))


def _carried(site: Site, known: _Known, today: date, part: _Part) -> Frames:
    """Energy of a part: by carrier for its months or year, and summed for its days too.

    The running month and year are measured up to the start of today: later hours cannot be missing yet.
    """
    zone = site.settings.site.zone
    start, end = calendar.day_span(part.first, zone)[0], calendar.day_span(part.last, zone)[1]
    midnight, night = calendar.day_span(today, zone)
    daily = site.derived.read("daily", part.first, part.last).collect().drop("day")
    assigned = assigned_in(known.registers, known.assignments, start, end)
    fired = _fired(known, part)
    rows = {}
    for grain in part.grains:
        until = min(end, night if grain == "day" else midnight)
        days = daily.filter(pl.col("start") < until)
        measured = quantities(days, known.registers, assigned, by=grain, zone=zone, until=until)
        fuelled = assigned.join(fired, on=["enterprise", "carrier"], how="semi")
        changing = assigned.filter(pl.col("carrier").is_in(changing_carriers(measured, known.coefficients)))
        if fuelled.height or changing.height:
            of_days = pl.concat([fuelled, changing.join(fired, on=["enterprise", "carrier"], how="anti")])
            by_day = quantities(days, known.registers, of_days, by="day", zone=zone, until=until)
            measured = by_coefficients(with_heating_values(measured, by_day, fired), by_day, known.coefficients)
        rows[grain] = in_one_row(energy(measured, known.coefficients))
    sums = pl.concat([sum_energy(frame, ["enterprise", "period"]) for frame in rows.values()])
    by_day = rows.get("day", schemas.empty(schemas.ENERGY)).filter(pl.col("period") < str(today))
    made = schemas.empty(schemas.QUANTITY)
    if "month" in part.grains and known.produced.height:
        of_products = assigned_in(known.registers, known.produced, start, end)
        until = min(end, midnight)
        made = quantities(daily.filter(pl.col("start") < until), known.registers, of_products, by="month", zone=zone, until=until)
    held_sites = by_day.join(known.holdings.select("site", enterprise="owner").unique(), on=["enterprise", "site"], how="semi")
    located = placed(held_sites.with_columns(day=pl.col("period").str.to_date()), known.holdings, known.homes, zone=zone)
    moves = pl.struct("park", "block").n_unique().over("enterprise", "site") > 1
    owners = known.monthly.select("enterprise", "carrier").unique()
    return {
        "made": made, "moving": located.filter(moves).select(schemas.ENERGY.names()),
        "carriers": rows[part.grains[-1]], "sums": schemas.conform(sums, _PERIOD_SUM),
        "days": by_day.join(owners, on=["enterprise", "carrier"], how="semi").select(schemas.QUANTITY.names()),
    }


def _fired(known: _Known, part: _Part) -> pl.DataFrame:
    return known.heating.filter(pl.col("day").is_between(part.first, part.last))


def _booked(known: _Known, months: pl.DataFrame, metered: pl.DataFrame, carriers: pl.DataFrame, today: date) -> pl.DataFrame:
    """ENERGY of the corrections, for the months that are over and for their years, with the heating value of their days."""
    over = [month for month in months["period"].unique() if calendar.period_days(month)[1] < today]
    months = months.filter(pl.col("period").is_in(over))
    in_year = pl.col("period").str.slice(0, 4)
    days_of = {month: (last - first).days + 1 for month in over for first, last in [calendar.period_days(month)]}
    years = months.with_columns(_days=pl.col("period").replace_strict(days_of, default=None, return_dtype=pl.Int64())).group_by(
        [*KEYS, in_year], maintain_order=True
    ).agg(pl.col("quantity").sum(), pl.col("_days").sum(), pl.col("estimated_ratio").first(), _beside=pl.col("covered_ratio").is_not_null().any())
    measured = carriers.filter(pl.col("flow") == "consumed").group_by("enterprise", "carrier", "period").agg(_covered=pl.col("covered_ratio").mean())
    due = {year: (min(date(int(year), 12, 31), today - timedelta(days=1)) - date(int(year), 1, 1)).days + 1 for year in years["period"].unique()}
    years = years.join(measured, on=["enterprise", "carrier", "period"], how="left").with_columns(
        # Beside a meter its coverage; without one the share of the year's days so far for which there is a figure.
        covered_ratio=pl.when("_beside").then("_covered").otherwise(
            pl.col("_days") / pl.col("period").replace_strict(due, default=None, return_dtype=pl.Float64())
        )
    )
    by_day = by_days(months, metered)
    rows = [
        in_one_row(energy(by_coefficients(
            with_heating_values(schemas.conform(one, schemas.QUANTITY), by_day, known.heating), by_day, known.coefficients,
        ), known.coefficients)) for one in (months, years) if one.height
    ]
    return pl.concat([schemas.empty(schemas.ENERGY), *rows])


class _Kept:
    """Parts as an earlier evaluation left them, where their inputs are the same, else worked out anew."""

    def __init__(self, site: Site, known: _Known, today: date) -> None:
        self._site, self._known, self._today = site, known, today
        self._days = site.derived.day_versions("daily")
        self.names: list[str] = []
        self.recomputed: list[str] = []

    def carried(self, part: _Part) -> Frames:
        self.names.append(part.name)
        inputs = self._inputs(part)
        kept = self._site.derived.read_part(part.name)
        if kept is not None and kept.inputs == inputs | {"coefficients": self._coefficients(kept.frames)}:
            return kept.frames
        self.recomputed.append(part.name)
        frames = _carried(self._site, self._known, self._today, part)
        self._site.derived.write_part(part.name, frames, inputs | {"coefficients": self._coefficients(frames)})
        return frames

    def _inputs(self, part: _Part) -> dict[str, str]:
        zone = self._site.settings.site.zone
        start, end = calendar.day_span(part.first, zone)[0], calendar.day_span(part.last, zone)[1]
        assigned = assigned_in(self._known.registers, self._known.assignments, start, end)
        moves = [(pl.col(name) > start) & (pl.col(name) < end) for name in ("valid_from", "valid_to")]
        days = [(str(day), self._days[day]) for day in sorted(self._days) if part.first <= day <= min(part.last, self._today)]
        return {
            "code": _code(), "part": str(part), "zone": zone, "until": str(min(self._today, part.last + timedelta(days=1))),
            "days": _print(days), "assigned": _hash(assigned),
            "produced": _hash(assigned_in(self._known.registers, self._known.produced, start, end)),
            "moves": _hash(self._known.holdings.filter(pl.any_horizontal(moves))),
            "heating": _hash(_fired(self._known, part)),
            "reported": _hash(self._known.monthly.select("enterprise", "carrier").unique().sort("enterprise", "carrier")),
        }

    def _coefficients(self, frames: Frames) -> str:
        """What the coefficients say about the part: one that is not valid in its time changes nothing of it."""
        needs = frames["carriers"].select("carrier", "unit").unique().join(frames["sums"].select("period").unique(), how="cross")
        return _hash(coefficients_for(needs.sort("carrier", "unit", "period"), self._known.coefficients))


@cache
def _code() -> str:
    """Changes with the program: a part that an older one worked out is not taken over."""
    files = [Path(str(import_module(name).__file__)) for name in _MODULES]
    return _print(*(file.read_bytes() for file in files))


def _hash(table: pl.DataFrame) -> str:
    return _print(table.schema, table.hash_rows(seed=0).to_list())


def _print(*inputs: object) -> str:
    return hashlib.sha256(repr(inputs).encode()).hexdigest()


def _product_energy(products: pl.DataFrame, carried: Callable[[_Part], Frames]) -> pl.DataFrame:
    """ENERGY_SUM by enterprise, product and judged period: each measured over all of its days, those without data included."""
    keys = ["enterprise", "product"]
    sums = [schemas.empty(pl.Schema({**{name: schemas.PRODUCT[name] for name in (*keys, "period_start", "period_end")}, **schemas.ENERGY_SUM}))]
    for first, last in products.select("period_start", "period_end").unique().sort("period_end").iter_rows():
        rows = carried(_Part(f"{first} to {last}", ("year",), first, last))["carriers"].filter(pl.col("product").is_not_null())
        sums.append(sum_energy(rows, keys).with_columns(period_start=pl.lit(first), period_end=pl.lit(last)).select(sums[0].columns))
    return pl.concat(sums)


def _judged_periods(outputs: pl.DataFrame, today: date) -> pl.DataFrame:
    """PRODUCT rows with `closed`: each year's output as far as it is reported (a yearly figure, else January to the last month in a row).

    A yearly figure of a year that is not over judges nothing yet. Further columns of `outputs` are parameters of limits: those of
    the months that count become one, numbers by their mean weighted with the output, texts where all say the same, else empty.
    """
    further = {name: dtype for name, dtype in outputs.schema.items() if name not in schemas.PRODUCT and name not in {"period", "output"}}
    further |= {name: schemas.PRODUCT[name] for name in ("uncertainty_ratio",) if name in outputs.columns}
    keys = [name for name in outputs.columns if name not in {"period", "output", *further}]
    rows = []
    dated = outputs.with_columns(year=pl.col("period").str.slice(0, 4).cast(pl.Int32))
    for key, group in dated.group_by([*keys, "year"], maintain_order=True):
        year = int(str(key[-1]))
        reported = dict(group.select("period", "output").iter_rows())
        counted = [str(year)]
        months = list(takewhile(reported.__contains__, (f"{year}-{month:02d}" for month in range(1, 13))))
        if str(year) in reported and year < today.year:
            last, output = date(year, 12, 31), reported[str(year)]
        elif months:
            last, output = calendar.period_days(months[-1])[1], sum(reported[month] for month in months)
            counted = months
        else:
            continue
        if last < today:
            rows.append({
                **dict(zip(keys, key, strict=False)), "period_start": date(year, 1, 1), "period_end": last, "output": output,
                **_of_the_year(group.filter(pl.col("period").is_in(counted)), further), "closed": last == date(year, 12, 31),
            })
    shape = pl.Schema({**schemas.PRODUCT, **further, "closed": pl.Boolean()})
    return pl.DataFrame(rows, schema=shape) if rows else schemas.empty(shape)


def _of_the_year(months: pl.DataFrame, parameters: Mapping[str, pl.DataType]) -> dict[str, float | str | None]:
    """A parameter for all of the months (or the one year) of an output."""
    found: dict[str, float | str | None] = {}
    for name, dtype in parameters.items():
        same, empty = months[name].n_unique() == 1, months[name].null_count() > 0
        mean = (pl.col(name) * pl.col("output")).sum() / pl.col("output").sum()
        told = pl.col(name).first() if same else pl.lit(None) if empty or dtype == pl.String() else pl.when(pl.col("output").sum() > 0).then(mean)
        found[name] = months.select(told.alias(name)).item()
    return found
