"""Floors and ceilings: what a metric must at least or at most be, and which way is better."""

import pytest
from fakes import TABLE_PLUGIN
from lifecycle_helpers import Project, hook
from promotion_helpers import promote, publish, registry

from registry_core.errors import UsageError
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.registry import Registry
from registry_core.rules import PromotionRule, direction_of, wrong_way
from registry_core.settings import read_settings


@pytest.mark.parametrize(("ceiling", "passes"), [(0.9, True), (0.89, False), (1, True)])
def test_a_ceiling_lets_nothing_above_through(tmp_path, ceiling, passes):
    """It is what a floor is for metrics that are better when lower."""
    rule = PromotionRule(ceiling={"test_loss": ceiling}, versus_incumbent="off")
    registered = registry(tmp_path, production=rule)
    version = publish(registered, 900)
    assert version.metrics["test_loss"] == 1.0
    if ceiling >= 1:
        assert not promote(registered, version).failed
        return
    with pytest.raises(PromotionRefusedError, match=rf"test_loss at most {ceiling}: 1\.0000"):
        promote(registered, version)


def test_a_metric_that_a_version_lacks_is_not_below_a_ceiling(tmp_path):
    """A misspelt metric lets nothing through."""
    rule = PromotionRule(ceiling={"test_mae": 2}, versus_incumbent="off")
    registered = registry(tmp_path, production=rule)
    with pytest.raises(PromotionRefusedError, match="has no such metric"):
        promote(registered, publish(registered, 900))


def test_a_rule_without_a_ceiling_is_written_as_an_older_mlreg_reads_it():
    """With one, it is there; both read back as they were."""
    plain, limited = PromotionRule(), PromotionRule(ceiling={"test_mae": 2})
    assert "ceiling" not in plain.to_json()
    assert limited.to_json()["ceiling"] == {"test_mae": 2.0}
    for rule in (plain, limited):
        assert PromotionRule.from_json(rule.to_json(), "production").to_json() == rule.to_json()
    assert "test_mae at most 2" in limited.requirements()


def test_a_ceiling_is_set_changed_and_taken_away(tmp_path):
    """Beside the floors, which stay."""
    registered = registry(tmp_path)
    publish(registered, 900)
    registered.set_rule("production", floor={"test_accuracy": 0.5}, ceiling={"test_loss": 2})
    (rule,) = registered.rules()
    assert (rule.rule.floor, rule.rule.ceiling) == ({"test_accuracy": 0.5}, {"test_loss": 2})
    registered.set_rule("production", ceiling={"test_loss": None})
    (rule,) = registered.rules()
    assert (rule.rule.floor, rule.rule.ceiling) == ({"test_accuracy": 0.5}, {})


def test_plugins_toml_can_have_a_ceiling(tmp_path):
    """As a table of metrics and numbers."""
    file = tmp_path / "plugins.toml"
    file.write_text("[promotion.production]\nceiling = { test_mae = 46 }\n")
    assert read_settings(file).promotion["production"].ceiling == {"test_mae": 46}
    file.write_text("[promotion.production]\nceiling = 46\n")
    with pytest.raises(UsageError, match=r"\{test_mae = 2.5\}"):
        read_settings(file)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("test_mae", "min"),
        ("test_loss", "min"),
        ("test_mean_absolute_percentage_error", "min"),
        ("test_root_mean_squared_error", "min"),
        ("test_kl_divergence", "min"),
        ("test_sparse_top_k_categorical_accuracy", "max"),
        ("test_mean_io_u", "max"),
        ("test_auc", "max"),
        ("test_cosine_similarity", "max"),
        ("test_example_f1", "max"),
        ("test_seconds", None),
        ("test_accuracy_loss", None),
        ("test_maestro", None),
    ],
)
def test_the_name_of_a_metric_says_which_way_is_better(metric, direction):
    """Keras's and scikit-learn's names, by whole words; others say nothing."""
    assert direction_of(metric) == direction


def test_a_floor_for_an_error_is_refused_with_the_command_that_works(tmp_path):
    """`floor test_mae=46` would let 46.3 through and refuse 45.5."""
    registered = registry(tmp_path)
    for limits, command in (
        ({"floor": {"test_mae": 46}}, "mlreg rules set production --ceiling test_mae=46"),
        (
            {"ceiling": {"test_accuracy": 0.9}},
            "mlreg rules set production --floor test_accuracy=0.9",
        ),
    ):
        with pytest.raises(UsageError) as caught:
            registered.set_rule("production", **limits)
        assert caught.value.command == command
    assert not registered.rules()


def test_a_plugins_own_objective_says_which_way_is_better(tmp_path):
    """Whatever its name sounds like."""
    body = (
        "import numpy as np\n"
        "    from registry_core import ArraySplit, DataSplits, Objective, Other\n\n"
        "    def split(first):\n"
        "        inputs = np.arange(first, first + 8.0)[:, None]\n"
        "        return ArraySplit(inputs, inputs / 2)\n\n"
        "    def cost(targets, outputs):\n"
        "        return abs(targets - outputs)[:, 0]\n\n"
        "    task = Other(objective=Objective('cost', 'min', cost))\n"
        "    return DataSplits(split(0), split(100), task=task)"
    )
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_dataset", body))
    assert project.run().metrics["test_cost"] == 51.75
    registered = Registry(tmp_path / "registry", project.settings)
    with pytest.raises(UsageError, match="test_cost is better when lower"):
        registered.set_rule("production", floor={"test_cost": 46})
    registered.set_rule("production", ceiling={"test_cost": 52})


def test_a_limit_the_wrong_way_in_a_file_is_warned_of(tmp_path):
    """plugins.toml stays readable; a promotion and `rules sync` say what to write instead."""
    rule = PromotionRule(floor={"test_loss": 0.5}, versus_incumbent="off")
    assert wrong_way(rule, {"test_loss": "max"}) == []
    registered = registry(tmp_path, production=rule)
    warnings = promote(registered, publish(registered, 900)).warnings
    assert "test_loss is better when lower, and a floor requires at least 0.5" in warnings[0]
    assert "Write it as a ceiling in that file" in warnings[0]
