"""Reads files through a plugin's `mlreg_inputs`, and names what cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.config import RunConfig
from registry_core.data.arrays import arrays_of
from registry_core.data.input_files import InputFile, Unreadable
from registry_core.data.nesting import parts_of
from registry_core.data.signature import example_bytes, fit_inputs
from registry_core.dataclass import dataclass
from registry_core.errors import DataError, MlregError, PluginError, TrainingError, safe_repr
from registry_core.evaluation.beliefs import ExampleName
from registry_core.plugins.manager import PluginSet
from registry_core.types import Examples, Progress

HOOK = "mlreg_inputs"

# Errors of a plugin that no file causes; others may come from a damaged file.
_BUGS = (ImportError, NameError, AttributeError, TypeError, NotImplementedError, SystemExit)


@dataclass(frozen=True)
class ReadExamples:
    """What some files hold.

    Args:
        names: of the examples.
        inputs: (examples, ...) arrays, nested as the model takes them; None without examples.
        unreadable: what cannot be read, and why.
    """

    names: Sequence[ExampleName]
    inputs: Any
    unreadable: Sequence[Unreadable]


class InputReader:
    """Reads files as a version's model takes them.

    Args:
        plugins: the version's plugins.
        config: its recorded configuration.
        manifest: its manifest, which has the signature of its inputs.
        progress: is told what the plugin says; the same line once.
    """

    def __init__(
        self,
        plugins: PluginSet,
        config: RunConfig,
        manifest: Mapping[str, Any],
        progress: Progress,
    ) -> None:
        self._plugins = plugins
        self._config = config
        splits = manifest.get("data", {}).get("splits", {})
        self._signature = splits.get("test", {}).get("inputs")  # an older record has none
        self._progress = _SaysOnce(progress)
        self._has_read = False
        self.example_bytes = example_bytes(self._signature)

    def suffixes(self) -> list[str]:
        """What the names of the plugin's files end in; empty if it does not say."""
        said = self._plugins.call("mlreg_input_suffixes", config=self._config)
        if said is None:
            return []
        if isinstance(said, str) or not all(isinstance(each, str) and each for each in said):
            raise PluginError(
                f"mlreg_input_suffixes returned {safe_repr(said)}.",
                'Expected: a list of what names end in, such as [".csv", ".txt"].',
            )
        return [each.casefold() for each in said]

    def read(self, files: Sequence[InputFile]) -> ReadExamples:
        """The examples of some files.

        Raises:
            PluginError: the plugin fails for a reason of its own, or breaks the contract.
        """
        try:
            found = self.read_at_once(files)
        except MlregError as error:
            if _is_fatal(error):
                raise
            if len(files) > 1:
                return self._one_by_one(files)
            if is_bug(error) and not self._has_read:
                raise
            found = ReadExamples((), None, [Unreadable(files[0].name, _reason(error, files[0]))])
        self._has_read = self._has_read or bool(found.names)
        return found

    def _one_by_one(self, files: Sequence[InputFile]) -> ReadExamples:
        names: list[ExampleName] = []
        inputs, unreadable = [], []
        bug: MlregError | None = None
        for file in files:
            try:
                found = self.read_at_once([file])
            except MlregError as error:
                if _is_fatal(error):
                    raise
                bug = bug or (error if is_bug(error) else None)
                unreadable.append(Unreadable(file.name, _reason(error, file)))
                continue
            names += found.names
            unreadable += found.unreadable
            if found.names:
                inputs.append(found.inputs)
        if bug and not names and not self._has_read:
            raise bug
        self._has_read = self._has_read or bool(names)
        return ReadExamples(names, _joined(inputs), unreadable)

    def read_at_once(self, files: Sequence[InputFile]) -> ReadExamples:
        """The examples of some files, by one call of the hook.

        Raises:
            MlregError: one of them cannot be read, or the plugin fails or breaks the contract.
        """
        returned = self._plugins.call(
            HOOK,
            paths=[file.path for file in files],
            config=self._config,
            signature=self._signature,
            progress=self._progress,
        )
        if returned is None:
            raise lacks_hook(self._plugins.dataset_name)
        if not isinstance(returned, Examples):
            inputs = fit_inputs(_arrays(returned), self._signature)
            _check_count(len(parts_of(inputs)[0]), len(files), "files")
            return ReadExamples([ExampleName(file.name) for file in files], inputs, ())
        return self._of_several(files, returned)

    def _of_several(self, files: Sequence[InputFile], returned: Examples) -> ReadExamples:
        counts = [int(each) for each in returned.counts] or [1] * len(files)
        _check_count(len(counts), len(files), "files", "counts")
        total, given = sum(counts), list(returned.names)
        if given:
            _check_count(len(given), total, "examples", "names")
        names: list[ExampleName] = []
        for file, count in zip(files, counts, strict=True):
            for place in range(count):
                own = str(given[len(names)]) if given else str(place + 1) if returned.counts else ""
                names.append(ExampleName(file.name, own))
        named = {file.path: file.name for file in files}
        unreadable = [
            Unreadable(str(ExampleName(named.get(path, str(path)), str(row))), str(why))
            for path, row, why in returned.unreadable
        ]
        lost = {path for path, *_ in returned.unreadable}
        for file, count in zip(files, counts, strict=True):
            if not count and file.path not in lost:
                unreadable.append(Unreadable(file.name, "It holds no example."))
        if not total:
            return ReadExamples((), None, unreadable)
        inputs = fit_inputs(_arrays(returned.inputs), self._signature)
        _check_count(len(parts_of(inputs)[0]), total, "examples")
        return ReadExamples(names, inputs, unreadable)


