"""Operations that callers with a row scope may call: a record, since each shows rows of others."""

from pathlib import Path

from spawn.entrypoints.http.app import ROUTES

RECORD = Path(__file__).with_name("row_scope_operations.txt")


def test_the_operations_of_a_row_scope_are_those_of_the_record() -> None:
    """An operation gets into the record once its use case limits every row that it returns."""
    declared = {
        one.operation.id for one in ROUTES if one.operation.serves_row_scopes and one.operation.id
    }
    assert sorted(declared) == RECORD.read_text().split()
