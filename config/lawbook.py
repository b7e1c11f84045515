"""All tables of the law together: what a site may bring, and where their rows stand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from config import benchmarks, budgets, carbon, energy_figures, key_units, papers, price_schemes, signs, tables
from config.tables import TableRow, load

MODELS: Final[Mapping[str, type[TableRow]]] = {
    **tables.MODELS, **benchmarks.MODELS, **key_units.MODELS, **papers.MODELS, **signs.MODELS, **budgets.MODELS, **energy_figures.MODELS,
    **price_schemes.MODELS, **carbon.MODELS,
}


def rows_of(table: str, site_dir: Path | None = None) -> list[TableRow]:
    """The rows of a table as they stand in the files, shipped first.

    Raises:
        BadInputError: rows that do not fit, all of them.
    """
    base, own = load(table, MODELS[table], site_dir)
    return [*base, *own]
