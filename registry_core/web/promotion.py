"""The pages on which an alias moves: what the gate says comes before the button.

A form carries the version that had the alias when the page was made, and a digest of the verdict.
If either is another by the time the form is sent, nothing moves, and the page shows what the gate
says now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse, Response

from registry_core.errors import AliasMovedError, MlregError, UsageError
from registry_core.promotion.gates import PromotionRefusedError, VerdictChangedError
from registry_core.promotion.promote import PromotionResult
from registry_core.refs import check_alias_name, check_model_name
from registry_core.rules import others
from registry_core.web.access import form_of
from registry_core.web.models import reference_of
from registry_core.web.site import Malformed, View, number, parsed, status_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from registry_core.records import Version
    from registry_core.web.site import Site

_NONE = "none"


def plan_promotion(site: Site, request: Request) -> View:
    """The gate's verdict on a promotion, before it is asked for; or which alias is meant."""
    version = site.registry.version(reference_of(request))
    alias = request.query_params.get("alias", "").strip()
    asked = _group_asked(version, request.query_params)
    if not alias:
        return _choose(site, version, asked)
    alias = parsed(check_alias_name, alias)
    try:
        return _promotion(site, version, alias, asked)
    except UsageError as error:  # of the group: there is none, or none of it can be chosen
        if not asked:
            raise
        return _choose(site, version, asked, alias, error)


def promote(site: Site, request: Request) -> Response:
    """Move an alias to a version, unless it moved or the verdict changed since it was shown."""
    version = site.registry.version(reference_of(request))
    form = form_of(request)
    alias = parsed(check_alias_name, form.get("alias", ""))
    if not (verdict := form.get("verdict")):
        raise Malformed(UsageError("The form has no verdict.", "Load the page again."))
    asked = _group_asked(version, form)

    verb = site.registry.promote
    if form.get("request") == "yes":
        verb = site.registry.request_promotion

    def move(expected: int | None) -> PromotionResult:
        return verb(
            version,
            alias,
            member=asked.member,
            group=asked.group,
            reason=form.get("reason", "").strip(),
            force=form.get("force") == "yes",
            expected=expected,
            verdict=verdict,
        )

    def again(error: MlregError) -> View:
        return _promotion(site, version, alias, asked, error, status_of(request, error), form)

    return _change(site, form, move, again)


@dataclass(frozen=True)
class _GroupAsked:
    """Whether a version's group is to be promoted, and by which version of it.

    Args:
        word: as in addresses and forms: empty, `median`, or the number of a version.
        member: the reference of that version; None is the median one.
    """

    word: str = ""
    member: str | None = None

    @property
    def group(self) -> bool:
        return bool(self.word)

    def __bool__(self) -> bool:
        return self.group


def _group_asked(version: Version, fields: Mapping[str, str]) -> _GroupAsked:
    word = fields.get("group", "")
    if word in ("", "median"):
        return _GroupAsked(word)
    if (chosen := number(word)) is None:
        raise Malformed(UsageError("A group is promoted by a version's number, or by 'median'."))
    return _GroupAsked(word, f"{version.model}@{chosen}")


def _members(site: Site, version: Version) -> Sequence[Version]:
    """The versions of a version's group; none of a version that was made alone."""
    if not version.group:
        return []
    found = site.registry.group(version.model, version.group).versions
    return found if len(found) > 1 else []


def _choose(
    site: Site,
    version: Version,
    asked: _GroupAsked,
    alias: str = "",
    failure: MlregError | None = None,
) -> View:
    """The page that asks for the alias, and whether the version's group is promoted."""
    aliases = site.registry.aliases(version.model)
    members = _members(site, version)
    content = {"version": version.to_json(), "aliases": dict(aliases)}
    usual = "production" if not aliases or "production" in aliases else ""
    return View(
        "choose_alias.html",
        {
            "title": f"Promote {version.ref}",
            "version": version,
            "aliases": aliases,
            "alias": alias or usual,
            "members": members,
            "selected": str(members[0].version) if failure and members else asked.word,
            "failure": failure,
        },
        content if failure is None else {**content, "error": failure.to_json()},
        200 if failure is None else 422,
    )


