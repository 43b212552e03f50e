"""Draws the rooms of registry_core and their imports: `python docs/house.py` writes docs/house.svg.

A row is a room, from the command line at the top to the errors at the bottom. A dot in a row
stands for a room that it imports; a larger dot for more files that do. Imports go downward, so
every dot is right of the diagonal. `tests/project/test_house.py` holds the order and the picture.
"""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from html import escape
from pathlib import Path
from textwrap import shorten

CORE = Path(__file__).resolve().parents[1] / "registry_core"
PICTURE = Path(__file__).with_suffix(".svg")

# Each room imports only rooms after it.
ROOMS = (
    "cli",
    "web",
    "terminal",
    "registry",
    "registry_transfers",
    "registry_signatures",
    "registry_sweeps",
    "registry_runs",
    "registry_predict",
    "registry_reader",
    "registry_lists",
    "sweeping",
    "running",
    "results",
    "conformance",
    "transfer",
    "model_import",
    "sweeps",
    "executors",
    "lifecycle",
    "exports",
    "reports",
    "training",
    "notify",
    "promotion",
    "evaluation",
    "signing",
    "store",
    "plugins",
    "data",
    "process",
    "formatting",
    "places",
    "settings",
    "receivers",
    "rules",
    "version_query",
    "refs",
    "cursor",
    "urls",
    "sections",
    "types",
    "tasks",
    "config",
    "records",
    "dataclass",
    "errors",
)

_CELL, _LEFT, _TOP = 24, 560, 96

# Longer purposes are shortened to this many characters.
_CHARACTERS = 62


def room_of(file: Path) -> str:
    """`store` for registry_core/store/index.py, `types` for registry_core/types.py."""
    return file.relative_to(CORE).parts[0].removesuffix(".py")


@cache
def tree(file: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(file.read_text("utf-8"))


@cache
def imported(file: Path) -> frozenset[str]:
    """Every module that a file imports, now or later; not what only a type checker sees."""
    found: set[str] = set()
    pending: list[ast.AST] = [tree(file)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            pending += ast.iter_child_nodes(node)
    return frozenset(found)


def imports_of(file: Path) -> set[str]:
    """The rooms that a file imports."""
    prefix = "registry_core."
    return {name.split(".")[1] for name in imported(file) if name.startswith(prefix)} & set(ROOMS)


def purpose(room: str) -> str:
    """The first sentence of the room's docstring."""
    file = CORE / room / "__init__.py"
    file = file if file.exists() else CORE / f"{room}.py"
    text = ast.get_docstring(tree(file)) or ""
    return text.partition("\n")[0].partition(". ")[0].rstrip(".:")


def picture() -> str:
    """The picture as SVG."""
    files = [file for file in sorted(CORE.rglob("*.py")) if room_of(file) in ROOMS]
    counts = Counter(
        (room_of(file), name) for file in files for name in imports_of(file) - {room_of(file)}
    )
    size = _CELL * len(ROOMS)
    width, height = _LEFT + size + 20, _TOP + size + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for row, room in enumerate(ROOMS):
        y = _TOP + row * _CELL
        shade = "#f6f8fa" if row % 2 else "#ffffff"
        text = escape(shorten(purpose(room), _CHARACTERS, placeholder=" …"))
        number = sum(room_of(file) == room for file in files)
        parts.append(f'<rect y="{y}" width="{width}" height="{_CELL}" fill="{shade}"/>')
        parts.append(
            f'<text x="12" y="{y + 16}" font-weight="bold" fill="#24292f">{room}</text>'
            f'<text x="134" y="{y + 16}" fill="#57606a" text-anchor="end">{number}</text>'
            f'<text x="146" y="{y + 16}" fill="#57606a">{text}</text>'
        )
        x = _LEFT + row * _CELL
        parts.append(
            f'<text transform="translate({x + 15} {_TOP - 6}) rotate(-60)" '
            f'fill="#24292f">{room}</text>'
            f'<rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}" fill="#d0d7de"/>'
        )
        for column, name in enumerate(ROOMS):
            if count := counts[room, name]:
                radius = min(3 + count**0.5, 10)
                colour = "#0969da" if column > row else "#cf222e"
                parts.append(
                    f'<circle cx="{_LEFT + column * _CELL + _CELL / 2}" cy="{y + _CELL / 2}" '
                    f'r="{radius:.1f}" fill="{colour}"><title>{room} imports {name}: {count} '
                    f"{'file' if count == 1 else 'files'}</title></circle>"
                )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture(), "utf-8")