class ContractError(PluginError):
    """The plugin has no hook, or it returned something else than its contract says."""


def lacks_hook(plugin: str) -> ContractError:
    """The error for a plugin that cannot read files."""
    return ContractError(
        f"The plugin '{plugin}' cannot read files to predict: it has no {HOOK}.",
        f"Add the hook {HOOK}(paths, config), which returns the inputs that files hold; "
        "docs/predict.md has an example. From Python, mlreg.open_registry().load(…) needs none.",
        f"mlreg plugins show {plugin}",
    )


class _SaysOnce:
    """Passes on what is said, each line once.

    Args:
        progress: is told.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._said: set[str] = set()

    def say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._progress.say(text)

    def warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._progress.warn(text)

    def step(self, what: str, done: int, total: int | None = None) -> None:
        self._progress.step(what, done, total)


def _arrays(returned: Any) -> Any:
    """NumPy arrays of what the hook returned, in plain dicts and tuples.

    Raises:
        ContractError: something is no array.
    """
    try:
        return arrays_of(returned, "inputs")
    except DataError as error:
        raise ContractError(f"In what {HOOK} returned: {error.what}", error.remedy) from None


def _check_count(found: int, wanted: int, of: str, what: str = "examples") -> None:
    if found != wanted:
        raise ContractError(
            f"{HOOK} returned {found:,} {what} for {wanted:,} {of}.",
            "Return one for each, in order; if a file may hold several examples or none, return "
            "Examples(inputs, counts=[…]) with a count for each path.",
        )


def _is_fatal(error: MlregError) -> bool:
    return isinstance(error, ContractError | TrainingError) or error.exit_status in (2, 7, 8)


def is_bug(error: MlregError) -> bool:
    """Whether the plugin itself is wrong, whatever the file."""
    return isinstance(error, PluginError) and isinstance(error.__cause__, (*_BUGS, type(None)))


def _reason(error: MlregError, file: InputFile) -> str:
    """Why a file cannot be read, without the plugin's name if the reason is in the file."""
    cause = error.__cause__
    if isinstance(error, DataError) or cause is None:
        sentences = filter(None, (error.what, error.remedy))
        said = " ".join(
            each if each.endswith((".", "?", "!")) else f"{each}." for each in sentences
        )
    elif is_bug(error):
        said = error.what
    else:
        said = f"{type(cause).__name__}: {' '.join(str(cause).split())}"
    # standard input has a name of its own, and its copy a path that means nothing
    return said.replace(str(file.path), file.name)


def _joined(inputs: Sequence[Any]) -> Any:
    """Inputs of several files, joined along the axis of the examples."""
    if not inputs:
        return None
    import numpy as np

    from registry_core.data.nesting import map_parts

    return map_parts(lambda *parts: np.concatenate(parts), *inputs)
