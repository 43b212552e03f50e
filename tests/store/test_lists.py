"""Lists of versions: filtered, sorted and by pages, as every index must answer.

An index is compared with plain Python over the same versions.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from operator import eq, ge, gt, le, lt, ne

import pytest
from store_backends import BACKENDS, EACH_BACKEND
from store_helpers import make_older, publish, record

from registry_core.errors import UsageError
from registry_core.records import LedgerAction, Version
from registry_core.registry_reader import RegistryReader
from registry_core.settings import Settings
from registry_core.store.audit import audit
from registry_core.store.ledger import Event
from registry_core.store.manifest import Objective
from registry_core.store.sqlite.index import SqliteIndex
from registry_core.version_query import (
    PRESENT,
    Condition,
    Order,
    VersionQuery,
    parse_condition,
    parse_order,
)

pytestmark = pytest.mark.drawn

COMPARED = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
ACCURACY, LOSS = Objective("test_accuracy", "max"), Objective("test_loss", "min")
# names that the path of SQLite's JSON functions has to quote, or cannot have
ODD = ("a.b", 'quo"te', "back\\slash", "brackets[0]", "ümlaut", "$", "test_accuracy x")
KEYS = ("version", "created", "seed", "preset", "dataset", "test_accuracy", "test_loss", *ODD)


@pytest.fixture(params=EACH_BACKEND)
def index(request, tmp_path):
    return BACKENDS[request.param](tmp_path).index()


def made(number: int, draw: random.Random) -> Version:
    """A version with few different values, so that there are equals, and gaps, in any order."""
    odd = {name: draw.choice([0, 0.5, 2]) for name in ODD if draw.random() < 0.3}
    return Version(
        model="dummy",
        version=number,
        created=f"2026-01-0{draw.randint(1, 3)}T00:00:0{draw.randint(0, 2)}Z",
        dataset=draw.choice(["one", "other"]),
        preset=draw.choice(["quick", "baseline", "Ünder"]),
        seed=draw.randint(0, 3),
        metrics={
            "test_accuracy": draw.choice([0.1 + 0.2, 0.3, 0.5, 1]),
            "test_loss": draw.choice([-1.0, 0.0, 1e-9, 2.5]),
            **odd,
        },
        seconds={"fit": 1.0, "test_loss": 9.0},
        files=(),
        digest=f"{number:064x}",
        run=f"20260101T000000Z-{number:08x}",
        group=draw.choice(["", "", "g1", "g2"]),
    )


def fill(
    index, count: int, objectives=(ACCURACY,), seed: int = 0, alike: bool = True
) -> list[Version]:
    """Register so many; some are tagged, some removed; returns those that are left.

    Args:
        index: where.
        count: how many.
        objectives: each has one of these.
        seed: for what is drawn.
        alike: whether many have equal metrics.
    """
    draw = random.Random(seed)
    kept = []
    with index.write(create=True) as writing:
        for _ in range(count):
            version = made(writing.take_number("dummy"), draw)
            if not alike:
                version = replace(version, metrics={"test_accuracy": draw.random()})
            writing.add_version(version, draw.choice(objectives))
            evidence = {"digest": version.digest}
            writing.append(
                Event(LedgerAction.REGISTERED, "dummy", version.version, evidence=evidence)
            )
            if draw.random() < 0.4:
                tags = {"reviewed": draw.choice(["yes", "no", ""])}
                writing.tag(version, tags, [])
                version = replace(version, tags=tags)
            if draw.random() < 0.2:
                writing.remove(version, "2026-02-01T00:00:00Z")
            else:
                kept.append(version)
        # another model's are never among them
        other = replace(made(1, draw), model="other", version=writing.take_number("other"))
        writing.add_version(other, ACCURACY)
    return kept


def value(version: Version, key: str):
    return version.metrics.get(key) if key not in KEYS[:5] else getattr(version, key)


def meets(version: Version, condition: Condition) -> bool:
    if condition.is_tag:
        has = version.tags.get(condition.key)
        if condition.operator == PRESENT:
            return has is not None
        return COMPARED[condition.operator](has, condition.value)
    found = version.group if condition.key == "group" else value(version, condition.key)
    if found is None or condition.operator == PRESENT:
        return found is not None
    if not isinstance(condition.value, tuple):
        return COMPARED[condition.operator](found, condition.value)
    first, last = condition.value
    inside = first <= found <= last
    verdicts = {"=": inside, "!=": not inside, "<": found < first, "<=": found <= last}
    verdicts |= {">": found > last, ">=": found >= first}
    return verdicts[condition.operator]


def expected(versions: list[Version], query: VersionQuery) -> list[int]:
    """The numbers that the query finds, by Python."""
    found = [v for v in versions if all(meets(v, condition) for condition in query.where)]
    found.sort(key=lambda v: v.version, reverse=True)
    key = query.order.key
    has = [v for v in found if value(v, key) is not None]
    has.sort(key=lambda v: value(v, key), reverse=query.order.descending)  # a stable sort
    return [v.version for v in [*has, *(v for v in found if value(v, key) is None)]]


WHERE = [
    (),
    ("test_accuracy>0.3",),
    ("test_accuracy=0.3", "test_loss<1"),
    ("test_loss>=0", "preset!=quick"),
    ("seed<=1", "dataset=one"),
    ("version>5", "version!=7"),
    ("created=2026-01-02",),
    ("created>2026-01-01", "created<2026-01-03"),
    ("created>=2026-01-02T00:00:01", "created!=2026-01-02T00:00:02"),
    ("created<=2026-01-01T01:00:02+01:00",),
    ("tag:reviewed",),
    ("tag:reviewed=yes",),
    ("tag:reviewed!=yes",),
    ("tag:reviewed=",),
    ("group=g1",),
    ("preset=Ünder",),
    *((f"{name}",) for name in ODD),
    *((f"{name}>=0.5",) for name in ODD),
]


@pytest.mark.parametrize(
    "objectives", [(ACCURACY,), (LOSS,), (ACCURACY, LOSS)], ids=["max", "min", "several"]
)
def test_a_list_is_what_python_finds_and_sorts(request, index, objectives):
    """By each key, in both directions, under each condition; a page is the list's next part.

    A server is asked a sixth of them in the gate, and all with --exhaustive.
    """
    versions = fill(index, 40, objectives)
    asks_all = isinstance(index, SqliteIndex) or request.config.option.exhaustive
    with index.read() as view:
        for texts in WHERE if asks_all else WHERE[::6]:
            where = [parse_condition(text) for text in texts]
            for key in KEYS:
                order = Order(key, descending=len(texts) % 2 == 0)
                query = VersionQuery(where, order)
                wanted = expected(versions, query)
                found = view.versions("dummy", None, query)
                assert [v.version for v in found] == wanted, (texts, order)
                assert found == [v for n in wanted for v in versions if v.version == n]
                for place in range(0, len(wanted) - 1, 7):
                    page = view.versions("dummy", 3, replace(query, after=wanted[place]))
                    assert [v.version for v in page] == wanted[place + 1 : place + 4], (
                        texts,
                        order,
                    )


@pytest.mark.parametrize("key", ["test_loss", 'quo"te', "seed", "-version", "-test_accuracy"])
def test_pages_join_to_the_list_whatever_is_removed_between(index, key):
    """The version that a page ended with is removed: what follows it is still the next page."""
    versions = fill(index, 30)
    order = Order(key.removeprefix("-"), key.startswith("-"))
    wanted, seen, after = expected(versions, VersionQuery((), order)), [], None
    while True:
        with index.write() as writing:
            page = writing.versions("dummy", 4, VersionQuery((), order, after))
            if not page:
                break
            seen += [v.version for v in page]
            after = seen[-1]
            writing.remove(page[-1], "2026-02-01T00:00:00Z")
    assert seen == wanted


def test_an_index_knows_the_metrics_of_the_newest_versions(index):
    fill(index, 40)
    with index.read() as view:
        assert set(view.metric_names("dummy")) == {"test_accuracy", "test_loss", *ODD}
        assert view.metric_names("nothing") == []


def test_what_was_registered_last_is_listed_by_pages(index):
    """Over all models."""
    fill(index, 10)
    with index.read() as view:
        all_of_them = view.newest(100)
        assert (all_of_them[0].model, len({v.ref for v in all_of_them})) == (
            "other",
            len(all_of_them),
        )
        seen, before = [], None
        while page := view.newest(3, before):
            seen += page
            before = (page[-1].model, page[-1].version)
        assert seen == all_of_them


def test_the_version_of_a_run_is_found_by_the_end_of_its_id(index):
    versions = fill(index, 10)
    with index.read() as view:
        assert view.by_run(versions[3].run[-4:], 5) == [versions[3]]
        for nothing in ("", "%", "nothing"):
            assert view.by_run(nothing, 3) == []


def test_older_rows_of_the_ledger_follow_a_number(index):
    fill(index, 10)
    with index.read() as view:
        numbers = [row.number for row in view.ledger("dummy")]
        assert [row.number for row in view.ledger("dummy", limit=3, before=numbers[4])] == numbers[
            5:8
        ]
        assert view.ledger("dummy", before=1) == view.ledger("dummy", before=-5) == []
        assert [row.version for row in view.ledger("dummy", version=2, before=100)] == [2]


@pytest.mark.parametrize("schema", [1, 3])
def test_an_index_of_an_earlier_mlreg_gives_the_same_lists(tmp_path, schema):
    """Before it is written to, and after, when the keys of its versions are in a table."""
    index = SqliteIndex(tmp_path, busy_seconds=1)
    versions = fill(index, 30)
    make_older(tmp_path, schema)
    for _ in range(2):
        with index.read() as view:
            for key in KEYS:
                for where in ([], [parse_condition("preset!=quick")], [parse_condition("seed=1")]):
                    query = VersionQuery(where, Order(key))
                    found = view.versions("dummy", None, query)
                    assert [v.version for v in found] == expected(versions, query)
        with index.write():
            pass


def test_verify_finds_a_version_that_lists_sort_wrongly(registry):
    with closing(sqlite3.connect(registry.store.folder / "registry.sqlite3")) as connection:
        connection.execute("UPDATE sort_keys SET value = 9 WHERE key = 'seed' AND number = 3")
        connection.commit()
    (problem,) = audit(registry.store).problems
    assert "what dummy@3 is sorted by" in problem.what


def test_verify_finds_a_wrong_number_of_versions(registry):
    with closing(sqlite3.connect(registry.store.folder / "registry.sqlite3")) as connection:
        connection.execute("UPDATE models SET present = present + 1")
        connection.commit()
    (problem,) = audit(registry.store).problems
    assert "how many versions dummy has" in problem.what


@pytest.mark.gate
@pytest.mark.parametrize(
    ("sort", "where"),
    [
        *((f"{sign}{key}", ()) for key in ("version", "test_accuracy") for sign in ("", "-")),
        ("-created", ()),
        ("-preset", ()),
        ("-version", ("dataset=one",)),
        ("-test_accuracy", ("dataset=one",)),
    ],
)
def test_a_page_takes_the_same_steps_in_a_long_list(tmp_path, sort, where):
    """Its first page, and one from the middle: the index is not read through."""
    conditions = [parse_condition(text) for text in where]
    steps = {}
    for count in (60, 1500):
        (tmp_path / str(count)).mkdir()
        index = BACKENDS["SQLite and a folder"](tmp_path / str(count)).index()
        versions = fill(index, count, alike=False)
        with index.read() as view:
            connection = view._connection
            middle = sorted(versions, key=lambda v: v.metrics["test_accuracy"])[len(versions) // 2]
            for after in (None, middle.version):
                taken = []
                connection.set_progress_handler(lambda taken=taken: taken.append(1) or 0, 10)
                view.versions("dummy", 5, VersionQuery(conditions, parse_order(sort), after))
                connection.set_progress_handler(None, 0)
                steps.setdefault(after is None, []).append(len(taken))
    for few, many in steps.values():
        assert many < 3 * few, steps


# --- through Registry ----------------------------------------------------------------------------


def test_the_models_have_the_numbers_of_their_versions(index):
    """Each registration, removal and restoration counts, or does not if it is undone."""
    draw = random.Random(1)
    first, second, third = (made(number, draw) for number in (1, 2, 3))
    at = "2026-01-01T00:00:00Z"
    changes = [
        (
            lambda writing: [register(writing, each) for each in (first, second, third)],
            {"dummy": 3},
        ),
        (lambda writing: writing.remove(second, at), {"dummy": 2}),
        (lambda writing: [writing.remove(each, at) for each in (first, third)], {}),
        (lambda writing: writing.restore(first), {"dummy": 1}),
        (lambda writing: writing.collect(second, at), {"dummy": 1}),
        (
            lambda writing: register(writing, replace(first, model="other")),
            {"dummy": 1, "other": 1},
        ),
    ]
    for change, expected in changes:
        with pytest.raises(KeyboardInterrupt), index.write(create=True) as writing:
            change(writing)
            raise KeyboardInterrupt
        with index.write(create=True) as writing:
            change(writing)
        with index.read() as view:
            assert {model.name: model.versions for model in view.models()} == expected
            assert view.miscounted() == []


def register(writing, version: Version) -> None:
    writing.take_number(version.model)
    writing.add_version(version, ACCURACY)


@pytest.fixture
def registry(tmp_path):
    reader = RegistryReader(tmp_path / "registry", Settings(None, {}, {}, None))
    for number in range(7):
        metrics = {"test_accuracy": number / 10, "test_loss": 1.0}
        publish(reader.store, what=record(metrics=metrics, seed=number % 3))
    return reader


def test_pages_of_a_registry_end(registry):
    """`next` continues a list under the same order, and is None at its end."""
    for sort in (None, "version", "-test_accuracy", "test_loss", "seed"):
        whole = [v.ref for v in registry.versions("dummy", sort=sort)]
        seen, after = [], None
        while True:
            page = registry.versions("dummy", 3, sort=sort, after=after)
            seen += [v.ref for v in page]
            if (after := page.next) is None:
                break
        assert seen == whole
        assert registry.versions("dummy", 7, sort=sort).next is None
    assert [v.version for v in registry.versions("dummy", 2, after="3")] == [2, 1]
    assert len(registry.versions("dummy", 0)) == 0


def test_pages_of_the_history_end(registry):
    whole = [row.number for row in registry.history("dummy")]
    seen, before = [], None
    while True:
        page = registry.history("dummy", 3, before=before)
        seen += [row.number for row in page]
        if (before := page.next) is None:
            break
    assert seen == whole == [7, 6, 5, 4, 3, 2, 1]


def test_numbers_beyond_any_list_are_no_error(registry):
    for huge in (2**63 - 1, 2**63, 10**30):
        assert len(registry.versions("dummy", huge)) == 7
        assert len(registry.history("dummy", huge, before=huge)) == 7
        assert len(registry.runs(huge).finished) == 7
    assert len(registry.history("dummy", before=-huge)) == 0
    with pytest.raises(UsageError, match="is not a place in a list"):
        registry.versions("dummy", after=str(huge))


@pytest.mark.parametrize(
    "changed",
    [
        lambda cursor: cursor[:-1],
        lambda cursor: cursor[:8] + ("A" if cursor[8] != "A" else "B") + cursor[9:],
        lambda cursor: "",
        lambda cursor: "x" * 5000,
        lambda cursor: "né",
    ],
    ids=["cut", "changed", "empty", "long", "not ASCII"],
)
def test_a_damaged_place_in_a_list_is_refused(registry, changed):
    damaged = changed(registry.versions("dummy", 2).next)
    with pytest.raises(UsageError, match="is not a place in a list"):
        registry.versions("dummy", 2, after=damaged)
    with pytest.raises(UsageError, match="is not a place in the list of runs"):
        registry.runs(2, after=damaged)


def test_a_place_belongs_to_one_model_and_one_order(registry):
    publish(registry.store, "other")
    place = registry.versions("dummy", 2).next
    for model, sort in (("dummy", "-test_accuracy"), ("dummy", "version"), ("other", None)):
        with pytest.raises(UsageError, match="The place in the list is of 'dummy'"):
            registry.versions(model, 2, sort=sort, after=place)
    with pytest.raises(UsageError, match="dummy@99, which does not exist"):
        registry.versions("dummy", 2, after="99")


def test_a_metric_that_no_version_has_is_named_with_near_ones(registry):
    for how in ({"where": ["test_acuracy>0.1"]}, {"sort": "-test_acuracy"}):
        with pytest.raises(UsageError) as refused:
            registry.versions("dummy", **how)
        assert "test_acuracy" in refused.value.what
        assert "Did you mean test_accuracy?" in refused.value.remedy
    with pytest.raises(UsageError, match="There is no model 'nothing'"):
        registry.versions("nothing", where=["test_accuracy>0.1"])


def test_a_metric_that_only_old_versions_have_can_be_sorted_by(registry):
    """The names come from the newest versions; the older ones are looked at before a refusal."""
    store = registry.store
    publish(store, "old", what=record(metrics={"test_accuracy": 0.5, "rare": 1.0}))
    for _ in range(51):
        publish(store, "old")
    assert "rare" not in registry.metric_names("old")
    assert registry.versions("old", 1, sort="rare")[0].version == 1
    assert [v.version for v in registry.versions("old", where=["rare"])] == [1]
