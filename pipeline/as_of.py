"""What was known at an instant: the same stages on the inputs of then, beside the live tables; and why two instants differ."""

import inspect
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Literal, cast

import polars as pl

from config import calendar, lawbook, schemas
from config.schemas import INSTANT
from monitors.completeness import received_runs
from monitors.data_quality import Level
from monitors.reach import REACH
from monitors.vee_rules import LOOK_BACK
from pipeline import quality
from pipeline.evaluate import evaluated
from pipeline.roll import Roller
from pipeline.site import Site
from store.derived import PassingTables
from store.readings import ReadingStore

Judged = Literal["verdicts", "verdict_counts", "day_starts", "balances"]  # derived tables of validation
Table = Literal["hourly", "daily", "energy", "carriers", "intensity", "park_intensity", "verdicts"]
KINDS: Final[Mapping[str, str]] = {  # where an input is asked for -> what a difference that comes from it is called
    "readings": "reading", "edits": "edit", "register.registers": "register", "register.events": "event", "register.assignments": "assignment",
    "register.holdings": "assignment",
    "register.rules": "rule", "register": "register", "figures": "figure", "reported": "figure", "coefficients": "coefficient", "limits": "limit",
    "figure_rules": "rule", "confirmations": "confirmation", "today": "day",
}
EXPLAINED: Final = pl.Schema({  # after the columns that name a figure; one row for each figure that differs and each cause of it
    "measure": pl.String(), "then": pl.Float64(), "now": pl.Float64(), "difference": pl.Float64(),  # a figure that was not there counts as 0
    "then_text": pl.String(), "now_text": pl.String(),  # of a measure that is no number
    "cause": pl.String(),  # one of KINDS
    "share": pl.Float64(),  # the difference that this cause alone makes
    "residual": pl.Float64(),  # what is left of the difference after the shares of all causes: they act together
    "inputs": pl.UInt32(), "first_known": INSTANT, "last_known": INSTANT,  # how many inputs of that kind, and when they became known
    "ids": pl.List(pl.String()), "what": pl.String(),  # the first of them
})
_OF_CONSUMPTION: Final = ("reading", "edit", "register", "event", "rule")  # the kinds that hours and days can follow from
LISTED: Final = 20
ROUNDING: Final = 1e-12  # what sums of the same numbers in another order may differ by, of the figure
_OF_CAUSE: Final = ("cause", "share", "residual", "inputs", "first_known", "last_known", "ids", "what")
_VERSIONED: Final = {
    "register": "register", "event": "event", "assignment": "assignment", "holding": "assignment", "enterprise": "figure", "rule": "rule",
}
_INPUT: Final = pl.Schema({  # something that became known between two instants; enterprise or register_key null: it is not of one alone
    "kind": pl.String(), "enterprise": pl.String(), "register_key": pl.UInt32(), "product": pl.String(), "start": INSTANT, "end": INSTANT,
    "known_at": INSTANT, "id": pl.String(), "what": pl.String(),
})
_KEYS: Final[Mapping[Table, tuple[str, ...]]] = {
    "hourly": ("register_key", "start", "end"), "daily": ("register_key", "start", "end"), "energy": ("enterprise", "period"),
    "carriers": ("enterprise", "site", "process", "product", "period", "carrier", "unit", "flow", "use"), "intensity": ("enterprise", "period"),
    "park_intensity": ("park", "period"),
    "verdicts": ("enterprise", "product", "indicator", "line", "plant_status", "period_start", "period_end", "standard", "edition"),
}
_TEXTS: Final = ("quality", "missing", "verdict", "standing", "level")
_OWN: Final = ("database", "journal", "ledger", "fleet", "derived")  # of a site beside another: shared as they are, or its own
When = Callable[[str], datetime]  # by kind, the instant whose knowledge counts


class _Then:
    """An adapter whose methods answer as of an instant, where they can."""

    def __init__(self, adapter: object, name: str, when: When) -> None:
        self._adapter, self._name, self._when = adapter, name, when

    def __getattr__(self, name: str) -> Any:
        member, path = getattr(self._adapter, name), f"{self._name}.{name}"
        if callable(member):
            return partial(member, as_of=self._when(_kind(path))) if _takes_as_of(member) else member
        return _Then(member, path, self._when) if type(member).__module__.startswith("store.") else member