def plan_rollback(site: Site, request: Request) -> View:
    """What a rollback would do."""
    model = parsed(check_model_name, request.path_params["name"])
    return _rollback(site, model, parsed(check_alias_name, request.path_params["alias"]))


def roll_back(site: Site, request: Request) -> Response:
    """Move an alias back, unless it moved since the page was shown."""
    model = parsed(check_model_name, request.path_params["name"])
    alias = parsed(check_alias_name, request.path_params["alias"])
    form = form_of(request)

    def move(expected: int | None) -> PromotionResult:
        reason = form.get("reason", "").strip()
        return site.registry.rollback(model, alias, reason=reason, expected=expected)

    def again(error: MlregError) -> View:
        return _rollback(site, model, alias, error, status_of(request, error))

    return _change(site, form, move, again)


def _change(
    site: Site,
    form: Mapping[str, str],
    move: Callable[[int | None], PromotionResult],
    again: Callable[[MlregError], View],
) -> Response:
    """Move an alias, then lead to the version; or show why not, and what would happen now."""
    if not (expected := form.get("expected")):
        raise Malformed(UsageError("The form has no expected holder.", "Load the page again."))
    holder = None if expected == _NONE else number(expected)
    try:
        with site.changing:
            found = move(holder)
    except MlregError as error:
        return site.page(again(error))
    if found.request:
        return RedirectResponse(site.url("requests", found.request.number), 303)
    version = found.version
    return RedirectResponse(
        site.url("models", version.model, version.version, moved=found.alias), 303
    )


def _promotion(
    site: Site,
    version: Version,
    alias: str,
    asked: _GroupAsked,
    failure: MlregError | None = None,
    status: int = 200,
    form: Mapping[str, str] | None = None,
) -> View:
    """The page of a promotion, with the error of the form that was sent, if it failed."""
    with site.changing:
        try:
            found = site.registry.promote(
                version, alias, member=asked.member, group=asked.group, dry_run=True
            )
        except PromotionRefusedError as refusal:
            found = PromotionResult.of_refusal(refusal, dry_run=True)
        except MlregError as error:
            if failure is None:
                raise
            return View(
                "error.html", {"title": "Error", "error": error}, {"error": error.to_json()}, status
            )
    content = found.to_json()
    members = [] if asked else _members(site, version)
    return View(
        "promote.html",
        {
            **of_decision(found),
            "title": f"Promote {found.version.ref} to {alias}{', for its group' if asked else ''}",
            "version": found.version,
            "named": version,
            "group_asked": asked.word,
            "members": members,
            "alias": alias,
            "is_held": not found.promotion.changed,
            "expected": _expected(found),
            "failure": failure,
            "is_stale": isinstance(failure, (AliasMovedError, VerdictChangedError)),
            "reason": (form or {}).get("reason", ""),
        },
        content if failure is None else {**content, "error": failure.to_json()},
        status,
    )


def of_decision(found: PromotionResult) -> dict[str, Any]:
    """What a page shows of a decision."""
    decision = found.decision
    return {
        "found": found,
        "decision": decision,
        "difference": decision.difference if decision else "",
        "sources": dict.fromkeys(check.source for check in decision.checks) if decision else {},
        "verdict": decision.verdict if decision else "",
        "approvers": others(found.approvals) if found.approvals else "",
    }


def _rollback(
    site: Site, model: str, alias: str, failure: MlregError | None = None, status: int = 200
) -> View:
    try:
        found = site.registry.rollback(model, alias, dry_run=True)
    except MlregError as error:
        if failure is None:
            raise
        return View(
            "error.html", {"title": "Error", "error": error}, {"error": error.to_json()}, status
        )
    return View(
        "rollback.html",
        {
            "title": f"Roll back {model}@{alias}",
            "model": model,
            "alias": alias,
            "found": found,
            "expected": _expected(found),
            "failure": failure,
            "is_stale": isinstance(failure, AliasMovedError),
        },
        found.to_json(),
        status,
    )


def _expected(found: PromotionResult) -> Any:
    return found.previous.version if found.previous else _NONE
