"""The page that a figure is drawn on: its style, fonts, titles, and how it is written.

Equal input gives equal bytes: no global state of matplotlib is used, and none changes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinguishable with all common colour blindness, and by lightness
TRAINING = "#0072B2"
VALIDATION = "#D55E00"
QUIET = "#888888"

_DOTS_PER_INCH = 150
_LABEL_LENGTH = 24

_STYLE: Mapping[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.titlesize": 11.0,
    "font.size": 10.0,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "text.parse_math": False,  # a class may be called "$5–$10"
    "xtick.color": "#333333",
    "ytick.color": "#333333",
}

# Tried in this order for characters that matplotlib's own font lacks, if installed
_WIDER_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans",
    "Source Han Sans",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "WenQuanYi Micro Hei",
    "Arial Unicode MS",
)


@contextmanager
def picture(path: Path, width: float = 7.0, height: float = 4.2) -> Iterator[Any]:
    """A figure of `width` x `height` inches, written to `path` completely or not at all."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, "font.family": _font_families()})
        figure = Figure(figsize=(width, height), layout="compressed")
        FigureCanvasAgg(figure)
        yield figure
        draft = path.with_name(f".{path.name}.part")
        try:
            # without Software, the bytes do not depend on matplotlib's version number
            figure.savefig(draft, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def set_title(axes: Any, subject: str, shown: str) -> None:
    text = f"{subject}: {shown}" if subject else shown
    letters = int(11 * (axes.figure.get_figwidth() - 1.2))  # what fits above the axes
    axes.set_title(textwrap.fill(text, letters))


def drawable_names(class_names: Sequence[str], classes: int) -> list[str]:
    """A short name for each class that the fonts can draw; otherwise its number."""
    drawable = [_glyphs(family) for family in _font_families()]
    labels = []
    for number in range(classes):
        name = class_names[number] if number < len(class_names) else ""
        name = " ".join(name.split())
        if len(name) > _LABEL_LENGTH:  # keep the end: long names often differ there
            name = f"{name[: _LABEL_LENGTH // 2]}…{name[1 - _LABEL_LENGTH // 2 :]}"
        seen = name and all(any(ord(letter) in font for font in drawable) for letter in name)
        labels.append(name if seen else f"class {number}")
    return labels


def _font_families() -> list[str]:
    installed = set(font_manager.fontManager.get_font_names())
    return ["DejaVu Sans", *(family for family in _WIDER_FONTS if family in installed)]


def _glyphs(family: str) -> Mapping[int, Any]:
    """The code points that a font can draw."""
    glyphs: Mapping[int, Any] = font_manager.get_font(font_manager.findfont(family)).get_charmap()
    return glyphs
