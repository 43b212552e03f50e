"""How a promotion, or a request for one, is asked for: the options that both have."""

from __future__ import annotations

from types import EllipsisType
from typing import TypedDict

from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.records import Version


class PromotionArguments(TypedDict, total=False):
    """Keywords of `Registry.promote` and `request_promotion`, as fields of `PromotionOptions`."""

    reason: str
    force: bool
    dry_run: bool
    expected: int | EllipsisType | None
    verdict: str | None
    group: bool


@dataclass(frozen=True)
class PromotionOptions:
    """How a promotion is asked for.

    Args:
        reason: kept in the ledger.
        force: overrule failed checks; needs a reason.
        dry_run: decide, and change nothing.
        expected: the number of the version that has the alias, None for no version; `...` accepts
            any.
        verdict: `Decision.verdict` of the decision that the caller has seen; None accepts any.
        group: promote the group that the version belongs to: groups are compared, and the median
            version by validation takes the alias.
        member: the version of the group that takes the alias instead of the median one; implies
            `group`.
    """

    reason: str = ""
    force: bool = False
    dry_run: bool = False
    expected: int | EllipsisType | None = ...
    verdict: str | None = None
    group: bool = False
    member: Version | None = None

    def check_force(self) -> None:
        """Raise UsageError if `force` is given without a reason."""
        if self.force and not self.reason.strip():
            raise UsageError(
                "--force needs a reason.",
                "Say why the failed checks do not matter; the ledger records it.",
                "--reason '…'",
            )
