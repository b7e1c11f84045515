"""Every named table that crosses a function.

Outside, a register is (enterprise, meter, register); inside the core it is a dense `register_key`. Instants are UTC
microseconds. A period is a text in a park's calendar: "2025", "2025-03" or "2025-03-07".
"""

from typing import Final

import polars as pl

INSTANT: Final = pl.Datetime("us", "UTC")
QUALITY: Final = pl.Enum(["measured", "estimated", "suspect"])  # of an interval
READING_QUALITY: Final = ("good", "uncertain", "bad")  # position = the code in READING.quality
QUALITY_PARTS: Final = ("completeness", "accuracy", "timeliness", "verifiability", "validity", "conformity")  # of the data-quality index
LATE_BOUNDS_S: Final = (900, 1800, 3600, 7200, 21_600, 86_400)  # by which arrivals are counted

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
    "unit": pl.String(),
    "kind": pl.String(),  # cumulative, interval, rate; state: a pressure or temperature that formulas use; derived: follows from others
    "stamp": pl.String(),  # start, end: which end of its interval an interval reading carries
    "modulus": pl.Float64(), "range_low": pl.Float64(), "range_high": pl.Float64(), "max_rate_per_h": pl.Float64(),
    "multiplier": pl.Float64(), "resolution": pl.Float64(), "net": pl.Boolean(),
    "valid_from": INSTANT, "valid_to": INSTANT,  # half-open; null = without end on that side
    "known_from": INSTANT, "known_to": INSTANT,  # the version of the row: from when it was known, until when it was replaced
    "error_values": pl.String(),  # what the device sends in place of a value, as it sends it: numbers with ; between them
    "formula": pl.String(),  # of a derived register, see config/formulas.py
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
    "flag": pl.String(),  # wrap, reset, jitter, gap, over_rating, uncertain; of an edit, at its instant: replaced, replaced_set_aside
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
VEE_RULE: Final = pl.Schema({  # bounds of a validation rule: shipped ones name no enterprise, a register's own may name a meter and a register
    "enterprise": pl.String(), "meter": pl.String(), "register": pl.String(), "medium": pl.String(), "kind": pl.String(),
    "rule": pl.String(), "low": pl.Float64(), "high": pl.Float64(),  # what they bound, and in which unit, is the rule's
    "severity": pl.String(), "enabled": pl.Boolean(),  # info, warning, error; null: as the next more general row says
    "valid_from": INSTANT, "valid_to": INSTANT, "source": pl.String(),
})
BOUND: Final = pl.Schema({  # the one bound of a rule that holds for a register in a span of time
    "register_key": pl.UInt32(), "rule": pl.String(), "low": pl.Float64(), "high": pl.Float64(), "severity": pl.String(), "enabled": pl.Boolean(),
    "valid_from": INSTANT, "valid_to": INSTANT,
})
BALANCE: Final = pl.Schema({  # which registers are measured against which
    "total_key": pl.UInt32(), "part_key": pl.UInt32(),
    "kind": pl.String(),  # tariff: tariff registers of a total; sub_meter: behind a main meter; output: production of an energy register
    "valid_from": INSTANT, "valid_to": INSTANT,
})
READING_VERDICT: Final = pl.Schema({  # what validation says of a reading
    **READING, "verdict": pl.String(),  # passed, failed, unknown: no rule is broken, but some could not be judged
    "severity": pl.String(), "broken_rules": pl.List(pl.String()), "unknown_rules": pl.List(pl.String()),
    "unit_factor": pl.Float64(),  # rule unit_scale: by what the value would have to be divided to be as before
})
FAILED: Final = pl.Schema({  # READING_VERDICT of readings that broke a rule, as it is kept; start: read_at; names with a space between them
    "register_key": pl.UInt32(), "start": INSTANT, "copy": pl.UInt8(), "value": pl.Float64(), "severity": pl.String(),
    "broken_rules": pl.String(), "unknown_rules": pl.String(), "unit_factor": pl.Float64(), "day": pl.Date(),
})
PERIOD_VERDICT: Final = pl.Schema({  # what validation says of registers against each other, or of periods
    "register_key": pl.UInt32(), "rule": pl.String(), "start": INSTANT, "end": INSTANT,
    "actual": pl.Float64(), "expected": pl.Float64(), "measure": pl.Float64(),  # the measure is what lies within low .. high, or not
    "low": pl.Float64(), "high": pl.Float64(), "severity": pl.String(), "verdict": pl.String(),
    "missing": pl.String(),  # why it is unknown
    "checked": pl.UInt32(), "broken": pl.UInt32(),  # what was compared in the period, and how much of it broke the rule
})
VERDICT_COUNT: Final = pl.Schema({  # readings of a register on a local day by what a rule said of them; rule null: by their verdict
    "register_key": pl.UInt32(), "start": INSTANT, "end": INSTANT, "day": pl.Date(), "rule": pl.String(), "verdict": pl.String(),
    "readings": pl.UInt32(),
})
HISTORY: Final = pl.Schema({  # what a register did on a local day, as far as validation of later days asks for it
    "register_key": pl.UInt32(), "start": INSTANT, "day": pl.Date(), "steps": pl.UInt32(),
    "least_per_h": pl.Float64(), "greatest_per_h": pl.Float64(), "usual_per_h": pl.Float64(),  # of steps that are not 0, multiplier applied
    "changed": pl.Boolean(), "changed_at": INSTANT, "unchanged": pl.UInt32(),  # counted readings since the last change, else all of the day
    "different": pl.UInt32(),  # different steps of the day that are not 0
    "profile": pl.Int64(),  # stands for the day's steps and their minutes, to know them again
})
ESTIMATE: Final = pl.Schema({  # consumption of a span in which nothing is measured; where `total_measured`, only its hours are estimated
    "register_key": pl.UInt32(), "start": INSTANT, "end": INSTANT,
    "quantity": pl.Float64(),  # of the time in the span that is not covered, multiplier applied; null where the method has nothing to go by
    "estimated_h": pl.Float64(),  # so much of the span is not covered, or is caught up for
    "low": pl.Float64(), "high": pl.Float64(),  # 95 % interval from back-tests; null where there are too few
    "method": pl.String(),  # linear, like_days, linked, manual
    "reason": pl.String(), "reason_zh": pl.String(),
    "back_tests": pl.UInt32(),  # windows of the register's own history that were hidden and estimated by the same method
    "total_measured": pl.Boolean(),  # the register caught up: the quantity is its own, and no interval is needed
})
ASSIGNMENT: Final = pl.Schema({  # what a register measures, with dates
    "register_key": pl.UInt32(), "enterprise": pl.String(), "carrier": pl.String(), "flow": pl.String(), "use": pl.String(),
    "site": pl.String(), "process": pl.String(), "product": pl.String(), "share_ratio": pl.Float64(),
    "valid_from": INSTANT, "valid_to": INSTANT,
    "allocation": pl.String(),  # output, register: share_ratio of the register is divided month by month by that key; null: share_ratio itself
    "key_register_key": pl.UInt32(),  # register: the register whose quantity is this assignment's part of the key
})
HOLDING: Final = pl.Schema({  # to whom what is measured at a site counts, and where it lies
    "enterprise": pl.String(), "site": pl.String(),  # as the register names it
    "owner": pl.String(), "park": pl.String(), "block": pl.String(), "valid_from": INSTANT, "valid_to": INSTANT,
})
QUANTITY: Final = pl.Schema({
    "enterprise": pl.String(), "site": pl.String(), "process": pl.String(), "product": pl.String(),
    "period": pl.String(), "carrier": pl.String(), "quantity": pl.Float64(), "unit": pl.String(),
    "flow": pl.String(), "use": pl.String(), "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(),
})
MONTHLY_FIGURE: Final = pl.Schema({  # a quantity of a carrier that people report for a span of days
    "enterprise": pl.String(), "carrier": pl.String(),
    "flow": pl.String(),  # of QUANTITY; opening_stock at the start of first_day, closing_stock at the end of last_day
    "kind": pl.String(),  # bill, weighbridge, receipt, stock_taking, report
    "first_day": pl.Date(), "last_day": pl.Date(),  # both included
    "quantity": pl.Float64(), "unit": pl.String(), "document": pl.String(), "known_from": INSTANT,  # from its check
})
BATCH: Final = pl.Schema({  # the lower heating value of a batch of fuel, and the days on which it was fired
    "enterprise": pl.String(), "carrier": pl.String(), "batch": pl.String(),
    "origin": pl.String(),  # laboratory, supplier
    "sampled_on": pl.Date(), "first_day": pl.Date(), "last_day": pl.Date(),  # both included
    "mass_t": pl.Float64(),  # fired on these days together; weighs batches that are fired on one day
    "lhv": pl.Float64(), "lhv_unit": pl.String(),
    "basis": pl.String(), "moisture_ratio": pl.Float64(),  # as_received, dry; moisture of the fuel as it was fired
    "lab": pl.String(), "report": pl.String(), "known_from": INSTANT,  # from its check
})
FIGURE_RULE: Final = pl.Schema({  # how reported figures are used; an empty carrier, flow or kind stands for any
    "rule": pl.String(),  # counts, tolerance_ratio, batch_holds_days, moisture_heat_kj_per_kg
    "carrier": pl.String(), "flow": pl.String(), "kind": pl.String(),
    "rank": pl.Int32(), "value": pl.Float64(),  # counts: the kinds in order, each with the least share of the days that it must cover
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(),  # valid_to: the first day on which it no longer holds
})
RECONCILIATION: Final = pl.Schema({  # reported figures of a month against metered ones, one row for each kind of figure
    "enterprise": pl.String(), "carrier": pl.String(), "flow": pl.String(), "period": pl.String(),
    "kind": pl.String(),  # of MONTHLY_FIGURE, or stock_balance: opening stock + received - passed on - closing stock
    "unit": pl.String(), "figure_quantity": pl.Float64(), "figure_days": pl.UInt32(), "days": pl.UInt32(), "documents": pl.String(),
    "split": pl.Boolean(),  # whether a part of it is a figure of several months, divided by days
    "metered_quantity": pl.Float64(), "covered_ratio": pl.Float64(),  # of the days that the figure covers
    "difference": pl.Float64(), "difference_ratio": pl.Float64(),  # metered less reported; by the reported one
    "tolerance_ratio": pl.Float64(), "within": pl.Boolean(), "tolerance_source": pl.String(),
    "counts": pl.String(), "counted_quantity": pl.Float64(), "counted_quality": pl.String(),  # metered or a kind; measured, estimated
    "why": pl.String(), "rule_source": pl.String(), "missing": pl.String(),
    "findings": pl.String(),  # figures_overlap: several figures say something of one day, and their sum counts; each may be right, or one a copy
    "known_from": INSTANT,  # of the figure known last
})
STOCK_BALANCE: Final = pl.Schema({  # opening + received - passed on - consumption - difference = closing, by day or month
    "enterprise": pl.String(), "carrier": pl.String(), "period": pl.String(), "unit": pl.String(),
    "opening_stock": pl.Float64(), "opening_source": pl.String(),  # taken, carried
    "received": pl.Float64(), "received_kind": pl.String(), "passed_on": pl.Float64(),
    "consumption": pl.Float64(), "covered_ratio": pl.Float64(), "book_stock": pl.Float64(),
    "closing_stock": pl.Float64(), "closing_source": pl.String(),  # taken, carried
    "stock_difference": pl.Float64(), "residual": pl.Float64(),  # book less taken stock; what does not close
    "findings": pl.String(),  # negative_stock, difference_over_tolerance, opening_differs, nothing_received,
    # no_consumption, consumption_incomplete
})
HEATING_VALUE: Final = pl.Schema({  # of the fuel of a day, weighted by the batches fired on it
    "enterprise": pl.String(), "carrier": pl.String(), "day": pl.Date(), "lhv": pl.Float64(), "lhv_unit": pl.String(),  # kJ/kg, kJ/Nm3 ...
    "origin": pl.String(), "batches": pl.List(pl.String()), "held": pl.Boolean(),  # held: an earlier batch, by a rule of the site
    "missing": pl.String(),
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
    "feedstock_equivalent_tce": pl.Float64(),  # feedstock_tce and renewable_tce are calorific
    "new_renewable_tce": pl.Float64(), "new_renewable_equivalent_tce": pl.Float64(),  # electricity; null where it is not said what is new
})
PARK_ENERGY: Final = pl.Schema({  # of what lies in a park, or in one of its blocks, on each day; a null block: all of the park
    "park": pl.String(), "block": pl.String(), "period": pl.String(), **ENERGY_SUM,
})
ENERGY_BALANCE: Final = pl.Schema({  # energy of an enterprise and period: supply + conversion - use = residual, for each carrier and in all
    "enterprise": pl.String(), "period": pl.String(),
    "block": pl.String(),  # supply, conversion, use, closing
    "row": pl.String(),  # purchased, own_primary, opening_stock, closing_stock, sold, recovered, supplied, passed_on; converted_in,
    # converted_out, recovered, loss; consumed, stock_difference, figure_difference; total, residual, comprehensive_energy
    "process": pl.String(), "product": pl.String(), "carrier": pl.String(),  # a null carrier: all of them
    "quantity": pl.Float64(), "unit": pl.String(), "calorific_tce": pl.Float64(), "equivalent_tce": pl.Float64(),
    "known_by": pl.String(),  # given; difference: nothing is measured there, it is what the other rows leave; sum
    "missing": pl.String(), "missing_zh": pl.String(),
})
ENERGY_LINK: Final = pl.Schema({  # the same as flows from node to node; a node is a kind and a name
    "enterprise": pl.String(), "period": pl.String(),
    "source_kind": pl.String(), "source": pl.String(), "target_kind": pl.String(), "target": pl.String(),  # supply, carrier, process, outlet, ...
    "carrier": pl.String(), "calorific_tce": pl.Float64(), "equivalent_tce": pl.Float64(),
})
ENERGY_FIGURE: Final = pl.Schema({  # which parts of the energy a named figure leaves out, by day
    "figure": pl.String(),  # gross, assessment, limit, limit_excluded
    "name_zh": pl.String(), "name_en": pl.String(),
    "takes_off": pl.String(),  # feedstock, new_renewable, with ; between them; null: nothing
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(),  # valid_to: the first day on which it no longer holds
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
CORRECTION: Final = pl.Schema({  # how a parameter of a plant changes a limit, or the figure held against it
    "sequence": pl.Int64(),  # corrections apply in this order
    "parameter": pl.String(), "parameter_zh": pl.String(), "parameter_en": pl.String(), "parameter_unit": pl.String(),
    "low": pl.Float64(), "high": pl.Float64(),  # what is possible at all
    "kind": pl.String(),  # by_value, by_step, interpolated, linear: how the parameter gives the amount
    "effect": pl.String(),  # add, multiply, add_share (of the level as printed): what the amount does
    "applies_to": pl.String(), "levels": pl.String(),  # limit or actual; levels of a limit, such as "1 3"
    "values": pl.String(), "values_zh": pl.String(),  # value:amount, bound:amount (>bound: above it) or point:amount, with a space between
    "constant": pl.Float64(), "coefficient": pl.Float64(), "base": pl.Float64(), "per": pl.Float64(),  # constant + coefficient x (x - base) / per
    "side": pl.String(), "cap": pl.Float64(),  # both, above, below the base; at most so many times `per`
    "when_parameter": pl.String(), "when_zh": pl.String(), "when_en": pl.String(), "when_unit": pl.String(), "when_above": pl.Float64(),
    "when_empty": pl.String(),  # incomplete, or not_applied where the amount stands in a table of the standard that is not carried
    "clause": pl.String(), "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
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
    "corrections": pl.List(pl.Struct(CORRECTION)),  # what changes its levels, or the figure held against them, in order
})
BENCHMARK: Final = pl.Schema({  # benchmark (标杆) and baseline (基准) efficiency levels of the NDRC: beside a verdict, never a finding
    "product": pl.String(), "indicator": pl.String(), "feedstock": pl.String(), "unit": pl.String(),
    "benchmark": pl.Float64(), "baseline": pl.Float64(),
    "edition": pl.String(), "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
})
PRICE_STEP: Final = pl.Schema({  # a step of an edition of a scheme of add-ons to the price of electricity
    "scheme": pl.String(), "kind": pl.String(),  # excess, consumption, class, grade
    "edition": pl.String(), "step": pl.String(), "category": pl.String(),  # category: class or grade
    "from_value": pl.Float64(), "above": pl.Float64(), "up_to": pl.Float64(), "below": pl.Float64(),  # the first and third belong to the step
    "unit": pl.String(), "indicator": pl.String(),
    "addon_cny_per_kwh": pl.Float64(), "per_started": pl.Float64(),  # once for every started unit of that size above `above`
    "unpaid_days_above": pl.Float64(), "unpaid_factor": pl.Float64(),
    "renewable_above_ratio": pl.Float64(), "renewable_cut_ratio": pl.Float64(), "incentive_ratio": pl.Float64(),
    "name_zh": pl.String(), "name_en": pl.String(),
    "valid_from": pl.Date(), "valid_to": pl.Date(),  # valid_to: the first day on which it no longer holds
    "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
})
PRICED: Final = pl.Schema({  # what a price add-on is asked for
    "scheme": pl.String(), "billing_period": pl.String(), "period": pl.String(), "period_start": pl.Date(), "period_end": pl.Date(),
    "excess_ratio": pl.Float64(), "catalogue_class": pl.String(), "grade": pl.String(),
    "indicator": pl.String(), "actual": pl.Float64(), "value": pl.Float64(), "unit": pl.String(),
    "excess": pl.Float64(), "limit": pl.Float64(), "verdict": pl.String(),
    "electricity_kwh": pl.Float64(), "days_unpaid": pl.Float64(), "renewable_ratio": pl.Float64(), "incentive_ratio": pl.Float64(),
})
ADDON: Final = pl.Schema({  # the step of a scheme and its add-on; null with the reason in `missing`
    "step": pl.String(), "addon_cny_per_kwh": pl.Float64(), "addon_cny": pl.Float64(), "edition": pl.String(),
    "source": pl.String(), "confidence": pl.String(), "missing": pl.String(), "missing_zh": pl.String(),
    "derivation": pl.String(), "derivation_zh": pl.String(),
})
CARBON_FACTOR: Final = pl.Schema({  # CO2 for one unit of a carrier; a null number was not found
    "carrier": pl.String(), "region": pl.String(), "region_zh": pl.String(),  # of grid electricity
    "unit": pl.String(), "kgco2_per_unit": pl.Float64(), "lhv_kj_per_unit": pl.Float64(),  # heating value that the factor was computed with
    "year": pl.Int32(),  # null: a guide's default
    "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
})
CARBON_LEVEL: Final = pl.Schema({  # a level (t CO2 / 10,000 yuan) or grade (over the sector's mean) of a carbon code: above < value <= up_to
    "measure": pl.String(), "code": pl.String(), "above": pl.Float64(), "up_to": pl.Float64(), "name_zh": pl.String(), "name_en": pl.String(),
    "valid_from": pl.Date(), "valid_to": pl.Date(), "superseded_by": pl.String(), "superseded_from": pl.Date(),
    "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
})
CARBON_QUANTITY: Final = pl.Schema({  # what CO2 is asked for; a row without a carrier gives process_t only
    **QUANTITY, "lhv": pl.Float64(), "lhv_unit": pl.String(), "renewable_ratio": pl.Float64(), "grid_region": pl.String(), "process_t": pl.Float64(),
})
CARBON: Final = pl.Schema({  # CO2 of an enterprise in a year; null with the reason in `missing`
    "enterprise": pl.String(), "year": pl.Int32(), "emissions_t": pl.Float64(),
    "fuel_t": pl.Float64(), "electricity_t": pl.Float64(), "heat_t": pl.Float64(), "process_t": pl.Float64(),  # net: what is passed on is negative
    "covered_ratio": pl.Float64(),  # of the year, of the carrier that is covered worst
    "factor_year": pl.String(), "source": pl.String(),  # of the grid electricity; of all factors
    "sector": pl.String(), "value_added_10k_cny": pl.Float64(), "intensity": pl.Float64(),  # t CO2 / 10,000 yuan
    "sector_intensity": pl.Float64(), "relative_intensity": pl.Float64(), "level": pl.String(), "grade": pl.String(), "level_source": pl.String(),
    "missing": pl.String(), "missing_zh": pl.String(), "derivation": pl.String(), "derivation_zh": pl.String(),
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
    "uncertainty_ratio": pl.Float64(),  # expanded uncertainty (k = 2) of the figure, from the classes of its meters
})
VERDICT: Final = pl.Schema({  # one row for each edition that the period touches
    "enterprise": pl.String(), "product": pl.String(), "indicator": pl.String(), "line": pl.String(),
    "period_start": pl.Date(), "period_end": pl.Date(),  # the days judged under this edition, both included
    "plant_status": pl.String(), "actual": pl.Float64(), "unit": pl.String(), "basis": pl.String(),
    "standard": pl.String(), "edition": pl.String(),
    "level_1": pl.Float64(), "level_2": pl.Float64(), "level_3": pl.Float64(),  # corrected
    "binding_level": pl.Int8(), "level": pl.String(), "verdict": pl.String(), "missing": pl.String(), "missing_zh": pl.String(),
    "standing": pl.String(), "excess": pl.Float64(), "excess_ratio": pl.Float64(),
    "derivation": pl.String(), "derivation_zh": pl.String(),
    "clause": pl.String(), "source": pl.String(), "confidence": pl.String(),
    "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(),
    "uncertainty": pl.Float64(), "within_uncertainty": pl.Boolean(),  # of the figure, in `unit`; the limit lies inside it: verify before any case
    "benchmark": pl.Float64(), "baseline": pl.Float64(),
    "benchmark_position": pl.String(),  # leading (at most the benchmark), between, below_baseline (less efficient than it), unknown
    "uncorrected": pl.Float64(),  # the figure before the corrections that act on it, in `unit`
})
WARNING_RULE: Final = pl.Schema({  # a bound of the colours of an early warning; kind null: of every kind of goal
    "rule": pl.String(), "kind": pl.String(), "value": pl.Float64(),
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(),  # valid_to: the first day on which it no longer holds
})
CONSEQUENCE: Final = pl.Schema({  # what follows for a region, park or enterprise (level) from a colour or a rank
    "event": pl.String(), "level": pl.String(), "measure_kind": pl.String(),  # intensity, total; null: whatever is measured
    "consequence_zh": pl.String(), "consequence_en": pl.String(), "valid_from": pl.Date(), "valid_to": pl.Date(),
    "source": pl.String(), "confidence": pl.String(),
})
BUDGET: Final = pl.Schema({  # a goal of a region, park or enterprise for a period
    "level": pl.String(), "subject": pl.String(),  # region, park, enterprise; its code
    "measure": pl.String(), "kind": pl.String(),  # ceiling: at most; floor: at least; reduction_ratio: 1 - actual / base at least
    "period": pl.String(), "target": pl.Float64(),
    "base": pl.Float64(),  # of the whole period, where the actuals bring none
    "shares": pl.String(),  # of the twelve months in a year's budget, with ; between them; null: by days
    "source": pl.String(),
})
RENEWABLE: Final = pl.Schema({  # renewable electricity that an enterprise states for a year or month; its own primary power is measured besides
    "enterprise": pl.String(), "period": pl.String(),
    "renewable_kwh": pl.Float64(),  # bought, with proof: certificates, contracts
    "new_renewable_kwh": pl.Float64(),  # of that and of its own primary power: newly added; null: not said
    "source": pl.String(),
})
ACTUAL: Final = pl.Schema({  # what was used; with `per` the level is actual / per, and months of both are summed before they are divided
    "subject": pl.String(), "measure": pl.String(), "period": pl.String(), "actual": pl.Float64(), "per": pl.Float64(),
    "base": pl.Float64(),  # of the same days of the base period
    "covered_ratio": pl.Float64(), "missing": pl.String(), "source": pl.String(),  # of factors, where a site chooses them
})
WARNING: Final = pl.Schema({  # a goal against what was used, as of a day
    "level": pl.String(), "subject": pl.String(), "measure": pl.String(), "kind": pl.String(), "period": pl.String(),
    "actual": pl.Float64(), "target": pl.Float64(), "base": pl.Float64(),
    "through": pl.Date(),  # the last day that the actual figure knows
    "progress_ratio": pl.Float64(), "progress_target": pl.Float64(),  # share of the period until then, and the goal of that share
    "reduction_ratio": pl.Float64(),  # of a reduction: what was reached
    "gap_ratio": pl.Float64(),  # by which the goal is missed, by its absolute value; negative: by which it is met
    "colour": pl.String(),  # red, yellow, green
    "needed_rate": pl.Float64(), "needed_of": pl.String(),  # a_day; level, reduction: in the rest of the period
    "rate": pl.Float64(),  # what it was so far, as needed_rate
    "forecast": pl.Float64(), "forecast_low": pl.Float64(), "forecast_high": pl.Float64(), "forecast_colour": pl.String(),
    "forecast_reason": pl.String(), "forecast_reason_zh": pl.String(),
    "consequence": pl.String(), "consequence_zh": pl.String(),  # of the colour, where a document names one
    "not_judged": pl.String(), "not_judged_zh": pl.String(),  # consequences that no colour tells, each with what it would need
    "missing": pl.String(), "missing_zh": pl.String(), "source": pl.String(), "derivation": pl.String(), "derivation_zh": pl.String(),
})
BUDGET_MONTH: Final = pl.Schema({  # a month of the running year of what a budget measures: known, then forecast
    "subject": pl.String(), "measure": pl.String(), "period": pl.String(), "value": pl.Float64(), "known": pl.Boolean(),
})
FORECAST: Final = pl.Schema({  # of a year, from the months of a series; the columns that name the series stand before
    "year": pl.String(), "through": pl.String(),  # the last month that is known
    "known": pl.Float64(),  # of the year's months until then; of a level what is divided
    "value": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(),
    "back_tests": pl.UInt32(), "error_ratio": pl.Float64(),  # the largest error among them, by what was forecast for the rest of the year
    "coverage_ratio": pl.Float64(),  # how often the next error of its kind lies within the interval
    "reason": pl.String(), "reason_zh": pl.String(),
})
RUNNING: Final = pl.Schema({  # VERDICT of months, the year so far, twelve months, closed years and the forecast of the running year
    **VERDICT,
    "period_kind": pl.String(),  # month, year_to_date, rolling_12_months, calendar_year, year_forecast
    "may_find": pl.Boolean(),  # only a closed calendar year makes a finding; the others warn
    "limit": pl.Float64(), "near_limit": pl.Boolean(),  # of the binding level; complies, but within 5 % of it
    "output": pl.Float64(), "output_unit": pl.String(),
    "low": pl.Float64(), "high": pl.Float64(), "reason": pl.String(), "reason_zh": pl.String(),  # of a forecast
})
WHAT_IF: Final = pl.Schema({  # what brings a level; with a carrier what it alone would have to save
    "enterprise": pl.String(), "product": pl.String(), "indicator": pl.String(), "line": pl.String(),
    "period_start": pl.Date(), "period_end": pl.Date(), "standard": pl.String(), "actual": pl.Float64(), "unit": pl.String(),
    "level": pl.String(), "limit": pl.Float64(), "reached": pl.Boolean(),
    "saving": pl.Float64(), "saving_ratio": pl.Float64(),  # in the limit's unit; by the actual figure
    "saving_energy": pl.Float64(), "saving_energy_unit": pl.String(),  # for the same output
    "output": pl.Float64(), "output_needed": pl.Float64(), "output_unit": pl.String(),  # for the same energy
    "carrier": pl.String(), "carrier_saving": pl.Float64(), "carrier_unit": pl.String(), "carrier_quantity": pl.Float64(),
    "carrier_suffices": pl.Boolean(),  # whether as much of it is used at all
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
DAY_RANGE: Final = pl.Schema({  # what a register showed on a local day, of the readings that pass rule 1 of the interval rules
    "register_key": pl.UInt32(), "day": pl.Date(), "start": INSTANT,  # where the day begins
    "low": pl.Float64(), "high": pl.Float64(), "first": pl.Float64(), "last": pl.Float64(),
    "head": pl.UInt64(), "tail": pl.UInt64(),  # fingerprints of its first and last readings; null where it has too few
    "result": pl.UInt64(),  # fingerprint of its hours and flags
    "grounds": pl.UInt64(),  # fingerprint of what its verdicts rest on besides its own readings and earlier days
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
ARRIVAL: Final = pl.Schema({  # how a register's readings of a local day came: the first value of each instant, bad ones left out
    "register_key": pl.UInt32(), "day": pl.Date(), "start": INSTANT,  # where the day begins
    "readings": pl.UInt32(), "with_message": pl.UInt32(),  # of them, those that name the message that brought them
    **{f"within_{bound}_s": pl.UInt32() for bound in LATE_BOUNDS_S},  # that arrived at most so long after their instant
})
QUALITY_WEIGHT: Final = pl.Schema({  # weight of a part of the data-quality index, relative to the others'
    "part": pl.String(), "weight": pl.Float64(), "late_after_s": pl.Int64(), "valid_from": pl.Date(), "source": pl.String(),
})
QUALITY_COUNT: Final = pl.Schema({  # one part of the data quality of a meter in a period: good of total; total null: not known
    "enterprise": pl.String(), "meter": pl.String(),  # meter null: what no meter can be named for, such as an unreadable message
    "period": pl.String(), "part": pl.String(), "good": pl.Int64(), "total": pl.Int64(),
})
QUALITY_INDEX: Final = pl.Schema({  # data quality of a meter, an enterprise or a park (the other names are null) in a period
    "park": pl.String(), "enterprise": pl.String(), "meter": pl.String(), "period": pl.String(), "meters": pl.UInt32(),
    "state": pl.String(),  # complete, incomplete: a part is not known, or not of all meters
    "index_ratio": pl.Float64(),  # the parts' ratios by their weights; null where incomplete
    "known_index_ratio": pl.Float64(), "known_weight_ratio": pl.Float64(),  # the same over the parts that have a ratio; their share of the weights
    "missing": pl.List(pl.String()),  # the parts that are not known of all meters, or of which there was nothing
    **{f"{part}_{name}": dtype for part in QUALITY_PARTS for name, dtype in (
        ("good", pl.Int64()), ("total", pl.Int64()), ("ratio", pl.Float64()), ("unknown", pl.UInt32()),  # unknown: meters of which it is not known
    )},
    "source": pl.String(),  # of the weights
})
HOLIDAY: Final = pl.Schema({  # a day that a notice takes from the working days, or adds to them (working); `year`: the notice's
    "day": pl.Date(), "year": pl.Int32(), "working": pl.Boolean(), "name_zh": pl.String(), "name_en": pl.String(), "source": pl.String(),
})
CALIBRATION_INTERVAL: Final = pl.Schema({  # how long a verification is valid; accuracy_class null: any class of the medium
    "medium": pl.String(), "accuracy_class": pl.String(), "interval_months": pl.Int32(), "valid_from": pl.Date(), "source": pl.String(),
})
CALIBRATION: Final = pl.Schema({  # the verification of a meter as of a day
    "enterprise": pl.String(), "meter": pl.String(), "medium": pl.String(), "accuracy_class": pl.String(),
    "calibrated_on": pl.Date(), "due_on": pl.Date(),  # the last day on which it is valid
    "due_by": pl.String(),  # where due_on comes from: register, or the source of the interval
    "state": pl.String(),  # valid, due_soon, overdue, no_due_date (it is not known until when), never (no verification is entered)
    "days_left": pl.Int32(),  # until due_on; negative: overdue for so many days
})
OUTAGE_REPORT: Final = pl.Schema({  # a person reports that a meter was out at an instant
    "enterprise": pl.String(), "meter": pl.String(), "at": INSTANT, "reported_at": INSTANT, "reported_by": pl.String(), "report": pl.String(),
    "edit": pl.Int64(),  # the figure that was entered by hand
})
OUTAGE: Final = pl.Schema({  # a time without readings of a meter, and whether it was mended within the working days that it may take
    "enterprise": pl.String(), "meter": pl.String(), "opened_at": INSTANT,  # the first missing slot
    "or_earlier": pl.Boolean(),  # it was looked for no further back
    "repaired_at": INSTANT, "due_at": INSTANT,  # data came again (null: not yet); the end of the last working day for the repair
    "by_notice": pl.Boolean(),  # false: a day in between lies outside the years of the table of holidays, weekdays counted there
    "state": pl.String(),  # open, overdue, reported, repaired_in_time, repaired_late
    "reported_at": INSTANT, "reported_by": pl.String(), "report": pl.String(), "edit": pl.Int64(),
})
EXCHANGE: Final = pl.Schema({  # the exchange of a meter, and whether it was entered in the register in time
    "enterprise": pl.String(), "meter": pl.String(), "register": pl.String(), "at": INSTANT, "entered_at": INSTANT, "due_at": INSTANT,
    "by_notice": pl.Boolean(), "in_time": pl.Boolean(),
})
SIGN_RULE: Final = pl.Schema({  # one bound of a sign, dated
    "rule": pl.String(), "bound": pl.String(), "value": pl.Float64(), "unit": pl.String(),
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(),  # valid_to: the first day on which it no longer holds
})
STOP: Final = pl.Schema({  # days on which an enterprise, or a process of it, stands by its own report
    "enterprise": pl.String(), "process": pl.String(), "first_day": pl.Date(), "last_day": pl.Date(),  # both included; null: until further notice
    "document": pl.String(),
})
SIGN: Final = pl.Schema({  # something that a person should look at, never a verdict
    "enterprise": pl.String(), "rule": pl.String(),
    "subject": pl.String(),  # what of the enterprise: a product, a process, meter/register, a figure; null: all of it
    "period": pl.String(),  # 2025, 2025-03, or the first day of what goes on
    "state": pl.String(),  # seen; unknown: it cannot be judged
    "actual": pl.Float64(), "expected": pl.Float64(), "low": pl.Float64(), "high": pl.Float64(), "unit": pl.String(),
    "evidence": pl.List(pl.Struct({"figure": pl.String(), "period": pl.String(), "value": pl.Float64(), "unit": pl.String(), "source": pl.String()})),
    "missing": pl.String(), "missing_zh": pl.String(),  # why it cannot be judged
    "source": pl.String(),  # of the bounds
})
METERING_POINT: Final = pl.Schema({  # where an enterprise needs a meter, and the meter that is there
    "enterprise": pl.String(), "point": pl.String(), "level": pl.String(),  # unit, sub_unit, equipment
    "medium": pl.String(), "meter": pl.String(), "name_zh": pl.String(), "name_en": pl.String(),
})
METERING_REQUIREMENT: Final = pl.Schema({  # what a standard asks of the meters of a medium at a level
    "level": pl.String(), "medium": pl.String(), "fitting_at_least_ratio": pl.Float64(), "class_at_most": pl.Float64(),
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(),
})
FITTING: Final = pl.Schema({  # the meters that an enterprise needs and has, by level and medium (GB 17167)
    "enterprise": pl.String(), "level": pl.String(), "medium": pl.String(), "needed": pl.UInt32(), "fitted": pl.UInt32(),
    "fitting_ratio": pl.Float64(), "fitting_at_least_ratio": pl.Float64(), "lacking": pl.List(pl.String()),  # points without a meter
    "class_at_most": pl.Float64(), "class_known": pl.UInt32(), "class_met": pl.UInt32(),  # meters whose class is entered; that meet the requirement
    "source": pl.String(), "missing": pl.String(), "missing_zh": pl.String(),
})
STATISTICAL_CODE: Final = pl.Schema({  # the line of a carrier in the statistical form of energy purchase, consumption and stock
    "code": pl.String(), "carrier": pl.String(), "name_zh": pl.String(), "name_en": pl.String(), "source": pl.String(), "confidence": pl.String(),
})
LIVENESS: Final = pl.Schema({  # signs that a register is not alive
    "register_key": pl.UInt32(), "last_at": INSTANT, "usual_interval_s": pl.Float64(),
    "changed_at": INSTANT, "unchanged": pl.UInt32(),  # when its value last changed, and how many readings have shown it since
    "stale": pl.Boolean(), "frozen": pl.Boolean(),
})
KEY_UNIT_THRESHOLD: Final = pl.Schema({  # from how many tce a year on an enterprise is a key energy user
    "threshold": pl.String(),  # general, designated
    "tce": pl.Float64(), "basis": pl.String(), "watch_ratio": pl.Float64(),
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
})
ACCESS_GOAL: Final = pl.Schema({  # the share of a park's key or other enterprises that is to be fully on line
    "members": pl.String(), "region": pl.String(),  # region: first digits of the code; null: anywhere
    "goal_ratio": pl.Float64(),
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
})
ENTRY_CONDITION: Final = pl.Schema({  # a sector whose new plants must reach a level of a standard
    "sector": pl.String(), "sector_zh": pl.String(), "standard": pl.String(),  # without the year
    "level": pl.Int8(), "region": pl.String(),
    "valid_from": pl.Date(), "valid_to": pl.Date(), "source": pl.String(), "confidence": pl.String(), "remark": pl.String(),
})
DESIGNATION: Final = pl.Schema({  # an authority has made an enterprise a key energy user below the general threshold
    "enterprise": pl.String(), "authority": pl.String(), "document": pl.String(), "valid_from": pl.Date(), "valid_to": pl.Date(),
})
YEAR_ENERGY: Final = pl.Schema({  # a legal person's energy of a year, as it was metered or as it was reported
    "enterprise": pl.String(), "year": pl.Int32(), "calorific_tce": pl.Float64(), "equivalent_tce": pl.Float64(),
    "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(), "missing": pl.String(), "source": pl.String(),
})
KEY_UNIT: Final = pl.Schema({  # what an enterprise is by its energy of a year
    "enterprise": pl.String(), "year": pl.Int32(),
    "status": pl.String(),  # key, designated, designable (between the thresholds, not designated), below, unknown
    "listed": pl.Boolean(),  # a key energy user by this year, or by the last known one before it; null: none is known yet
    "change": pl.String(),  # entry, exit, none, first_known, undecided
    "decided_on": pl.Date(),  # from when the status can hold: after the year, and from a designation on
    "since_year": pl.Int32(),  # the first year of `listed` without a break
    "figure": pl.String(),  # metered, reported: which one counts
    "basis": pl.String(), "calorific_tce": pl.Float64(), "equivalent_tce": pl.Float64(),
    "reported_calorific_tce": pl.Float64(), "metered_calorific_tce": pl.Float64(),
    "other_status": pl.String(), "bases_differ": pl.Boolean(),  # the status on the other basis
    "watch": pl.Boolean(), "watched_tce": pl.Float64(), "margin_ratio": pl.Float64(),  # the threshold that is near; how far above it
    "covered_ratio": pl.Float64(), "estimated_ratio": pl.Float64(),
    "missing": pl.String(), "missing_zh": pl.String(), "reason": pl.String(), "reason_zh": pl.String(), "source": pl.String(),
})
MEDIUM_USE: Final = pl.Schema({  # a medium that an enterprise declares to use; site null: at all of its sites
    "enterprise": pl.String(), "site": pl.String(), "medium": pl.String(), "source": pl.String(), "valid_from": pl.Date(), "valid_to": pl.Date(),
})
ACCESS: Final = pl.Schema({  # whether the plant-level data of a medium come from an enterprise's part of a park
    "park": pl.String(), "enterprise": pl.String(),
    "members": pl.String(),  # key, other; null: its status is not known
    "medium": pl.String(),  # coal, water, oil, gas, electricity; all: the five together
    "state": pl.String(),  # online, not_delivering, no_meter, not_used, unknown
    "meters": pl.UInt32(), "lacking": pl.String(),  # plant-level meters; those that do not deliver, or the media without a meter
    "undeclared": pl.Boolean(),  # metered, but not in the declared list
    "missing": pl.String(), "lacking_zh": pl.String(), "missing_zh": pl.String(),
})
ACCESS_SHARE: Final = pl.Schema({  # of a park's enterprises that use a medium, how many are on line
    "park": pl.String(), "members": pl.String(), "medium": pl.String(), "enterprises": pl.UInt32(), "online": pl.UInt32(), "unknown": pl.UInt32(),
    "share_ratio": pl.Float64(),  # null while one of them is unknown
    "at_least_ratio": pl.Float64(), "at_most_ratio": pl.Float64(),  # were all the unknown ones off line, or on line
    "goal_ratio": pl.Float64(), "meets": pl.Boolean(), "missing": pl.String(), "missing_zh": pl.String(),
    "source": pl.String(), "confidence": pl.String(),
})
PROJECT: Final = pl.Schema({  # a new plant, from its approval to its operation
    "project": pl.String(), "enterprise": pl.String(), "park": pl.String(), "name_zh": pl.String(), "name_en": pl.String(),
    "product": pl.String(), "indicator": pl.String(), "feedstock": pl.String(), "design_value": pl.Float64(), "design_unit": pl.String(),
    "parameters": pl.String(),  # of the limit, as name=value;name=value
    "approved_on": pl.Date(), "approval": pl.String(), "approved_calorific_tce": pl.Float64(), "approved_equivalent_tce": pl.Float64(),  # a year
    "start_by": pl.Date(), "started_on": pl.Date(), "planned_operation_on": pl.Date(), "operating_from": pl.Date(), "ended_on": pl.Date(),
    "source": pl.String(),
})
QUOTA: Final = pl.Schema({  # energy of a year that is granted to a project, used by it, or taken back
    "project": pl.String(), "day": pl.Date(), "kind": pl.String(),  # granted, used, reclaimed
    "document": pl.String(), "calorific_tce": pl.Float64(),
})
MINUTES: Final = pl.Schema({  # of a consultation about a project
    "project": pl.String(), "enterprise": pl.String(), "held_on": pl.Date(), "subject": pl.String(),
    "evidence": pl.String(),  # SHA-256 of the file
    "kept_by": pl.String(), "kept_at": INSTANT,
})
PROJECT_STATE: Final = pl.Schema({  # a project on a day
    **PROJECT,
    "state": pl.String(),  # not_approved, approved, overdue (not begun in time), building, operating, ended
    "granted_tce": pl.Float64(), "used_tce": pl.Float64(), "reclaimed_tce": pl.Float64(), "remaining_tce": pl.Float64(),
    "reclaim_due": pl.Boolean(),  # not begun in time, and some quota is left
    "standard": pl.String(), "edition": pl.String(), "level": pl.String(), "level_1": pl.Float64(), "advanced": pl.Boolean(),
    "required_level": pl.Int8(), "required_by": pl.String(), "meets_required": pl.Boolean(),  # which level a document asks for
    "derivation": pl.String(), "derivation_zh": pl.String(), "limit_source": pl.String(), "missing": pl.String(), "missing_zh": pl.String(),
})
EXPECTED_ENERGY: Final = pl.Schema({  # what a project that does not operate yet will add in a month
    "project": pl.String(), "enterprise": pl.String(), "park": pl.String(), "state": pl.String(), "period": pl.String(),
    "calorific_tce": pl.Float64(), "equivalent_tce": pl.Float64(), "missing": pl.String(), "missing_zh": pl.String(), "source": pl.String(),
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
