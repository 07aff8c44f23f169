"""Errors of the disk and the database, in words that say what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from opsflow.errors import StoreError

RESTORE = "end every opsflow, move it away together with its -wal, -shm and .lock files, and put a backup in its place"

CAUSES: dict[str, tuple[str, str]] = {
    "SQLITE_FULL": ("the disk is full", "free some space on it; nothing of this change was written"),
    "SQLITE_IOERR": ("the disk failed", "look at the kernel's log for errors of that disk"),
    "SQLITE_CORRUPT": ("the file is damaged", RESTORE),
    "SQLITE_NOTADB": ("the file is not an SQLite database", RESTORE),
    "SQLITE_BUSY": ("another program keeps it locked", "end that program (a backup? a browser?) and try again"),
    "SQLITE_LOCKED": ("another program keeps it locked", "end that program and try again"),
    "SQLITE_READONLY": ("it is read-only", "make the file and its directory writable for this user"),
    "SQLITE_CANTOPEN": ("it cannot be opened", "see that it is a file, and that this user may read and write it"),
    "SQLITE_PERM": ("it cannot be opened", "see that this user may read and write it"),
    "SQLITE_NOMEM": ("there is not enough memory", "free some memory and try again"),
    "SQLITE_TOOBIG": ("a record is larger than the database allows", "let the recipe print less"),
    "SQLITE_CONSTRAINT": (
        "the change refers to records that do not exist",
        "this is a defect of opsflow; please report it",
    ),
}  # fmt: skip

NO_ROOM = ("SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMOPEN", "SQLITE_IOERR_SHMMAP")
"""The disk has no room for the small file that connections share; nothing was written wrongly."""

OS_CAUSES: dict[int, str] = {
    errno.ENOSPC: "SQLITE_FULL",
    errno.EDQUOT: "SQLITE_FULL",
    errno.EIO: "SQLITE_IOERR",
    errno.EROFS: "SQLITE_READONLY",
    errno.EACCES: "SQLITE_CANTOPEN",
    errno.EPERM: "SQLITE_CANTOPEN",
    errno.EISDIR: "SQLITE_CANTOPEN",
    errno.ENOTDIR: "SQLITE_CANTOPEN",
    errno.ELOOP: "SQLITE_CANTOPEN",
}


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of the database and the operating system into :class:`StoreError`."""
    try:
        yield
    except DBAPIError as error:
        raise explain(path, error.orig or error) from error
    except (sqlite3.Error, SQLAlchemyError, OSError, OverflowError) as error:
        raise explain(path, error) from error


def explain(path: Path, error: BaseException) -> StoreError:
    """The error that a user sees."""
    what, hint = CAUSES.get(cause(error), (None, None))
    told = error.strerror if isinstance(error, OSError) else None
    detail = told or str(error).partition("\n")[0]
    text = f"the store {path}: {what} ({detail})" if what else f"the store {path}: {detail}"
    return StoreError(text, hint=hint)


def cause(error: BaseException) -> str:
    """The primary SQLite code behind an error, such as ``SQLITE_IOERR``; empty when unknown."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, OSError):
        return OS_CAUSES.get(error.errno or 0, "")
    name = getattr(error, "sqlite_errorname", "") or ""
    if name in NO_ROOM:
        return "SQLITE_FULL"
    return "_".join(name.split("_")[:2])
