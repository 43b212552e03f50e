"""What a command costs does not grow with a model's past, nor a list's with the number of models.

The long past has 30,000 ledger rows, and 300,000 with --exhaustive; MLREG_LEDGER_ROWS says another
number.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from store_bulk import PROMOTIONS, with_models, with_promotions
from store_helpers import publish

from registry_core.cli import run_command
from registry_core.refs import parse_ref
from registry_core.store import Store

pytestmark = [pytest.mark.processes, pytest.mark.gate]

MODELS = 200
TIMES = 1.5
STEPS_AT_ONCE = 50
TRIES = 3

COMMANDS = {
    "promote": ["promote", "dummy@1", "staging", "--reason", "better"],
    "promote what alternates": ["promote", "dummy@1", "production"],
    "rollback": ["rollback", "dummy", "production"],
    "alias": ["alias", "dummy"],
    "alias of one": ["alias", "dummy", "production"],
    "history at": ["history", "dummy@production", "--at", "2999-01-01"],
    "show": ["show", "dummy@production"],
    "list": ["list", "dummy"],
    "tag": ["tag", "dummy@1", "owner=ann"],
}


@dataclass
class Cost:
    """Of one thing that was done: SQLite's steps and statements, processor seconds, and bytes."""

    steps: float = float("inf")
    statements: float = float("inf")
    seconds: float = float("inf")
    memory: float = float("inf")

    def least(self, other: Cost) -> Cost:
        pairs = ((getattr(self, name), getattr(other, name)) for name in vars(self))
        return Cost(*(min(pair) for pair in pairs))


@contextlib.contextmanager
def _counted(cost: Cost) -> Iterator[None]:
    """Count what SQLite does for everybody in this process."""
    connect = sqlite3.connect
    cost.steps = cost.statements = 0

    def step() -> int:
        cost.steps += STEPS_AT_ONCE
        return 0

    def state(_: str) -> None:
        cost.statements += 1

    def counted(*words, **more) -> sqlite3.Connection:
        connection = connect(*words, **more)
        connection.set_progress_handler(step, STEPS_AT_ONCE)
        connection.set_trace_callback(state)
        return connection

    sqlite3.connect = counted
    try:
        yield
    finally:
        sqlite3.connect = connect


def _cost(act: Callable[[], object]) -> Cost:
    """The least of several tries; memory is measured apart, as that takes time."""
    found = Cost()
    act()  # imports
    for _ in range(TRIES):
        cost = Cost()
        with _counted(cost):
            started = time.process_time()
            act()
            cost.seconds = time.process_time() - started
        found = found.least(cost)
    tracemalloc.start()
    try:
        act()
        found.memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return found


def _command(folder: Path, words: list[str]) -> Callable[[], None]:
    def act() -> None:
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            status = run_command(["--registry", str(folder), *words])
        assert status == 0, told.getvalue()

    return act


@pytest.fixture(scope="module")
def registries(tmp_path_factory, pytestconfig) -> tuple[Path, Path]:
    """Two registries, alike but for the length of their past."""
    usual = 300_000 if pytestconfig.option.exhaustive else 30_000
    rows = int(os.environ.get("MLREG_LEDGER_ROWS", usual))
    folder = tmp_path_factory.mktemp("scale")
    small = with_promotions(folder / "small", PROMOTIONS + 2)
    large = with_promotions(folder / "large", rows)
    assert len(small.ledger()) == PROMOTIONS + 2
    assert large.ledger_head()[0] == rows
    for store in (small, large):
        assert store.aliases("dummy")["production"] in (1, 2)
    return small.folder, large.folder


@pytest.mark.exhaustive(keep=1)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_costs_the_same_whatever_the_model_went_through(registries, name):
    """SQLite's steps, the processor's time and the memory, at most half as much again."""
    small, large = (_cost(_command(folder, COMMANDS[name])) for folder in registries)
    assert large.steps <= TIMES * small.steps + 1000, (small, large)
    assert large.seconds <= TIMES * small.seconds + 0.02, (small, large)
    assert large.memory <= TIMES * small.memory + (1 << 20), (small, large)


def test_publishing_costs_the_same_whatever_the_model_went_through(registries):
    small, large = (
        _cost(partial(publish, Store(folder), content=b"one more")) for folder in registries
    )
    assert large.steps <= TIMES * small.steps + 1000, (small, large)
    assert large.memory <= TIMES * small.memory + (1 << 20), (small, large)


def test_another_model_costs_the_same_beside_a_long_history(registries):
    """A promotion of a model with no past of its own."""
    costs = []
    for folder in registries:
        store = Store(folder)
        version = publish(store, "other")
        costs.append(_cost(partial(store.move_alias, version, "production")))
    small, large = costs
    assert large.steps <= TIMES * small.steps + 1000, (small, large)


def test_the_long_past_is_true(registries):
    """The registries that are measured are as a command would have made them."""
    _, large = registries
    store = Store(large)
    (last,) = store.ledger(model="dummy", alias="production", limit=1)
    assert store.aliases("dummy")["production"] == last.version
    store.verify_ledger()
    lines = (large / "ledger.jsonl").read_bytes().count(b"\n")
    assert lines == store.ledger_head()[0]


# --- many models ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    few = with_models(folder / "few", 10)
    more = with_models(folder / "many", MODELS)
    return few.folder, more.folder


@pytest.mark.exhaustive
def test_a_list_of_models_asks_few_questions(many):
    """As many statements for hundreds of models as for ten, but for a few."""
    few, more = (_cost(Store(folder).models) for folder in many)
    assert len(Store(many[1]).models()) == MODELS
    assert more.statements <= few.statements + 10, (few, more)


def test_a_page_of_models_reads_no_more_models_than_it_shows(many):
    """The first page and one from the middle, beside ten models and beside hundreds."""
    few, more = (Store(folder) for folder in many)
    names, half = more.model_names(), MODELS // 2
    assert [each.name for each in more.models(5, names[half])] == names[half + 1 : half + 6]

    def steps(store: Store, limit: int | None, after: str = "") -> float:
        nothing = _cost(partial(store.models, limit, "~"))  # opens and checks a small index
        return _cost(partial(store.models, limit, after)).steps - nothing.steps

    of_few = steps(few, 5)
    largest = max(steps(more, 5), steps(more, 5, names[half]))
    assert largest <= TIMES * of_few + 1000, (of_few, largest)
    whole = steps(more, None)
    assert whole > 10 * largest > 0, (whole, largest)


def test_a_list_of_models_is_what_each_model_says(many, tmp_path):
    """Versions, newest, aliases; removed ones do not count, nor does a model without any."""
    folder = shutil.copytree(many[0], tmp_path / "registry")
    store = Store(folder)
    for number in range(3):
        publish(store, "model1", b"%d" % number)
    store.removals.remove(store.resolve(parse_ref("model1@4")), 0)
    store.removals.remove(store.resolve(parse_ref("model2@1")), 0)
    found = {summary.name: summary for summary in store.models()}
    assert sorted(found) == sorted(f"model{number}" for number in range(10) if number != 2)
    assert (found["model1"].versions, found["model1"].latest.version) == (3, 3)
    for name, summary in found.items():
        assert summary.aliases == store.aliases(name)
        assert summary.latest == store.versions(name, limit=1)[0]
