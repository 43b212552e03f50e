"""Whether one of the keys that a rule lists has signed a version."""

from __future__ import annotations

from registry_core.records import Signature, Version
from registry_core.rules import PromotionRule, signers
from registry_core.signing.versions import CheckSignatures


def check_signed_by(
    candidate: Version, rule: PromotionRule, check: CheckSignatures
) -> tuple[str, str, Signature | None]:
    """What is required, what was found, and the valid signature; None if there is none."""
    wanted = f"signed by {signers(rule.signed_by)}"
    checked = check(candidate)
    listed = [each for each in checked if each.signature.key in rule.signed_by]
    for each in listed:
        if not each.wrong:
            ledger = "another registry's ledger" if each.signature.registry else "the ledger"
            by = f"key {each.signature.key[:12]}…, row {each.signature.row} of {ledger}"
            return wanted, by, each.signature
    if listed:
        wrong = "; ".join(f"that by {signers([x.signature.key])}: {x.wrong}" for x in listed)
        return wanted, f"no valid signature ({wrong})", None
    if checked:
        others = signers([each.signature.key for each in checked])
        return wanted, f"signed by {others}, not listed", None
    return wanted, "not signed", None
