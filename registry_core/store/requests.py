"""Requests for promotions that somebody else has to approve.

A request, its approvals and its end are rows of the ledger, whose `who` says that they are by
different people. The last approval and the move of the alias are one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry_core.errors import RefusedError, UsageError
from registry_core.records import LedgerAction, LedgerRow, Promotion, PromotionRequest, Version
from registry_core.refs import check_alias_name
from registry_core.store import manifest as manifests
from registry_core.store.approvals import CHANGES, opens_request, request_key
from registry_core.store.confirm import CheckedVersion
from registry_core.store.labels import Labels, set_alias
from registry_core.store.ledger import Event, is_intact
from registry_core.store.storage_errors import contradicted

if TYPE_CHECKING:
    from registry_core.store.interfaces import ReadTransaction

# How many rows about a version and an alias are read at once.
_TOGETHER = 100


class Requests(Labels):
    """The part of a store that keeps requests for promotions."""

    def requests(self) -> list[PromotionRequest]:
        """Every open request, oldest first."""
        with self._access.reading("reading the requests for promotions") as view:
            return [_request(view, number) for number in view.requests().values()]

    def request(self, number: int) -> PromotionRequest:
        """An open request.

        Raises:
            UsageError: there is no such request, or it was approved or declined.
        """
        with self._access.reading(f"looking for request {number}") as view:
            return _open(view, number)

    def ask(
        self,
        checked: CheckedVersion,
        alias: str,
        reason: str,
        evidence: Mapping[str, Any],
        holder: Version | None,
        rule: int | None,
    ) -> PromotionRequest:
        """Ask for a promotion; an older request for the same, made on other grounds, ends.

        Args:
            checked: the version, whose files were read.
            alias: the alias.
            reason: why, for the ledger.
            evidence: what the request is based on.
            holder: the version that had the alias when this was decided, or None.
            rule: the row of the ledger that set the alias's rule then, or None.

        Raises:
            UsageError: the same is asked for already.
            AliasMovedError: the alias is on another version by now.
            RuleChangedError: the alias has another rule by now.
            IntegrityError: a file of the version was damaged meanwhile.
        """
        check_alias_name(alias)
        manifests.check_json(evidence, "evidence")
        version = checked.version
        with self._access.writing(f"asking for {version.ref} as {alias}") as index:
            self._check_move(index, checked, alias, holder, rule)
            open_row = index.requests().get((version.model, alias, version.version))
            if open_row is not None:
                _refuse_repeated(_request(index, open_row), evidence)
            event = Event(LedgerAction.REQUESTED, version.model, version.version, alias)
            return PromotionRequest(index.append(replace(event, reason=reason, evidence=evidence)))

    def approve(
        self,
        checked: CheckedVersion,
        number: int,
        reason: str,
        evidence: Mapping[str, Any],
        needed: int,
        holder: Version | None,
        rule: int | None,
    ) -> tuple[PromotionRequest, Promotion | None]:
        """Approve a request; the last approval that it needs moves the alias.

        Args:
            checked: the version, whose files were read.
            number: of the request.
            reason: why, for the ledger.
            evidence: what whoever approves it has seen.
            needed: how many have to approve it.
            holder: the version that had the alias when this was decided, or None.
            rule: the row of the ledger that set the alias's rule then, or None.

        Returns:
            The request with its approvals; and the move, None if it needs more approvals.

        Raises:
            RefusedError: this account asked for it, or approved it before.
            UsageError: the request is not open.
            AliasMovedError: the alias is on another version by now.
            RuleChangedError: the alias has another rule by now.
            IntegrityError: a file of the version was damaged meanwhile.
        """
        manifests.check_json(evidence, "evidence")
        with self._access.writing(f"approving request {number}") as index:
            request = _open(index, number)
            check_approver(request, index.who)
            alias = request.alias
            move = self._check_move(index, checked, alias, holder, rule)
            grounds = {**evidence, "request": number}
            event = Event(LedgerAction.APPROVED, request.row.model, request.row.version, alias)
            row = index.append(replace(event, reason=reason, evidence=grounds))
            request = replace(request, approvals=[*request.approvals, row])
            if len(request.approvals) < needed:
                return request, None
            approvers = [each.who for each in request.approvals]
            people = {"requested_by": request.row.who, "approved_by": approvers}
            return request, set_alias(
                index, move, LedgerAction.PROMOTED, request.row.reason, grounds | people
            )

    def decline(self, number: int, reason: str) -> PromotionRequest:
        """Decline a request, which ends it.

        Raises:
            UsageError: the request is not open.
        """
        with self._access.writing(f"declining request {number}") as index:
            request = _open(index, number)
            event = Event(LedgerAction.DECLINED, request.row.model, request.row.version)
            evidence = {"request": number}
            index.append(replace(event, alias=request.alias, reason=reason, evidence=evidence))
            return request

    def account(self) -> str:
        """The account that a row written now would name."""
        with self._access.reading("looking for the name of this account") as view:
            return view.who


def check_approver(request: PromotionRequest, who: str) -> None:
    """Raise RefusedError if this account may not approve a request."""
    number = request.number
    if who == request.row.who:
        raise RefusedError(
            f"Request {number} was made by {who}, and {who} cannot approve it.",
            "Somebody else has to approve it, from an account of their own.",
            "mlreg requests",
        )
    if any(each.who == who for each in request.approvals):
        raise RefusedError(
            f"{who} has approved request {number} already; it needs {request.needed} approvals.",
            "Somebody else has to approve it, too.",
            "mlreg requests",
        )


def _open(view: ReadTransaction, number: int) -> PromotionRequest:
    known = list(view.requests().values())
    if number in known:
        return _request(view, number)
    rows = view.ledger(before=number + 1, limit=1) if 0 < number < 2**63 - 1 else []
    what = f"There is no request {number}."
    if rows and rows[0].number == number and opens_request(rows[0]):
        last = next((row for row in _rows_since(view, rows[0]) if row.action in CHANGES), None)
        if last is None:
            raise contradicted(f"request {number}", "the ledger")
        verb = {LedgerAction.REQUESTED: "replaced by a newer one"}.get(
            LedgerAction(last.action), last.action
        )
        what = f"Request {number} was {verb}, by {last.who} at {last.at}."
    near = ", ".join(map(str, known[:10]))
    raise UsageError(what, f"Open: {near}." if near else "No request is open.", "mlreg requests")


def _request(view: ReadTransaction, number: int) -> PromotionRequest:
    """A request that is open by the index, if the ledger says the same.

    Raises:
        DamagedIndexError: it does not.
    """
    rows = view.ledger(before=number + 1, limit=1)
    row = rows[0] if rows else None
    if row is None or row.number != number or not (opens_request(row) and is_intact(row)):
        raise contradicted(f"request {number}", "the ledger")
    later = _rows_since(view, row)
    if any(each.action in CHANGES for each in later) or not all(map(is_intact, later)):
        raise contradicted(f"request {number}", "the ledger")
    approvals = [each for each in later if each.action == LedgerAction.APPROVED]
    return PromotionRequest(row, approvals)


def _rows_since(view: ReadTransaction, row: LedgerRow) -> list[LedgerRow]:
    """The rows about the same version and alias after a row, oldest first."""
    key = request_key(row)
    assert key is not None  # noqa: S101 - a request has all three
    model, alias, version = key
    found: list[LedgerRow] = []
    before = None
    while True:
        rows = view.ledger(model, version, alias, _TOGETHER, before)
        found += [each for each in rows if each.number > row.number]
        if len(rows) < _TOGETHER or rows[-1].number <= row.number:
            return found[::-1]
        before = rows[-1].number


def _refuse_repeated(request: PromotionRequest, evidence: Mapping[str, Any]) -> None:
    """Raise UsageError if a request is open that was made on the same grounds."""
    before = request.row.evidence
    if any(before.get(key) != evidence.get(key) for key in ("incumbent", "rule_row", "forced")):
        return
    raise UsageError(
        f"{request.ref} as {request.alias} was asked for already: request {request.number}, "
        f"by {request.row.who}.",
        f"It waits for approval: {len(request.approvals)} of {request.needed}.",
        "mlreg requests",
    )
