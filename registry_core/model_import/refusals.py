"""Errors about a model file from elsewhere, with short quotes of its content."""

from __future__ import annotations

from registry_core.errors import IntegrityError, RefusedError

WEIGHTS = "model.weights.h5"


def shorten(value: object) -> str:
    """A value from the file, shortened to fit a line of text."""
    return f"{value!r:.80}" if not isinstance(value, str) else f"'{value:.80}'"


def malformed(how: str) -> IntegrityError:
    """The error for a file that is not as Keras writes it; `how` continues `The file …`."""
    return IntegrityError(
        f"The file {how}.",
        "Nothing was imported. Import the file as model.save('model.keras') wrote it.",
    )


def reaches_outside(how: str) -> RefusedError:
    """The error for weights that refer to other files or programs."""
    return RefusedError(
        f"The file's {WEIGHTS} reaches outside itself: {how}.",
        "No reference was followed. Import the file as model.save('model.keras') wrote it.",
    )


def pickled() -> RefusedError:
    return RefusedError(
        "The file is a pickle, or contains one: reading it would run its code.",
        "If you trust it, build the model with Keras and save it as .keras.",
    )
