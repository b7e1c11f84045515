"""Derived registers: consumption that follows from other registers by a formula (the language: `config.formulas`).

The rules. Each looks at neighbouring readings of the formula's registers only, so that a window recomputed with REACH readings of each of
them on either side gives what the whole history gives, to the last bit.

1. What counts of the registers that a formula uses, and the consumption between their readings, is decided by `monitors.intervals`: a
   derived register has no readings, and adds nothing of its own to what they tell.
2. A state (pressure, temperature) is linear between neighbouring counted readings at most 90 minutes apart; beyond, before the first
   and after the last one nothing is known of it. Of its readings rules 1 and 2 of `monitors.intervals` decide; it may be negative.
3. The consumption between two readings of a flow is spread evenly over its time and cut at every reading of its pressure and
   temperature. Each piece is multiplied by the mean of the factors at its two ends:
   - steam_heat: h(p, T) - h(feedwater), kJ/kg, by IAPWS-IF97 (IAPWS R7-97(2012)); of saturated steam h(p, x), x its dryness.
   - gas_standard: p / 101.325 kPa x T_standard / (273.15 + T) / Z; T_standard is 273.15 K for Nm3 and 293.15 K for Sm3.
   A piece at whose ends the state is not known is not covered. Reach 1 reading of each state.
4. A state for which there is no factor (outside IF97, a gas without pressure or outside GAS_DEGC: `impossible_state`; liquid water,
   where steam is meant and no dryness is declared: `not_steam`) leaves the pieces that it bounds uncovered, and its readings are set
   aside by that name.
5. Where nothing flowed nothing is derived: the piece is 0 and covered, whatever the state says.
6. A sum or difference covers the time that all its parts cover: a part that is missing is not taken for zero. A difference may be
   negative.
7. A definition holds from valid_from until valid_to; consumption across these is divided by time.
8. Hours, days, months and years add up the pieces. A piece of a step longer than 1.5 times the grain is estimated, one of a suspect
   step or of an uncertain state makes its interval suspect, and so does a reset of a register that the formula uses.
9. Where nothing of a register that is read is known, its checked estimate stands for it, and what is derived from that is estimated.
   No state is ever estimated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import polars as pl
import seuif97

from config import calendar
from config.errors import BadInputError, Problem
from config.formulas import ATMOSPHERE_KPA, T_0_K, Term, terms
from config.schemas import EVENT, INSTANT, INTERVAL, QUALITY, READING, SET_ASIDE, WINDOW
from monitors.axis import axis_of, grain_bounds, position_of
from monitors.intervals import COUNTED_KINDS, LONGEST_RATE_STEP, Counted, Grain, counted
from monitors.intervals import spread as spread_counted
from monitors.intervals import uncovered as uncovered_counted
from monitors.spreading import GRAIN_US, LONG_IN_GRAINS, Part, gaps

_NAME: Final = ["enterprise", "meter", "register"]
_DEFINES: Final = [*_NAME, "register_key", "unit", "kind", "formula", "valid_from", "valid_to"]
AT_ONCE: Final = 500_000  # steps and state readings worked on at once: bounds the memory
CRITICAL_MPA: Final = 22.064  # IAPWS R7-97(2012), section 3
CRITICAL_DEGC: Final = 373.946  # 647.096 K
GAS_DEGC: Final = (-100.0, 1000.0)  # assumption of tcewatch: a gas that is metered is no colder and no hotter; broken sensors show -273 or -200
_NO_VALUE: Final = -1000.0  # seuif97 answers states outside IF97 with numbers below
_STEP: Final = pl.Schema({  # consumption q over [a, b), us since 1970
    "register_key": pl.UInt32(), "a": pl.Int64(), "b": pl.Int64(), "q": pl.Float64(),
    "long": pl.Int64(),  # us: the longest step between readings that it is a part of
    "doubtful": pl.Boolean(),
})
_TERM: Final = pl.Schema({
    "term": pl.UInt32(), "row": pl.Int64(), "derived_key": pl.UInt32(), "register_key": pl.UInt32(), "factor": pl.Float64(), "function": pl.String(),
    "pressure_key": pl.UInt32(), "temperature_key": pl.UInt32(), "to_kpa": pl.Float64(), "base_kpa": pl.Float64(),
    "dryness": pl.Float64(), "less_kj_per_kg": pl.Float64(), "k_per_kpa": pl.Float64(),  # k_per_kpa: of gas, T_standard / (101.325 kPa x Z)
    "valid_from": pl.Int64(), "valid_to": pl.Int64(),
})
_LINK: Final = pl.Schema({"register_key": pl.UInt32(), "input_key": pl.UInt32()})
_UNCERTAIN: Final = 1  # position in READING_QUALITY
_ALWAYS: Final = 2**62  # us
_a, _b, _q, _k, _to = pl.col("a"), pl.col("b"), pl.col("q"), pl.col("k"), pl.col("to")
_rate: Final = _q / (_b - _a)  # taken before steps are cut: of what is repeated, the last bit of a quotient may differ


@dataclass(frozen=True, slots=True)
class Derived:
    """Consumption of derived registers, and the state readings that do not count."""

    intervals: pl.DataFrame  # INTERVAL, sorted by register_key and start
    set_aside: pl.DataFrame  # SET_ASIDE of registers of kind state, sorted by register_key, read_at and copy


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What some formulas come to, ready to be spread over any grain."""

    pieces: pl.DataFrame  # _STEP, sorted by register_key and a
    resets: pl.DataFrame  # register_key, a, b: across a reset of a register that is used
    set_aside: pl.DataFrame  # SET_ASIDE
    zone: str