def _kind(path: str) -> str:
    return KINDS.get(path) or KINDS.get(path.partition(".")[0], path.partition(".")[0])


def _takes_as_of(member: Callable[..., Any]) -> bool:
    return "as_of" in inspect.signature(member).parameters


def _past(site: Site, folder: Path, when: When) -> Site:
    """A site in another folder whose inputs are those of the instants."""
    past = site.beside(folder)
    for name, member in vars(Site).items():
        if isinstance(member, cached_property) and name not in _OWN:
            past.__dict__[name] = _Then(getattr(site, name), name, when)
        elif inspect.isfunction(member) and _takes_as_of(member):
            past.__dict__[name] = partial(getattr(site, name), as_of=when(_kind(name)))
    past.__dict__["derived"] = PassingTables()
    past._readings = cast(ReadingStore, _Then(site.readings(), "readings", when))  # noqa: SLF001 - the adapter that `readings` gives
    return past


def known_at(
    site: Site, as_of: datetime, table: Table, first: date, last: date, enterprises: Collection[str] | None = None,
) -> pl.DataFrame:
    """A derived table as it follows from what was known at an instant, computed by the stages that compute the live one.

    Args:
        site: its live tables are neither read nor changed.
        as_of: readings that had arrived, register rows, figures, edits, coefficients, ... that were known by then.
        table: hourly and daily have the local days first..last; energy, carriers and intensities the periods that lie within them as a
            whole (a running one up to today); verdicts those of the years that they touch.
        first: first local day.
        last: last local day, included.
        enterprises: only these; None: all. A park's intensity needs all of its enterprises.

    Raises:
        StoreUnavailableError: the readings cannot be asked here and now.
    """
    return _known(site, lambda _kind: as_of, table, first, last, enterprises)


def judged_at(
    site: Site, as_of: datetime, tables: Iterable[Judged], first: date, last: date, enterprises: Collection[str] | None = None,
) -> pl.DataFrame:
    """What validation said of the local days first..last, both included, from what was known at an instant; arguments as for `known_at`.

    Args:
        site: its live tables are neither read nor changed.
        as_of: the instant.
        tables: derived tables of one shape, which are put together.
        first: first local day.
        last: last local day, included.
        enterprises: only these; None: all.

    Raises:
        StoreUnavailableError: the readings cannot be asked here and now.
    """
    with _rolled(site, lambda _kind: as_of, first - timedelta(days=LOOK_BACK), last, enterprises) as past:
        return pl.concat([past.derived.read(table, first, last).collect() for table in tables])


def index_at(
    site: Site, as_of: datetime, first: date, last: date, levels: Iterable[Level], grain: Literal["month", "span"] = "month",
) -> dict[Level, pl.DataFrame]:
    """QUALITY_INDEX by level, as `quality.index` gives it, from what was known at an instant; until then readings are due.

    A message that was replayed from quarantine after the instant was not refused: when it was replayed is not kept.

    Raises:
        StoreUnavailableError: the readings cannot be asked here and now.
    """
    zone = site.settings.site.zone
    begin = first - timedelta(days=LOOK_BACK)
    with _rolled(site, lambda _kind: as_of, begin, last, None) as past:
        start = calendar.day_span(begin, zone)[0]  # registers that sent before it owe readings from `first` on
        before = past.readings().span(None, start, start, pad=1).filter(pl.col("read_at") < start)
        runs = received_runs(before, zone)
        past.derived.replace("received", runs, runs.select("register_key", "day"))
        return quality.index(past, first, last, as_of, levels, grain)


