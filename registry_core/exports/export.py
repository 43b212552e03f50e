"""Export of a version's model or figures to a file or folder outside the registry.

A `.keras` export is the registered file itself, checked against its digest. The other formats are
written by Keras and by converters, and run beside the registered model before they appear.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry_core.data.checks import fingerprint
from registry_core.dataclass import dataclass
from registry_core.errors import MlregError, UsageError
from registry_core.evaluation.export_check import ExportCheck, QuantizedTest
from registry_core.evaluation.packing import pack_results
from registry_core.evaluation.paired_tests import compare, resampling_progress
from registry_core.exports.figures import write_figures
from registry_core.exports.files import write_files
from registry_core.exports.formats import EXTRAS, FORMATS, check_int8, choose_format
from registry_core.exports.hub import add_documents
from registry_core.exports.outputs import Output
from registry_core.plugins import custom_code
from registry_core.process import streams
from registry_core.process.requirements import require_extra, require_keras
from registry_core.records import MODEL_FILE, Version
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.types import DataSplits, Observer

# An export is run on the first examples of the test split.
EXAMPLES = 100

# Examples of the training split, evenly spread, that set the ranges of 8-bit activations.
CALIBRATION_EXAMPLES = 300


@dataclass(frozen=True)
class ExportData:
    """A version's dataset, for running its export.

    Args:
        data: the splits, as the backend checked them.
        evaluate: measures a compiled model on a split, as `mlreg evaluate` does.
        fit_loss: compiles an imported model that came without a fitting loss; None for others.
    """

    data: DataSplits
    evaluate: Callable[[Any, Any], Any]
    fit_loss: Callable[[Any], object] | None = None


@dataclass(frozen=True)
class Export:
    """What was written.

    Args:
        path: the file or folder.
        check: what running it found; None for a copy of what is registered.
    """

    path: Path
    check: ExportCheck | None = None


@dataclass(frozen=True)
class ExportRequest:
    """What to write, and where.

    Args:
        form: one of `FORMATS`; None derives it from the path. `savedmodel` writes a folder named
            after the version's number, which TensorFlow Serving finds in the folder `path`;
            `hub`, `figures` and `files` write a folder; the others write a file.
        path: the output; None makes a name in the working folder from model and version.
        overwrite: replace an existing regular file; a folder with content is never replaced.
        int8: write a `litert` model in 8-bit integers, and test what that costs.
        needs_data: fail where the dataset cannot be loaded, rather than run generated inputs.
    """

    form: str | None = None
    path: Path | None = None
    overwrite: bool = False
    int8: bool = False
    needs_data: bool = False


def export(
    store: Store,
    version: Version,
    request: ExportRequest,
    settings: Settings | None = None,
    load_data: Callable[[], ExportData] | None = None,
    observer: Observer | None = None,
) -> Export:
    """Write a version's model or figures to a file or folder, and run a converted model.

    Args:
        store: has the version.
        version: the version.
        request: what to write.
        settings: which plugins there are, for a model with custom layers.
        load_data: loads the version's dataset; None lets generated inputs do.
        observer: receives progress.

    Raises:
        PluginError: the code of a custom layer is missing.
        UsageError: the format is unknown or cannot hold the model, or the output exists, or what
            writes the format is not installed.
        DataError: the export needs the dataset, which cannot be loaded.
        IntegrityError: a file does not match its digest; nothing was written.
        StorageError: the output cannot be written.
    """
    form = choose_format(request.form, request.path, version.ref)
    check_int8(form, request.int8, request.path, version.ref)
    output = _output(version, form, request)
    output.check()
    if form not in ("keras", "figures", "files"):
        require_keras()
    if form in EXTRAS:
        require_extra(EXTRAS[form], f"The format {form}")
    check = None
    with output.draft(FORMATS[form]) as draft:
        if form == "figures":
            write_figures(store, version, draft)
        elif form == "files":
            write_files(store, version, draft)
        elif form == "keras":
            store.copy_out(version, MODEL_FILE, draft)
        else:
            model = _Model(store, version, form, draft, settings or Settings())
            check = model.write(request, load_data, observer)
        if form == "hub":
            add_documents(store, version, draft)
    return Export(output.path, check)


def _output(version: Version, form: str, request: ExportRequest) -> Output:
    ending = FORMATS[form]
    numbered = form == "savedmodel"
    usual = Path(f"{version.model}-{version.version}{'-int8' * request.int8}{ending or '-' + form}")
    if numbered:
        usual = Path(f"{version.model}-{form}")
    path = usual if request.path is None else request.path
    int8 = " --int8" if request.int8 else ""
    return Output(
        path=path / str(version.version) if numbered else path,
        folder=not ending,
        overwrite=request.overwrite,
        command=f"mlreg export {shlex.quote(version.ref)} --format {form}{int8} -o",
        fallback=usual,
        numbered=numbered,
    )


@dataclass(frozen=True)
class _Model:
    """A model that is written in another format than the registered one."""

    store: Store
    version: Version
    form: str
    draft: Path
    settings: Settings

    def write(
        self,
        request: ExportRequest,
        load_data: Callable[[], ExportData] | None,
        observer: Observer | None,
    ) -> ExportCheck:
        """Write the draft and run it; with `int8`, also measure it on the whole test split."""
        stored = self.store.copy_out(self.version, MODEL_FILE, self.draft.with_name("stored.keras"))
        manifest = self.store.manifest(self.version)
        code = custom_code.find_code(self.version, manifest, stored, self.settings)
        loaded, reason = _loaded(load_data, needed=request.int8 or request.needs_data)
        from registry_core.training import export_model, first_inputs, spread_inputs

        inputs = calibration = None
        if loaded:
            inputs = first_inputs(loaded.data.test, EXAMPLES)
        if loaded and request.int8:
            calibration = spread_inputs(loaded.data.train, CALIBRATION_EXAMPLES)
        if observer:
            observer.say(f"Writing and running {self.form} …")
        try:
            with code.imported():
                check, exported, way = export_model(
                    stored, self.form, self.draft, inputs, reason, calibration
                )
                if request.int8 and loaded:
                    tested = self._test(stored, exported, way, loaded, observer)
                    check = replace(check, int8=tested)
        except UsageError as error:
            other = "savedmodel" if self.form in EXTRAS else "keras"
            instead = f"mlreg export {shlex.quote(self.version.ref)} --format {other}"
            raise UsageError(error.what, error.remedy, instead) from error
        return check

    def _test(
        self, stored: Path, exported: Any, way: Any, loaded: ExportData, observer: Observer | None
    ) -> QuantizedTest:
        """The paired test of a quantised export against the float model, on the test split."""
        from registry_core.training import evaluate_exported, load_model

        def progress(done: int, total: int) -> None:
            if observer:
                observer.calculated("Test examples, with 8-bit integers", done, total)

        split, task = loaded.data.test, loaded.data.task
        assert task is not None  # noqa: S101 - resolved when it was loaded
        model = load_model(stored)
        if loaded.fit_loss:
            loaded.fit_loss(model)
        if observer:
            observer.stage_began("evaluate")
        floats = loaded.evaluate(model, split)
        with streams.discarded():
            integers = evaluate_exported(model, exported, split, floats, progress)
        seen = fingerprint(split, "test", observer)
        ours, theirs = (pack_results(each, task, seen) for each in (integers, floats))
        resampling = resampling_progress(observer, self.version, self.version)
        compared = compare(ours, theirs, progress=resampling)
        used = min(CALIBRATION_EXAMPLES, len(loaded.data.train)) if not way.reason else 0
        return QuantizedTest(way.method, way.reason, used, compared, ours.mean(), theirs.mean())


def _loaded(
    load_data: Callable[[], ExportData] | None, needed: bool
) -> tuple[ExportData | None, str]:
    """The dataset, or None and why it is not there."""
    if load_data is None:
        return None, "no dataset was asked for"
    try:
        return load_data(), ""
    except MlregError as error:
        if needed:
            raise
        return None, error.what
