"""The stylesheet's colours have enough contrast, in light and in dark, and it loads nothing."""

from __future__ import annotations

import itertools
import re

import pytest
from sample_page import THEME

from registry_core.reports.charts.heatmap import LEVELS

CSS = THEME.read_text("utf-8")


def tokens(scheme: str) -> dict[str, str]:
    """The variables of a scheme; dark has those of light, overridden."""
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#\w+)", light))
    return found | (dict(re.findall(r"--([\w-]+): (#\w+)", dark)) if scheme == "dark" else {})


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_defined():
    """Black on white is 21:1."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme):
    """4.5:1 for every text on every background that it stands on."""
    found = tokens(scheme)
    grounds = ("page", "surface", "sunken", "hover")
    pairs = [*itertools.product(("ink", "soft", "accent", "bad", "good", "warn"), grounds)]
    pairs += [(name, f"{name}-soft") for name in ("accent", "good", "bad", "warn")]
    pairs += [("ink", "accent-soft"), ("accent-ink", "accent")]
    low = {pair: round(contrast(found[pair[0]], found[pair[1]]), 2) for pair in pairs}
    assert not {pair: value for pair, value in low.items() if value < 4.5}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_and_controls_can_be_seen(scheme):
    """3:1 for graphics and for the borders of what can be typed into or pressed."""
    found = tokens(scheme)
    names = [*(f"s{each}" for each in range(9)), "control"]
    low = {name: round(contrast(found[name], found["surface"]), 2) for name in names}
    assert not {name: value for name, value in low.items() if value < 3}
    assert contrast(found["control"], found["page"]) >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_in_a_heatmap_can_be_read(scheme):
    """4.5:1 on each colour; and each step is darker, or lighter, than the one before."""
    found = tokens(scheme)
    for hue in "hn":
        names = ["h0", *(f"{hue}{level}" for level in range(1, LEVELS + 1))]
        for level, name in enumerate(names):
            text = "on-low" if level <= LEVELS // 2 else "on-high"
            assert contrast(found[text], found[name]) >= 4.5, (name, text)
        shades = [luminance(found[name]) for name in names]
        assert shades == sorted(shades, reverse=scheme == "light")


def test_every_variable_is_defined_and_used():
    """No colour is forgotten in the dark, and none is left over."""
    light, dark = tokens("light"), tokens("dark")
    only_dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[1]
    assert set(light) == set(dark) == set(re.findall(r"--([\w-]+): #", only_dark))
    used = set(re.findall(r"var\(--([\w-]+)\)", CSS))
    defined = set(re.findall(r"--([\w-]+):", CSS))
    assert used == defined


def test_the_stylesheet_loads_nothing_and_adapts():
    """No font and no picture from elsewhere; print, dark, less motion, forced colours."""
    assert "url(" not in CSS and "@import" not in CSS and "</" not in CSS
    for query in (
        "screen and (prefers-color-scheme: dark)",
        "prefers-reduced-motion",
        "forced-colors: active",
        "@media print",
    ):
        assert query in CSS
