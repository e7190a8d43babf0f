"""An explanation: a figure, its formula and the inputs of the formula.

A formula is an expression over its inputs, evaluated element by element where an input is a
series, or an equation that the figure solves under its own name. It uses + - * / ** and these
functions: sum, min, max and mean of a series, last, its last element, and first, the number of
its first element with a value; pos and neg, its positive or negative part; df, the discount
factors of rates a period; pv, the present value of a series at rates a period.
"""

from typing import Any

import msgspec


class Explanation(msgspec.Struct, frozen=True):
    """A figure: its value, its formula, the inputs of the formula, and a note in words."""

    value: Any
    formula: str
    inputs: dict[str, Any]
    note: str = ""


Explanations = dict[str, Explanation]
