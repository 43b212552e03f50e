"""The verbs of a registry that change nothing in it.

A method resolves its reference once and calls the room that does the work. Rooms that compare or
load models are imported when a method needs them, so that listing imports neither NumPy nor
TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core import results
from registry_core.records import MODEL_FILE, Version
from registry_core.registry_lists import Reference, RegistryLists

if TYPE_CHECKING:
    import keras

    from registry_core.evaluation.comparison import SideBySide
    from registry_core.evaluation.per_example_results import PerExampleResults
    from registry_core.exports import ExportData
    from registry_core.process.interrupts import StopRequest
    from registry_core.reports.report import Report
    from registry_core.sweeps.record import Sweep
    from registry_core.types import Observer


class RegistryReader(RegistryLists):
    """Models, versions, aliases and runs of one registry, to look at.

    A reference is `flowers@3`, `flowers@production`, `flowers@latest`, `flowers@best`, or a
    `Version`; a name alone is its latest version.

    Args:
        place: where the registry is; a path is its folder.
        settings: the content of plugins.toml.
    """

    def show(self, reference: Reference) -> results.VersionDetails:
        """A version with its manifest, its group and its signatures, which are not checked.

        Raises:
            UsageError: nothing has the reference.
            IntegrityError: the manifest is damaged.
        """
        version = self.version(reference)
        return results.VersionDetails(
            version,
            self.store.manifest(version),
            self.store.group(version),
            self.store.signatures.of(version) if version.signed or version.origin else [],
        )

    def card(self, reference: Reference) -> results.ModelCard:
        """A version's model card in Markdown, of what the registry recorded and nothing else.

        Raises:
            UsageError: nothing has the reference.
            IntegrityError: the manifest or the results are damaged.
        """
        from registry_core.reports.card import render_card
        from registry_core.reports.sources import read_version

        version = self.version(reference)
        return results.ModelCard(version.ref, render_card(read_version(self.store, version)))

    def bom(self, reference: Reference) -> results.BillOfMaterials:
        """A version's bill of materials, in the format CycloneDX 1.6.

        Raises:
            UsageError: nothing has the reference.
            IntegrityError: the manifest or the results are damaged.
        """
        from registry_core.reports.bom import render_bom
        from registry_core.reports.sources import read_version

        version = self.version(reference)
        return results.BillOfMaterials(version.ref, render_bom(read_version(self.store, version)))

    def compare(
        self, references: Iterable[Reference], observer: Observer | None = None
    ) -> SideBySide:
        """Compare versions, and the groups they belong to, with the first one.

        Args:
            references: two or more.
            observer: is told the progress of a long comparison.

        Raises:
            UsageError: there are fewer than two, or nothing has a reference.
            IntegrityError: a record is damaged.
        """
        from registry_core.evaluation.recorded import compare_versions

        versions = [self.version(reference) for reference in references]
        return compare_versions(self.store, versions, observer)

    def report(
        self, reference: Reference, *others: Reference, observer: Observer | None = None
    ) -> Report:
        """The report of a version; with others, all of them compared with the first.

        What was not recorded, or cannot be read, is said in the report.

        Args:
            reference: the version, or the baseline.
            others: what is compared with it.
            observer: is told the progress of a long comparison.

        Raises:
            UsageError: nothing has a reference.
        """
        from registry_core.reports.build import build_report
        from registry_core.reports.sources import read_source

        versions = [self.version(each) for each in (reference, *others)]
        sources = [read_source(self.store, version) for version in versions]
        if not others:
            return build_report(sources[0])
        from registry_core.reports.comparison import compare_sources

        return compare_sources(self.store, sources, observer)

    def sweep_report(self, sweep: str | Sweep) -> Report:
        """The report of a sweep, also of one that still runs.

        Args:
            sweep: the sweep; or its id, or the beginning or end of it.

        Raises:
            UsageError: no sweep has that name, or more than one.
            IntegrityError: a record of it is damaged.
        """
        from registry_core.reports.sweeps import build_sweep_report
        from registry_core.sweeps.state import find_sweep

        return build_sweep_report(
            find_sweep(self.store, sweep) if isinstance(sweep, str) else sweep
        )

    def load(self, reference: Reference) -> keras.Model:
        """The Keras model of a version, compiled, taking the dataset's raw inputs.

        The modules that register its custom layers and functions are imported first.

        Raises:
            UsageError: nothing has the reference, or it needs another Keras.
            PluginError: it has a custom layer or function whose code is not here.
            IntegrityError: its file is damaged; nothing of it was parsed.
        """
        import tempfile

        from registry_core.plugins import custom_code

        version = self.version(reference)
        manifest = self.store.manifest(version)
        with tempfile.TemporaryDirectory() as folder:
            file = self.store.copy_out(version, MODEL_FILE, Path(folder) / MODEL_FILE)
            code = custom_code.find_code(version, manifest, file, self.settings)
            from registry_core.training import load_model  # TensorFlow loads here

            with code.imported():
                return load_model(file)

    def export(
        self,
        reference: Reference,
        form: str | None = None,
        output: str | Path | None = None,
        overwrite: bool = False,
        *,
        int8: bool = False,
        data_dir: str | Path | None = None,
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> results.ExportedFiles:
        """Write a version's model or figures to files, and run a model that was converted.

        A converted model is run beside the Keras model on 100 test examples; where the plugin or
        the data is not here, on inputs made from the model's shapes.

        Args:
            reference: the version.
            form: `keras`, `h5`, `onnx` or `litert` for a file; `savedmodel` for a folder named
                after the version's number, in the folder `output`; `hub` for a folder as the
                Hugging Face Hub has it; `figures` for a folder of them; `files` for a folder with
                all registered files and the signatures. None is what the output's name ends
                in.
            output: the file or folder; None makes a name from the model and its number.
            overwrite: replace a regular file; a folder that is not empty is never replaced.
            int8: write a `litert` model in 8-bit integers, and test on the test split what that
                costs; needs the data.
            data_dir: a file or folder that has the data; None leaves it to the plugin.
            observer: receives progress and warnings; None shows no progress.
            interrupts: says whether a signal asked to stop; None leaves signals to the program.

        Raises:
            UsageError: the format is not known, contradicts the output's name, or cannot hold the
                model; or the output exists; or a library is not installed.
            IntegrityError: a file of the version is damaged; nothing was written.
            StorageError: the output cannot be written.
            MlregError: the data was asked for and cannot be loaded.
        """
        from registry_core.exports import ExportRequest, choose_format, export

        version, path = self.version(reference), Path(output) if output is not None else None
        form = choose_format(form, path, version.ref)
        asked = data_dir is not None
        request = ExportRequest(form, path, overwrite, int8, needs_data=asked)

        def load_data() -> ExportData:
            from registry_core.running import runner

            with runner(self.store, self.settings, observer, interrupts) as ready:
                return ready.export_data(version, data_dir, fetch=int8 or asked)

        written = export(self.store, version, request, self.settings, load_data, observer)
        return results.ExportedFiles(version.ref, form, written.path, written.check)

    def copy_file(self, reference: Reference, path: str, destination: Path) -> Path:
        """Copy one file of a version; the copy appears checked or not at all.

        Args:
            reference: the version.
            path: of the file inside the version.
            destination: the new file; its folder exists.

        Raises:
            UsageError: nothing has the reference, or the version has no such file.
            IntegrityError: the file is damaged.
            StorageError: the destination cannot be written.
        """
        return self.store.copy_out(self.version(reference), path, destination)

    def group(self, model: str, group: str) -> results.RegisteredGroup:
        """The versions of a run with several seeds, and each metric summarised over them.

        Raises:
            UsageError: the model has no such group.
        """
        from registry_core.evaluation.groups import metrics_of

        versions = self.store.group_versions(model, group)
        return results.RegisteredGroup(versions, self.place.name, metrics_of(versions))

    def per_example_results(self, version: Version) -> PerExampleResults | None:
        """A version's results on its test split, example by example; None without a record.

        Raises:
            IntegrityError: the record is damaged.
        """
        from registry_core.evaluation.recorded import read_per_example_results

        return read_per_example_results(self.store, version)
