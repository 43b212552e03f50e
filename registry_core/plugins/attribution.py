"""Whose code raised: from an exception to a plugin, a file and a line.

Knows tracebacks and folders; what a plugin is, only by where its files are.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from registry_core.errors import safe_str, truncate

# Lines that Keras and TensorFlow put before and between what was raised.
_SAYS_NOTHING = re.compile(
    r"""(\w+:\ )?(
        Exception\ encountered\ when\ calling\ | Arguments\ received\ by\ |
        Graph\ execution\ error: | Detected\ at\ node\ | <stack\ traces | in\ user\ code: |
        \d+\ root\ error\(s\)\ found | Traceback\ \(most\ recent | \[\[ | .*Error\ encountered:$
    )""",
    re.VERBOSE,
)
_FRAME = re.compile(r'File "')
# Colours; the function or the operation that failed; a number in a list of errors.
_ORNAMENT = re.compile(r"\x1b\[\d*m|^\{\{\w+ \S*\}\}\s*|\s*\[Op:\S*\]( name: ?)?$|^\(\d+\)\s+")
# What was raised is named in its own message: TensorFlow raised it anew.
_NAMES_ITSELF = re.compile(r"\w*(Error|Exception): ")


def home(module: ModuleType) -> Path:
    """The folder of the module's package, or the file of a module that is alone."""
    file = Path(module.__file__ or "")
    alone = "." not in module.__name__ and not hasattr(module, "__path__")
    return file if alone else file.parent


def culprit(error: BaseException, homes: Mapping[str, Path]) -> tuple[str, str] | None:
    """The plugin whose code raised, and the deepest line of its own code on the way.

    Args:
        error: as it was caught.
        homes: plugin -> its file or folder.

    Returns:
        The plugin and `FILE, line N`; None where no plugin's code was on the way.
    """
    found: tuple[str, str] | None = None
    for filename, line in _lines(error):
        file = Path(filename)
        for name, place in homes.items():
            if file == place or place in file.parents:
                found = name, f"{filename}, line {line}"
    return found


def hook_of(error: BaseException, provided: Mapping[str, Collection[object]]) -> str | None:
    """The hook that provided what raised.

    Args:
        error: as it was caught.
        provided: hook -> the functions and objects that it provided.

    Returns:
        The hook of the first of them on the way; None where none is.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        own = frame.f_locals.get("self")
        for hook, objects in provided.items():
            for each in objects:
                if frame.f_code in _codes(each) or (own is not None and own is each):
                    return hook
    return None


def raised_by_host(error: BaseException) -> bool:
    """Whether the line that raised is one of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(__file__).parents[1] in Path(frames[-1].filename).parents


def said(error: BaseException) -> str:
    """The exception as one line: `ValueError: not today`."""
    kind, why = type(error).__qualname__, reason(error)
    if not why or _NAMES_ITSELF.match(why):
        return why or kind
    return f"{kind}: {why}"


def reason(error: BaseException) -> str:
    """The line of an exception's message that says why: the first that is no frame of it."""
    message = safe_str(error)
    if isinstance(error, KeyError) and "\\n" in message:
        message = str(error.args[0])  # str() made one quoted line of it
    lines = [_ORNAMENT.sub("", line.strip()) for line in message.strip().split("\n")]
    in_frame = False  # a frame's source stands below it
    for line in lines:
        in_frame = bool(_FRAME.match(line)) or (in_frame and bool(line))
        if line and not in_frame and not _SAYS_NOTHING.match(line):
            return truncate(line)
    return truncate(lines[0])


def _codes(provided: object) -> list[object]:
    """The code of a function, or of the functions that an object was given to call."""
    try:
        functions = [provided, *getattr(provided, "__dict__", {}).values()]
        return [each.__code__ for each in functions if hasattr(each, "__code__")]
    except Exception:  # attributes that raise; the traceback still names the plugin
        return []


def _lines(error: BaseException) -> Iterator[tuple[str, int]]:
    """File and line of each step, from the call that failed to the one that raised."""
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename, frame.lineno or 0
    # TensorFlow raises anew from code that it made of the plugin's, and keeps whence it came
    metadata = getattr(error, "ag_error_metadata", None)
    for frame in getattr(metadata, "translated_stack", None) or ():
        yield frame.filename, frame.lineno
