"""Every named table that crosses a function.

Outside, a register is (enterprise, meter, register); inside the core it is a dense `register_key`. Instants are UTC
microseconds. A period is a text in a park's calendar: "2025", "2025-03" or "2025-03-07".
"""

from typing import Final

import polars as pl

INSTANT: Final = pl.Datetime("us", "UTC")
QUALITY: Final = pl.Enum(["measured", "estimated", "suspect"])  # of an interval
READING_QUALITY: Final = ("good", "uncertain", "bad")  # position = the code in READING.quality

DECODED: Final = pl.Schema({  # what a message said, one row for each reading, before any rule
    "message": pl.Int64(), "index": pl.UInt32(),  # journal id, position in the message
    "enterprise": pl.String(), "gateway": pl.String(), "meter": pl.String(), "register": pl.String(),
    "read_at": INSTANT, "value": pl.Float64(), "unit": pl.String(), "quality": pl.UInt8(), "received_at": INSTANT,
    "fault": pl.String(),  # reason code where this reading could not be read, else null
    "raw": pl.String(),  # the reading as it came, only where `fault` is set
})
READING: Final = pl.Schema({  # what a register showed; never altered. copy > 0: a conflicting value for the same instant
    "register_key": pl.UInt32(), "read_at": INSTANT, "copy": pl.UInt8(), "value": pl.Float64(),
    "quality": pl.UInt8(), "received_at": INSTANT, "message": pl.Int64(),
})
REJECTED: Final = pl.Schema({**DECODED, "broken_rules": pl.List(pl.String())})
REGISTER: Final = pl.Schema({  # register rows with their dates; several rows for one key where something changed
    "register_key": pl.UInt32(), "enterprise": pl.String(), "gateway": pl.String(), "meter": pl.String(), "register": pl.String(),
    "medium": pl.String(),  # coal, water, oil, gas, electricity, heat, other
    "unit": pl.String(), "kind": pl.String(),  # cumulative, interval, rate
    "stamp": pl.String(),  # start, end: which end of its interval an interval reading carries
    "modulus": pl.Float64(), "range_low": pl.Float64(), "range_high": pl.Float64(), "max_rate_per_h": pl.Float64(),
    "multiplier": pl.Float64(), "resolution": pl.Float64(), "net": pl.Boolean(),
    "valid_from": INSTANT, "valid_to": INSTANT,  # half-open; null = without end on that side
    "known_from": INSTANT, "known_to": INSTANT,  # the version of the row: from when it was known, until when it was replaced
    "error_values": pl.String(),  # what the device sends in place of a value, as it sends it: numbers with ; between them
})
EVENT: Final = pl.Schema({  # what happened to a register: change, reset, rollover, multiplier
    "register_key": pl.UInt32(), "at": INSTANT, "event": pl.String(),
    "closing_value": pl.Float64(), "opening_value": pl.Float64(), "multiplier": pl.Float64(),
})
INTERVAL: Final = pl.Schema({  # consumption over [start, end), in the register's unit, multiplier applied
    "register_key": pl.UInt32(), "start": INSTANT, "end": INSTANT, "quantity": pl.Float64(),
    "quality": QUALITY, "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(),
})
SET_ASIDE: Final = pl.Schema({**READING, "broken_rules": pl.List(pl.String())})  # readings that the interval rules do not count
FLAG: Final = pl.Schema({  # what an interval rule decided about the time between two counted readings, for a person to see
    "register_key": pl.UInt32(), "start": INSTANT, "end": INSTANT,
    "flag": pl.String(),  # wrap, reset, jitter, gap, over_rating, uncertain
    "before": pl.Float64(), "after": pl.Float64(),  # what the register showed at start and end, without multiplier
    "quantity": pl.Float64(),  # what was counted in between, multiplier applied
})
EDIT: Final = pl.Schema({  # a correction that one person made and another checked; the original stays
    "edit": pl.Int64(), "register_key": pl.UInt32(),
    "kind": pl.String(),  # exclude: readings in [start, end) do not count; replace: the value at start; confirm: suspect steps inside are right;
    # estimate: the consumption of [start, end) where nothing is measured
    "start": INSTANT, "end": INSTANT,  # half-open; replace has no end
    "value": pl.Float64(),  # replace: what the register showed; estimate: consumption, multiplier applied
    "low": pl.Float64(), "high": pl.Float64(),  # estimate: 95 % interval
    "method": pl.String(),  # estimate: linear, like_days, linked, manual
    "reason": pl.String(), "evidence": pl.String(),  # SHA-256 of the evidence file
    "maker": pl.String(), "made_at": INSTANT, "checker": pl.String(), "checked_at": INSTANT,
    "known_from": INSTANT, "known_to": INSTANT,  # from the check until it was withdrawn
})
ASSIGNMENT: Final = pl.Schema({  # what a register measures, with dates
    "register_key": pl.UInt32(), "enterprise": pl.String(), "carrier": pl.String(), "flow": pl.String(), "use": pl.String(),
    "site": pl.String(), "process": pl.String(), "product": pl.String(), "share_ratio": pl.Float64(),
    "valid_from": INSTANT, "valid_to": INSTANT,
})
QUANTITY: Final = pl.Schema({
    "enterprise": pl.String(), "site": pl.String(), "process": pl.String(), "product": pl.String(),
    "period": pl.String(), "carrier": pl.String(), "quantity": pl.Float64(), "unit": pl.String(),
    "flow": pl.String(), "use": pl.String(), "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(),
})
COEFFICIENT: Final = pl.Schema({  # a null kgce_per_unit means that the document gives no number
    "carrier": pl.String(), "basis": pl.String(), "unit": pl.String(), "kgce_per_unit": pl.Float64(),
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(),  # valid_to: the first day on which it no longer holds
    "role": pl.String(),  # fuel, secondary (electricity, heat), consumed_medium; null in a list that a user brings
})
ENERGY: Final = pl.Schema({
    **QUANTITY,
    "calorific_kgce_per_unit": pl.Float64(), "calorific_tce": pl.Float64(), "calorific_source": pl.String(),
    "equivalent_kgce_per_unit": pl.Float64(), "equivalent_tce": pl.Float64(), "equivalent_source": pl.String(),
    "missing": pl.String(),
})
ENERGY_SUM: Final = pl.Schema({  # one row for each group of `--sum` (the group columns come first)
    "calorific_tce": pl.Float64(), "equivalent_tce": pl.Float64(), "feedstock_tce": pl.Float64(), "renewable_tce": pl.Float64(),
    "electricity_kwh": pl.Float64(), "fresh_water_m3": pl.Float64(), "unconventional_water_m3": pl.Float64(),
    "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(), "missing": pl.String(),
})
FIGURE: Final = pl.Schema({  # reported by an enterprise, checked by a second person
    "enterprise": pl.String(), "park": pl.String(), "period": pl.String(), "value_added_10k_cny": pl.Float64(),
    "output_value_10k_cny": pl.Float64(), "price_basis": pl.String(), "base_year": pl.Int32(),
})
INTENSITY: Final = pl.Schema({  # the subject column (enterprise or park) and period come first
    "period": pl.String(), "calorific_tce_per_10k_cny": pl.Float64(), "equivalent_tce_per_10k_cny": pl.Float64(),
    "water_m3_per_10k_cny": pl.Float64(), "all_water_m3_per_10k_cny": pl.Float64(),
    "coverage_ratio": pl.Float64(), "covered_ratio": pl.Float64(), "missing": pl.String(),
    "price_basis": pl.String(), "base_year": pl.Int32(),
})
LIMIT: Final = pl.Schema({  # one row of an energy-consumption limit standard
    "product": pl.String(), "standard": pl.String(), "edition": pl.String(), "name_zh": pl.String(),
    "product_zh": pl.String(), "product_en": pl.String(),
    "indicator": pl.String(), "indicator_zh": pl.String(), "indicator_en": pl.String(), "feedstock": pl.String(),
    "basis": pl.String(), "unit": pl.String(),
    "level_1": pl.Float64(), "level_2": pl.Float64(), "level_3": pl.Float64(),
    "effective_from": pl.Date(), "effective_to": pl.Date(),  # effective_to: the last day in force, included
    "corrections_complete": pl.Boolean(),
    "clause": pl.String(), "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
})
CONFIRMATION: Final = pl.Schema({  # a named person has checked a limit row against the standard's text (decisions.md 3)
    "product": pl.String(), "indicator": pl.String(), "standard": pl.String(),
    "confirmed_by": pl.String(), "confirmed_on": pl.Date(), "copy": pl.String(), "remark": pl.String(),
})
PRODUCT: Final = pl.Schema({  # what a limit is compared with
    "enterprise": pl.String(), "product": pl.String(), "indicator": pl.String(), "period_start": pl.Date(), "period_end": pl.Date(),
    "plant_status": pl.String(), "feedstock": pl.String(), "line": pl.String(),
    "value": pl.Float64(), "unit": pl.String(), "energy": pl.Float64(), "energy_unit": pl.String(),
    "output": pl.Float64(), "output_unit": pl.String(), "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(),
})
VERDICT: Final = pl.Schema({  # one row for each edition that the period touches
    "enterprise": pl.String(), "product": pl.String(), "indicator": pl.String(), "line": pl.String(),
    "period_start": pl.Date(), "period_end": pl.Date(),  # the days judged under this edition, both included
    "plant_status": pl.String(), "actual": pl.Float64(), "unit": pl.String(), "basis": pl.String(),
    "standard": pl.String(), "edition": pl.String(),
    "level_1": pl.Float64(), "level_2": pl.Float64(), "level_3": pl.Float64(),
    "binding_level": pl.Int8(), "level": pl.String(), "verdict": pl.String(), "missing": pl.String(),
    "standing": pl.String(), "excess": pl.Float64(), "excess_ratio": pl.Float64(),
    "derivation": pl.String(), "derivation_zh": pl.String(),
    "clause": pl.String(), "source": pl.String(), "confidence": pl.String(),
    "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(),
})
SETTLEMENT: Final = pl.Schema({  # what became of one journal message
    "message": pl.Int64(), "outcome": pl.String(),  # decoded, undecodable, state, lost, sandbox, replayed
    "reason": pl.String(), "enterprise": pl.String(), "gateway": pl.String(), "epoch": pl.String(), "seq": pl.Int64(),
    "decoded": pl.UInt32(), "stored": pl.UInt32(), "duplicate": pl.UInt32(), "conflicting": pl.UInt32(), "rejected": pl.UInt32(),
})
RECEIVED: Final = pl.Schema({  # what came of a register on a local day: neighbouring slots of 15 minutes that each have a reading
    "register_key": pl.UInt32(), "start": INSTANT, "end": INSTANT, "slots": pl.UInt32(), "readings": pl.UInt32(),
    "first_at": INSTANT, "last_at": INSTANT, "interval_s": pl.Float64(),  # of the first and the last reading; median between readings
    "first_value": pl.Float64(), "last_value": pl.Float64(),
    "changed_at": INSTANT, "unchanged": pl.UInt32(),  # the last reading that differs from the one before; readings from it on, else all
    "day": pl.Date(),
})
WINDOW: Final = pl.Schema({"register_key": pl.UInt32(), "start": INSTANT, "end": INSTANT})  # [start, end) without a reading
COMPLETENESS: Final = pl.Schema({  # slots (of 15, 30 or 60 minutes) that were due and that have a reading, by local day
    "register_key": pl.UInt32(), "day": pl.Date(), "interval_min": pl.UInt32(),
    "due": pl.UInt32(), "received": pl.UInt32(), "completeness_ratio": pl.Float64(),
})
MESSAGES_BY_DAY: Final = pl.Schema({  # messages by the gateway's own count: due = received + missing + lost
    "enterprise": pl.String(), "gateway": pl.String(), "day": pl.Date(), "due": pl.Int64(), "received": pl.Int64(),
    "missing": pl.Int64(), "lost": pl.Int64(), "completeness_ratio": pl.Float64(),
})
LIVENESS: Final = pl.Schema({  # signs that a register is not alive
    "register_key": pl.UInt32(), "last_at": INSTANT, "usual_interval_s": pl.Float64(),
    "changed_at": INSTANT, "unchanged": pl.UInt32(),  # when its value last changed, and how many readings have shown it since
    "stale": pl.Boolean(), "frozen": pl.Boolean(),
})


_EMPTY: Final[dict[int, tuple[pl.Schema, pl.DataFrame]]] = {}


def empty(schema: pl.Schema) -> pl.DataFrame:
    """An empty table of that shape."""
    if id(schema) not in _EMPTY and len(_EMPTY) < 256:  # making one takes as long as looking through thousands of rows
        _EMPTY[id(schema)] = schema, pl.DataFrame(schema=schema)
    kept = _EMPTY.get(id(schema))
    return kept[1].clone() if kept is not None and kept[0] is schema else pl.DataFrame(schema=schema)


def conform(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Bring a table into a shape: missing columns become null, others are cast, further ones are dropped.

    Raises:
        polars.exceptions.InvalidOperationError: a value does not fit its column's type.
    """
    if frame.schema == schema:
        return frame
    return frame.select(
        (pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)) for name, dtype in schema.items()
    )
