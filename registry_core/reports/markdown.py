"""Markdown and YAML of texts that may hold anything, without letting them become markup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from registry_core.formatting import literal

_MARKUP = re.compile(r"([\\`*\[\]<>|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
# at the beginning of a line these would start a list, a heading or a rule
_LINE_START = re.compile(r"^(\d*)([-+=#.)])")


def escaped(text: object) -> str:
    """Markdown inside a line that shows the text as it is.

    Line ends and control characters appear as their escapes, so a text cannot leave its cell.
    """
    return _MARKUP.sub(r"\\\1", literal(str(text)).strip())


def paragraph(text: object) -> str:
    """A line of its own that shows the text as it is."""
    return _LINE_START.sub(r"\1\\\2", escaped(text))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; every cell is shown as it is, and None is an empty one."""
    lines = [_row(columns), _row(["---"] * len(columns), raw=True)]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Sequence[object], raw: bool = False) -> str:
    texts = ["" if cell is None else str(cell) if raw else escaped(cell) for cell in cells]
    return f"| {' | '.join(texts)} |"


def bullets(items: Iterable[str]) -> str:
    """A list; every item is shown as it is."""
    return "\n".join(f"- {paragraph(item)}" for item in items)


def code(text: str, language: str) -> str:
    """A block of code, fenced by more backticks than are in it."""
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def yaml(value: object, indent: int = 0) -> str:
    """A mapping, list, text, number or boolean as YAML, in block style.

    Texts, and keys that are not plain words, are quoted: `no`, `1e3` and `a: b` stay texts.
    """
    margin = " " * indent
    if isinstance(value, Mapping):
        return "".join(
            f"{margin}{_key(key)}:{_nested(inner, indent)}" for key, inner in value.items()
        )
    if isinstance(value, list | tuple):
        # the item's first line stands behind the dash
        return "".join(f"{margin}- {yaml(each, indent + 2).lstrip(' ')}" for each in value)
    return f"{margin}{_scalar(value)}\n"


def _nested(value: object, indent: int) -> str:
    if isinstance(value, Mapping | list | tuple) and value:
        return "\n" + yaml(value, indent + 2)
    if isinstance(value, Mapping | list | tuple):
        return " []\n" if isinstance(value, list | tuple) else " {}\n"
    return f" {_scalar(value)}\n"


def _key(key: str) -> str:
    plain = re.fullmatch(r"[a-z][a-z0-9_-]*", key) and key not in ("y", "n", "yes", "no", "on")
    return key if plain and key not in ("off", "true", "false", "null") else _quoted(key)


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = repr(value)
        # YAML 1.1 reads 1e-05 as a text
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """As JSON quotes it, with every character escaped that YAML does not take as it is."""
    return "".join(map(_printable, json.dumps(text, ensure_ascii=False)))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
