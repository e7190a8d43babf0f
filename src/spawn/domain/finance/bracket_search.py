"""Search of a bracket for every number at which a function is zero, in bounded evaluations.

The search yields numbers and receives the values of the function there, None where it has none, so
that a caller decides when and where each evaluation runs. A scan of equal steps (equal ratios over
a wide positive bracket) finds the changes of sign; Brent's method closes each of them to the last
digits. Between two numbers of the scan the search also follows a value that turns before zero, and
the edge of a part without values. Two zeros inside one step, between which the function does not
turn at a number of the scan, are not seen.

Source of the method: R. P. Brent, Algorithms for Minimization without Derivatives, chapter 4.
"""

import math
import sys
from collections.abc import Generator, Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple, TypeVar

MAX_EVALUATIONS: Final = 1_000
"""Evaluations of one search."""

MAX_INTERVALS: Final = 256
"""Steps of a scan."""

MAX_ZEROS: Final = 20
"""Zeros and jumps that one search closes."""

ZERO_TOLERANCE: Final = 1e-13
"""Size of a value, relative to the scale of the output, that is zero but for rounding."""

_WIDE_RATIO: Final = 100.0
_EPSILON: Final = sys.float_info.epsilon
_MAX_STEPS: Final = 100
_MAX_EDGES: Final = 4
_EDGE_STEPS: Final = 48
_MAX_TURNS: Final = 3
_TURN_STEPS: Final = 44
_GOLDEN_SHARE: Final = (3.0 - math.sqrt(5.0)) / 2.0
_PROBE_SHARE: Final = 1e-2
_STEP_SHARE: Final = 1e-6
_JUMP_SHARE: Final = 1e-6
_JUMP_RATIO: Final = 1e-3
_TOUCH_TOLERANCE: Final = 1e-12

T = TypeVar("T")
Search = Generator[float, "float | None", T]
"""A step of the search: it yields numbers, receives values, and returns its result."""


class Sample(NamedTuple):
    """A number and the value of the function there."""

    number: float
    value: float


class Zero(NamedTuple):
    """A number at which the function is zero, or the first of a range up to `until`."""

    number: float
    value: float
    until: float | None = None


class Jump(NamedTuple):
    """Two neighbours between which the function passes zero without a value near it."""

    below: Sample
    above: Sample


class BracketSearch(NamedTuple):
    """All zeros and jumps of a bracket, in order; `is_complete` unless a limit ended the search.

    `scale` is the size of the output, to which tolerances are relative.
    """

    zeros: tuple[Zero, ...]
    jumps: tuple[Jump, ...]
    nearest: Sample | None
    scale: float
    evaluations: int
    is_complete: bool


class _LimitReached(Exception):
    """The search has used its evaluations."""


def search_bracket(
    low: float, high: float, *, intervals: int, target_size: float = 0.0
) -> Search[BracketSearch]:
    """Search [low, high] for zeros, from a scan of `intervals` steps.

    Args:
        low: the lower end.
        high: the higher end.
        intervals: steps of the scan, from 1 to MAX_INTERVALS.
        target_size: the magnitude of the output that makes the function zero.
    """
    return _Searcher(target_size).search(list_numbers(low, high, intervals))


def search_integers(low: int, high: int, *, target_size: float = 0.0) -> Search[BracketSearch]:
    """Search every integer from `low` to `high`; a jump is two neighbours around zero."""
    return _Searcher(target_size).search_each([float(n) for n in range(low, high + 1)])


def list_numbers(low: float, high: float, intervals: int) -> list[float]:
    """Return the ends and the numbers between them, by equal steps or, if wide, equal ratios."""
    if low > 0.0 and high / low >= _WIDE_RATIO:
        ratio = (high / low) ** (1.0 / intervals)
        inner = [low * ratio**step for step in range(1, intervals)]
    else:
        inner = [low + (high - low) * (step / intervals) for step in range(1, intervals)]
    return [low, *(number for number in inner if low < number < high), high]


