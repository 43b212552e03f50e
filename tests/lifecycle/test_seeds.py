"""One plan with several seeds: what is refused, what is made, and what stays when it ends early."""

import signal
from functools import partial

import pytest
from fakes import FakeBackend, run_context, write_project
from store_helpers import assert_whole

from registry_core.errors import DataError, Interrupted, TrainingError, UsageError
from registry_core.lifecycle import run as lifecycle
from registry_core.lifecycle.seeds import MOST_RUNS, plan_group, run_group
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.plugins.manager import KnownPlugins
from registry_core.process.interrupts import StopRequest
from registry_core.store import Store


@pytest.fixture
def plugins(tmp_path):
    return KnownPlugins(write_project(tmp_path)).load("flowers")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "registry")


def planned(plugins, runs, **overrides):
    return plan_group(spec_from_preset(plugins, "quick", overrides), runs)


def ran(plans, plugins, store, stop=None, **in_run):
    """Run a group of plans with trainers that are quick, and that fail in one run as asked."""
    stop = stop or StopRequest()
    places = []

    def run(spec, place):
        places.append(str(place))
        number = len(places)
        backend = partial(FakeBackend, **in_run.get(f"run_{number}", {}))
        context = run_context(plugins, store.folder.parent, backend, interrupts=stop)
        return lifecycle.run(spec, store, context)

    return run_group(plans, run), places


def test_a_group_has_successive_seeds_and_one_name(plugins):
    """From the seed that was asked for; everything else is the plan's, checked by its own type."""
    plan = spec_from_preset(plugins, "quick", {"seed": "7", "units": 3}, "petals")
    plans = plan_group(plan, 3)
    assert [each.config.seed for each in plans] == [7, 8, 9]
    assert len({each.group for each in plans}) == 1
    assert plans[0].group
    for each in plans:
        assert (each.model, each.preset, each.config.units) == ("petals", "quick", 3)
        assert type(each.config) is type(plan.config)
        assert each.config.about == plan.config.about
    assert plan_group(plan, 3)[0].group != plans[0].group


@pytest.mark.parametrize(
    ("runs", "seed", "why"),
    [
        (1, 0, "--seeds 1 is too few"),
        (0, 0, "--seeds 0 is too few"),
        (-3, 0, "--seeds -3 is too few"),
        (MOST_RUNS + 1, 0, "--seeds 1,001 is too many"),
        (3, 2**31 - 2, "goes beyond 2147483647, the largest seed"),
    ],
)
def test_groups_that_cannot_be_are_refused(plugins, runs, seed, why):
    """Before anything is loaded; the message says what would work."""
    with pytest.raises(UsageError, match=why) as caught:
        planned(plugins, runs, seed=seed)
    assert caught.value.remedy


def test_the_last_seed_may_be_the_largest_there_is(plugins):
    """One further is refused, above."""
    assert [plan.config.seed for plan in planned(plugins, 2, seed=2**31 - 2)] == [
        2**31 - 2, 2**31 - 1,
    ]  # fmt: skip


@pytest.mark.gate
def test_each_run_of_a_group_is_a_version_that_knows_the_others(plugins, store):
    """Numbered as they come; the record has the group's id, and a lone run's has none."""
    context = run_context(plugins, store.folder.parent)
    alone = lifecycle.run(spec_from_preset(plugins, "quick"), store, context)
    versions, places = ran(planned(plugins, 3), plugins, store)
    assert [version.ref for version in versions] == ["flowers@2", "flowers@3", "flowers@4"]
    assert [version.seed for version in versions] == [0, 1, 2]
    assert places == ["Run 1 of 3, seed 0", "Run 2 of 3, seed 1", "Run 3 of 3, seed 2"]
    assert store.group(versions[1]) == versions
    assert store.manifest(versions[0])["group"] == versions[0].group != ""
    assert (alone.group, store.group(alone)) == ("", [alone])
    assert_whole(store)


@pytest.mark.gate
def test_a_run_that_fails_says_which_it_was_and_what_stays(plugins, store):
    """Its own words in between; the versions before it are registered, those after it not tried."""
    with pytest.raises(TrainingError) as caught:
        ran(planned(plugins, 5), plugins, store, run_3={"diverge_at": (0, 1)})
    assert caught.value.what == "Run 3 of 5, seed 2: The loss is nan in epoch 1, batch 2."
    assert caught.value.remedy == "Earlier runs registered flowers@1, flowers@2."
    assert [version.seed for version in store.versions("flowers")] == [1, 0]
    assert_whole(store)


@pytest.mark.gate
def test_the_error_keeps_what_it_advised(plugins, store):
    """Remedy and command are the error's own."""
    fault = DataError("No room.", "Make some.", "df")
    with pytest.raises(DataError) as caught:
        ran(planned(plugins, 2), plugins, store, run_2={"raises": {"check": fault}})
    assert str(caught.value) == (
        "Run 2 of 2, seed 1: No room.\nMake some. Earlier runs registered flowers@1.\nTry: df"
    )


def test_a_first_run_that_fails_leaves_nothing(plugins, store):
    """And claims nothing."""
    with pytest.raises(TrainingError) as caught:
        ran(planned(plugins, 5), plugins, store, run_1={"diverge_at": (0, 0)})
    assert caught.value.what.startswith("Run 1 of 5, seed 0: ")
    assert "Earlier" not in str(caught.value)
    assert store.models() == []


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_stop_in_mid_group_says_what_stays(plugins, store):
    """The run that was stopped can be gone on with, in its group; the others are named."""
    stop = StopRequest()
    with pytest.raises(Interrupted) as caught:
        ran(planned(plugins, 5), plugins, store, stop, run_5={"interrupt_at": (0, 1)})
    assert caught.value.signum == signal.SIGINT
    (stopped,) = store.unfinished_runs()
    assert caught.value.outcome == (
        f"Run 5 of 5, seed 4: nothing was registered; `mlreg resume {stopped.id[-8:]}` resumes it. "
        "Earlier runs registered flowers@1 … flowers@4."
    )
    versions = store.versions("flowers")
    assert stopped.record["group"] == versions[0].group
    assert len(store.versions("flowers")) == 4
    assert_whole(store)


@pytest.mark.gate
def test_a_stop_while_a_version_is_registered_loses_nothing(plugins, store):
    """The version is complete, the message names it, and the group ends there."""
    stop = StopRequest()

    class Late(FakeBackend):
        def check_saved(self, model, path, split):
            super().check_saved(model, path, split)
            if self.config.seed == 1:
                stop.receive(signal.SIGTERM)

    def run(spec, place):
        context = run_context(plugins, store.folder.parent, Late, interrupts=stop)
        return lifecycle.run(spec, store, context)

    with pytest.raises(Interrupted) as caught:
        run_group(planned(plugins, 3), run)
    assert caught.value.outcome == (
        "Run 2 of 3, seed 1: flowers@2 was registered before. Earlier runs registered flowers@1."
    )
    assert len(store.versions("flowers")) == 2
