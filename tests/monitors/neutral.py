"""Parameters of a limit row that correct nothing, or little where its corrections have no neutral point."""

from collections.abc import Iterable, Mapping
from typing import Any

from config.limit_tables import correction_values


def neutral(corrections: Iterable[Mapping[str, Any]]) -> dict[str, float | str]:
    """A value for each parameter, by which levels and figure stay as they are; the first one where none leaves them so."""
    found: dict[str, float | str] = {}
    for row in corrections:
        if row["when_parameter"] is not None:
            found[row["when_parameter"]] = row["when_above"]
            continue
        stays = 1.0 if row["effect"] == "multiply" else 0.0
        values = correction_values(row["values"] or "")
        same = [name for name, amount in values if amount == stays] or [name for name, _ in values]
        if row["kind"] == "linear":
            found[row["parameter"]] = row["base"] + (stays - row["constant"]) / row["coefficient"] * row["per"]
        else:
            found[row["parameter"]] = same[0] if row["kind"] == "by_value" else float(same[0].removeprefix(">"))
    return found
