"""Texts and numbers inside a chart: escaped, measured without a font, and written for people."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from markupsafe import escape

# The size of a chart's text on a small screen, in units of its viewBox; theme.css has the same.
FONT = 14

# what neither XML nor HTML may hold, and what turns the direction of the text after it
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd"
    "\U00010000-\U0010ffff]"
)
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NARROW = frozenset("ijl.,:;'|!()[]{}ftr ·I/\\")
_WIDE = frozenset("mwMW@%&—…")


def clean(text: str) -> str:
    """One line of text; what a page may not hold is shown as its code."""
    return " ".join(_FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text).split())


def html(text: str) -> str:
    """The text for HTML or SVG, with nothing in it that is markup."""
    return str(escape(clean(text)))


def width(text: str, size: float = FONT) -> float:
    """About how wide a text is in a common font, in the unit of `size`; rather more than less."""
    return size * sum(_em(character) for character in text)


@cache
def _em(character: str) -> float:
    if character in _NARROW:
        return 0.36
    if character in _WIDE or unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if unicodedata.combining(character):
        return 0.0
    return 0.7 if character.isupper() else 0.62


def shortened(text: str, room: float, size: float = FONT) -> str:
    """The text, cut with `…` if it is wider than `room`."""
    text = clean(text)
    if width(text[:400], size) <= room and len(text) <= 400:
        return text
    kept, used = "", width("…", size)
    for character in text:
        used += width(character, size)
        if used > room:
            break
        kept += character
    return f"{kept.rstrip()}…"


def finite(value: object) -> float | None:
    """A number as a float; None if it is none, not finite, or too large for one."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def at(value: float) -> str:
    """A coordinate: one decimal is finer than a screen shows."""
    return f"{value:.1f}".removesuffix(".0").replace("-0", "-0" if value <= -0.05 else "0")


def number(value: float | None) -> str:
    """A value with about four digits: 0.7801, 1,234.5, 1.235×10⁻⁷; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1e9 or size < 1e-4:
        return power(value, 4)
    if size >= 1e6:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if size >= 1000 else f"{value:.4g}"


def column(values: Sequence[float | None]) -> list[str]:
    """The values of one column, with the same decimals wherever that is readable."""
    texts = [number(value) for value in values]
    if any(text[-1] in "⁰¹²³⁴⁵⁶⁷⁸⁹" for text in texts):
        return texts
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    return ["–" if value is None else f"{value:,.{decimals}f}" for value in values]


def power(value: float, digits: int) -> str:
    """With a power of ten: 2×10⁻⁵, 10⁶."""
    if not value:
        return "0"
    mantissa, _, exponent = f"{value:.{max(digits - 1, 0)}e}".partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").removesuffix(".")
    ten = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return {"1": ten, "-1": f"-{ten}"}.get(mantissa, f"{mantissa}×{ten}")


def minus(text: str) -> str:
    """With the sign that is as wide as a digit."""
    return text.replace("-", "−")
