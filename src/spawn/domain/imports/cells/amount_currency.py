"""The currency of each amount of a record that may have several of them.

A column of currencies belongs to the column of amounts with which it shares most of its path:
`budget.value.@currency` to `budget.value`, and there to each item alone. An item without one has
that of the next column, such as `@default-currency`, which is that of the whole record. The only
column of currencies is that of all columns of amounts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from spawn.domain.imports.cells.cell_text import (
    MAX_LISTED_VALUES,
    CellError,
    Converter,
    TextReader,
    quote,
)
from spawn.domain.imports.cells.nested_path import PathStep, parse_path, select_values, step_into
from spawn.domain.imports.mapping import Aggregation, Combination, ImportMapping
from spawn.domain.json_tokens import Token

CURRENCY_ATTRIBUTE: Final = "currency_code"
_AMOUNT_ATTRIBUTES: Final = ("total_amount", "commitment")
"""Attributes with the amount of a record, of the kinds that have a currency."""

AMOUNTS: Final = "\0amounts"
"""Name under which a row has its amounts with their currencies; no column has it."""


class _CurrencyPath(msgspec.Struct, frozen=True):
    """The steps to a column of currencies from the item at a depth of the path of an amount."""

    depth: int
    steps: tuple[PathStep, ...]
    is_lent: bool
    """Whether it goes further with another column of amounts, and is the only one."""

    def select(self, node: Token) -> Token:
        return (
            _select_unrepeated(node, self.steps)
            if self.is_lent
            else select_values(node, self.steps)
        )


class CurrencyPairing(msgspec.Struct, frozen=True):
    """The columns of the amount of a record, its `attribute`, and those of its currency."""

    attribute: str
    amounts: tuple[str, ...]
    currencies: tuple[str, ...]

    @property
    def own_columns(self) -> frozenset[int]:
        """The indexes of the columns of currencies that belong to single amounts."""
        amounts = [_list_steps(name, {}) for name in self.amounts]
        return frozenset(
            index
            for index, name in enumerate(self.currencies)
            if any(_count_shared(_list_steps(name, {}), path) for path in amounts)
        )

    def pair(self, row: dict[str, Token]) -> Token:
        """Return a list of the amounts of a row.

        Each is a list of its column's index, its value, and the values of each column of
        currencies. A quarantined group that was posted back has a list for each of its rows.
        """
        return [[*self._pair_row(part)] for part in self._split_rows(row)]

    def _split_rows(self, row: dict[str, Token]) -> list[dict[str, Token]]:
        """Return the rows of a group whose columns are lists of equal length."""
        names = dict.fromkeys((*self.amounts, *self.currencies))
        lists = {name: token for name in names if isinstance(token := row.get(name), list)}
        count = len(lists.get(self.amounts[0], ()))
        if not count or any(len(lists.get(name, ())) != count for name in self.amounts):
            return [row]
        columns = {name: values for name, values in lists.items() if len(values) == count}
        return [
            {**row, **{name: values[index] for name, values in columns.items()}}
            for index in range(count)
        ]

    def _pair_row(self, row: dict[str, Token]) -> Iterator[Token]:
        amounts = [_list_steps(name, row) for name in self.amounts]
        currencies = [_list_steps(name, row) for name in self.currencies]
        step_counts = [[_count_shared(path, amount) for amount in amounts] for path in currencies]
        for index, steps in enumerate(amounts):
            paths = [
                self._find_path(path, counts, index)
                for path, counts in zip(currencies, step_counts, strict=True)
            ]
            for amount, values in _pair_values(row, steps, 0, paths, [None] * len(paths)):
                yield [str(index), amount, *values]

    def _find_path(
        self, path: tuple[PathStep, ...], step_counts: Sequence[int], index: int
    ) -> _CurrencyPath | None:
        """Return the path to the currencies of a column of amounts; None if it has others.

        A path that goes further with another column of amounts is that of its items. The unit in
        the cell of an amount is of that amount alone.
        """
        count, most = step_counts[index], max(step_counts)
        if count < most and (len(self.currencies) > 1 or len(path) == most):
            return None
        return _CurrencyPath(count, path[count:], is_lent=count < most)


def find_pairing(mapping: ImportMapping) -> CurrencyPairing | None:
    """Return the columns whose values are paired.

    None if a record has one amount alone, or if the mapping says which of several currencies is
    that of the record.
    """
    by_name = {column.attribute: column for column in mapping.columns}
    currency = by_name.get(CURRENCY_ATTRIBUTE)
    amount = next((by_name[name] for name in _AMOUNT_ATTRIBUTES if name in by_name), None)
    if currency is None or amount is None or currency.aggregate is not None:
        return None
    if not (amount.sources and currency.sources):
        return None
    paths = map(parse_path, amount.sources)
    may_have_several = (
        bool(mapping.group_by)
        or amount.aggregate is not None
        or len(amount.sources) > 1
        or any(path is not None and len(path) > 1 for path in paths)
    )
    if not may_have_several:
        return None
    return CurrencyPairing(amount.attribute, amount.sources, currency.sources)


def _list_steps(name: str, row: Mapping[str, Token]) -> tuple[PathStep, ...]:
    """Return the path of a column; a member of its very name has precedence."""
    steps = None if name in row else parse_path(name)
    return steps or (PathStep(name, None),)


def _count_shared(path: Sequence[PathStep], amount: Sequence[PathStep]) -> int:
    """Return the number of steps that a path of currencies has in common with one of amounts."""
    count = 0
    for step, other in zip(path, amount, strict=False):
        is_same = step == other or (step.name == other.name and step.condition is None)
        if not is_same:
            break
        count += 1
    return count


def _pair_values(
    node: Token,
    steps: Sequence[PathStep],
    depth: int,
    paths: Sequence[_CurrencyPath | None],
    values: list[Token],
) -> Iterator[tuple[Token, list[Token]]]:
    """Yield each value at a path with the currencies of its items, and of what they are in."""
    if isinstance(node, list) and not (steps and steps[0].index is not None):
        for item in node:
            yield from _pair_values(item, steps, depth, paths, values)
        return
    values = [
        path.select(node) if path is not None and path.depth == depth else value
        for path, value in zip(paths, values, strict=True)
    ]
    if not steps:
        yield select_values(node, ()), values
        return
    for child in step_into(node, steps[0]):
        yield from _pair_values(child, steps[1:], depth + 1, paths, values)


def _select_unrepeated(node: Token, steps: Sequence[PathStep]) -> Token:
    """Return the value at a path; None if it is in one of several items."""
    for step in steps:
        if isinstance(node, list) and len(node) == 1 and step.index is None:
            node = node[0]
        items = node.get(step.name) if isinstance(node, dict) else node
        if isinstance(items, list) and len(items) > 1:
            return None
        node = next(step_into(node, step), None)
    return select_values(node, ())


class CurrencyCell(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a currency beside several amounts, which must all be in the same one."""

    attribute: str
    label: str
    sources: tuple[str, ...]
    texts: TextReader
    convert: Converter | None
    combines_amounts: Combination
    aggregates_amounts: Aggregation | None
    amount_texts: TextReader
    read_amount: Callable[[str], Decimal]
    own_columns: frozenset[int]
    read_record: Callable[[Mapping[str, Token], int], Token]
    scale: int = 0
    rounds_to_currency: bool = False

    def read(self, source: Mapping[str, Token], scale: int) -> Token:
        """Return the currency of the amounts that are used, or of a record without any.

        Raises:
            CellError: they are in several currencies, or only some have one.
        """
        rows: Any = source.get(AMOUNTS)
        try:
            amounts = [] if rows is None else self._list_used(rows)
        except CellError:
            amounts = []  # The column of the amount has the reason.
        if not amounts:
            return self.read_record(source, scale)
        codes = self._list_used_codes(amounts, scale) or self._list_stated_codes(source, scale)
        if len(codes) > 1:
            first_codes = [*codes][:MAX_LISTED_VALUES]
            names = ", ".join("none" if code is None else quote(str(code)) for code in first_codes)
            detail = f"the amounts have different currencies: {names}; they have no sum"
            raise CellError("several_values", detail)
        return next(iter(codes), None)

    def _list_used_codes(self, amounts: list[list[Token]], scale: int) -> dict[Token, None]:
        """Return the currencies of the amounts, None of one without any; none if all are without.

        Zero is the same in each currency, so that it has none beside other amounts.
        """
        codes: dict[Token, None] = {}
        zero_codes: dict[Token, None] = {}
        for amount in amounts:
            amount_codes = dict.fromkeys(self._list_codes(amount[2:], scale))
            if self._is_zero(amount[1]):
                zero_codes |= amount_codes
            else:
                codes |= amount_codes or {None: None}
        return zero_codes if codes.keys() <= {None} else codes

    def _list_stated_codes(self, source: Mapping[str, Token], scale: int) -> dict[Token, None]:
        """Return all currencies of a record, also those of amounts that are not used."""
        tokens = map(source.get, self.sources)
        return dict.fromkeys(code for token in tokens for code in self._convert_all(token, scale))

    def _is_zero(self, value: Token) -> bool:
        try:
            return not any(map(self.read_amount, self.amount_texts.read_all(value)))
        except CellError:
            return False  # The column of the amount has the reason.

    def _convert_all(self, token: Token, scale: int) -> list[Token]:
        texts = self.texts.read_all(token)
        return [text if self.convert is None else self.convert(text, scale) for text in texts]

    def _list_used(self, rows: list[list[list[Token]]]) -> list[list[Token]]:
        """Return the amounts that the amount of the record is made of."""
        amounts: list[list[Token]] = []
        for row in rows:
            row_amounts = [one for one in row if self.amount_texts.read_all(one[1])]
            if self.combines_amounts is Combination.FIRST:
                row_amounts = [one for one in row_amounts if one[0] == row_amounts[0][0]]
            amounts += row_amounts
        if self.aggregates_amounts is Aggregation.FIRST:
            return amounts[:1]
        return amounts[-1:] if self.aggregates_amounts is Aggregation.LAST else amounts

    def _list_codes(self, values: list[Token], scale: int) -> list[Token]:
        """Return the currencies of an amount: those of its first column that has any.

        Columns that are added have all currencies of the record, whichever column these are in.
        """
        codes: list[Token] = []
        for index, value in enumerate(values):
            is_own = index in self.own_columns
            if codes and is_own:
                break
            codes += self._convert_all(value, scale)
            if codes and (is_own or self.combines_amounts is not Combination.SUM):
                break
        return codes
