"""The one grammar for naming a version, used by every command.

    name           the latest version, in commands that change nothing
    name@3         version 3; also name@v3
    name@latest    the newest version
    name@best      the version with the best score
    name@production   the version that holds an alias
    name@sha256:abcd  the version whose digest starts with these hex digits

Two words work wherever one reference does: `flowers 3` is `flowers@3`. Parsing does not check which
models, versions and aliases exist.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError

NAME = r"[a-z][a-z0-9_-]{0,63}"

# [0-9] and not \d, which matches the digits of every script; 18 digits fit SQLite's integers
_NUMBER = r"v?([0-9]{1,18})"
_DIGEST = r"sha256:([0-9a-fA-F]{4,64})"

_SELECTORS = "a number, latest, best, an alias, or sha256: with at least 4 hex digits"

# NAME in words
_CHARACTERS = "a-z first, then a-z, 0-9, '_' and '-', at most 64 characters"

# separators of other tools between a name and a version
_SEPARATORS = re.compile(r"[:#/@]+")

_RESERVED = "latest, best, numbers, and v with a number"

Kind = Literal["none", "number", "latest", "best", "alias", "digest"]


@dataclass(frozen=True)
class Ref:
    """A parsed reference; the version may not exist.

    Args:
        model: the registered name.
        kind: the kind of the selector.
        selector: the number without its v, the alias, `latest`, `best`, or `sha256:` and the
            first hex digits; None for a name alone.
    """

    model: str
    kind: Kind = "none"
    selector: str | None = None

    def __str__(self) -> str:
        return self.model if self.selector is None else f"{self.model}@{self.selector}"

    @property
    def number(self) -> int | None:
        return int(self.selector) if self.selector and self.kind == "number" else None

    @property
    def digest_prefix(self) -> str | None:
        if self.selector is None or self.kind != "digest":
            return None
        return self.selector.removeprefix("sha256:")


class MisspelledReferenceError(UsageError):
    """A misspelt reference whose correct form is known, such as `flowers:3`.

    Args:
        typed: the reference as it was typed.
        meant: the correct form.
    """

    def __init__(self, typed: str, meant: str) -> None:
        super().__init__(
            f"{shown(typed)} is not a reference.",
            f"A version is written MODEL@VERSION: {meant}.",
            f"mlreg show {meant}",
        )
        self.typed = typed
        self.meant = meant

    def corrected(self, words: Sequence[str]) -> str:
        """The command line with the reference corrected."""
        fixed = (self.meant if word == self.typed else word for word in words)
        return shlex.join(["mlreg", *fixed])


def spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers: 1, 2, 3, 5 are (1, 3) and (5, 5)."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found


def series(model: str, numbers: Iterable[int]) -> str:
    """Versions of one model, shortened: `flowers@1 … flowers@5, flowers@9`."""
    parts = []
    for first, last in spans(numbers):
        between = " … " if last - first > 1 else ", "
        ends = dict.fromkeys((first, last))
        parts.append(between.join(f"{model}@{number}" for number in ends))
    return ", ".join(parts)


def parse_ref(text: str, second: str | None = None) -> Ref:
    """Parse `name`, `name@selector`, or the two as separate words.

    Args:
        text: the first word.
        second: the second word, or None.

    Raises:
        UsageError: the name or the selector is invalid, or there are two selectors.
    """
    name, at, selector = text.partition("@")
    if guess := _guess(text):
        raise MisspelledReferenceError(text, guess)
    check_model_name(name)
    if second is not None:
        if at:
            raise UsageError(
                f"{shown(text)} already names a version, and {shown(second)} names another.",
                "Use one of them.",
                f"mlreg show {name}",
            )
        selector = second
    elif not at:
        return Ref(name)
    if selector in ("latest", "best"):
        return Ref(name, "latest" if selector == "latest" else "best", selector)
    if found := re.fullmatch(_NUMBER, selector):
        return Ref(name, "number", str(int(found[1])))
    if found := re.fullmatch(_DIGEST, selector):
        return Ref(name, "digest", f"sha256:{found[1].lower()}")
    if re.fullmatch(NAME, selector) and not _is_reserved(selector):
        return Ref(name, "alias", selector)
    raise UsageError(
        f"{shown(selector)} is not a version of {name}.",
        f"A version is {_SELECTORS}.",
        f"mlreg list {name}",
    )


def parse_words(words: Sequence[str]) -> Ref:
    """Parse the words of a command that takes one reference: `flowers@3`, or `flowers 3`.

    Raises:
        UsageError: there is no word, more than two, or they are not a reference.
    """
    if not words:
        raise UsageError("No model is named.", "Name a version, such as flowers@3.", "mlreg list")
    if len(words) > 2:
        raise _too_many(words[2:], "mlreg list")
    return parse_ref(*words)


def parse_model(text: str) -> str:
    """Parse the name of a model, for a command about all its versions, such as `mlreg list`.

    Raises:
        UsageError: it names a version, or cannot be a name.
    """
    try:
        ref = parse_ref(text)
    except MisspelledReferenceError as error:
        ref = parse_ref(error.meant)
    if ref.selector is not None:
        raise UsageError(
            f"{shown(text)} is one version; this command takes a model's name.",
            f"All its versions: mlreg list {ref.model}",
            f"mlreg show {ref}",
        )
    return check_model_name(text)


def parse_target(
    words: Sequence[str], after: int = 1, command: str = "promote"
) -> tuple[Ref, list[str]]:
    """Parse a reference that must name a version, and the words after it.

    `flowers@3 production` and `flowers 3 production` are the same.

    Args:
        words: the words after the command's name.
        after: how many words follow the reference.
        command: the command's name, for the message.

    Raises:
        UsageError: the reference is invalid, names no version, or the number of words is wrong.
    """
    if not words:
        raise UsageError("No version is named.", "Name one, such as flowers@3.", "mlreg list")
    together = "@" in words[0]
    used = 1 if together else 2
    ref = parse_ref(words[0])
    if len(words) > used + after:
        raise _too_many(words[used + after :], f"mlreg {command} --help")
    if len(words) == used + after:
        ref = ref if together else parse_ref(words[0], words[1])
        return ref, list(words[used:])
    if together or (len(words) == 2 and is_selector(words[1])):
        ref = ref if together else parse_ref(*words)
        raise UsageError(
            "Which alias?", "Name it after the version.", f"mlreg {command} {ref} production"
        )
    rest = [word for word in words[1:] if re.fullmatch(NAME, word)]
    raise UsageError(
        f"Which version of {ref.model}?",
        "A name alone means the latest version only in commands that change nothing.",
        " ".join(["mlreg", command, f"{ref.model}@latest", *(rest or ["production"][:after])]),
    )


def is_selector(text: str) -> bool:
    """Whether a word can only be a selector, and not the name of a model."""
    return bool(re.fullmatch(_DIGEST, text)) or _is_reserved(text)


def parse_many(
    words: Sequence[str], is_model: Callable[[str], bool], command: str = "compare"
) -> list[Ref]:
    """Parse several references, each one word or two: `flowers@1 flowers@2`, `flowers 1 flowers 2`.

    Args:
        words: the words.
        is_model: whether a model with this name is registered; such a word starts a reference.
        command: which command's words they are.

    Raises:
        UsageError: a word is not a reference, or a number has no model before it.
    """
    found: list[Ref] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if found and is_selector(word):
            fixed = [f"{ref.model}@latest" if ref.selector is None else str(ref) for ref in found]
            more = [f"{found[-1].model}@{each}" for each in (word, *pending) if is_selector(each)]
            raise UsageError(
                f"{shown(word)} has no model.",
                "Write the model before each version.",
                f"mlreg {command} {' '.join([*fixed, *more])}",
            )
        second = pending[0] if pending and "@" not in word else None
        together = second is not None and (
            is_selector(second) or (re.fullmatch(NAME, second) and not is_model(second))
        )
        found.append(parse_ref(word, pending.pop(0) if together else None))
    return found


def check_model_name(text: str) -> str:
    """Return `text` if it can name a model.

    Raises:
        UsageError: it cannot; the message shows the pattern.
    """
    if not re.fullmatch(NAME, text):
        raise UsageError(
            f"{shown(text)} cannot be a model's name.",
            f"A name has {_CHARACTERS}.",
            "mlreg list",
        )
    return text


def check_new_model_name(text: str) -> str:
    """Return `text` if a new model can have this name.

    Raises:
        UsageError: it cannot be a name, or is a reserved word.
    """
    if _is_reserved(check_model_name(text)):
        raise UsageError(
            f"The name {shown(text)} is reserved.",
            f"Reserved names: {_RESERVED}.",
        )
    return text


def check_alias_name(text: str) -> str:
    """Return `text` if it can name an alias.

    Raises:
        UsageError: it cannot; the message shows the pattern.
    """
    if not re.fullmatch(NAME, text) or _is_reserved(text):
        raise UsageError(
            f"{shown(text)} cannot be an alias.",
            f"An alias has {_CHARACTERS}; reserved: {_RESERVED}.",
        )
    return text


def shown(text: str) -> str:
    """`text` quoted for a message: truncated, and escaped so that it cannot move the cursor."""
    return ascii(text) if len(text) <= 64 else f"{text[:64]!a}… ({len(text)} characters)"


def _guess(text: str) -> str | None:
    """`flowers@3` for `flowers:3`, `flowers#3`, `flowers/3` or `FLOWERS@3`; None for others."""
    if len(text) > 200:
        return None
    name, selector, *rest = [*_SEPARATORS.split(text.lower()), "", ""]
    whole = f"{name}@{selector}" if selector else name
    well_formed = re.fullmatch(NAME, name) and (
        not selector or re.fullmatch(rf"{NAME}|{_NUMBER}|{_DIGEST}", selector)
    )
    if whole == text or any(rest) or not well_formed or re.search(r"sha256|@$", text):
        return None
    return whole if selector or text.lower() != text else None


def _is_reserved(text: str) -> bool:
    return text in ("latest", "best") or re.fullmatch(r"v?[0-9]+", text) is not None


def _too_many(words: Sequence[str], command: str) -> UsageError:
    return UsageError(
        f"Too many words: {', '.join(shown(word) for word in words[:3])}.",
        "A version is MODEL@VERSION, or the two as separate words.",
        command,
    )
