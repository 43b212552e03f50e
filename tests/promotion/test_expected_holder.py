"""Moving an alias only from the version on which a person saw it."""

from __future__ import annotations

import pytest
from promotion_helpers import held_by, promote, publish, registry

from registry_core.errors import AliasMovedError
from registry_core.promotion import promote as promotion_story
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.rules import PromotionRule


def test_an_alias_moves_from_the_expected_holder_alone(tmp_path):
    """Also where no version had it, and where the same promotion was made meanwhile."""
    registered = registry(tmp_path)
    first, second = publish(registered, 1), publish(registered, 2)
    with pytest.raises(AliasMovedError, match="is on no version, and was expected on dummy@1"):
        promote(registered, first, expected=1)
    promote(registered, first, expected=None)
    for version in (first, second):
        with pytest.raises(AliasMovedError, match="is on dummy@1, and was expected on no version"):
            promote(registered, version, expected=None)
    promote(registered, second, expected=1)
    assert held_by(registered) == 2


def test_a_holder_that_changes_during_the_decision_is_not_decided_about_again(
    tmp_path, monkeypatch
):
    """Without an expected holder it is; a refusal about another holder is not recorded."""
    registered = registry(tmp_path, production=PromotionRule(floor={"test_accuracy": 0.003}))
    first, second, third = (publish(registered, right) for right in (3, 4, 5))
    promote(registered, first)
    decide = promotion_story.decide

    def moved_meanwhile(*arguments):
        monkeypatch.setattr(promotion_story, "decide", decide)
        promote(registered, second)
        return decide(*arguments)

    monkeypatch.setattr(promotion_story, "decide", moved_meanwhile)
    with pytest.raises(AliasMovedError):
        promote(registered, third, expected=1)
    assert held_by(registered) == 2
    monkeypatch.setattr(promotion_story, "decide", moved_meanwhile)
    promote(registered, third)
    assert held_by(registered) == 3
    with pytest.raises(AliasMovedError):
        promote(registered, publish(registered, 0), expected=1)
    with pytest.raises(PromotionRefusedError):
        promote(registered, registered.version("dummy@4"), expected=3)
    assert [row.action for row in registered.history("dummy@4")] == ["refused", "registered"]


def test_a_rollback_starts_from_the_expected_holder_alone(tmp_path):
    """Two rollbacks from one page go back one step."""
    registered = registry(tmp_path)
    for right in (1, 2, 3):
        promote(registered, publish(registered, right))
    with pytest.raises(AliasMovedError, match="is on dummy@3, and was expected on dummy@2"):
        registered.rollback("dummy", "production", expected=2)
    registered.rollback("dummy", "production", expected=3)
    with pytest.raises(AliasMovedError):
        registered.rollback("dummy", "production", expected=3)
    assert held_by(registered) == 2
