"""`mlreg data fetch`, `verify`, `path`: the datasets on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.cli.app import Commands, app
from registry_core.cli.options import DataDirOption, DatasetArgument, JsonOption, QuietOption
from registry_core.records import FileRecord
from registry_core.results import DataFolder, FetchedData, VerifiedData
from registry_core.terminal import output
from registry_core.terminal.tables.versions import show_files

if TYPE_CHECKING:
    from registry_core.types import DataCache

group = Commands(help="Download, check and locate datasets.")
app.add_typer(group, name="data")


@group.command(examples=("mlreg data fetch cifar10",))
def fetch(
    dataset: DatasetArgument,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download a dataset and check it."""
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.terminal.progress import report_progress

    with (
        _cache(dataset, data_dir) as cache,
        stop_on_signals(),
        report_progress(quiet) as observer,
    ):
        fetched = FetchedData(dataset, cache.fetch(observer), cache.path)
    if as_json:
        output.print_json(fetched.to_json())
    elif quiet:
        output.print_text(fetched.path)
    else:
        output.print_text(f"{dataset} is in {fetched.path} (from {fetched.source})")


@group.command(examples=("mlreg data verify cifar10",))
def verify(
    dataset: DatasetArgument, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Check the digests of a dataset's files."""
    with _cache(dataset, data_dir) as cache:
        found = VerifiedData(
            dataset, [FileRecord(f.path, f.size, f.sha256) for f in cache.verify()]
        )
    if as_json:
        output.print_json(found.to_json())
    else:
        show_files([(f.path, f.size, f.sha256) for f in found.files])


@group.command("path", examples=("mlreg data path cifar10",))
def path_command(
    dataset: DatasetArgument, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Print the folder of a dataset's files."""
    with _cache(dataset, data_dir) as cache:
        found = DataFolder(dataset, cache.path)
    if as_json:
        output.print_json(found.to_json())
    else:
        output.print_text(found.path)


@contextmanager
def _cache(dataset: str, data_dir: Path | None) -> Iterator[DataCache]:
    """The files of a plugin on this machine; errors in the block are the fault of the plugin."""
    from registry_core.errors import UsageError
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.settings import find_settings

    plugins = KnownPlugins(find_settings()).load(dataset)
    cache: DataCache | None = plugins.call("mlreg_data", data_dir=data_dir)
    if cache is None:
        raise UsageError(
            f"The plugin '{dataset}' keeps no files.",
            "It has no mlreg_data hook, so there is nothing to fetch or verify.",
        )
    with plugins.attribute_errors("mlreg_data"):
        yield cache
