"""How many days a version that lost an alias is kept."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest
from cli_helpers import assert_error, in_turn
from promotion_helpers import promote, publish

from registry_core.errors import DamagedIndexError, RefusedError, UsageError
from registry_core.registry import Registry
from registry_core.rules import PromotionRule
from registry_core.settings import Settings, read_settings
from registry_core.store.clock import days_since


def rule(days: float | None) -> PromotionRule:
    return PromotionRule(versus_incumbent="off", rollback_days=days)


def registry(folder, *, general: float | None = None, **file_rules) -> Registry:
    """A registry, seen from a folder whose plugins.toml has these rules and [registry] number."""
    settings = Settings(folder / "plugins.toml", promotion=file_rules, rollback_days=general)
    return Registry(folder / "registry", settings)


def set_rule(folder, alias: str, rule: PromotionRule) -> None:
    registry(folder).store.rules.change(lambda before: {alias: rule})


@pytest.fixture
def folder(tmp_path):
    """A registry whose dummy@1 was in production until now."""
    registered = registry(tmp_path)
    for right in (850, 900):
        promote(registered, publish(registered, right))
    return tmp_path


def days_asked(registered: Registry) -> float:
    """How many days a removal of dummy@1 is refused for; 0 where it is not."""
    try:
        registered.remove("dummy@1", dry_run=True)
    except RefusedError as refusal:
        return float(refusal.remedy.split("removed ")[1].split(" day")[0].replace(",", ""))
    return 0


# --- which number decides ------------------------------------------------------------------------


@pytest.mark.gate
@pytest.mark.parametrize(
    ("kept", "file", "general", "days"),
    [
        (None, None, None, 30),
        (90, None, None, 90),
        (7, None, None, 7),  # the registry's own rule may ask for less than the default
        (0, None, None, 0),
        (7, 60, None, 60),  # plugins.toml may ask for more than the registry
        (7, None, 14, 14),
        (90, 60, 14, 90),  # and not for less
        (90, 0, 0, 90),
        (None, 7, None, 30),
        (None, 60, None, 60),
        (None, None, 90, 90),
        (None, None, 7, 7),
        (None, 60, 90, 90),
        (None, 7, 0, 7),
    ],
)
def test_the_largest_number_of_days_applies(folder, kept, file, general, days):
    """Each of the three places, alone and together; the registry's may be below the default."""
    if kept is not None:
        set_rule(folder, "production", rule(kept))
    rules = {} if file is None else {"production": rule(file)}
    assert days_asked(registry(folder, general=general, **rules)) == days


def test_a_rule_without_a_number_of_days_keeps_the_default(folder):
    """Older rules have none."""
    assert PromotionRule.from_json({"versus_incumbent": "off"}, "production") == rule(None)
    assert PromotionRule.from_json(rule(None).to_json(), "production").rollback_days is None
    set_rule(folder, "production", rule(None))
    assert days_asked(registry(folder)) == 30
    assert days_asked(registry(folder, general=40)) == 40


def test_each_alias_that_a_version_held_counts(folder):
    """The alias with the most days left is named."""
    registered = registry(folder)
    for reference in ("dummy@1", "dummy@2"):
        promote(registered, registered.version(reference), "staging")
    set_rule(folder, "staging", rule(0))
    with pytest.raises(RefusedError, match="dummy@1 was production until"):
        registered.remove("dummy@1")
    set_rule(folder, "production", rule(5))
    set_rule(folder, "staging", rule(7.5))
    with pytest.raises(RefusedError, match="dummy@1 was staging until") as told:
        registered.remove("dummy@1")
    assert "7.5 days" in told.value.remedy
    set_rule(folder, "production", rule(0))
    set_rule(folder, "staging", rule(0))
    registered.remove("dummy@1")


@pytest.mark.parametrize(("kept", "gone", "days"), [(None, 29, 30), (None, 31, 0), (90, 31, 90)])
def test_the_days_are_counted_from_when_the_alias_was_lost(folder, monkeypatch, kept, gone, days):
    """After that many days the version can be removed."""
    if kept is not None:
        set_rule(folder, "production", rule(kept))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + gone * 86_400)
    assert days_asked(registry(folder)) == days


def test_an_invalid_time_counts_as_now():
    """A time that was changed by hand protects the version."""
    assert days_since("yesterday") == 0
    assert days_since("2020-01-01T00:00:00Z") > 1


def _delete_rules(registry: Registry) -> None:
    """Delete the rules from the index behind the registry's back."""
    with closing(sqlite3.connect(registry.folder / "registry.sqlite3")) as connection:
        connection.execute("DELETE FROM rules")
        connection.commit()


def test_a_damaged_rule_prevents_removal(folder):
    """Exit status 6; a version that never had an alias can still be removed."""
    set_rule(folder, "production", rule(90))
    third = publish(registry(folder), 700)
    _delete_rules(registry(folder))
    with pytest.raises(DamagedIndexError):
        registry(folder).remove("dummy@1")
    registry(folder).remove(third.ref)