class _Searcher:
    """One search with its samples."""

    def __init__(self, target_size: float) -> None:
        self._samples: dict[float, float | None] = {}
        self._target_size = target_size
        self._scale = target_size
        self._zeros: list[Zero] = []
        self._jumps: list[Jump] = []
        self._touches: list[tuple[float, float]] = []

    def search(self, numbers: Sequence[float]) -> Search[BracketSearch]:
        is_complete = True
        try:
            yield from self._scan(numbers)
            yield from self._find_edges(numbers)
            yield from self._find_turns()
            is_complete = yield from self._close_changes()
        except _LimitReached:
            is_complete = False
        return self._summarize(is_complete=is_complete)

    def search_each(self, numbers: Sequence[float]) -> Search[BracketSearch]:
        yield from self._scan(numbers)
        samples = self._list_samples()
        self._zeros = [Zero(*sample) for sample in samples if self._is_zero(sample.value)]
        self._jumps = [Jump(a, b) for a, b in pairwise(samples) if self._changes_sign(a, b)]
        return self._summarize(is_complete=True)

    def _summarize(self, *, is_complete: bool) -> BracketSearch:
        samples = self._list_samples()
        return BracketSearch(
            zeros=tuple(sorted(self._zeros)),
            jumps=tuple(sorted(self._jumps)),
            nearest=min(samples, key=lambda sample: abs(sample.value), default=None),
            scale=self._scale,
            evaluations=len(self._samples),
            is_complete=is_complete,
        )

    def _evaluate(self, number: float) -> Search[float | None]:
        if number in self._samples:
            return self._samples[number]
        if len(self._samples) >= MAX_EVALUATIONS:
            raise _LimitReached
        value = yield number
        if value is not None and not math.isfinite(value):
            value = None
        self._samples[number] = value
        return value

    def _list_samples(self) -> list[Sample]:
        """Return the samples with a value, in order."""
        return [Sample(n, v) for n, v in sorted(self._samples.items()) if v is not None]

    def _is_zero(self, value: float) -> bool:
        return abs(value) <= ZERO_TOLERANCE * self._scale

    def _changes_sign(self, first: Sample, second: Sample) -> bool:
        is_zero = self._is_zero(first.value) or self._is_zero(second.value)
        return not is_zero and (first.value < 0.0) != (second.value < 0.0)

    def _scan(self, numbers: Iterable[float]) -> Search[None]:
        for number in numbers:
            yield from self._evaluate(number)
        sizes = [abs(sample.value) for sample in self._list_samples()]
        # The median is the scale of a function with a pole too; its largest value is not.
        self._scale = max(self._target_size, median(sizes) if sizes else 0.0)

    def _find_edges(self, numbers: Sequence[float]) -> Search[None]:
        """Bisect between a number with a value and a neighbour without one."""
        edges = [
            (a, b) if self._samples[b] is None else (b, a)
            for a, b in pairwise(numbers)
            if (self._samples[a] is None) != (self._samples[b] is None)
        ]
        for inside, outside in edges[:_MAX_EDGES]:
            defined, undefined = inside, outside
            for _ in range(_EDGE_STEPS):
                middle = (defined + undefined) / 2.0
                if middle in {defined, undefined}:
                    break
                if (yield from self._evaluate(middle)) is None:
                    undefined = middle
                else:
                    defined = middle

    def _find_turns(self) -> Search[None]:
        """Follow values that come nearer to zero and turn, up to a zero or beyond it."""
        samples = self._list_samples()
        turns = [
            (a, b, c)
            for a, b, c in zip(samples, samples[1:], samples[2:], strict=False)
            if not self._is_zero(b.value)
            and not self._has_gap(a.number, c.number)
            and (a.value < 0.0) == (b.value < 0.0) == (c.value < 0.0)
            and abs(b.value) <= min(abs(a.value), abs(c.value)) < max(abs(a.value), abs(c.value))
        ]
        turns.sort(key=lambda turn: abs(turn[1].value))
        for first, turn, last in turns[:_MAX_TURNS]:
            yield from self._minimize(first.number, turn, last.number)

    def _has_gap(self, low: float, high: float) -> bool:
        """Return whether a number between two others has no value."""
        return any(v is None for n, v in self._samples.items() if low < n < high)

    def _minimize(self, low: float, turn: Sample, high: float) -> Search[None]:
        """Narrow a turn by golden sections, until it passes zero or has touched it."""
        start, end, sign, lowest = low, high, math.copysign(1.0, turn.value), turn
        for _ in range(_TURN_STEPS):
            is_right = high - lowest.number > lowest.number - low
            far = high if is_right else low
            number = lowest.number + _GOLDEN_SHARE * (far - lowest.number)
            if number in {low, lowest.number, high}:
                break
            value = yield from self._evaluate(number)
            if value is None or (sign * value < 0.0 and not self._is_zero(value)):
                return
            if abs(value) < abs(lowest.value):
                low, high = (lowest.number, high) if is_right else (low, lowest.number)
                lowest = Sample(number, value)
            elif is_right:
                high = number
            else:
                low = number
        if abs(lowest.value) <= _TOUCH_TOLERANCE * self._scale:
            self._zeros.append(Zero(*lowest))
            self._touches.append((start, end))

    def _close_changes(self) -> Search[bool]:
        """Close every change of sign, and extend every zero to its range."""
        samples = [
            sample
            for sample in self._list_samples()
            if not any(low < sample.number < high for low, high in self._touches)
        ]
        yield from self._extend_zeros(samples)
        changes = [
            (a, b)
            for a, b in pairwise(samples)
            if self._changes_sign(a, b) and not self._has_gap(a.number, b.number)
        ]
        for first, second in changes[:MAX_ZEROS]:
            yield from self._close_change(first, second)
        return len(changes) <= MAX_ZEROS

    def _extend_zeros(self, samples: Sequence[Sample]) -> Search[None]:
        """Record the zeros among samples; neighbours with a zero between them are one range."""
        index = 0
        while index < len(samples):
            sample = samples[index]
            index += 1
            if not self._is_zero(sample.value):
                continue
            first, last = sample, sample
            while index < len(samples) and self._is_zero(samples[index].value):
                middle = yield from self._evaluate((last.number + samples[index].number) / 2.0)
                if middle is None or not self._is_zero(middle):
                    break
                last = samples[index]
                index += 1
            before = samples[samples.index(first) - 1].number if first is not samples[0] else None
            after = samples[index].number if index < len(samples) else None
            yield from self._record_zero(first, last, before, after)

    def _record_zero(
        self, first: Sample, last: Sample, before: float | None, after: float | None
    ) -> Search[None]:
        """Record a zero with its range, whose ends lie before neighbours that are not zero."""
        start = first.number if before is None else (yield from self._find_end(first, before))
        end = last.number if after is None else (yield from self._find_end(last, after))
        if end > start:
            value = yield from self._evaluate(start)
            self._zeros.append(Zero(start, value or 0.0, end))
        else:
            self._zeros.append(Zero(*first))

    def _find_end(self, zero: Sample, beyond: float) -> Search[float]:
        """Return the last number towards `beyond` up to which the function is zero.

        Near a zero of several orders a smooth function is small. It is flat only where it is zero
        at some distance, or, as a rounded figure is, has the same value nearby to the last bit.
        """
        for share in (_PROBE_SHARE, _STEP_SHARE):
            probe = zero.number + share * (beyond - zero.number)
            value = yield from self._evaluate(probe)
            if value == zero.value or (share == _PROBE_SHARE and self._is_small(value)):
                return (yield from self._bisect_end(probe, beyond, zero.value))
        return zero.number

    def _is_small(self, value: float | None) -> bool:
        return value is not None and self._is_zero(value)

    def _bisect_end(self, inside: float, outside: float, zero_value: float) -> Search[float]:
        for _ in range(_EDGE_STEPS):
            middle = (inside + outside) / 2.0
            value = yield from self._evaluate(middle)
            if value == zero_value or self._is_small(value):
                inside = middle
            else:
                outside = middle
        return inside

    def _close_change(self, first: Sample, second: Sample) -> Search[None]:
        """Close one change of sign, and record a zero, a range of zeros or a jump."""
        best = yield from self._run_brent(first, second)
        if self._is_zero(best.value):
            yield from self._record_zero(best, best, first.number, second.number)
        elif (yield from self._is_continuous(best, first, second)):
            self._zeros.append(Zero(*best))
        else:
            self._record_jump(first, second)

    def _record_jump(self, first: Sample, second: Sample) -> None:
        """Record the neighbours between which the function passes zero."""
        samples = [s for s in self._list_samples() if first.number <= s.number <= second.number]
        for below, above in pairwise(samples):
            if self._changes_sign(below, above):
                self._jumps.append(Jump(below, above))
                return

    def _is_continuous(self, best: Sample, first: Sample, second: Sample) -> Search[bool]:
        """Return whether the value is small beside the change of the function around it."""
        distance = _JUMP_SHARE * (second.number - first.number)
        before = yield from self._evaluate(max(first.number, best.number - distance))
        after = yield from self._evaluate(min(second.number, best.number + distance))
        if before is None or after is None:
            return False
        return abs(best.value) <= _JUMP_RATIO * abs(after - before)

    def _run_brent(self, first: Sample, second: Sample) -> Search[Sample]:
        """Return the sample nearest to zero, closed to neighbouring floating-point numbers."""
        other, best, last = first, second, first
        step = last_step = best.number - last.number
        for _ in range(_MAX_STEPS):
            if (best.value > 0.0) == (other.value > 0.0):
                other = last
                step = last_step = best.number - last.number
            if abs(other.value) < abs(best.value):
                last, best, other = best, other, best
            width = _EPSILON * max(abs(best.number), _EPSILON * abs(second.number - first.number))
            half = (other.number - best.number) / 2.0
            if abs(half) <= width or best.value == 0.0:
                break
            step, last_step = _choose_step(last, best, other, (step, last_step), width)
            last = best
            move = step if abs(step) > width else math.copysign(width, half)
            number = best.number + move
            value = yield from self._evaluate(number)
            if value is None:
                break
            best = Sample(number, value)
        return min(best, other, key=lambda sample: abs(sample.value))


def _choose_step(
    last: Sample, best: Sample, other: Sample, steps: tuple[float, float], width: float
) -> tuple[float, float]:
    """Return the next step by interpolation if it shortens the bracket fast, else by bisection."""
    step, last_step = steps
    half = (other.number - best.number) / 2.0
    if abs(last_step) < width or abs(last.value) <= abs(best.value):
        return half, half
    ratio = best.value / last.value
    if last.number == other.number:
        numerator, denominator = 2.0 * half * ratio, 1.0 - ratio
    else:
        q, r = last.value / other.value, best.value / other.value
        numerator = ratio * (2.0 * half * q * (q - r) - (best.number - last.number) * (r - 1.0))
        denominator = (q - 1.0) * (r - 1.0) * (ratio - 1.0)
    if numerator > 0.0:
        denominator = -denominator
    numerator = abs(numerator)
    limit = min(3.0 * half * denominator - abs(width * denominator), abs(last_step * denominator))
    if 2.0 * numerator < limit:
        return numerator / denominator, step
    return half, half
