"""Write the pages of docs/ that come from code: schemas.md from config/schemas.py, guide/reasons.md from ingest/reasons.py."""

import ast
from pathlib import Path

import polars as pl

from config import schemas
from ingest import reasons

DOCS = Path(__file__).resolve().parent.parent / "docs"
SCHEMAS_HEAD = """\
# The named tables

A table that crosses a function of tcewatch has a name and a shape. This page is generated from `config/schemas.py` by
`make docs`; a test keeps the two equal.

"""
REASONS_HEAD = """\
# Why a message or a reading was refused

The closed list of reasons, as they stand in receipts and in quarantine. Nothing refused is lost: the message is kept with
its raw bytes. This page is generated from `ingest/reasons.py` by `make docs`; a test keeps the two equal.
"""


def pages() -> dict[Path, str]:
    """Every generated page with its content."""
    return {DOCS / "schemas.md": schemas_page(), DOCS / "guide" / "reasons.md": reasons_page()}


def reasons_page() -> str:
    """The closed list of reasons as Markdown."""
    parts = [REASONS_HEAD]
    for title, listed in (
        ("The whole message cannot be read", reasons.MESSAGE_REASONS),
        ("One reading of a message cannot be read; the others are taken", reasons.READING_FAULTS),
        ("A reading breaks a rule", reasons.SCREEN_RULES),
        ("The store does not take a reading", reasons.STORE_REFUSALS),
        ("Something is wrong with the gateway; nothing is refused for it", reasons.NOTICES),
    ):
        rows = [f"| `{code}` | {text.en} | {text.zh} |" for code, text in listed.items()]
        parts.append("\n".join([f"## {title}", "", "| reason | | |", "| --- | --- | --- |", *rows, ""]))
    return "\n".join(parts)


def schemas_page() -> str:
    """The named tables as Markdown."""
    source = Path(schemas.__file__).read_text(encoding="utf-8")
    lines = source.splitlines()
    parts = [SCHEMAS_HEAD, (ast.get_docstring(ast.parse(source)) or "") + "\n"]
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
    for path, content in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
