"""Balances of a facility after each day of a movement, derived from one version of its ledger.

The balance and what is undrawn change on the days of entries alone, so that one fold gives them for
every day. A history follows from the terms and the entries that were known; it is no fact, and is
derived again whenever either changes.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec

from spawn.domain.facilities.facility import Facility
from spawn.domain.facilities.ledger import LedgerEntry
from spawn.domain.facilities.ledger_fold import LedgerFold
from spawn.domain.money import DECIMAL_CONTEXT, get_exponent

BALANCE_RULES: Final = 5
"""Number of the rules that histories follow from; a change of the fold that alters any raises it,
so that stored ones are derived again."""


class BalanceHistory(msgspec.Struct, frozen=True, array_like=True):
    """Balance and undrawn commitment at the end of each of the days, in minor units.

    `undrawn` is what may still be drawn while the availability period lasts.
    """

    days: tuple[date, ...] = ()
    balances: tuple[int, ...] = ()
    undrawn: tuple[int, ...] = ()

    def measure(self, facility: Facility, on: date) -> tuple[int, int]:
        """Return the balance at the end of a day, and what may be drawn, in minor units.

        Nothing can be drawn after the availability period.
        """
        index = bisect_right(self.days, on) - 1
        if index < 0:
            exponent = get_exponent(facility.currency_code)
            balance, undrawn = 0, int(DECIMAL_CONTEXT.scaleb(facility.commitment, exponent))
        else:
            balance, undrawn = self.balances[index], self.undrawn[index]
        return balance, undrawn if on <= facility.availability_end else 0


def derive_balance_history(facility: Facility, entries: Sequence[LedgerEntry]) -> BalanceHistory:
    """Return the history of a ledger.

    Args:
        facility: the terms.
        entries: all in effect, from `select_entries`.
    """
    ledger = LedgerFold(facility, entries)
    days = tuple(dict.fromkeys(entry.value_date for entry in entries))
    balances, undrawn = [], []
    for day in days:
        balances.append(ledger.run(day).balance)
        undrawn.append(ledger.undrawn)
    return BalanceHistory(days, tuple(balances), tuple(undrawn))
