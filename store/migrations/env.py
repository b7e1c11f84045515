"""Runs the migrations on the connection that Database.upgrade hands over."""

from typing import Any, Literal

from alembic import context

from store.database import UtcDateTime
from store.models import metadata


def _rendered(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """A new revision names the database's own type, so that it does not depend on the code of its day."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata,
    render_as_batch=True, compare_type=True, compare_server_default=True, render_item=_rendered,
)
with context.begin_transaction():
    context.run_migrations()
