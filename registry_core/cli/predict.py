"""`mlreg predict`: what a version says of files, folders and standard input."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_core.cli.app import OUTPUT, app, completed_by, session
from registry_core.cli.options import JsonOption
from registry_core.cli.registered import watched
from registry_core.errors import MlregError, UsageError
from registry_core.process import streams
from registry_core.refs import NAME, Ref, is_selector, parse_ref
from registry_core.terminal import output

if TYPE_CHECKING:
    from typing import BinaryIO

    from registry_core.lifecycle.predict import Predictions
    from registry_core.registry import Registry

# A command to type has at most this many words of the user.
_NAMED = 4

# More than any model has, and than any memory holds: what a typing error may be.
_MOST = 1_000_000


@app.command(
    examples=(
        "mlreg predict cifar10@production photos/ cat.png",
        "mlreg predict cifar10@3 photos/ --review page.html",
        "mlreg predict table@latest houses.csv --csv",
        "mlreg predict text@production -",
    )
)
def predict(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[@VERSION] FILE...",
            help="A version, and files or folders; - is standard input.",
            autocompletion=completed_by("reference, files"),
        ),
    ],
    top: Annotated[
        int, typer.Option(min=1, max=_MOST, metavar="N", help="Show the N most likely classes.")
    ] = 3,
    review: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Write a page of the examples and what they are taken for.",
            autocompletion=completed_by("files"),
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing page.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, max=_MOST, metavar="N", help="Predict N examples at a time."),
    ] = None,
    stdin_suffix: Annotated[
        str,
        typer.Option(metavar=".SUFFIX", help="Read standard input as such a file: .jsonl."),
    ] = "",
    as_csv: Annotated[
        bool,
        typer.Option("--csv", help="Print CSV, line by line.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: JsonOption = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q", "--quiet", help="Print only the answers, one a line.", rich_help_panel=OUTPUT
        ),
    ] = False,
) -> None:
    """Predict files with a version, as its plugin reads them.

    A picture is an example; a table has one in each row, a text file in each line. What cannot be
    read is named, and the rest is predicted: the exit status is then 4.
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other.", "Leave one out.")
    registry = session.open()
    ref, paths = _reference_and_paths(words, registry)
    page = _Page(words, review, overwrite) if review is not None else None
    live = not (as_csv and streams.out().isatty())
    show = _csv if as_csv else _answers if quiet else None
    with watched(quiet or not live) as (observer, interrupts):
        batches: Iterable[Predictions] = registry.predict_batches(
            ref,
            paths,
            top=top,
            batch_size=batch_size,
            stdin=_stdin(paths),
            stdin_suffix=stdin_suffix,
            observer=observer,
            interrupts=interrupts,
        )
        if page is not None:
            batches = page.noted(batches)
        found = registry.join_predictions(show(batches) if show else batches)
    _tell(found, as_json, show is not None)
    if page is not None:
        page.write(found)
    if found.error is not None:
        raise found.error


def _tell(found: Predictions, as_json: bool, shown: bool) -> None:
    """Show all predictions, if they were not shown as they came."""
    if as_json:
        output.print_json(found.to_json())
    elif found.predictions and not shown:
        from registry_core.terminal.tables.predictions import show_predictions

        show_predictions(found)
    if found.score == "score" and not as_json:
        output.print_note(
            "The numbers are scores: the model's loss does not say whether its outputs are logits "
            "or probabilities."
        )


def _csv(batches: Iterable[Predictions]) -> Iterator[Predictions]:
    """Print each batch as rows of CSV, with a row of names before the first."""
    from registry_core.terminal.tables.predictions import csv_rows

    header = True
    for batch in batches:
        if batch.predictions:
            for line in csv_rows(batch, header):
                output.print_text(line)
            header = False
        yield _light(batch)


def _answers(batches: Iterable[Predictions]) -> Iterator[Predictions]:
    from registry_core.formatting import literal

    for batch in batches:
        output.print_references(literal(each.answer) for each in batch)
        yield _light(batch)


def _light(batch: Predictions) -> Predictions:
    """The batch without its inputs, which the next batches need not wait for."""
    return replace(batch, inputs=None)


class _Page:
    """The page of `--review`.

    Args:
        words: the version and the files, as they were typed.
        path: where to write it.
        overwrite: whether it may replace a file.
    """

    def __init__(self, words: Sequence[str], path: Path, overwrite: bool) -> None:
        from registry_core.exports.outputs import Output
        from registry_core.reports.html import ENDINGS
        from registry_core.reports.review import Review

        named = shlex.join(words) if len(words) <= _NAMED else f"{shlex.quote(words[0])} FILE"
        command = f"mlreg predict {named} --review"
        fallback = Path("review.html") if str(path) == "-" else path
        self._output = Output(path, False, overwrite, command, fallback, endings=ENDINGS)
        with _named_by_review():
            self._output.check()
        self._review = Review()

    def noted(self, batches: Iterable[Predictions]) -> Iterator[Predictions]:
        for batch in batches:
            self._review.add(batch.predictions, batch.inputs)
            yield batch

    def write(self, found: Predictions) -> None:
        lost = [(each.name, each.why) for each in found.unreadable]
        text = self._review.page(found.version.ref, found.score, lost)
        with _named_by_review():
            self._output.write_text(text)
        output.print_note(f"Wrote {self._output.path}")


@contextmanager
def _named_by_review() -> Iterator[None]:
    """Name this command's option in errors about the file that is written."""
    try:
        yield
    except MlregError as error:
        error.remedy = error.remedy.replace(" -o", " --review")
        raise


def _reference_and_paths(words: Sequence[str], registry: Registry) -> tuple[Ref, list[str]]:
    """Split the words into a reference, of one word or two, and paths.

    The second word is a version if it is a number, `latest` or `best`, or an alias of the model
    where there is no file of that name.
    """
    first, *rest = words
    if not rest or "@" in first:
        return parse_ref(first), _some(first, rest)
    second = rest[0]
    if is_selector(second):
        return parse_ref(first, second), _some(f"{first}@{second}", rest[1:])
    may_be_alias = re.fullmatch(NAME, second) and not Path(second).exists()
    if may_be_alias and second in registry.aliases(parse_ref(first).model):
        return parse_ref(first, second), _some(f"{first}@{second}", rest[1:])
    return parse_ref(first), rest


def _some(ref: str, paths: list[str]) -> list[str]:
    if not paths:
        raise UsageError(
            "No file is named.",
            "Name files or folders after the version; - is standard input.",
            f"mlreg predict {ref} FILE",
        )
    return paths


def _stdin(paths: Sequence[str]) -> BinaryIO | None:
    """Standard input, if a path names it; on a terminal, with how to end it."""
    from registry_core.data.input_files import STANDARD_INPUT

    if STANDARD_INPUT not in paths:
        return None
    stdin: Any = sys.stdin
    if not streams.is_usable(stdin):
        raise UsageError("Standard input is closed.", "Name a file.")
    try:
        descriptor = stdin.fileno()
    except (OSError, ValueError, AttributeError):
        raise UsageError("Standard input is not a file.", "Name a file.") from None
    if os.isatty(descriptor):
        output.print_note("Reading standard input; Ctrl-D ends it.")
    binary: BinaryIO = stdin.buffer
    return binary
