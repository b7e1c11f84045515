"""Tables written to and read from files of each format that `calc` takes."""

from pathlib import Path
from typing import Any

import polars as pl


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    match path.suffix:
        case ".parquet":
            frame.write_parquet(path)
        case ".xlsx":
            frame.write_excel(path)
        case _:
            frame.write_csv(path)
    return path


def read(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_excel(path) if path.suffix == ".xlsx" else pl.read_csv(path)
