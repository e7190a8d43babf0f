"""Derived documents, stored in the file beside the journal.

Each has a digest of all that the row says: one that was changed or damaged is left out, and is then
derived again. The table is made when the first document is saved.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from spawn.adapters.duckdb.connection import Cursor
from spawn.ports.storage import DerivedDocument

_TABLE: Final = """
create table if not exists derived_documents (
    name varchar not null, key varchar not null, basis varchar not null,
    document varchar not null, digest varchar not null)
"""
_ROW: Final = """[{"name":"VARCHAR","key":"VARCHAR","basis":"VARCHAR","document":"VARCHAR",
"digest":"VARCHAR"}]"""
_DIGEST_BYTES: Final = 16
_encode = msgspec.json.Encoder().encode


def load(cursor: Cursor, name: str, keys: Sequence[str]) -> dict[str, DerivedDocument]:
    """Return the undamaged documents of a name among the keys."""
    tables = "select 1 from duckdb_tables() where table_name = 'derived_documents'"
    if cursor.execute(tables).fetchone() is None:
        return {}
    rows = cursor.execute(
        "select key, basis, document, digest from derived_documents where name = ?"
        " and key in (select unnest(from_json(?, '[\"VARCHAR\"]')))",
        [name, _encode(keys).decode()],
    ).fetchall()
    return {
        key: DerivedDocument(
            name=name,
            key=key,
            basis=tuple(map(int, basis.split("."))),
            document=document.encode(),
        )
        for key, basis, document, digest in rows
        if digest == _digest(name, key, basis, document)
    }


def save(cursor: Cursor, documents: Sequence[DerivedDocument]) -> None:
    """Save the documents in place of those of their names and keys, in one transaction."""
    rows = []
    for one in documents:
        basis, document = ".".join(map(str, one.basis)), one.document.decode()
        row = {"name": one.name, "key": one.key, "basis": basis, "document": document}
        rows.append({**row, "digest": _digest(one.name, one.key, basis, document)})
    payload = _encode(rows).decode()
    staged = f"(select unnest(from_json(?, '{_ROW}')) r)"
    cursor.execute("begin")
    cursor.execute(_TABLE)
    cursor.execute(
        f"delete from derived_documents d using {staged} s"  # noqa: S608 -- of our own constants
        " where d.name = s.r.name and d.key = s.r.key",
        [payload],
    )
    cursor.execute(
        f"insert into derived_documents select r.* from {staged}",  # noqa: S608 -- likewise
        [payload],
    )
    cursor.execute("commit")


def _digest(*texts: str) -> str:
    return blake2b("\0".join(texts).encode(), digest_size=_DIGEST_BYTES).hexdigest()