def derived(
    definitions: pl.DataFrame, readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, *, by: Grain, zone: str,
) -> Derived:
    """Consumption of derived registers, by the rules at the head of this module.

    Args:
        definitions: REGISTER rows of kind derived, together with those that their formulas name.
        readings: READING of the registers that the formulas use, all copies, in any order; others may be among them.
        registers: REGISTER rows of these registers.
        events: EVENT.
        by: "reading" gives one row for each piece between two readings of any register of the formula.
        zone: the place whose hours and days are meant.

    Returns:
        INTERVAL in the unit of each definition; and of the readings of all registers of kind state those that do not count (rules 2 and 4).

    Raises:
        BadInputError: a formula does not hold for these registers.
    """
    done = evaluated(definitions, readings, registers, events, zone=zone)
    return Derived(spread(done, by), done.set_aside)


def inputs_of(registers: pl.DataFrame) -> pl.DataFrame:
    """register_key, input_key: each derived register with every register that it follows from, be it through another derived one.

    Raises:
        BadInputError: a formula does not hold.
    """
    return _links(_terms(registers.filter(pl.col("kind") == "derived"), registers))


def with_inputs(keys: pl.Series, registers: pl.DataFrame) -> pl.Series:
    """The given register_keys, the derived registers that follow from them, and every register that these use; sorted."""
    links = inputs_of(registers)
    own = keys.cast(pl.UInt32)
    concerned = links.filter(pl.col("input_key").is_in(own.implode()) | pl.col("register_key").is_in(own.implode()))["register_key"]
    used = links.filter(pl.col("register_key").is_in(concerned.implode()))["input_key"]
    return pl.concat([own, concerned, used]).unique().sort()


