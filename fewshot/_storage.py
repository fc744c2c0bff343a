"""Where and how things are kept: one private folder of the user's, files replaced whole, and SQLite files.

Digests in SQLite tables are for what is bought: a flipped bit is found before what it made is believed. SQLite itself
works out the digest of a row at each insert and update, as a generated column; it checks none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex

from fewshot.errors import ConfigError

__all__ = ["cache_dir", "digested", "is_whole", "open_sqlite", "saying", "transaction", "write_atomic", "write_private"]


def cache_dir(*parts: str) -> Path:
    """Give a folder inside the cache folder, made for the user alone if it is not there.

    The cache folder is `FEWSHOT_CACHE_DIR`, else the platform's own place for caches.

    Raises:
        ConfigError: it cannot be made.
    """
    folder = None
    try:
        folder = Path(os.environ.get("FEWSHOT_CACHE_DIR") or _default())
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in parts:
            folder /= part
            folder.mkdir(mode=0o700, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # without a home folder, Python raises a RuntimeError
        reason = getattr(error, "strerror", None) or error
        message = f"the cache folder {folder or ''} cannot be made: {reason}"
        raise ConfigError(f"{message}; name one that can be written in FEWSHOT_CACHE_DIR") from error
    return folder


@contextlib.contextmanager
def write_atomic(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Give a path to write to; what stands there at the end takes the place of a file, on disk and whole or not at all.

    Arguments:
        path: the file that is made or replaced; one that is there keeps its permissions.
        private: nobody but the user may read it.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    if path.exists() and not path.is_file():  # a device would be replaced by a file, and a pipe has no end
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    scratch = path.with_name(f".{path.name}.{token_hex(4)}.new")
    try:
        if private:
            os.close(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield scratch
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists() and not private:
            shutil.copymode(path, scratch)
        scratch.replace(path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only the user can read, all of it or nothing; raises ConfigError where that cannot be."""
    try:
        with write_atomic(path, private=True) as scratch:
            scratch.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise ConfigError(f"{message}; name a folder that can be in FEWSHOT_CACHE_DIR") from error


def open_sqlite(
    path: Path, *pragmas: str, timeout: float, private: bool = True, digests: bytes | None = None
) -> sqlite3.Connection:
    """Open an SQLite file, made if it is not there; for any thread, and without transactions of Python's own.

    Arguments:
        pragmas: what is set first, as `journal_mode = wal`.
        timeout: seconds to wait for another who has it locked.
        private: nobody but the user may read it.
        digests: the key of `use_digests`, where tables have digests.

    Raises:
        OSError: it cannot be made. sqlite3.Error: it cannot be opened.
    """
    if private:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o600)
        os.close(descriptor)
    store = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        if digests is not None:
            use_digests(store, digests)
        for pragma in pragmas:
            store.execute(f"pragma {pragma}")
    except BaseException:
        store.close()
        raise
    return store


@contextlib.contextmanager
def transaction(store: sqlite3.Connection) -> Iterator[None]:
    """Make everything inside durable together, or nothing of it."""
    store.execute("begin immediate")
    try:
        yield
        store.execute("commit")
    except BaseException:
        if store.in_transaction:  # a full disk has SQLite undo it by itself
            store.execute("rollback")
        raise


@contextlib.contextmanager
def saying(what: str, *, locked: str, broken: Callable[[BaseException], ConfigError]) -> Iterator[None]:
    """Turn what SQLite and the disk say into one of our errors.

    Arguments:
        what: what cannot be done, as `write results.jsonl`, where there is no room or no permission.
        locked: the message where another process has the file open.
        broken: makes the error of a file that cannot be understood.
    """
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        if isinstance(error, sqlite3.Error) and "locked" in str(error):
            raise ConfigError(locked) from error
        reason = getattr(error, "strerror", None) or error
        advice = "see that the folder is there, can be written and has room"
        raise ConfigError(f"cannot {what}: {reason}; {advice}") from error
    except (sqlite3.Error, MemoryError, UnicodeDecodeError) as error:  # its own messages quote what is damaged
        raise broken(error) from error


def use_digests(store: sqlite3.Connection, key: bytes = b"") -> None:
    """Teach a connection to make digests; before anything else is asked of it.

    Arguments:
        key: what all rows belong to, at most 64 bytes: under another key none of them is sound.
    """

    def digest(*parts: bytes | None) -> bytes:
        return blake2b(repr(parts).encode(), digest_size=16, key=key).digest()

    store.create_function("digest", -1, digest, deterministic=True)
    store.execute("pragma trusted_schema = on")


def digested(*columns: str) -> str:
    """Give the SQL for the digest of columns; every type as bytes, since damage may change a type."""
    return f"digest({', '.join(f'cast({column} as blob)' for column in columns)})"


def is_whole(store: sqlite3.Connection) -> bool:
    """Tell whether SQLite finds its own structures sound."""
    return bool(store.execute("pragma integrity_check(1)").fetchone()[0] in ("ok", b"ok"))


def _default() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fewshot"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fewshot"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fewshot"
