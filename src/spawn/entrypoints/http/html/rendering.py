"""HTML pages rendered from Jinja2 templates, which escape every value."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from spawn.application.product.snapshot import format_instant
from spawn.domain.text import shorten
from spawn.entrypoints.http.protocol.response import Header, Response, encode_json, html_response
from spawn.entrypoints.request_context import public_path

if TYPE_CHECKING:
    from jinja2 import Environment, Template

ABSENT: Final = "—"
"""Text of a value that there is not."""

_TIME_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_loaded: Final[dict[str, "Template"]] = {}
_newest: Final[dict[str, "_RenderedPage"]] = {}


class PageColumn(NamedTuple):
    """A column of a table; numbers are aligned on the right."""

    name: str
    is_number: bool


class _RenderedPage(NamedTuple):
    """The newest page of a template, with the values that it shows."""

    context: Mapping[str, object]
    page: str


async def page_response(
    template: str,
    context: Mapping[str, object],
    *,
    headers: Iterable[Header] = (),
    has_inline_styles: bool = False,
) -> Response:
    """Return a page as a response.

    A template is compiled once, off the event loop. A page that would show the same values as the
    one before is that one: comparing them takes a hundredth of the time of rendering.
    """
    if template not in _loaded:
        await asyncio.to_thread(load_template, template)
    context = {**context, "path_prefix": public_path("")}
    newest = _newest.get(template)
    if newest is None or newest.context != context:
        newest = _newest[template] = _RenderedPage(context, render(template, context))
    return html_response(newest.page, headers=headers, has_inline_styles=has_inline_styles)


def render(template: str, context: Mapping[str, object]) -> str:
    """Return a page; a name that the context lacks is an error."""
    return load_template(template).render(context)


def load_template(name: str) -> "Template":
    """Return a compiled template."""
    template = _loaded.get(name)
    if template is None:
        template = _loaded[name] = _environment().get_template(name)
    return template


@cache
def _environment() -> "Environment":
    # Imported with the first page: it takes longer than all of the pages together.
    from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context

    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The path depends on the request; a filter without the context is computed at compile time.
    environment.filters |= {
        "count": _format_count,
        "duration": format_duration,
        "grouped": _group_digits,
        "instant": format_instant,
        "minute": _format_minute,
        "second": _format_second,
        "per_cent": _show_in_per_cent,
        "percent": _format_percent,
        "public_path": pass_context(lambda _, path: public_path(path)),
        "shorten": shorten,
    }
    environment.globals |= {"columns": _build_columns, "absent": ABSENT}
    environment.policies["json.dumps_function"] = _encode_json
    return environment


def _build_columns(*names: str, numbers: Collection[str] = ()) -> tuple[PageColumn, ...]:
    return tuple(PageColumn(name, name in numbers) for name in names)


def _encode_json(value: Any, **_: object) -> str:
    return encode_json(value).decode()


def _format_count(number: int | None) -> str:
    return ABSENT if number is None else f"{number:,}"


def _group_digits(amount: str | None) -> str:
    """Format the text of an amount with commas between groups of three digits."""
    return ABSENT if amount is None else f"{Decimal(amount):,}"


def _format_percent(share: float | None, decimals: int = 0) -> str:
    """Format a share rounded down: only a full share is 100 %."""
    if share is None:
        return ABSENT
    scale = 10**decimals
    return f"{int(share * (100 * scale)) / scale:g} %"


def _show_in_per_cent(fraction: str) -> str:
    """Format the text of a fraction in per cent, with all of its digits."""
    return f"{Decimal(fraction).scaleb(2)} %"


def _format_minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _format_second(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def format_age(age: timedelta) -> str:
    """Format an age in its largest whole unit."""
    seconds = age.total_seconds()
    return "just now" if seconds < 1 else f"{format_duration(seconds)} ago"


def format_duration(seconds: float) -> str:
    """Format a duration in its largest whole unit."""
    for size, unit in _TIME_UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a second"
