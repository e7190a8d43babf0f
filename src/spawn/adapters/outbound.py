"""What publishers over HTTP share: whom they trust, and when they are asked to come again."""

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import certifi


def retry_after_s(value: str | None, now: datetime) -> float:
    """The seconds that a Retry-After header asks to wait; 0 if it is absent or senseless."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def trusted_authorities() -> ssl.SSLContext:
    """The machine's authorities, and those that come with the package where it has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
