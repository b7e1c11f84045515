"""Write docs/schemas.md from config/schemas.py: the named tables, their columns, types and remarks.

Usage: schemas_md.py
"""

import ast
import sys
from pathlib import Path

import polars as pl

from config import schemas

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "schemas.md"
HEAD = """\
# The named tables

A table that crosses a function of tcewatch has a name and a shape. This page is generated from `config/schemas.py` by
`make docs`; a test keeps the two equal.

"""


def page() -> str:
    """The whole page as Markdown."""
    source = Path(schemas.__file__).read_text(encoding="utf-8")
    lines = source.splitlines()
    parts = [HEAD, (ast.get_docstring(ast.parse(source)) or "") + "\n"]
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        schema = getattr(schemas, node.target.id)
        if isinstance(schema, pl.Schema) and isinstance(node.value, ast.Call) and isinstance(node.value.args[0], ast.Dict):
            parts.append(_table(node.target.id, schema, node.value.args[0], lines))
    return "\n".join(parts)


def _table(name: str, schema: pl.Schema, definition: ast.Dict, lines: list[str]) -> str:
    by_line: dict[int, list[str]] = {}
    inherited = []
    for key, value in zip(definition.keys, definition.values, strict=True):
        match key, value:
            case None, ast.Name(id=base):
                inherited.append(f"| all of [{base}](#{base.lower()}) | | |")
            case ast.Constant(value=str(column)), _:
                by_line.setdefault(key.lineno, []).append(column)
    rows = [*inherited]
    for number, columns in by_line.items():
        # A remark at the end of a line speaks of all columns of that line; that of the first line speaks of the table.
        remark = _comment(lines[number - 1]) if number != definition.lineno else ""
        groups = [columns] if remark else [[column] for column in columns]
        rows += [f"| {_join(group)} | {_join(dict.fromkeys(_type(schema[column]) for column in group))} | {remark} |" for group in groups]
    head = [f"## {name}", ""]
    if remark := _comment(lines[definition.lineno - 1]):
        head += [f"{remark[0].upper()}{remark[1:]}.", ""]
    return "\n".join([*head, "| columns | type | remark |", "| --- | --- | --- |", *rows, ""])


def _join(words: "list[str] | dict[str, None]") -> str:
    return ", ".join(f"`{word}`" for word in words)


def _type(dtype: pl.DataType) -> str:
    match dtype:
        case pl.Datetime():
            return "instant (UTC, us)"
        case pl.Enum():
            return " / ".join(dtype.categories)
        case _:
            return str(dtype)


def _comment(line: str) -> str:
    return line.partition("  # ")[2].strip().replace("|", "\\|")


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(page(), encoding="utf-8")
    sys.exit(0)
