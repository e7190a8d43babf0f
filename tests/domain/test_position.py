"""Positions have one text, and no other text is a position."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import CursorInvalid
from spawn.domain.events.position import Position

NUMBERS = st.integers(0, 10**18 - 1)
POSITIONS = st.builds(Position, NUMBERS, NUMBERS)


@given(position=POSITIONS)
def test_the_text_of_a_position_is_read_back(position: Position) -> None:
    assert Position.parse(str(position)) == position


@given(pair=st.tuples(POSITIONS, POSITIONS))
def test_positions_are_ordered_by_epoch_and_then_by_row(pair: tuple[Position, Position]) -> None:
    first, second = sorted(pair)
    assert (first.epoch, first.number) <= (second.epoch, second.number)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "1", "1.", ".1", "1.-1", "-1.1", "01.1", "1.01", "1.1.1", " 1.1", "1.1\n"),
        *("1,1", "1.1e3", "\u0661.1", "1.\uff11", f"1.{10**18}", f"{10**18}.1", "None", "1.1\x00"),
    ],
)
def test_other_texts_are_no_positions(text: str) -> None:
    with pytest.raises(CursorInvalid):
        Position.parse(text)
