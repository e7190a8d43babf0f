"""HTML for people: pages that load nothing from elsewhere, and the few forms they are made of."""

from collections.abc import Iterable, Sequence
from html import escape

from spawn.entrypoints.http.protocol.response import Header, Reply, html_reply


def page(title: str, body: str, *, headers: Iterable[Header] = ()) -> Reply:
    """A whole page; the body is HTML already."""
    return html_reply(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/docs/style.css"></head>'
        f"<body>{body}</body></html>",
        headers=headers,
    )


def link(path: str, text: str) -> str:
    """A link within the service."""
    return f'<a href="{escape(path)}">{escape(text)}</a>'


def code(text: str) -> str:
    """A name or value as programs spell it."""
    return f"<code>{escape(text)}</code>"


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells; on a narrow screen each row becomes a block with its heads beside.

    The roles say what it is even there, where its style takes the look of a table from it.
    """
    head = "".join(f'<th scope="col" role="columnheader">{escape(name)}</th>' for name in heads)
    body = "".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-head="{escape(name)}">{cell}</td>'
            for name, cell in zip(heads, row, strict=True)
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
    """A part of a page under a heading of its own."""
    return (
        f'<section id="{escape(anchor)}" aria-labelledby="{escape(anchor)}-title">'
        f'<h2 id="{escape(anchor)}-title">{escape(title)}</h2>{"".join(parts)}</section>'
    )
