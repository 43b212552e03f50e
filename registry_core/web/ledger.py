"""The page of the ledger: what happened, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.errors import UsageError
from registry_core.refs import Ref, check_alias_name, check_model_name
from registry_core.web.site import PAGE_ROWS, Malformed, View, number, parsed

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.web.site import Site


def show_ledger(site: Site, request: Request) -> View:
    """Rows of the ledger: of everything, of one model, or of one of its aliases."""
    asked = {key: request.query_params.get(key, "").strip() for key in ("model", "alias")}
    before = number(request.query_params.get("before"))
    reference: Ref | None = None
    if asked["model"]:
        reference = Ref(parsed(check_model_name, asked["model"]))
    if asked["alias"]:
        if reference is None:
            raise Malformed(UsageError("An alias belongs to a model.", "Name the model as well."))
        reference = Ref(reference.model, "alias", parsed(check_alias_name, asked["alias"]))
    found = site.registry.history(reference, PAGE_ROWS, before=before)
    return View(
        "ledger.html",
        {
            "title": "Ledger",
            "rows": found.rows,
            "asked": asked,
            "next": site.url("ledger", **asked, before=found.next) if found.next else None,
            "first": site.url("ledger", **asked) if before else None,
        },
        {**found.to_json(), "next": found.next},
    )