@contextmanager
def _rolled(site: Site, when: When, begin: date, until: date, enterprises: Collection[str] | None) -> Iterator[Site]:
    """A site beside this one with the derived tables of some days and enterprises, from the inputs of the instants."""
    names = site.register.names()
    if enterprises is not None:
        names = names.filter(pl.col("enterprise").is_in(sorted(enterprises)))
    with tempfile.TemporaryDirectory(prefix="as-of-", dir=site.data_dir) as folder:
        past = _past(site, Path(folder), when)
        try:
            days = pl.DataFrame({"day": pl.date_range(begin, until, eager=True)})
            past.ledger.mark_dirty(names.select("register_key").join(days, how="cross"), at_once=True)
            roller = Roller(past, alone=True)
            while roller.once():
                pass
            yield past
        finally:
            past.ledger.close()


def _known(site: Site, when: When, table: Table, first: date, last: date, enterprises: Collection[str] | None) -> pl.DataFrame:
    today = calendar.local_day(when("day"), site.settings.site.zone)
    begin, until = (date(first.year, 1, 1), date(last.year, 12, 31)) if table == "verdicts" else (first, last)
    measured = enterprises if table in ("hourly", "daily") else _with_givers(site, when, enterprises)
    with _rolled(site, when, begin, until, measured) as past:
        if table in ("hourly", "daily"):
            return past.derived.read(table, first, last).drop("day").collect()
        found = evaluated(past, today)[table]
    if enterprises is not None and "enterprise" in found.columns:
        found = found.filter(pl.col("enterprise").is_in(sorted(enterprises)))
    if table == "verdicts":
        return found.filter(pl.col("period_end") >= first, pl.col("period_start") <= last)
    spans = {period: calendar.period_days(period) for period in found["period"].unique()}
    whole = [period for period, (start, end) in spans.items() if first <= start and min(end, today) <= last]
    return found.filter(pl.col("period").is_in(whole))


def _with_givers(site: Site, when: When, enterprises: Collection[str] | None) -> Collection[str] | None:
    """Enterprises, and those under whose names the meters of a site that they hold are registered."""
    if enterprises is None:
        return None
    held = site.register.holdings(as_of=when("assignment")).filter(pl.col("owner").is_in(sorted(enterprises)))
    return {*enterprises, *held["enterprise"]}


def explained(
    site: Site, earlier: datetime, later: datetime, table: Table, first: date, last: date, enterprises: Collection[str] | None = None,
) -> pl.DataFrame:
    """Every figure that differs between what was known at two instants, with what made it differ.

    The share of a cause is the difference that it makes alone: the figure is computed with the knowledge of the earlier instant but the
    inputs of that one kind as known at the later one. What the shares leave over is the residual: where it is not zero the causes act
    together, and a kind without which the figure of now would be another one is a cause too, whatever it does alone.

    Args:
        site: its live tables are neither read nor changed.
        earlier: the figures "then".
        later: the figures "now".
        table: as for `known_at`, and so are the others.
        first: first local day.
        last: last local day, included.
        enterprises: only these; None: all.

    Returns:
        The columns that name a row of the table, then EXPLAINED.

    Raises:
        StoreUnavailableError: the readings cannot be asked here and now.
    """
    def state(switched: Collection[str]) -> pl.DataFrame:
        when = partial(_switch, earlier, later, switched)
        return _long(_known(site, when, table, first, last, enterprises), _KEYS[table])

    inputs = _inputs(site, earlier, later, first, last, enterprises)
    all_kinds = _OF_CONSUMPTION if table in ("hourly", "daily") else tuple(dict.fromkeys(KINDS.values()))
    kinds = [kind for kind in all_kinds if kind in set(inputs["kind"])]
    keys = [*_KEYS[table], "measure"]
    pairs = state(()).join(state(tuple(KINDS.values())), on=keys, how="full", coalesce=True, nulls_equal=True, suffix="_now")
    rows = pairs.filter(_differ("", "_now"))
    parts = [pl.DataFrame(schema={**rows.schema, "kind": pl.String(), "share": pl.Float64(), "moves": pl.Boolean()})]
    for kind in kinds if rows.height else ():
        alone = rows.join(state((kind,)), on=keys, how="left", nulls_equal=True, suffix="_alone")
        share = pl.col("value_alone").fill_null(0.0) - pl.col("value").fill_null(0.0)
        parts.append(alone.select(*rows.columns, kind=pl.lit(kind), share=share, moves=_differ("", "_alone")))
    tried = _with_residual(pl.concat(parts), keys)
    if (tried["residual"] != 0).any() or not tried["moves"].all():  # what does nothing alone may do something beside the others
        missed = [
            rows.join(state([other for other in kinds if other != kind]), on=keys, how="left", nulls_equal=True, suffix="_without")
            .select(*keys, kind=pl.lit(kind), missed=_differ("_now", "_without"))
            for kind in kinds
        ]
        tried = tried.join(pl.concat(missed), on=[*keys, "kind"], how="left", nulls_equal=True)
        tried = tried.with_columns(moves=pl.col("moves") | (pl.col("missed") & (pl.col("residual") != 0)))
    causes = _causes(tried, keys)
    named = _with_inputs(causes, inputs, site, table)
    return rows.select(keys, then="value", now="value_now", then_text="text", now_text="text_now").with_columns(
        difference=pl.when(pl.any_horizontal(pl.col("then", "now").is_not_null())).then(pl.col("now").fill_null(0.0) - pl.col("then").fill_null(0.0)),
    ).join(named, on=keys, how="left", nulls_equal=True).select(*keys, *EXPLAINED.names()[1:]).sort(*keys, "cause", nulls_last=False)