def with_derived(days: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """register_key, day: the given ones, and those days of the derived registers that follow from them."""
    follow = days.join(inputs_of(registers), left_on="register_key", right_on="input_key", suffix="_derived")
    rows = pl.concat([days.select("register_key", "day"), follow.select(register_key="register_key_derived", day="day")])
    return rows.unique().sort("register_key", "day")


def evaluated(
    definitions: pl.DataFrame, readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, *, zone: str,
    edits: pl.DataFrame | None = None, confirmed: pl.DataFrame | None = None,
) -> Evaluated:
    """What the formulas come to, once for all grains.

    Args:
        definitions: as for `derived`.
        readings: the same.
        registers: the same.
        events: the same.
        zone: the same.
        edits: EDIT: estimates among them count where a register of a formula has no consumption (rule 9).
        confirmed: WINDOW: steps and resets inside these spans are not suspect, since a person has looked at them.
    """
    found = _terms(definitions, registers)
    links = _links(found)
    used = pl.col("register_key").is_in(links["input_key"].unique().implode())
    flows, states = registers.filter(used, pl.col("kind").is_in(COUNTED_KINDS)), registers.filter(pl.col("kind") == "state")
    counting = counted(_of(readings, flows), flows, events, zone=zone, confirmed=confirmed)
    consumption = spread_counted(counting, "reading")
    state_readings = _of(readings, states)
    state, values, aside = _states(state_readings, states, events, zone)
    suspect = pl.col("quality") == "suspect"
    covered = pl.col("covered_ratio") > 0
    times = consumption.with_columns(a=pl.col("start").to_physical(), b=pl.col("end").to_physical())
    steps = times.filter(covered).select("register_key", "a", "b", q="quantity", long=_b - _a, doubtful=suspect)
    if edits is not None:
        steps = pl.concat([steps, _estimates(edits.filter(pl.col("register_key").is_in(flows["register_key"].implode())), counting)])
    across = times.filter(~covered).select(input_key="register_key", a="a", b=_b + 1)
    resets = across.join(links, on="input_key").select("register_key", "a", "b").unique()
    impossible = []
    for level in _levels(found):
        results = [steps]
        for some in _portions(level, steps, values):
            mine = _clipped(steps.join(some, on="register_key").sort("term", "a"))
            by_state, wrong = _by_state(mine.filter(pl.col("function").is_not_null()), state, values)
            impossible.append(wrong)
            plain = mine.filter(pl.col("function").is_null()).select("term", "a", "b", _q * pl.col("factor"), "long", "doubtful")
            results.append(_summed(pl.concat([plain, by_state]), some))
        steps = pl.concat(results)
    mine = steps.filter(pl.col("register_key").is_in(found["derived_key"].unique().implode())).sort("register_key", "a")
    bad = pl.concat([pl.DataFrame(schema={"row": pl.UInt32, "rule": pl.String}), *impossible]).group_by("row").agg(pl.col("rule").unique().sort())
    aside = pl.concat([aside, state_readings[bad["row"]].select(READING.names()).with_columns(broken_rules=bad["rule"])])
    return Evaluated(mine, resets, aside.sort("register_key", "read_at", "copy", "received_at", "message", "value"), zone)


def spread(what: Evaluated, by: Grain) -> pl.DataFrame:
    """INTERVAL of what some formulas come to, by that grain (rule 8)."""
    pieces = what.pieces
    if by == "reading" or pieces.is_empty():
        return pieces.select(
            "register_key", start=_a.cast(INSTANT), end=_b.cast(INSTANT), quantity="q", quality=_quality("doubtful", None),
            covered_ratio=pl.lit(1.0), estimated_ratio=pl.lit(0.0),
        ).cast(INTERVAL)
    first, last = (_year(cast(int, at), what.zone) for at in (pieces["a"].min(), pieces["b"].max()))
    bounds = grain_bounds(what.zone, by, first, last)

    def slot_of(at: pl.Series, side: str) -> pl.Series:
        return bounds.search_sorted(at, side="right" if side == "start" else "left").cast(pl.Int64) - 1

    pieces = pieces.with_columns(rate=_rate, slot=slot_of(pieces["a"], "start"), last=slot_of(pieces["b"], "end"))
    if (pieces["last"] > pieces["slot"]).any():
        pieces = pieces.with_columns(slot=pl.int_ranges("slot", pl.col("last") + 1)).explode("slot")
    low, high = bounds.gather(pieces["slot"]), bounds.gather(pieces["slot"] + 1)
    pieces = pieces.with_columns(us=pl.min_horizontal("b", high) - pl.max_horizontal("a", low)).with_columns(q=_part(pl.col("us")))
    pieces = pieces.with_columns(estimated=pl.when(pl.col("long") > round(LONG_IN_GRAINS * GRAIN_US[by])).then("us").otherwise(0))
    # Running sums keep the order of the pieces, so that a day alone and among others is the same to the last bit.
    slots = pieces.group_by("register_key", "slot", maintain_order=True).agg(
        pl.col("q", "us", "estimated").cum_sum().last(), doubtful=pl.col("doubtful").any(),
    )
    inside = what.resets.filter(_b > bounds[0], _a < bounds[-1])
    if inside.height:
        ends = inside.with_columns(slot=slot_of(inside["a"].clip(bounds[0]), "start"), last=slot_of(inside["b"].clip(None, bounds[-1]), "end"))
        touched = ends.select("register_key", slot=pl.int_ranges("slot", pl.col("last") + 1)).explode("slot").unique()
        slots = slots.join(touched.with_columns(reset=pl.lit(True)), on=["register_key", "slot"], how="left", maintain_order="left")
        slots = slots.with_columns(doubtful=pl.col("doubtful") | pl.col("reset").fill_null(False))
    low, high = bounds.gather(slots["slot"]), bounds.gather(slots["slot"] + 1)
    return slots.select(
        "register_key", start=low.cast(INSTANT), end=high.cast(INSTANT), quantity="q", quality=_quality("doubtful", "estimated"),
        covered_ratio=pl.col("us") / (high - low), estimated_ratio=pl.col("estimated") / pl.col("us"),
    ).cast(INTERVAL)


def uncovered(what: Evaluated, spans: pl.DataFrame) -> pl.DataFrame:
    """WINDOW: what no piece covers inside some spans (WINDOW) of derived registers, those of one register apart from each other."""
    pieces, keys = what.pieces, what.pieces["register_key"].unique().sort()
    if pieces.is_empty():
        return spans.select(WINDOW.names()).sort("register_key", "start")
    start, end = pieces["a"].cast(INSTANT), pieces["b"].cast(INSTANT)
    instants = pl.DataFrame({"read_at": pl.concat([start, end])})
    axis = axis_of(instants, pl.DataFrame({"kind": ["derived"]}), pl.DataFrame(schema=EVENT), keys, what.zone)
    position = position_of(pieces["register_key"], keys)
    steps = pl.DataFrame({"a": axis.pack(position, start), "b": axis.pack(position, end)})
    none = pl.DataFrame(schema={"k": pl.Int64, "v": pl.Float64, "start": pl.Boolean})
    own = pl.col("register_key").is_in(keys.implode())
    found = gaps(Part(axis, none, steps, none), spans.filter(own))
    return pl.concat([found, spans.filter(~own).select(WINDOW.names())]).sort("register_key", "start")


# --- definitions ------------------------------------------------------------------------------------------------------

def _terms(definitions: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    """_TERM of the definitions."""
    if definitions.is_empty():
        return pl.DataFrame(schema=_TERM)
    others = registers.filter(pl.col("kind") != "derived").join(definitions.select("enterprise"), on="enterprise", how="semi", nulls_equal=True)
    rows = pl.concat([definitions.select(_DEFINES), others.select(_DEFINES)]).to_dicts()
    found, faults = terms(rows)
    if faults:
        raise BadInputError([Problem(f"register {_shown(rows[one.row])} column {one.column}", one.what, one.remedy) for one in faults])
    keys: dict[tuple[str | None, str, str], int] = {(row["enterprise"], row["meter"], row["register"]): row["register_key"] for row in rows}
    table = [_term(number, term, rows[term.row], keys) for number, term in enumerate(found)]
    return pl.DataFrame(table, schema=_TERM, orient="row")


def _term(number: int, term: Term, row: Mapping[str, object], keys: Mapping[tuple[str | None, str, str], int]) -> tuple[object, ...]:
    pressure = None if term.pressure is None else keys[term.pressure]
    temperature = None if term.temperature is None else keys[term.temperature]
    bounds = (None if at is None else _us(cast(datetime, at)) for at in (row["valid_from"], row["valid_to"]))
    return (
        number, term.row, row["register_key"], keys[term.register], term.factor, term.function, pressure, temperature,
        term.pressure_to_kpa, term.pressure_base_kpa, term.dryness, term.less_kj_per_kg, term.standard_k / (ATMOSPHERE_KPA * term.z),
        *bounds,
    )


def _shown(row: Mapping[str, object]) -> str:
    return "/".join(str(row[name]) for name in _NAME if row[name] is not None)


def _links(found: pl.DataFrame) -> pl.DataFrame:
    """_LINK: derived registers and all that they follow from."""
    direct = pl.concat([
        found.select(register_key="derived_key", input_key=name) for name in ("register_key", "pressure_key", "temperature_key")
    ]).drop_nulls().unique().cast(_LINK)
    links = direct
    while True:  # as often as formulas name one another
        further = links.join(direct, left_on="input_key", right_on="register_key", suffix="_next").select("register_key", input_key="input_key_next")
        wider = pl.concat([links, further]).unique()
        if wider.height == links.height:
            return links.sort("register_key", "input_key")
        links = wider


def _levels(found: pl.DataFrame) -> list[pl.DataFrame]:
    """The terms in turns: those of a turn use results of earlier turns only."""
    turns, left = [], found
    while left.height:
        waiting = left.filter(pl.col("register_key").is_in(left["derived_key"].unique().implode()))["derived_key"].unique()
        turns.append(left.filter(~pl.col("derived_key").is_in(waiting.implode())))
        left = left.filter(pl.col("derived_key").is_in(waiting.implode()))
    return turns


def _portions(level: pl.DataFrame, steps: pl.DataFrame, values: pl.DataFrame) -> list[pl.DataFrame]:
    """The terms of a turn in portions, whole definitions each, with a bounded number of steps and readings to look at."""
    sizes = pl.concat([steps.select("register_key"), values.select(register_key="state_key")]).group_by("register_key").len()
    used = pl.concat([level.select("row", register_key=name) for name in ("register_key", "pressure_key", "temperature_key")])
    rows = used.join(sizes, on="register_key").group_by("row").agg(pl.col("len").sum()).sort("row")
    rows = rows.with_columns(portion=pl.col("len").cum_sum() // AT_ONCE)
    return [some.drop("portion") for some in level.join(rows.select("row", "portion"), on="row").partition_by("portion")]


def _of(readings: pl.DataFrame, registers: pl.DataFrame) -> pl.DataFrame:
    return readings.filter(pl.col("register_key").is_in(registers["register_key"].unique().implode()))


def _clipped(steps: pl.DataFrame) -> pl.DataFrame:
    """The part of each step within the validity of its definition (rule 7)."""
    a, b = pl.max_horizontal("a", "valid_from"), pl.min_horizontal("b", "valid_to")
    return steps.filter(a < b).with_columns(rate=_rate).with_columns(a=a, b=b, q=_part(b - a))


def _estimates(edits: pl.DataFrame, counting: Counted) -> pl.DataFrame:
    """_STEP of the estimated consumption of time that no reading covers, in proportion to that time."""
    start, end = pl.col("start"), pl.col("end")
    apart = edits.filter(pl.col("kind") == "estimate").sort("register_key", "start", "edit").filter(
        (start >= end.cum_max().shift(1).over("register_key")).fill_null(value=True),
    ).with_columns(us=(end - start).dt.total_microseconds()).with_columns(rate=pl.col("value") / pl.col("us"))
    own = apart.select("register_key", "us", "rate", "value", e_start=start, e_end=end)
    gaps_of = uncovered_counted(counting, apart).join(own, on="register_key")
    part = pl.col("b") - pl.col("a")
    return gaps_of.filter(start >= pl.col("e_start"), end <= pl.col("e_end")).with_columns(a=start.to_physical(), b=end.to_physical()).select(
        "register_key", "a", "b", q=pl.when(part < pl.col("us")).then(pl.col("rate") * part).otherwise("value"),
        long=pl.lit(_ALWAYS), doubtful=pl.lit(False),
    ).cast(_STEP)


# --- states -----------------------------------------------------------------------------------------------------------

def _states(
    readings: pl.DataFrame, registers: pl.DataFrame, events: pl.DataFrame, zone: str,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rule 2.

    Returns:
        state: state_key, sa, sb, va, uncertain, slope: spans between neighbouring readings, the value at the first, its change by us.
        values: state_key, k, row: the readings that count, `row` their place in `readings`.
        SET_ASIDE.
    """
    numbered = readings.with_columns(message=pl.int_range(pl.len(), dtype=pl.Int64))  # names each row
    as_rate = registers.with_columns(kind=pl.lit("rate"), net=pl.lit(True), max_rate_per_h=pl.lit(None, dtype=pl.Float64))
    done = counted(numbered, as_rate, pl.DataFrame(schema=EVENT), zone=zone)
    left = done.set_aside["message"].cast(pl.UInt32)
    aside = readings[left].select(READING.names()).with_columns(done.set_aside["broken_rules"]).cast(SET_ASIDE)
    changes = pl.concat([
        registers.select("register_key", at="valid_from", multiplier="multiplier"),
        events.filter(pl.col("event") == "multiplier").select("register_key", "at", "multiplier"),
    ]).with_columns(pl.col("at").fill_null(datetime(1, 1, 1, tzinfo=UTC)), pl.col("multiplier").fill_null(1.0)).sort("at", maintain_order=True)
    counts = readings.with_row_index("row").filter(~pl.col("row").is_in(left.cast(pl.get_index_type()).implode())).sort("read_at").join_asof(
        changes, left_on="read_at", right_on="at", by="register_key", strategy="backward", check_sortedness=False,
    ).select(
        state_key="register_key", k=pl.col("read_at").to_physical(), va=pl.col("value") * pl.col("multiplier"), row=pl.col("row").cast(pl.UInt32),
        uncertain=(pl.col("quality") == _UNCERTAIN).fill_null(False),
    ).sort("state_key", "k")
    follows = pl.col("state_key") == pl.col("state_key").shift(-1)
    state = counts.select(
        "state_key", "va", sa="k", sb=_k.shift(-1), vb=pl.col("va").shift(-1), uncertain=pl.col("uncertain") | pl.col("uncertain").shift(-1),
        near=follows & (_k.shift(-1) - _k <= LONGEST_RATE_STEP // timedelta(microseconds=1)),
    ).filter("near").select(
        "state_key", "sa", "sb", "va", "uncertain", slope=(pl.col("vb") - pl.col("va")) / (pl.col("sb") - pl.col("sa")),
    )
    return state.sort("sa"), counts.select("state_key", "k", "row"), aside


def _by_state(steps: pl.DataFrame, state: pl.DataFrame, values: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rules 3 to 5: the pieces (term, a, b, q, long, doubtful) of steps with their terms; the state readings (row, rule) without a factor."""
    uses = steps.select("term", "pressure_key", "temperature_key").unique()
    uses = pl.concat([uses.select("term", state_key=name) for name in ("pressure_key", "temperature_key")]).drop_nulls()
    read = uses.join(values, on="state_key").select("term", "k")
    cuts = pl.concat([steps.select("term", k="a"), steps.select("term", k="b"), read]).sort("term", "k")
    pieces = cuts.with_columns(to=_k.shift(-1)).filter(_to > _k, pl.col("term") == pl.col("term").shift(-1)).sort("k").join_asof(
        steps.sort("a").with_columns(rate=_rate), left_on="k", right_on="a", by="term", strategy="backward", check_sortedness=False, coalesce=False,
    ).filter(_to <= _b)
    pieces = pieces.with_columns(q=_part(_to - _k) * pl.col("factor")).drop("a", "b", "rate")
    pieces = _with_state(_with_state(pieces, state, "pressure"), state, "temperature")
    ends = pl.concat([pieces.select(*_CHOICE, "pressure_known", "temperature_known", pressure=f"pressure_{end}", temperature=f"temperature_{end}")
                      for end in ("a", "b")])
    ends = _factors(ends)
    start, end = ends.head(pieces.height), ends.tail(pieces.height)
    mean = (start["value"] + end["value"]) / 2
    still = pieces["q"] == 0.0
    known = pieces["pressure_known"] & pieces["temperature_known"]
    done = pieces.select(
        "term", a=_k, b=_to, q=pl.when(still).then(0.0).otherwise(_q * mean), long="long", doubtful="doubtful",
    ).filter(still | (known & mean.is_not_null()))
    wrong = pl.concat([
        pieces.select("term", k=at).with_columns(side["rule"]).filter(~still & known & side["rule"].is_not_null())
        for at, side in (("k", start), ("to", end))
    ]).unique()
    return done.sort("term", "a"), wrong.join(uses, on="term").join(values, on=["state_key", "k"]).select("row", "rule")


_CHOICE: Final = ("function", "to_kpa", "base_kpa", "dryness", "less_kj_per_kg", "k_per_kpa")


def _with_state(pieces: pl.DataFrame, state: pl.DataFrame, what: str) -> pl.DataFrame:
    """The pieces (sorted by k) with one of their states at both ends, and whether it is known; a term without it needs none."""
    there = pieces.join_asof(
        state, left_on="k", right_on="sa", by_left=f"{what}_key", by_right="state_key", strategy="backward", check_sortedness=False, coalesce=False,
    )
    reaches = (pl.col("sb") >= _to).fill_null(False)
    return there.with_columns(
        (pl.col(f"{what}_key").is_null() | reaches).alias(f"{what}_known"), doubtful=pl.col("doubtful") | (reaches & pl.col("uncertain")),
    ).with_columns(
        (pl.col("va") + pl.col("slope") * (at - pl.col("sa"))).alias(f"{what}_{end}") for at, end in ((_k, "a"), (_to, "b"))
    ).drop("sa", "sb", "va", "slope", "uncertain", "state_key", strict=False)


def _factors(ends: pl.DataFrame) -> pl.DataFrame:
    """Give value and rule: the factor of each state, or null and why there is none; both null where the state is not known.

    seuif97 takes one state at a call, so the columns go through `map`, which stays in C: about 5 million states a second.
    """
    ends = ends.with_columns(p=pl.col("pressure") * pl.col("to_kpa") + pl.col("base_kpa"), t=pl.col("temperature")).with_row_index("place")
    known = pl.col("pressure_known") & pl.col("temperature_known")
    p, t = pl.col("p"), pl.col("t")
    gas = ends.filter(known, pl.col("function") == "gas_standard").select(
        "place", value=p * pl.col("k_per_kpa") / (T_0_K + t),
        rule=pl.when((p <= 0) | ~t.is_between(*GAS_DEGC)).then(pl.lit("impossible_state")),
    )
    steam = ends.filter(known, pl.col("function") == "steam_heat").with_columns(mpa=p / 1000)
    dry, wet = steam.filter(pl.col("dryness").is_null()), steam.filter(pl.col("dryness").is_not_null())
    # Where steam begins; not by seuif97's own phase, which calls all of region 3 steam (2.3.8), water of 20 MPa and 360 degC too.
    saturation = _mapped(seuif97.px2t, dry["mpa"], pl.repeat(1.0, dry.height, eager=True))
    boiling = pl.when(pl.col("mpa") > CRITICAL_MPA).then(CRITICAL_DEGC).otherwise(saturation)
    found = pl.concat([
        dry.select("place", "less_kj_per_kg", h=_mapped(seuif97.pt2h, dry["mpa"], dry["t"]), water=t <= boiling),
        wet.select("place", "less_kj_per_kg", h=_mapped(seuif97.px2h, wet["mpa"], wet["dryness"]), water=pl.lit(False)),
    ])
    outside = pl.col("h") < _NO_VALUE
    found = found.select(
        "place", value=pl.col("h") - pl.col("less_kj_per_kg"),
        rule=pl.when(outside).then(pl.lit("impossible_state")).when("water").then(pl.lit("not_steam")),
    )
    each = pl.concat([gas, found]).with_columns(value=pl.when(pl.col("rule").is_null()).then("value"))
    return ends.select("place").join(each, on="place", how="left", maintain_order="left").select("value", "rule")


def _mapped(function: Callable[[float, float], float], first: pl.Series, second: pl.Series) -> pl.Series:
    return pl.Series(list(map(function, first.to_list(), second.to_list())), dtype=pl.Float64)


# --- sums and grains --------------------------------------------------------------------------------------------------

def _summed(pieces: pl.DataFrame, level: pl.DataFrame) -> pl.DataFrame:
    """Rule 6: _STEP of the derived registers, from the pieces (term, a, b, q, long, doubtful) of all terms of each definition."""
    of_row = level.select("term", "row", "derived_key").with_columns(parts=pl.len().over("row"))
    mine = pieces.join(of_row, on="term")
    alone = mine.filter(pl.col("parts") == 1).select(register_key="derived_key", a="a", b="b", q="q", long="long", doubtful="doubtful")
    several = mine.filter(pl.col("parts") > 1)
    if several.is_empty():
        return alone.cast(_STEP)
    cuts = pl.concat([several.select("row", k="a"), several.select("row", k="b")]).sort("row", "k")
    spans = cuts.with_columns(to=_k.shift(-1)).filter(_to > _k, pl.col("row") == pl.col("row").shift(-1)).join(of_row, on="row").sort("k", "term")
    each = spans.join_asof(
        several.select("term", "a", "b", "q", "long", "doubtful", rate=_rate).sort("a"), left_on="k", right_on="a", by="term", strategy="backward",
        check_sortedness=False, coalesce=False,
    ).filter(_to <= _b).with_columns(q=_part(_to - _k))
    whole = each.group_by("row", "k", "to", maintain_order=True).agg(
        _q.cum_sum().last(), pl.col("long").max(), pl.col("doubtful").any(), pl.col("derived_key", "parts").first(), covered=pl.len(),
    ).filter(pl.col("covered") == pl.col("parts"))
    return pl.concat([alone, whole.select(register_key="derived_key", a="k", b="to", q="q", long="long", doubtful="doubtful")]).cast(_STEP)


def _part(us: pl.Expr) -> pl.Expr:
    """The consumption of a part of a step (a, b, q, rate), `us` long."""
    return pl.when(us < _b - _a).then(pl.col("rate") * us).otherwise("q")


def _quality(doubtful: str, estimated: str | None) -> pl.Expr:
    better = pl.lit("measured") if estimated is None else pl.when(pl.col(estimated) > 0).then(pl.lit("estimated")).otherwise(pl.lit("measured"))
    return pl.when(doubtful).then(pl.lit("suspect")).otherwise(better).cast(QUALITY)


def _us(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _year(at_us: int, zone: str) -> int:
    return calendar.local_day(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us), zone).year
