"""SVG plots as plain text: bars, lines and level lines over periods."""

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
    """A named series of numbers by period; None leaves a gap."""

    name: str
    values: Sequence[float | None]


class Level(NamedTuple):
    """A named horizontal line."""

    name: str
    value: float


class PlotScale:
    """The scale of a plot, which runs over whole ticks of a round size."""

    def __init__(self, count: int, low: float, high: float) -> None:
        self.count = count
        self.step = (WIDTH - LEFT - RIGHT) / count
        self.tick = _round_up((high - low) / TICKS)
        self.first, self.last = math.floor(low / self.tick), math.ceil(high / self.tick)
        self.low, self.high = self.first * self.tick, self.last * self.tick

    def x(self, index: float) -> float:
        """Return the x of the middle of a period."""
        return LEFT + (index + 0.5) * self.step

    def y(self, value: float) -> float:
        """Return the y of a number."""
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _round_up(size: float) -> float:
    """Return the next larger round number for a scale."""
    power = 10.0 ** math.floor(math.log10(size))
    return power * next(step for step in STEPS if step * power >= size * (1.0 - 1e-9))


def draw_plot(
    title: str,
    *,
    unit: str,
    stacked: Sequence[Series] = (),
    lines: Sequence[Series] = (),
    levels: Sequence[Level] = (),
    low: float = 0.0,
    labels: Sequence[str],
) -> str:
    """Draw stacked bars, lines over them, level lines, a legend, a grid and the unit."""
    stacks = [sum(v or 0.0 for v in column) for column in zip(*(s.values for s in stacked))]  # noqa: B905 - no columns where there are no bars
    tops = [*stacks, *(v for s in lines for v in s.values if v), *(level.value for level in levels)]
    scale = PlotScale(len(labels), low, max(tops))
    parts = [*_draw_grid(scale, labels), *_draw_bars(scale, stacked)]
    for number, series in enumerate(lines):
        parts.append(_draw_line(scale, series, COLOURS[(len(stacked) + number) % len(COLOURS)]))
    parts += [part for level in levels for part in _draw_level(scale, level)]
    parts += _draw_legend(stacked, lines)
    parts.append(f'<text x="{WIDTH - RIGHT}" y="22" text-anchor="end" fill="#555">{unit}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def draw_bars_from_centre(
    title: str, *, unit: str, centre: float, bars: Sequence[tuple[str, float, float]]
) -> str:
    """Draw a tornado: for each name a bar from its first value to its last, about the centre."""
    values = [value for _, low, high in bars for value in (low, high)]
    low, high = min(values), max(values)
    left, right, row = 120.0, float(WIDTH - RIGHT), (HEIGHT - TOP - BOTTOM) / len(bars)

    def x(value: float) -> float:
        return left + 40.0 + (value - low) / (high - low) * (right - left - 80.0)

    parts = []
    for number, (name, first, last) in enumerate(bars):
        y = TOP + number * row + 0.2 * row
        for value, colour in ((first, COLOURS[0]), (last, COLOURS[1])):
            start, width = min(x(value), x(centre)), abs(x(value) - x(centre))
            is_left = x(value) < x(centre)
            parts.append(
                f'<rect x="{start:.1f}" y="{y:.1f}" width="{width:.1f}" '
                f'height="{0.6 * row:.1f}" fill="{colour}"/>'
                f'<text x="{x(value) + (-4 if is_left else 4):.1f}" y="{y + 0.3 * row + 4:.1f}" '
                f'text-anchor="{"end" if is_left else "start"}" fill="#555">{value:.4g}</text>'
            )
        parts.append(
            f'<text x="{left - 6:.1f}" y="{y + 0.3 * row + 4:.1f}" text-anchor="end" '
            f'fill="#222">{escape(name)}</text>'
        )
    parts.append(
        f'<path d="M{x(centre):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#a22"/>'
        f'<text x="{x(centre):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" '
        f'fill="#a22">{centre:.4g}</text>'
    )
    parts += _draw_legend([Series("-10 %", ()), Series("+10 %", ())], ())
    parts.append(f'<text x="{WIDTH - RIGHT}" y="22" text-anchor="end" fill="#555">{unit}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _draw_grid(scale: PlotScale, labels: Sequence[str]) -> list[str]:
    parts = []
    for number in range(scale.first, scale.last + 1):
        value = number * scale.tick
        y = scale.y(value)
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{value:.4g}</text>'
        )
    label_interval = max(len(labels) // 9, 1)
    indices = range(0, len(labels), label_interval)
    return parts + [_draw_label(scale.x(index), labels[index]) for index in indices]


def _draw_label(x: float, text: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle" fill="#555">'
        f"{escape(text)}</text>"
    )


def _draw_bars(scale: PlotScale, stacked: Sequence[Series]) -> list[str]:
    parts = []
    base = [0.0] * scale.count
    for number, series in enumerate(stacked):
        for index, value in enumerate(series.values):
            top = base[index] + (value or 0.0)
            x, y = scale.x(index) - 0.4 * scale.step, scale.y(top)
            height = scale.y(base[index]) - y
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{0.8 * scale.step:.1f}" '
                f'height="{height:.1f}" fill="{COLOURS[number]}"/>'
            )
            base[index] = top
    return parts


def _draw_line(scale: PlotScale, series: Series, colour: str) -> str:
    path, pen_down = "", False
    for index, value in enumerate(series.values):
        if value is not None:
            path += f"{'L' if pen_down else 'M'}{scale.x(index):.1f} {scale.y(value):.1f}"
        pen_down = value is not None
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _draw_level(scale: PlotScale, level: Level) -> list[str]:
    y = scale.y(level.value)
    line = f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#a22" stroke-dasharray="5 4"/>'
    name = (
        f'<text x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end" fill="#a22">'
        f"{escape(level.name)} {level.value:g}</text>"
    )
    return [line, name]


def _draw_legend(stacked: Sequence[Series], lines: Sequence[Series]) -> list[str]:
    """Draw a square for bars and a stroke for a line, each with its name."""
    parts, x = [], float(LEFT)
    for number, series in enumerate([*stacked, *lines]):
        y, height = (12, 12) if number < len(stacked) else (17, 2)
        parts.append(
            f'<rect x="{x:.0f}" y="{y}" width="12" height="{height}" fill="{COLOURS[number]}"/>'
            f'<text x="{x + 17:.0f}" y="22" fill="#222">{escape(series.name)}</text>'
        )
        x += 34 + 6.2 * len(series.name)
    return parts
