"""`mlreg promote`: move an alias to a version."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import DryRunOption, JsonOption, QuietOption, TargetArgument
from registry_core.refs import parse_target
from registry_core.ui import output, tables


@app.command()
def promote(
    target: TargetArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the ledger.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Overrule objections; needs --reason.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Move an alias to a version, if no plugin objects."""
    from registry_core.lifecycle import notify
    from registry_core.plugins import KnownPlugins
    from registry_core.ui.watchers import Silent

    registry = session.open()
    reference, (alias,) = parse_target(target)
    version = registry.version(reference)
    known = KnownPlugins(registry.settings)
    present = version.dataset in known.datasets
    if not present:
        output.print_warning(
            f"The plugin '{version.dataset}' is not installed here: it was not asked."
        )
    plugins = known.load(version.dataset if present else None)
    promotion, overruled = registry.promote(
        reference, alias, plugins=plugins, reason=reason, force=force, dry_run=dry_run
    )
    if not dry_run:
        notify(
            plugins,
            "mlreg_promoted",
            Silent(),
            version=promotion.version,
            alias=alias,
            previous=promotion.previous,
        )
    if as_json:
        output.print_json({**promotion.to_json(), "dry_run": dry_run})
    elif quiet:
        output.print_references([promotion.version.ref])
    else:
        tables.show_promotion(promotion, overruled, dry_run)
