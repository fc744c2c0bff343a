"""Digests in SQLite tables, so that a flipped bit is found before what it made is believed.

SQLite itself works out the digest of a row at each insert and update, as a generated column; it checks none.
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b

__all__ = ["digested", "is_whole", "use_digests"]


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
