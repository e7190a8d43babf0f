"""Plots as SVG, drawn with nothing but text: bars, lines and level lines over periods."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 40
TICKS = 5
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
COLOURS = ("#35618f", "#c8702a", "#4d8a57", "#8a4d7d")


class Series(NamedTuple):
    """Numbers by period with their name; None leaves a gap."""

    name: str
    values: Sequence[float | None]


class Level(NamedTuple):
    """A horizontal line with its name."""

    name: str
    value: float


class Frame:
    """Where numbers are on the page: the scale runs over whole ticks of a round size."""

    def __init__(self, count: int, low: float, high: float) -> None:
        self.count = count
        self.step = (WIDTH - LEFT - RIGHT) / count
        self.tick = _round_up((high - low) / TICKS)
        self.first, self.last = math.floor(low / self.tick), math.ceil(high / self.tick)
        self.low, self.high = self.first * self.tick, self.last * self.tick

    def x(self, index: float) -> float:
        """The middle of a period."""
        return LEFT + (index + 0.5) * self.step

    def y(self, value: float) -> float:
        """The height of a number."""
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _round_up(size: float) -> float:
    """The next larger number that reads well on a scale."""
    power = 10.0 ** math.floor(math.log10(size))
    return power * next(step for step in STEPS if step * power >= size * (1.0 - 1e-9))


def plot(
    title: str,
    *,
    unit: str,
    stacked: Sequence[Series] = (),
    lines: Sequence[Series] = (),
    levels: Sequence[Level] = (),
    low: float = 0.0,
    labels: Sequence[str],
) -> str:
    """One picture: stacked bars, lines over them, level lines, a legend, a grid and its unit."""
    stacks = [sum(v or 0.0 for v in column) for column in zip(*(s.values for s in stacked))]  # noqa: B905 - no columns where there are no bars
    tops = [*stacks, *(v for s in lines for v in s.values if v), *(level.value for level in levels)]
    frame = Frame(len(labels), low, max(tops))
    parts = [*_grid(frame, labels), *_bars(frame, stacked)]
    for number, series in enumerate(lines):
        parts.append(_line(frame, series, COLOURS[(len(stacked) + number) % len(COLOURS)]))
    parts += [part for level in levels for part in _level(frame, level)]
    parts += _legend(stacked, lines)
    parts.append(f'<text x="{WIDTH - RIGHT}" y="22" text-anchor="end" fill="#555">{unit}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _grid(frame: Frame, labels: Sequence[str]) -> list[str]:
    parts = []
    for number in range(frame.first, frame.last + 1):
        value = number * frame.tick
        y = frame.y(value)
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{value:.4g}</text>'
        )
    every = max(len(labels) // 9, 1)
    places = range(0, len(labels), every)
    return parts + [_label(frame.x(index), labels[index]) for index in places]


def _label(x: float, text: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="#555">'
        f"{escape(text)}</text>"
    )


def _bars(frame: Frame, stacked: Sequence[Series]) -> list[str]:
    parts = []
    base = [0.0] * frame.count
    for number, series in enumerate(stacked):
        for index, value in enumerate(series.values):
            top = base[index] + (value or 0.0)
            x, y = frame.x(index) - 0.4 * frame.step, frame.y(top)
            height = frame.y(base[index]) - y
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{0.8 * frame.step:.1f}" '
                f'height="{height:.1f}" fill="{COLOURS[number]}"/>'
            )
            base[index] = top
    return parts


def _line(frame: Frame, series: Series, colour: str) -> str:
    path, pen_down = "", False
    for index, value in enumerate(series.values):
        if value is not None:
            path += f"{'L' if pen_down else 'M'}{frame.x(index):.1f} {frame.y(value):.1f}"
        pen_down = value is not None
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _level(frame: Frame, level: Level) -> list[str]:
    y = frame.y(level.value)
    line = f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#a22" stroke-dasharray="5 4"/>'
    name = (
        f'<text x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end" fill="#a22">'
        f"{escape(level.name)} {level.value:g}</text>"
    )
    return [line, name]


def _legend(stacked: Sequence[Series], lines: Sequence[Series]) -> list[str]:
    """A square for bars, a stroke for a line, each with its name."""
    parts, x = [], float(LEFT)
    for number, one in enumerate([*stacked, *lines]):
        y, height = (12, 12) if number < len(stacked) else (17, 2)
        parts.append(
            f'<rect x="{x:.0f}" y="{y}" width="12" height="{height}" fill="{COLOURS[number]}"/>'
            f'<text x="{x + 17:.0f}" y="22" fill="#222">{escape(one.name)}</text>'
        )
        x += 34 + 6.2 * len(one.name)
    return parts
