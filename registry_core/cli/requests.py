"""`mlreg requests`, `approve` and `decline`: promotions that somebody else has to approve."""

from __future__ import annotations

from typing import Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import (
    DryRunOption,
    JsonOption,
    QuietOption,
    ReasonOption,
    WideOption,
)
from registry_core.cli.promoted import show_result, shown_refusal
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.terminal import output
from registry_core.terminal.tables.promotion import show_requests

RequestArgument = Annotated[
    int,
    typer.Argument(
        metavar="N",
        min=1,
        help="The number of a request; see `mlreg requests`.",
        autocompletion=completed_by("requests"),
    ),
]


@app.command(examples=("mlreg requests",))
def requests(
    wide: WideOption = False, as_json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List the promotions that wait for approval."""
    registry = session.open(needs_versions=False)
    found = registry.requests()
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([str(request.number) for request in found])
    elif found:
        show_requests(found, wide)
        output.print_hint(f"To see the evidence: mlreg approve {found[0].number} --dry-run")
    else:
        output.print_text("No promotion waits for approval.")


@app.command(
    examples=("mlreg approve 12 --dry-run", 'mlreg approve 12 --reason "as we agreed on Friday"')
)
def approve(
    number: RequestArgument,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Approve a promotion that somebody else asked for."""
    from registry_core.terminal.progress import report_progress

    registry = session.open()
    try:
        with report_progress(quiet) as observer:
            found = registry.approve(number, reason=reason, dry_run=dry_run, observer=observer)
    except PromotionRefusedError as refusal:
        raise shown_refusal(refusal, dry_run, as_json, quiet) from refusal
    show_result(found, as_json, quiet)


@app.command(examples=('mlreg decline 12 --reason "worse on new customers"',))
def decline(
    number: RequestArgument,
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Decline a promotion that was asked for; needs --reason."""
    registry = session.open()
    request = registry.decline(number, reason=reason)
    if as_json:
        output.print_json({"request": request.to_json()})
    elif quiet:
        output.print_references([request.ref])
    else:
        output.print_text(f"Request {number} is declined: {request.ref} as {request.alias}.")
