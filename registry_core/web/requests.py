"""The pages of promotions that wait for approval: what the gate says comes before the buttons.

A form carries a digest of the verdict. If it is another by the time the form is sent, nothing is
approved, and the page shows what the gate says now. Whoever uses the page acts as the account that
runs the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from registry_core.errors import MlregError, UsageError
from registry_core.promotion.gates import PromotionRefusedError, VerdictChangedError
from registry_core.promotion.promote import PromotionResult
from registry_core.promotion.requests import why_not
from registry_core.web.access import form_of
from registry_core.web.promotion import of_decision
from registry_core.web.site import Malformed, View, number, status_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.records import PromotionRequest
    from registry_core.web.site import Site


def list_requests(site: Site, request: Request) -> View:
    """Every open request, oldest first."""
    found = site.registry.requests()
    return View("requests.html", {"title": "Requests", "requests": found}, found.to_json())


def show_request(site: Site, request: Request) -> View:
    """What was asked for, by whom, and what the gate says of it now."""
    return _request(site, _open(site, request))


def approve(site: Site, request: Request) -> Response:
    """Approve a request, unless the verdict changed since it was shown."""
    asked, form = _open(site, request), form_of(request)
    if not (verdict := form.get("verdict")):
        raise Malformed(UsageError("The form has no verdict.", "Load the page again."))
    reason = form.get("reason", "").strip()
    try:
        with site.changing:
            found = site.registry.approve(asked.number, reason=reason, verdict=verdict)
    except MlregError as error:
        return site.page(_request(site, asked, error, status_of(request, error), reason))
    if found.is_waiting:
        return RedirectResponse(site.url("requests", asked.number), 303)
    version = found.version
    return RedirectResponse(
        site.url("models", version.model, version.version, moved=found.alias), 303
    )


def decline(site: Site, request: Request) -> Response:
    """Decline a request, with a reason."""
    asked, form = _open(site, request), form_of(request)
    reason = form.get("reason", "").strip()
    try:
        with site.changing:
            site.registry.decline(asked.number, reason=reason)
    except MlregError as error:
        return site.page(_request(site, asked, error, status_of(request, error), reason))
    return RedirectResponse(site.url("requests"), 303)


def _open(site: Site, request: Request) -> PromotionRequest:
    """The request of an address; UsageError: it is not open."""
    return site.registry.request(number(request.path_params["number"]) or 0)


def _request(
    site: Site,
    asked: PromotionRequest,
    failure: MlregError | None = None,
    status: int = 200,
    reason: str = "",
) -> View:
    """The page of a request, with the error of the form that was sent, if it failed."""
    found: PromotionResult | None = None
    if not asked.outdated:
        with site.changing:
            try:
                found = site.registry.approve(asked.number, dry_run=True)
            except PromotionRefusedError as refusal:
                found = PromotionResult.of_refusal(refusal, dry_run=True)
            except MlregError as error:
                failure = failure or error
                status = 500 if status == 200 else status
    account = site.registry.account()
    content = {**(found.to_json() if found else {}), "request": asked.to_json()}
    return View(
        "request.html",
        {
            **(of_decision(found) if found else {"found": None, "decision": None}),
            "title": f"Promote {asked.ref} to {asked.alias}",
            "asked": asked,
            "account": account,
            "why_not": why_not(asked, account),
            "failure": failure,
            "is_stale": isinstance(failure, VerdictChangedError),
            "reason": reason,
        },
        content if failure is None else {**content, "error": failure.to_json()},
        status,
    )