# --- plugins.toml --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["-1", "inf", "nan", "true", "'90'", str(10**400)])
@pytest.mark.parametrize("section", ["registry", "promotion.production"])
def test_an_invalid_number_of_days_is_refused_when_it_is_read(tmp_path, section, value):
    """The same message in both sections."""
    file = tmp_path / "plugins.toml"
    file.write_text(f"[{section}]\nrollback_days = {value}\n")
    with pytest.raises(UsageError, match="'rollback_days' must be a number of days, 0 or more"):
        read_settings(file)


@pytest.mark.parametrize(
    ("general", "own", "days"),
    [("", "", None), ("", "7", 7), ("90", "", 90), ("90", "7", 90), ("7", "90", 90), ("0", "", 0)],
)
def test_the_number_under_registry_is_the_minimum_of_all_rules_in_the_file(
    tmp_path, general, own, days
):
    """So `rules sync` takes it over, for each alias that has a rule."""
    file = tmp_path / "plugins.toml"
    lines = [
        "[registry]",
        f"rollback_days = {general}" if general else "",
        "[promotion.production]",
    ]
    file.write_text("\n".join([*lines, f"rollback_days = {own}" if own else ""]))
    settings = read_settings(file)
    assert settings.promotion["production"].rollback_days == days
    assert settings.rollback_days == (float(general) if general else None)


# --- at the command line -------------------------------------------------------------------------


def lines(folder, home, *typed: str):
    return in_turn([line.split() for line in typed], cwd=folder, MLREG_HOME=str(home / "registry"))


@pytest.fixture
def folders(folder):
    """A folder with a plugins.toml that says 90, one without any, one with another."""
    for name in ("project", "elsewhere", "other"):
        (folder / name).mkdir()
    (folder / "project" / "plugins.toml").write_text("[registry]\nrollback_days = 90\n")
    (folder / "other" / "plugins.toml").write_text("[registry]\nrollback_days = 1\n")
    return [folder / name for name in ("project", "elsewhere", "other")]


@pytest.mark.gate
@pytest.mark.processes
def test_one_rule_refuses_one_removal_from_three_folders(folder, folders):
    """Exit status 9 from each folder, whatever its plugins.toml says."""
    project, elsewhere, other = folders
    (alone,) = lines(project, folder, "rm dummy@1")
    step = "mlreg rules set production --rollback-days 90 --versus off"
    assert_error(alone, 9, f"90 days after that. Only {project}/plugins.toml says so", step)
    assert "from another folder it is 30 days" in alone.stderr
    (default,) = lines(elsewhere, folder, "rm dummy@1")
    assert_error(default, 9, "30 days after that, the default", "mlreg history dummy@production")
    (set_,) = lines(project, folder, step.removeprefix("mlreg "))
    assert set_.status == 0, set_.stderr
    assert "  + a version that held it cannot be removed for 90 days\n" in set_.stdout
    for place in (project, elsewhere, other):
        (done,) = lines(place, folder, "rm dummy@1")
        assert_error(done, 9, "dummy@1 was production until", "90 days after that")
        assert "by the rule of the registry, set 2" in done.stderr
        assert "mlreg history dummy@production" in done.stderr
    assert [version.version for version in registry(folder).store.versions("dummy")] == [2, 1]


@pytest.mark.processes
def test_the_number_of_days_is_shown_synced_and_kept_in_the_ledger(folder, folders):
    """`rules set` keeps it with the rest of the rule, `sync` takes the file's, `rules` says it."""
    project = folders[0]
    (project / "plugins.toml").write_text(
        "[registry]\nrollback_days = 60\n[promotion.production]\nmargin = 0.02\n"
    )
    first, synced, shown, lower, kept, as_json, again, refused, rows = lines(
        project,
        folder,
        "rm dummy@1",
        "rules sync --yes",
        "rules",
        "rules set production --rollback-days 1",
        "rules set production --margin 0.05",
        "rules --json",
        "rules set production --rollback-days 0",
        "rules set production --rollback-days=-1",
        "history dummy@production --json",
    )
    assert_error(first, 9, "60 days after that. Only ", "mlreg rules sync")
    assert "  + a version that held it cannot be removed for 60 days\n" in synced.stdout
    assert "  a version that held it cannot be removed for 60 days\n" in shown.stdout
    assert "  + a version that held it cannot be removed for 1 day\n" in lower.stdout
    assert "cannot be removed for 1 day\n" in kept.stdout
    assert [each["rule"]["rollback_days"] for each in as_json.json["rules"]] == [1, 60]
    assert "  + a version that held it can be removed at once\n" in again.stdout
    assert_error(refused, 2, "--rollback-days")
    kept_rows = [row for row in rows.json["history"] if row["action"] == "rule set"]
    assert [row["evidence"]["rule"]["rollback_days"] for row in kept_rows] == [0, 1, 1, 60]
