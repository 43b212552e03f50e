"""`mlreg push`, `pull`, `pack`, `unpack`: versions travel between registries."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import DryRunOption, JsonOption, NameOption, QuietOption
from registry_core.errors import Interrupted, UsageError
from registry_core.refs import Ref, parse_many, parse_model
from registry_core.terminal import output

if TYPE_CHECKING:
    from datetime import datetime

    from registry_core.results import TransferredVersions

_STAYS = "What was copied by then stays; the same command copies the rest."

WordsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL@VERSION... REGISTRY",
        help="Versions, and a remote of plugins.toml or a folder.",
        autocompletion=completed_by("versions and registry"),
    ),
]

AllOption = Annotated[
    bool, typer.Option("--all", help="Every version, of the models that are named or of all.")
]

SinceOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="With --all: only what was registered since then: 2026-05-03."
    ),
]

CopyReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Record this reason in the ledger there.")
]


@app.command(
    examples=(
        "mlreg push cifar10@production team",
        "mlreg push --all team --since 2026-05-03",
        "mlreg push cifar10@3 /mnt/backup/registry --dry-run",
    )
)
def push(
    words: WordsArgument,
    every: AllOption = False,
    since: SinceOption = None,
    name: NameOption = None,
    reason: CopyReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy versions to another registry.

    A copy keeps its digest, gets the next number there, and says where it came from. A version that
    is there already is not copied again; missing or damaged files of it are. Aliases and tags stay.
    """
    registry = session.open()
    named, to = _split(words, "push")
    refs = _parse(named, every, registry.model_names(), "push", to)
    act = partial(registry.push, refs, to, everything=every, since=_moment(since, every))
    act = partial(act, name=name or "", reason=reason, dry_run=dry_run)
    _show(act, as_json, quiet)


@app.command(
    examples=(
        "mlreg pull cifar10@production team",
        "mlreg pull --all team",
        "mlreg pull cifar10@3 versions.mlreg --name cifar10-berlin",
    )
)
def pull(
    words: WordsArgument,
    every: AllOption = False,
    since: SinceOption = None,
    name: NameOption = None,
    reason: CopyReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy versions from another registry, or from an archive.

    The versions are named as they are there. Everything that arrives is checked: digests, the
    manifest, and the model's file as `mlreg import` checks it.
    """
    registry = session.open(create=True)
    named, source = _split(words, "pull")
    refs = _parse(named, every, None, "pull", source)
    act = partial(registry.pull, refs, source, everything=every, since=_moment(since, every))
    act = partial(act, name=name or "", reason=reason, dry_run=dry_run)
    _show(act, as_json, quiet)


@app.command(
    examples=(
        "mlreg pack cifar10@production -o cifar10.mlreg",
        "mlreg pack --all -o versions.mlreg --since 2026-05-03",
    )
)
def pack(
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write this archive.",
            autocompletion=completed_by("files"),
        ),
    ],
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL@VERSION...",
            help="Versions; with --all, models.",
            autocompletion=completed_by("many references"),
        ),
    ] = None,
    every: AllOption = False,
    since: SinceOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write versions into an archive: one file, to carry.

    The file is a tar archive of the versions' files, their manifests, and what the ledger has about
    them. It appears complete or not at all.
    """
    registry = session.open()
    refs = _parse(
        references or [], every, registry.model_names(), "pack", f"-o {shlex.quote(str(out))}"
    )
    act = partial(registry.pack, refs, out, everything=every, since=_moment(since, every))
    act = partial(act, overwrite=overwrite, dry_run=dry_run)
    _show(act, as_json, quiet, "No archive was written.")


@app.command(examples=("mlreg unpack versions.mlreg --dry-run", "mlreg unpack versions.mlreg"))
def unpack(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="An archive that `mlreg pack` wrote.",
            autocompletion=completed_by("files"),
        ),
    ],
    name: NameOption = None,
    reason: CopyReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy every version of an archive into the registry.

    Nothing of the archive is trusted; what is damaged or refused does not stop the rest.
    """
    registry = session.open(create=True)
    act = partial(registry.unpack, file, name=name or "", reason=reason, dry_run=dry_run)
    _show(act, as_json, quiet)


def _split(words: Sequence[str], command: str) -> tuple[Sequence[str], str]:
    """The versions and the registry of a command line, of which the registry is last."""
    if "@" in words[-1] and "/" not in words[-1]:
        other = "To" if command == "push" else "From"
        raise UsageError(
            f"{other} which registry?",
            "Name a remote of plugins.toml, or a folder, after the versions.",
            f"mlreg {command} {' '.join(words)} REGISTRY",
        )
    return words[:-1], words[-1]


def _parse(
    words: Sequence[str], every: bool, models: Sequence[str] | None, command: str, end: str
) -> list[Ref]:
    """The references of a command line.

    Args:
        words: the words.
        every: they are names of models.
        models: the models that exist; None if that is not known yet.
        command: whose words they are.
        end: what follows them, for messages.
    """
    if every:
        return [Ref(parse_model(word)) for word in words]
    if not words:
        raise UsageError(
            "Which versions?",
            "Name them, or add --all for every version.",
            f"mlreg {command} --all {end}",
        )
    refs = parse_many(words, set(models or ()).__contains__, command)
    for ref in refs:
        if ref.selector is None:
            raise UsageError(
                f"Which version of {ref.model}?",
                f"All of them: mlreg {command} --all {ref.model} {end}",
                f"mlreg {command} {ref.model}@latest {end}",
            )
    return refs


def _moment(text: str | None, every: bool) -> datetime | None:
    from datetime import UTC, datetime

    from registry_core.refs import shown

    if text is None:
        return None
    if not every:
        raise UsageError("--since is for --all.", "Add --all, or leave --since out.")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"Cannot read {shown(text)} as a date.",
            "Write 2026-05-03, 2026-05-03T14:30 or 2026-05-03T14:30+02:00.",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _show(
    act: Callable[..., TransferredVersions], as_json: bool, quiet: bool, outcome: str = _STAYS
) -> None:
    """Copy versions, and show how far it is and what was done; Ctrl-C says what it leaves."""
    from registry_core.process import streams
    from registry_core.terminal.progress import report_progress
    from registry_core.terminal.tables.transfers import show_transfer

    with report_progress(quiet) as observer:
        try:
            found = act(progress=observer)
        except KeyboardInterrupt as error:
            raise Interrupted(signal.SIGINT, outcome) from error
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references(
            each.version.ref if each.version else each.source
            for each in found.versions
            if each.state not in ("refused", "removed")
        )
    else:
        show_transfer(found)
    streams.out().flush()
    if found.count("refused") > 1:
        for each in found.versions:
            if each.error is not None:
                output.print_error(each.error)
    if found.error:
        raise found.error
