"""Values that a mapping states itself: constants, and what an enum translates texts to."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from spawn.domain.errors import MAX_ERRORS, FieldError, InvalidInput
from spawn.domain.imports.cells.amount_currency import CurrencyCell
from spawn.domain.imports.cells.cell_reader import AnyCell, Cell, SponsorsCell
from spawn.domain.imports.cells.cell_text import CellError, to_cell_text
from spawn.domain.imports.mapping import Aggregation, ColumnMapping, Combination
from spawn.domain.json_tokens import Token
from spawn.domain.text import escape_pointer_token

_CONSTANT: Final = "constant"

TokenValidator = Callable[[str, Token], object]
"""Function of an attribute and a token; raises `InvalidInput` if the attribute cannot have it."""


def check_stated_values(
    columns: Sequence[ColumnMapping], cells: Sequence[AnyCell], validate: TokenValidator
) -> None:
    """Check that the attributes can have the values that their columns state.

    A row with another one would be quarantined; with a constant, all of them would.

    Raises:
        InvalidInput: the values that they cannot have, each with its pointer.
    """
    errors: list[FieldError] = []
    for index, (column, cell) in enumerate(zip(columns, cells, strict=True)):
        for member, value in _list_values(column):
            error = (
                None
                if isinstance(cell, SponsorsCell)
                else _find_error(cell, member, value, validate)
            )
            if error is not None:
                pointer = f"/columns/{index}/{member}"
                errors.append(FieldError(pointer, error.code, error.detail))
    if errors:
        raise InvalidInput(errors[:MAX_ERRORS])


def _list_values(column: ColumnMapping) -> Iterator[tuple[str, Token]]:
    """Yield the pointer and the value of the constant, or of each entry of the enum."""
    if column.constant is not None:
        constant = column.constant
        yield _CONSTANT, constant if isinstance(constant, bool) else str(constant)
        return
    is_joined = column.combine is Combination.JOIN or column.aggregate is Aggregation.JOIN
    if not is_joined and column.aggregate is not Aggregation.COUNT:
        for text, value in (column.enum or {}).items():
            yield f"enum/{escape_pointer_token(text)}", value


def _find_error(
    cell: Cell | CurrencyCell, member: str, value: Token, validate: TokenValidator
) -> FieldError | CellError | None:
    """Return the error of a value as an attribute; None if it can have it."""
    try:
        text = cell.texts.read_constant(value) if member == _CONSTANT else to_cell_text(value)
        token = text if text is None or cell.convert is None else cell.convert(text, cell.scale)
        if token is not None:
            validate(cell.attribute, token)
    except CellError as error:
        return error
    except InvalidInput as invalid:
        return invalid.errors[0]
    return None
