"""What a version keeps for its report: the worst examples, the plugins' sections, the page itself.

Reports are drawn again later without the plugin and its data. A part that cannot be made is a
warning: a version needs no report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry_core.errors import MlregError, one_line
from registry_core.evaluation.shown_examples import (
    MAX_SECTIONS,
    MAX_SECTIONS_BYTES,
    ShownExample,
    examples_json,
    sections_json,
)
from registry_core.formatting import size
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.record import Artifacts
from registry_core.process.guard import ClosedFilesError
from registry_core.records import EXAMPLES_FILE, REPORT_FILE, SECTIONS_FILE
from registry_core.sections import Section
from registry_core.types import Observer, RunResult

REGISTERED_ALL_THE_SAME = " The version is registered all the same."


@contextmanager
def optional(what: str, observer: Observer) -> Iterator[None]:
    """What goes wrong in the block is a warning that begins with `what`, and no error."""
    try:
        yield
    except ClosedFilesError:
        raise  # files of this run may be among them
    except Exception as error:  # the host's own code may fail too, whatever it raises
        observer.warn(f"{what}: {reason_of(error)}{REGISTERED_ALL_THE_SAME}")


def reason_of(error: Exception) -> str:
    """Why something failed, as a sentence; of a plugin's own MlregError also where."""
    what = getattr(error, "what", "") or one_line(error) or type(error).__qualname__
    if not isinstance(error, MlregError):
        return f"{type(error).__qualname__}: {what}."
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    return f"{what} ({notes[-1]}.)" if notes else what


def save_examples(artifacts: Artifacts, files: Path, context: RunContext) -> list[ShownExample]:
    """Write the worst test examples with what can be seen of their inputs; returns them."""
    shown: list[ShownExample] = []
    with optional("The report does not show the worst examples", context.observer):
        shown = _worst_examples(artifacts, context)
        if shown:
            _write(files / EXAMPLES_FILE, examples_json(shown))
    return shown


def _worst_examples(artifacts: Artifacts, context: RunContext) -> list[ShownExample]:
    from registry_core.evaluation.example_views import with_inputs  # NumPy loads here
    from registry_core.evaluation.worst_examples import worst_examples

    data, observer = artifacts.data, context.observer
    assert data.task is not None  # noqa: S101 - load_data found it
    worst = worst_examples(artifacts.evaluation, data.task, artifacts.results)
    if not data.show_inputs:
        return worst
    inputs: Mapping[int, Any] = {}
    with (
        optional("The report does not show the inputs of the worst examples", observer),
        context.plugins.attribute_errors("mlreg_dataset"),
    ):
        inputs = artifacts.backend.inputs_at(data.test, [each.index for each in worst])
        if far := len(worst) - len(inputs):
            observer.say(
                f"The report shows {far:,} of the {len(worst):,} worst examples without their "
                "input: they are too far into the stream to be read again."
            )
    shown, missing = with_inputs(worst, inputs)
    if missing:
        observer.warn(f"The report shows no pictures of the worst examples: {missing}")
    return shown


def save_sections(result: RunResult, files: Path, context: RunContext) -> list[Section]:
    """Write the sections that plugins add to the report; returns them."""
    kept: list[Section] = []
    observer = context.observer
    with optional("The report lacks the sections of plugins", observer):
        made = context.plugins.collect("mlreg_report_sections", Section, result=result)
        for section in made:
            more = len(sections_json([*kept, section]))
            if len(kept) == MAX_SECTIONS or more > MAX_SECTIONS_BYTES:
                observer.warn(
                    f"The report lacks the section '{section.title}': plugins may add "
                    f"{MAX_SECTIONS} sections of {size(MAX_SECTIONS_BYTES)} together."
                )
                continue
            kept.append(section)
        if kept:
            _write(files / SECTIONS_FILE, sections_json(kept))
    return kept


def save_report(
    record: Mapping[str, Any],
    artifacts: Artifacts,
    examples: Sequence[ShownExample],
    sections: Sequence[Section],
    figures: Sequence[Path],
    files: Path,
    observer: Observer,
) -> None:
    """Write the report as one HTML page.

    Args:
        record: what the manifest will say, with the model and the run's id.
        artifacts: what the run made.
        examples: the worst ones.
        sections: of plugins.
        figures: that plugins drew.
        files: the version's folder.
        observer: receives warnings.
    """
    with optional("The report is missing", observer):
        from registry_core.reports import render_run_report  # Jinja2 loads here

        by_path = {figure.relative_to(files).as_posix(): figure for figure in figures}
        page = render_run_report(record, artifacts.results, examples, sections, by_path)
        _write(files / REPORT_FILE, page.encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.is_symlink() or path.parent.is_symlink():  # a plugin may have left one
        raise FileExistsError(f"{path.name} is a link")
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise
