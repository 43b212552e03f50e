"""The pages of sweeps: which there are, and one of them, again and again while it goes on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.responses import Response

from registry_core.errors import UsageError
from registry_core.web.site import PAGE_ROWS, Malformed, View, changed_only

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.web.site import Site

_SWEEP = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_END = re.compile(r"[0-9a-f]{2,8}")  # which messages print


def list_sweeps(site: Site, request: Request) -> View:
    """Sweeps with their state, trials, best value and version; newest first."""
    after = request.query_params.get("after") or None
    if after is not None:
        _check(after)
    found = site.registry.sweeps(PAGE_ROWS, after=after)
    return View(
        "sweeps.html",
        {
            "title": "Sweeps",
            "sweeps": found,
            "damaged": found.damaged,
            "next": site.url("sweeps", after=found.next) if found.next else None,
            "first": site.url("sweeps") if after else None,
        },
        found.to_json(),
    )


def show_sweep(site: Site, request: Request) -> View:
    """One sweep: its report, what runs now, what to type next."""
    name = request.path_params["sweep"]
    if not _END.fullmatch(name):
        _check(name)
    sweep = site.registry.find_sweep(name)
    if sweep is None:
        raise UsageError("There is no such sweep.", "It was deleted, or is in another registry.")
    report = site.registry.sweep_report(sweep)
    return View(
        "sweep.html",
        {
            "title": report.title,
            "sweep": sweep,
            "report": report,
            "begun": [each for each in sweep.trials if each.run and not each.is_told],
            "is_running": sweep.state == "running",
        },
        {"sweep": sweep.to_json(), "report": report.to_json()},
    )


def show_live(site: Site, request: Request) -> Response:
    """The part of a sweep's page that changes; 304 if it is what the browser has."""
    return changed_only(site, request, "live_sweep.html", show_sweep(site, request))


def _check(name: str) -> None:
    """Refuse what cannot be the id of a sweep; Malformed."""
    if not _SWEEP.fullmatch(name):
        raise Malformed(UsageError("That cannot be the id of a sweep.", "Use the page's links."))
