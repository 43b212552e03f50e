"""From numbers to places on an axis, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from registry_core.dataclass import dataclass
from registry_core.reports.charts.words import number, power, shortened

# Beyond these, sums and differences of floats overflow or vanish; an axis counts in a unit then.
_HUGE, _TINY = 1e150, 1e-150


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, drawn from `start` to `end`.

    Args:
        low: the smallest value, in units.
        high: the largest, in units; equal to `low` if there is one value only.
        start: where `low` is drawn.
        end: where `high` is.
        is_log: whether equal steps are equal factors.
        unit: what values are divided by; 1 unless they are huge or tiny.
        step: between the ticks for which it was rounded, in units; 0 if it was not.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    unit: float = 1.0
    step: float = 0.0

    def place(self, value: float) -> float:
        """Where a value is drawn; one outside is drawn at the axis's end."""
        if self.low == self.high:
            return (self.start + self.end) / 2
        if self.is_log:
            low, high = math.log10(self.low), math.log10(self.high)
            share = (math.log10(value) - low) / (high - low)
        else:
            share = (value / self.unit - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int, *, whole: bool = False) -> list[tuple[float, str]]:
        """At most about `most` round values with their texts, from low to high."""
        if self.low == self.high:
            return [(self.low * self.unit, number(self.low * self.unit))]
        found = _decades(self.low, self.high, most) if self.is_log else []
        if len(found) >= 2:
            return [(value, _log_text(value)) for value in found]
        step = self.step
        if not step or (self.high - self.low) / step > most:
            step = _step((self.high - self.low) / max(most - 1, 1))
        if whole and self.unit == 1:
            step = max(step, 1.0) if step != 2.5 else 5.0
        first, last = self._multiples(step)
        for _ in range(9):
            if first <= last:
                break
            step = _step(step / 2.5)  # no round value is so near: take the next finer ones
            first, last = self._multiples(step)
        values = [index * step for index in range(first, min(last, first + 50) + 1)]
        return [(value * self.unit, self._text(value, step)) for value in values]

    def _multiples(self, step: float) -> tuple[int, int]:
        """The first and the last multiple of a step that are on the axis."""
        return math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)

    def _text(self, value: float, step: float) -> str:
        largest = max(abs(self.low), abs(self.high)) * self.unit
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        decimals += round(step * 10**decimals, 6) != round(step * 10**decimals)
        if abs(value) < step / 2:
            return "0"
        if self.unit == 1 and 1e-4 <= largest < 1e6 and decimals <= 6:
            return f"{value:,.{decimals}f}"
        spread = math.floor(math.log10(abs(value)) + 1e-9) - math.floor(math.log10(step) + 1e-9)
        return power(value * self.unit, min(max(spread + 2, 1), 15))


@dataclass(frozen=True)
class Named(Scale):
    """An axis whose places 0, 1, 2… have names.

    Args:
        names: of the places.
    """

    names: Sequence[str] = ()

    def ticks(self, most: int, *, whole: bool = False) -> list[tuple[float, str]]:
        """As many names as there is room for, cut where they are too long."""
        every = math.ceil(len(self.names) / max(most, 1))
        taken = self.names[::every]
        room = abs(self.end - self.start) / max(len(taken), 1) - 8
        return [
            (float(place * every), shortened(name, room) or "–") for place, name in enumerate(taken)
        ]


def named_scale(names: Sequence[str], start: float, end: float) -> Named:
    """An axis with a place for each name, and half a step of room at both ends."""
    last = len(names) - 1
    return Named(-0.5, last + 0.5, start, end, names=names)


def scale_of(
    values: Iterable[float],
    start: float,
    end: float,
    *,
    is_log: bool = False,
    from_zero: bool = False,
    rounded: bool = False,
) -> Scale:
    """An axis on which all values have a place.

    Args:
        values: finite numbers, at least one; above 0 for a logarithmic axis.
        start: where the axis starts.
        end: where it ends.
        is_log: whether it is logarithmic.
        from_zero: whether 0 must be on it.
        rounded: whether to end at round numbers.
    """
    low, high = (found := sorted(values))[0], found[-1]
    if is_log:
        is_constant = math.log10(high) - math.log10(low) < 1e-12
        return Scale(low, low if is_constant else high, start, end, is_log=True)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    largest = max(abs(low), abs(high))
    unit = largest if largest and not _TINY < largest < _HUGE else 1.0
    low, high = low / unit, high / unit
    # a difference that is only the rounding of floats is none
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        return Scale(low, low, start, end, unit=unit)
    if rounded:
        if 0 < low < 0.3 * (high - low):
            low = 0.0
        step = _step((high - low) / 5)
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        return Scale(low, high, start, end, unit=unit, step=step)
    return Scale(low, high, start, end, unit=unit)


def _step(rough: float) -> float:
    """The next round number: 1, 2, 2.5 or 5 times a power of ten."""
    base = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 2.5, 5.0):
        if rough <= factor * base * (1 + 1e-9):
            return factor * base
    return 10 * base


def _decades(low: float, high: float, most: int) -> list[float]:
    """Powers of ten, every second or third if there are many; others between if there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / max(most - 1, 1)))
    exponents = [each for each in range(first, last + 1, every) if -308 <= each <= 308]
    found: list[float] = []
    for factors in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        values = (factor * 10.0**exponent for exponent in exponents for factor in factors)
        found = [each for each in values if low * (1 - 1e-9) <= each <= high * (1 + 1e-9)]
        if len(found) <= most + 1:
            break
    return found


def _log_text(value: float) -> str:
    return number(value) if 1e-3 <= value < 1e6 else power(value, 1)
