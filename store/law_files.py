"""Files of a site's own tables of the law: added whole or not at all, never overwritten, each with its record."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from config.errors import BadInputError, Problem, StoreUnavailableError
from store import audit
from store.database import Database


def add(db: Database, folder: Path, name: str, content: bytes, *, by: str, rows: Mapping[str, int]) -> None:
    """Put a file into the folder, and the record of it into the audit chain: both last or neither.

    Args:
        db: where the record goes.
        folder: the site's own tables.
        name: of the file in the folder.
        content: of the file.
        by: who added it.
        rows: how many rows of which table it brings.

    Raises:
        BadInputError: the folder has a file of that name.
        StoreUnavailableError: the folder cannot be written to; nothing was added.
    """
    target = folder / name
    try:
        handle, written = tempfile.mkstemp(prefix=".", dir=folder)
    except OSError as error:
        raise StoreUnavailableError(folder, error, "Check that the folder of [site] tables_dir can be written to.") from error
    temporary = Path(written)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        placed = False
        try:
            with db.session() as session:
                digest = hashlib.sha256(content).hexdigest()
                audit.append(session, by=by, action="tables.add", subject=name, details={"rows": dict(rows), "sha256": digest})
                try:
                    target.hardlink_to(temporary)  # fails where the name is taken, also by another process at this moment
                except FileExistsError:
                    problem = Problem(name, "there is such a file in the site's folder", "Give the new file another name; none is overwritten.")
                    raise BadInputError([problem]) from None
                placed = True
        except BaseException:
            if placed:
                target.unlink()
            raise
    except OSError as error:
        raise StoreUnavailableError(folder, error, "Check that the folder of [site] tables_dir can be written to.") from error
    finally:
        temporary.unlink(missing_ok=True)
