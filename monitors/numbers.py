"""Figures as they are added up, compared and printed."""

from typing import Final

import polars as pl

SIGNIFICANT_DIGITS: Final = 12  # unrounded figures are compared; what floating point adds beyond this is no excess


def whole_sum(name: str) -> pl.Expr:
    """The sum of a column; one of which a part is not known is not known."""
    return pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).sum()).alias(name)


def number(of: str | pl.Expr) -> pl.Expr:
    """A number as a derivation prints it: 12 significant digits, no empty decimals."""
    value = pl.col(of) if isinstance(of, str) else of
    return value.round_sig_figs(SIGNIFICANT_DIGITS).cast(pl.String()).str.strip_suffix(".0")
