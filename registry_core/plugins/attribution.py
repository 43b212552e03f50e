"""Which plugin raised an error: from an exception to a plugin, a file and a line.

Works on tracebacks and file paths alone.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from registry_core.errors import safe_str, truncate

# Lines that Keras and TensorFlow put around the original message.
_WRAPPING = re.compile(
    r"""(\w+:\ )?(
        Exception\ encountered\ when\ calling\ | Arguments\ received\ by\ |
        Graph\ execution\ error: | Detected\ at\ node\ | <stack\ traces | in\ user\ code: |
        \d+\ root\ error\(s\)\ found | Traceback\ \(most\ recent | \[\[ | .*Error\ encountered:$
    )""",
    re.VERBOSE,
)
_FRAME = re.compile(r'File "')
# Colours, the name of the failed operation, the number in a list of errors.
_ORNAMENT = re.compile(r"\x1b\[\d*m|^\{\{\w+ \S*\}\}\s*|\s*\[Op:\S*\]( name: ?)?$|^\(\d+\)\s+")
# TensorFlow re-raises an error with the original's type in its message.
_NAMES_TYPE = re.compile(r"\w*(Error|Exception): ")


def code_location(module: ModuleType) -> Path:
    """The folder of the module's package, or the file of a module outside any package."""
    file = Path(module.__file__ or "")
    alone = "." not in module.__name__ and not hasattr(module, "__path__")
    return file if alone else file.parent


def error_source(error: BaseException, locations: Mapping[str, Path]) -> tuple[str, str] | None:
    """The plugin whose code is deepest in a traceback, and the line.

    Args:
        error: the exception, as it was caught.
        locations: plugin -> its file or folder.

    Returns:
        The plugin and `FILE, line N`; None if no plugin's code is in the traceback.
    """
    found: tuple[str, str] | None = None
    for filename, line in _lines(error):
        file = Path(filename)
        for name, place in locations.items():
            if file == place or place in file.parents:
                found = name, f"{filename}, line {line}"
    return found


def find_hook(error: BaseException, provided: Mapping[str, Collection[object]]) -> str | None:
    """The hook that provided the function or object that raised an error.

    Args:
        error: the exception, as it was caught.
        provided: hook -> the functions and objects that it returned.

    Returns:
        The hook of the first of them in the traceback; None if none of them is there.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        own = frame.f_locals.get("self")
        for hook, objects in provided.items():
            for each in objects:
                if frame.f_code in _codes(each) or (own is not None and own is each):
                    return hook
    return None


def raised_in_host(error: BaseException) -> bool:
    """Whether a line of registry_core raised the error."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(__file__).parents[1] in Path(frames[-1].filename).parents


def why_not_callable(function: Callable[..., object], *arguments: object) -> str | None:
    """Why a plugin's function does not take these arguments, from its signature; None if it does.

    Calling it would raise a TypeError in the host's line, which looks like a bug of the host.
    """
    try:
        inspect.signature(function).bind(*arguments)
    except ValueError:  # a function of C has no signature
        return None
    except TypeError as error:
        return str(error)
    return None


def describe_error(error: BaseException) -> str:
    """The exception in one line: `ValueError: not today`."""
    kind, why = type(error).__qualname__, error_reason(error)
    if not why or _NAMES_TYPE.match(why):
        return why or kind
    return f"{kind}: {why}"


def error_reason(error: BaseException) -> str:
    """The line of an exception's message that gives the reason.

    Keras and TensorFlow put tracebacks and headings into messages; those lines are skipped.
    """
    message = safe_str(error)
    if isinstance(error, KeyError) and "\\n" in message:
        message = str(error.args[0])  # str() quotes a KeyError's message
    lines = [_ORNAMENT.sub("", line.strip()) for line in message.strip().split("\n")]
    in_frame = False  # a frame is followed by its source line
    found: list[str] = []
    for line in lines:
        in_frame = bool(_FRAME.match(line)) or (in_frame and bool(line))
        if line and not in_frame and not _WRAPPING.match(line):
            found.append(line)
            if not line.endswith(":"):  # else what it announces is in the next one
                break
    return truncate(" ".join(found) or lines[0])


def _codes(provided: object) -> list[object]:
    """The code objects of a function, or of the functions among an object's attributes."""
    try:
        functions = [provided, *getattr(provided, "__dict__", {}).values()]
        return [each.__code__ for each in functions if hasattr(each, "__code__")]
    except Exception:  # an attribute raised; the traceback still names the plugin
        return []


def _lines(error: BaseException) -> Iterator[tuple[str, int]]:
    """File and line of each frame, outermost first."""
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename, frame.lineno or 0
    # AutoGraph raises from generated code, and keeps the original frames here
    metadata = getattr(error, "ag_error_metadata", None)
    for frame in getattr(metadata, "translated_stack", None) or ():
        yield frame.filename, frame.lineno