def _switch(earlier: datetime, later: datetime, switched: Collection[str], kind: str) -> datetime:
    return later if kind in switched else earlier


def _long(frame: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The key columns, measure, value and text: one row for each measure of a row."""
    numbers = [name for name, dtype in frame.schema.items() if dtype == pl.Float64() and name not in keys]
    texts = [name for name in _TEXTS if name in frame.columns]
    values = frame.unpivot(numbers, index=keys, variable_name="measure", value_name="value").with_columns(text=pl.lit(None, pl.String()))
    words = frame.with_columns(pl.col(texts).cast(pl.String)).unpivot(texts, index=keys, variable_name="measure", value_name="text")
    return pl.concat([values, words.with_columns(value=pl.lit(None, pl.Float64())).select(values.columns)])


def _differ(one: str, other: str) -> pl.Expr:
    """Whether the figure (value or text) differs between two states, told by the endings of their columns."""
    return pl.any_horizontal(pl.col(f"{name}{one}").ne_missing(pl.col(f"{name}{other}")) for name in ("value", "text"))


def _with_residual(tried: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    left = pl.col("value_now").fill_null(0.0) - pl.col("value").fill_null(0.0) - pl.col("share").sum().over(keys)
    size = pl.max_horizontal(pl.col("value", "value_now").abs()).fill_null(0.0)
    return tried.with_columns(residual=pl.when(left.abs() > size * ROUNDING).then(left).otherwise(0.0))


def _causes(tried: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The keys with kind, moves, share and residual: the kinds that move the figure; where none does by itself, all of them."""
    is_number = pl.any_horizontal(pl.col("value", "value_now").is_not_null())
    return tried.filter(pl.col("moves") | ~pl.col("moves").any().over(keys)).select(
        *keys, "kind", "moves", *(pl.when(is_number).then(name).alias(name) for name in ("share", "residual")),
    )


def _with_inputs(causes: pl.DataFrame, inputs: pl.DataFrame, site: Site, table: Table) -> pl.DataFrame:
    """Causes with the inputs that they consist of: those of the figure's time, else its neighbours'."""
    homes = site.register.enterprise_parks()
    of_park = {park: group["enterprise"].to_list() for (park,), group in homes.group_by("park")}
    by_subject: dict[tuple[object, ...], pl.DataFrame] = {}
    subject = "register_key" if table in ("hourly", "daily") else "enterprise"
    for key, group in inputs.group_by("kind", subject, maintain_order=True):
        by_subject[key] = group.sort("start", "known_at", nulls_last=False)
    found = []
    for row in causes.iter_rows(named=True):
        owners = of_park.get(row["park"], []) if table == "park_intensity" else [row[subject]]
        of_row = [by_subject[key] for owner in (*owners, None) if (key := (row["kind"], owner)) in by_subject]
        if table == "verdicts":
            of_row = [group.filter(pl.col("product").is_null() | (pl.col("product") == row["product"])) for group in of_row]
        near = _near(pl.concat(of_row), *_span(row, site.settings.site.zone)) if of_row else inputs.clear()
        if near.height or row["moves"]:
            found.append({**row, **_summed(near), "cause": row["kind"]})
    shape = {name: causes.schema[name] for name in causes.columns if name not in {"kind", "moves", "share", "residual"}}
    return pl.DataFrame(found, schema=pl.Schema({**shape, **{name: EXPLAINED[name] for name in _OF_CAUSE}}))


def _span(row: Mapping[str, Any], zone: str) -> tuple[datetime, datetime]:
    if "start" in row:
        return row["start"], row["end"]
    first, last = (row["period_start"], row["period_end"]) if "period_start" in row else calendar.period_days(row["period"])
    return calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]


