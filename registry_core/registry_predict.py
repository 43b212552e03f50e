"""The verbs of a registry that predict files with a version; they change nothing.

What reads files and predicts is imported when a method needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from registry_core.registry_lists import Reference
from registry_core.registry_reader import RegistryReader

if TYPE_CHECKING:
    from registry_core.lifecycle.predict import Predictions
    from registry_core.process.interrupts import StopRequest
    from registry_core.types import Observer


class RegistryPredictor(RegistryReader):
    """A registry to look at, whose versions can predict."""

    def predict(
        self,
        reference: Reference,
        paths: Sequence[str | Path],
        *,
        top: int = 3,
        batch_size: int | None = None,
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> Predictions:
        """What a version says of files, read as its plugin reads them.

        Args:
            reference: the version.
            paths: files and folders.
            top: how many classes to name for each example.
            batch_size: examples in a batch; None takes as many as an evaluation does.
            observer: is told the progress, and of each file that cannot be read.
            interrupts: says whether a signal asked to stop; None leaves signals to the program.

        Returns:
            The predictions, in the order of the files, and what could not be read.

        Raises:
            UsageError: nothing has the reference, or no file is named.
            PluginError: the plugin has no `mlreg_inputs`, or its code fails.
            IntegrityError: the version's file is damaged.
        """
        each = self.predict_batches(
            reference, paths, top=top, batch_size=batch_size, observer=observer,
            interrupts=interrupts,
        )  # fmt: skip
        return self.join_predictions(each)

    def predict_batches(
        self,
        reference: Reference,
        paths: Sequence[str | Path],
        *,
        top: int = 3,
        batch_size: int | None = None,
        stdin: BinaryIO | None = None,
        stdin_suffix: str = "",
        observer: Observer | None = None,
        interrupts: StopRequest | None = None,
    ) -> Iterator[Predictions]:
        """The same, batch by batch, so that memory stays bounded; each batch has its raw inputs.

        Args:
            reference: the version.
            paths: files and folders.
            top: as for `predict`.
            batch_size: as for `predict`.
            stdin: what the path `-` stands for; None if it is a file like any other.
            stdin_suffix: the kind of file that comes through it, such as `.jsonl`; empty is the
                first that the plugin names.
            observer: as for `predict`.
            interrupts: as for `predict`.

        Raises:
            MlregError: as for `predict`.
        """
        from registry_core.data.input_files import InputSource
        from registry_core.lifecycle.predict import BATCH_SIZE, Choices
        from registry_core.running import runner

        version = self.version(reference)
        source = InputSource(paths, stdin, stdin_suffix)
        choices = Choices(top, BATCH_SIZE if batch_size is None else batch_size)
        with runner(self.store, self.settings, observer, interrupts) as ready:
            yield from ready.predict(version, source, choices, self.load)

    @staticmethod
    def join_predictions(batches: Iterable[Predictions]) -> Predictions:
        """The predictions of all batches of one `predict_batches` as one value, without inputs."""
        from registry_core.lifecycle.predict import joined

        return joined(batches)
