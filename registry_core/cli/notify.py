"""`mlreg notify`: what receivers were told of promotions, and what failed."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import JsonOption, LimitOption, QuietOption, WideOption
from registry_core.errors import StorageError
from registry_core.terminal import output
from registry_core.terminal.tables.deliveries import show_deliveries

_SHOWN = 20


@app.command(examples=("mlreg notify", "mlreg notify --retry"))
def notify(
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed.")] = False,
    limit: LimitOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what the receivers of plugins.toml were told."""
    registry = session.open(needs_versions=False)
    found = registry.retry_deliveries() if retry else registry.deliveries(limit or _SHOWN)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([str(each.delivery.row) for each in found])
    elif found:
        show_deliveries(found, wide)
    elif retry:
        output.print_text("Nothing was left to try.")
    else:
        output.print_text("No receiver was told anything yet.")
        if not registry.settings.receivers:
            output.print_hint("[notify.NAME] in plugins.toml names one; see docs/notify.md.")
    if retry and (failed := [each for each in found if each.delivery.error]):
        first = failed[0].delivery
        raise StorageError(
            f"{len(failed)} of {len(found)} were not delivered; '{first.receiver}': {first.error}.",
            "They stay in the outbox.",
            "mlreg notify --retry",
        )