def _near(group: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """The inputs that speak of the time, its ends included; where none does, the last before and the first after it."""
    begins, ends = pl.col("start").fill_null(start), pl.col("end").fill_null(end)
    within = group.filter(begins <= end, ends >= start)
    return within if within.height else pl.concat([group.filter(ends <= start).tail(1), group.filter(begins >= end).head(1)])


def _summed(near: pl.DataFrame) -> dict[str, Any]:
    named = near.unique(["id", "what"], maintain_order=True).head(LISTED)
    return {
        "inputs": near.height, "first_known": near["known_at"].min(), "last_known": near["known_at"].max(), "ids": named["id"].to_list(),
        "what": "; ".join(dict.fromkeys(named["what"].drop_nulls())) or None,
    }


def _inputs(
    site: Site, earlier: datetime, later: datetime, first: date, last: date, enterprises: Collection[str] | None,
) -> pl.DataFrame:
    """_INPUT: what became known after the one instant and up to the other."""
    names = site.register.names()
    if enterprises is not None:
        names = names.filter(pl.col("enterprise").is_in(sorted(enterprises)))
    parts = [
        _readings(site, earlier, later, date(first.year, 1, 1), date(last.year, 12, 31), names["register_key"].to_list()),
        _edits(site, earlier, later), _reports(site, earlier, later), _law(site, earlier, later),
        *(_versions(site, table, kind, earlier, later) for table, kind in _VERSIONED.items()),
    ]
    rows = pl.concat(parts).join(names.select("register_key", owner="enterprise"), on="register_key", how="left", maintain_order="left")
    rows = rows.with_columns(enterprise=pl.coalesce("enterprise", "owner")).drop("owner")
    days = [calendar.local_day(at, site.settings.site.zone) for at in (earlier, later)]
    if days[0] != days[1]:  # what is measured up to today goes on
        rows = pl.concat([rows, _conform(pl.DataFrame({
            "kind": ["day"], "id": [str(days[1])], "start": [calendar.day_span(days[0], site.settings.site.zone)[0]], "known_at": [later],
            "what": [f"measured up to {days[0]}, then up to {days[1]}"],
        }))])
    return rows if enterprises is None else rows.filter(pl.col("enterprise").is_null() | pl.col("enterprise").is_in(sorted(enterprises)))


def _readings(site: Site, earlier: datetime, later: datetime, first: date, last: date, keys: list[int]) -> pl.DataFrame:
    zone = site.settings.site.zone
    start, end = calendar.day_span(first, zone)[0], calendar.day_span(last, zone)[1]
    late = site.readings().span(keys, start, end, pad=REACH, as_of=later).filter(pl.col("received_at") > earlier)
    return _conform(late.select(
        "register_key", kind=pl.lit("reading"), start="read_at", end=pl.col("read_at") + timedelta(microseconds=1), known_at="received_at",
        id=pl.col("message").cast(pl.String),
    ))


def _edits(site: Site, earlier: datetime, later: datetime) -> pl.DataFrame:
    before, after = (site.edits.effective(as_of=at)["edit"].to_list() for at in (earlier, later))
    rows = site.edits.rows(ids=set(before) ^ set(after))
    began, withdrawn = pl.col("edit").is_in(after), pl.format("withdrawn: {}", pl.col("withdrawn_because").fill_null(""))
    return _conform(rows.select(
        "register_key", "enterprise", "start", kind=pl.lit("edit"), end=pl.coalesce("end", pl.col("start") + timedelta(microseconds=1)),
        known_at=pl.when(began).then("known_from").otherwise("known_to"), id=pl.col("edit").cast(pl.String),
        what=pl.when(began).then(pl.format("{}: {}", "kind", "reason")).otherwise(withdrawn),
    ))


def _versions(site: Site, table: str, kind: str, earlier: datetime, later: datetime) -> pl.DataFrame:
    rows = site.register.versions(table, earlier, later)
    own = [name for name in rows.columns if name not in {"register_key", "enterprise", "known_from", "known_to", "recorded_by"}]
    cells = [pl.format(name + " {}", pl.col(name).cast(pl.String)) for name in own]
    is_new = pl.col("known_from").is_between(earlier, later, closed="right")
    content = pl.concat_str(cells, separator=", ", ignore_nulls=True)
    start, end = (pl.col(name) if name in rows.columns else pl.lit(None, INSTANT) for name in ("valid_from", "valid_to"))
    if "at" in rows.columns:
        start, end = pl.col("at"), pl.col("at") + timedelta(microseconds=1)
    return _conform(rows.select(
        *(name for name in ("register_key", "enterprise") if name in rows.columns), kind=pl.lit(kind), start=start, end=end,
        known_at=pl.when(is_new).then("known_from").otherwise("known_to"), id=pl.format(f"{table} {{}} by {{}}", "enterprise", "recorded_by"),
        what=pl.concat_str(pl.when(is_new).then(pl.lit("")).otherwise(pl.lit("until then: ")), content),
    ))


def _reports(site: Site, earlier: datetime, later: datetime) -> pl.DataFrame:
    parts = []
    for name, reports in (("figure", site.figures), ("monthly figure", site.reported.monthly), ("batch", site.reported.batches)):
        rows = reports.rows().filter(pl.col("checked_at").is_between(earlier, later, closed="right"))
        told = [column for column in ("carrier", "figure", "period", "batch", "first_day", "value", "quantity", "lhv") if column in rows.columns]
        content = pl.concat_str([pl.col(column).cast(pl.String) for column in told], separator=" ", ignore_nulls=True)
        parts.append(_conform(rows.select(
            "enterprise", kind=pl.lit("figure"), known_at="checked_at", id=pl.format(name + " {}", "id"), what=content,
        )))
    return pl.concat(parts)


def _law(site: Site, earlier: datetime, later: datetime) -> pl.DataFrame:
    zone = site.settings.site.zone
    coefficients, limits, rules = lawbook.known_later(site.settings.site.tables_dir, earlier, later)
    rows: list[dict[str, object]] = [
        {
            "kind": "coefficient", "start": calendar.day_span(row.valid_from, zone)[0], "known_at": row.known_from,
            "end": None if row.valid_to is None else calendar.day_span(row.valid_to, zone)[0],
            "id": f"{row.carrier} {row.basis} {row.valid_from}", "what": f"{row.kgce_per_unit} kgce/{row.unit}, {row.source}",
        }
        for row in coefficients
    ]
    for rule in rules:
        named = " ".join(filter(None, (rule.rule, rule.carrier, rule.flow, rule.kind)))
        rows.append({"kind": "rule", "known_at": rule.known_from, "id": named, "what": f"{rule.value:.15g}, {rule.source}"})
    for limit in limits:
        named = " ".join(filter(None, (limit.standard, limit.product, limit.indicator, getattr(limit, "parameter", None))))
        rows.append({"kind": "limit", "known_at": limit.known_from, "id": named, "product": limit.product, "what": limit.source})
    before, after = (site.confirmations.frame(as_of=at) for at in (earlier, later))
    for product, indicator, standard, by in after.join(before, on=after.columns, how="anti", nulls_equal=True).select(after.columns[:4]).iter_rows():
        rows.append({"kind": "confirmation", "id": f"{standard} {product} {indicator}", "product": product, "what": by})
    return pl.DataFrame(rows, schema=_INPUT)


def _conform(frame: pl.DataFrame) -> pl.DataFrame:
    return schemas.conform(frame, _INPUT)
