"""Independent engines as test oracles, and random days on which conventions differ."""

import importlib
import os
import random
import warnings
from datetime import date, timedelta
from typing import Any

import pytest

from spawn.domain.finance.time_base.business_calendar import BusinessDayRule

QUANTLIB_RULES = {
    BusinessDayRule.UNADJUSTED: "Unadjusted",
    BusinessDayRule.FOLLOWING: "Following",
    BusinessDayRule.MODIFIED_FOLLOWING: "ModifiedFollowing",
    BusinessDayRule.PRECEDING: "Preceding",
    BusinessDayRule.MODIFIED_PRECEDING: "ModifiedPreceding",
}


def import_oracle(name: str) -> Any:
    """Import a module, or skip; fail in CI, where every oracle must be installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its wrapper code warns at import
            return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed: the figures are not checked")
        pytest.skip(f"{name} is not installed: the figures are not checked against it")


def random_day(rng: random.Random) -> date:
    """Draw a day, half of the time near the end of a month, where conventions differ."""
    day = date(2000, 1, 1) + timedelta(rng.randrange(20_000))
    return day.replace(day=28) + timedelta(rng.randrange(4)) if rng.random() < 0.5 else day


def last_of_month(day: date) -> date:
    """Return the last day of the month."""
    return (day.replace(day=1) + timedelta(31)).replace(day=1) - timedelta(1)
