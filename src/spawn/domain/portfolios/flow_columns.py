"""Flows in columns: minor units by cell, and their sums, which are exact."""

from array import array
from collections import Counter

_MAX_UNITS = 2**63


class FlowColumns:
    """Flows as two columns of 64-bit integers, which an engine reads without a copy.

    A cell stands for all that is summed alike, such as a group, a currency and a month. The few
    amounts that exceed 64 bits are summed at once.
    """

    def __init__(self) -> None:
        self.cells = array("q")
        self.units = array("q")
        self.wide: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self.cells)

    def add(self, cell: int, units: int) -> None:
        """Add a flow of minor units to a cell."""
        if -_MAX_UNITS <= units < _MAX_UNITS:
            self.cells.append(cell)
            self.units.append(units)
        else:
            self.wide[cell] += units


def sum_flows(flows: FlowColumns) -> dict[int, int]:
    """Return the exact sum of each cell: the definition that every engine must agree with."""
    sums = Counter(flows.wide)
    for cell, units in zip(flows.cells, flows.units, strict=True):
        sums[cell] += units
    return dict(sums)
