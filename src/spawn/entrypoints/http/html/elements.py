"""HTML building blocks of the pages, which load nothing from other hosts."""

from collections.abc import Iterable, Sequence
from html import escape

from spawn.entrypoints.http.protocol.response import Header, Response, html_response


def page_response(title: str, body: str, *, headers: Iterable[Header] = ()) -> Response:
    """Return a whole page; `body` is HTML already."""
    return html_response(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/docs/style.css"></head>'
        f"<body>{body}</body></html>",
        headers=headers,
    )


def link(path: str, text: str) -> str:
    """Return a link within the service."""
    return f'<a href="{escape(path)}">{escape(text)}</a>'


def code(text: str) -> str:
    """Return a name or value in monospace."""
    return f"<code>{escape(text)}</code>"


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of HTML cells; on narrow screens rows become labelled blocks.

    The roles keep it a table for screen readers even there, where CSS changes its display.
    """
    head = "".join(f'<th scope="col" role="columnheader">{escape(name)}</th>' for name in columns)
    body = "".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-head="{escape(name)}">{cell}</td>'
            for name, cell in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<table role="table"><caption>{escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def section(anchor: str, title: str, *parts: str) -> str:
    """Return a section of a page under its own heading."""
    return (
        f'<section id="{escape(anchor)}" aria-labelledby="{escape(anchor)}-title">'
        f'<h2 id="{escape(anchor)}-title">{escape(title)}</h2>{"".join(parts)}</section>'
    )
