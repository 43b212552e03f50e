"""What is loaded, exported, promoted or read is what the manifest says, whatever the index says.

Somebody changes the index by hand, past the triggers that would refuse it. Lists may show that;
nothing that uses the version goes on.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from cli_helpers import fill
from store_helpers import blob

from registry_core.cli import run_command
from registry_core.errors import IntegrityError, MlregError
from registry_core.refs import Ref, parse_ref
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.audit import audit

MODEL = "model.keras"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """Three versions of one model; the third is in production, the first was before it."""
    store = fill(tmp_path_factory.mktemp("template") / "registry", 0.5, 0.75, 0.9)
    for number in (1, 3):
        store.move_alias(store.resolve(parse_ref("flowers", str(number))), "production")
    fill(store.folder, 0.6, model="trees")
    return store.folder


@pytest.fixture
def registry(template, tmp_path) -> Registry:
    return Registry(shutil.copytree(template, tmp_path / "registry"), Settings())


def by_hand(store: Store, *statements: str) -> None:
    """Change the index, with its triggers out of the way, which are there again afterwards."""
    with closing(sqlite3.connect(store.folder / "registry.sqlite3")) as connection:
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        before = connection.total_changes
        for statement in statements:
            connection.execute(statement)
        assert connection.total_changes > before, "nothing was changed"
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


def _of(column: str, number: int) -> str:
    return f"(SELECT {column} FROM versions WHERE model = 'flowers' AND number = {number})"


def _file(column: str, number: int) -> str:
    return (
        f"(SELECT {column} FROM files WHERE model = 'flowers' AND number = {number} "
        f"AND path = '{MODEL}')"
    )


_THIRD = "WHERE model = 'flowers' AND number = 3"
_FIRST = "WHERE model = 'flowers' AND number = 1"
_THIRD_MODEL = f"{_THIRD} AND path = '{MODEL}'"

# What is done to the row of version 3, or of its files.
CHANGES = {
    "another version's digest": f"UPDATE versions SET digest = {_of('digest', 1)} {_THIRD}",
    "another model's digest": (
        f"UPDATE versions SET digest = (SELECT digest FROM versions WHERE model = 'trees') {_THIRD}"
    ),
    "a file for a manifest": f"UPDATE versions SET digest = {_file('sha256', 3)} {_THIRD}",
    "a digest of nothing": f"UPDATE versions SET digest = '{'0' * 64}' {_THIRD}",
    "a path for a digest": f"UPDATE versions SET digest = '../../../../etc/passwd' {_THIRD}",
    "created": f"UPDATE versions SET created = '2020-01-01T00:00:00Z' {_THIRD}",
    "run": f"UPDATE versions SET run = {_of('run', 1)} {_THIRD}",
    "group": f"UPDATE versions SET grouped = 'together' {_THIRD}",
    "a metric": f"UPDATE versions SET summary = replace(summary, '0.9', '0.99') {_THIRD}",
    "the whole summary": f"UPDATE versions SET summary = {_of('summary', 1)} {_THIRD}",
    "a seed": (
        f"UPDATE versions SET summary = replace(summary, '\"seed\":7', '\"seed\":8') {_THIRD}"
    ),
    "a summary that is none": f"UPDATE versions SET summary = '7' {_THIRD}",
    "another file's content": f"UPDATE files SET sha256 = {_file('sha256', 1)} {_THIRD_MODEL}",
    "the manifest for a file": f"UPDATE files SET sha256 = {_of('digest', 3)} {_THIRD_MODEL}",
    "a file's size": f"UPDATE files SET size = size + 1 {_THIRD_MODEL}",
    "a file's path": (
        f"UPDATE files SET path = 'figures/../../{MODEL}' {_THIRD} AND path LIKE 'figures/%'"
    ),
    "a file more": (
        "INSERT INTO files SELECT model, 3, 'extra.bin', size, sha256 FROM files "
        f"WHERE model = 'flowers' AND number = 1 AND path = '{MODEL}'"
    ),
    "a file less": f"DELETE FROM files {_THIRD} AND path LIKE 'figures/%'",
}
# What no version shows, and what decides which one is the best.
RANKS = {
    "score": f"UPDATE versions SET score = 99.0 {_FIRST}",
    "objective": f"UPDATE versions SET objective = 'min test_loss' {_THIRD}",
}
# Two versions trade their numbers: with their files, and without.
TRADES = {
    "numbers of versions": ("versions",),
    "numbers of files": ("files",),
    "numbers of both": ("versions", "files"),
}


def _traded(tables: tuple[str, ...]) -> list[str]:
    moves = ((3, 99), (1, 3), (99, 1))
    return [
        f"UPDATE {table} SET number = {new} WHERE model = 'flowers' AND number = {old}"
        for table in tables
        for old, new in moves
    ]


ALL = {name: [statement] for name, statement in CHANGES.items()} | {
    name: _traded(tables) for name, tables in TRADES.items()
}

# What uses the version, given the registry, a reference, and a place for what comes out.
USES: dict[str, Callable[[Registry, Ref, Path], object]] = {
    "manifest": lambda registry, ref, out: registry.store.manifest(registry.version(ref)),
    "check": lambda registry, ref, out: registry.store.check(registry.version(ref)),
    "read": lambda registry, ref, out: registry.store.read(registry.version(ref), MODEL),
    "copy_out": lambda registry, ref, out: registry.store.copy_out(
        registry.version(ref), MODEL, out
    ),
    "move_alias": lambda registry, ref, out: registry.store.move_alias(
        registry.version(ref), "staging"
    ),
    "export": lambda registry, ref, out: registry.export(ref, "keras", out),
    "figures": lambda registry, ref, out: registry.export(ref, "figures", out),
    "compare": lambda registry, ref, out: registry.compare([ref, "trees@1"]),
}


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.exhaustive(keep=20)
@pytest.mark.gate(keep=10)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("change", ALL)
def test_a_version_whose_row_was_changed_by_hand_is_not_used(registry, tmp_path, change, use):
    """By its number: an error of integrity; nothing comes out, no alias moves."""
    by_hand(registry.store, *ALL[change])
    before = _everything(registry.folder)
    out = tmp_path / "out"
    with pytest.raises(IntegrityError):
        USES[use](registry, parse_ref("flowers", "3"), out)
    assert not out.exists()
    assert _everything(registry.folder) == before
    with contextlib.suppress(MlregError):
        assert "staging" not in registry.store.aliases("flowers")


READABLE = {name: change for name, change in ALL.items() if name != "a summary that is none"}


@pytest.mark.gate(keep=6)
@pytest.mark.parametrize("change", [*READABLE, *RANKS])
def test_a_changed_row_of_one_version_affects_no_other(registry, change):
    """Its neighbour is used as ever, and the audit names what is wrong."""
    by_hand(registry.store, *(READABLE.get(change) or [RANKS[change]]))
    store = registry.store
    second = store.resolve(parse_ref("flowers", "2"))
    store.check(second)
    assert store.read(second, MODEL) == b"weights of flowers 0.75"
    found = audit(store)
    assert found.problems
    assert any("flowers" in problem.what for problem in found.problems)


def test_a_score_that_no_manifest_has_makes_no_version_the_best(registry, tmp_path):
    """`best` leads to it, and an export of that ends with status 6 and writes nothing."""
    by_hand(registry.store, RANKS["score"])
    out = tmp_path / "out.keras"
    status, told = mlreg(registry, "export", "flowers@best", "-o", str(out))
    assert status == 6, told
    assert not out.exists()


# --- aliases -------------------------------------------------------------------------------------

ALIASES = {
    "to an earlier holder": "UPDATE aliases SET number = 1 WHERE alias = 'production'",
    "to a version that never held it": "UPDATE aliases SET number = 2 WHERE alias = 'production'",
    "to another name": "UPDATE aliases SET alias = 'staging' WHERE alias = 'production'",
    "to a new name": "INSERT INTO aliases (model, alias, number) VALUES ('flowers', 'staging', 2)",
}


@pytest.mark.parametrize("how", ALIASES)
def test_an_alias_that_was_moved_by_hand_is_not_exported(registry, tmp_path, how):
    """The ledger says who holds it; `mlreg export` ends with status 6, and writes nothing."""
    by_hand(registry.store, ALIASES[how])
    alias = "staging" if "name" in how else "production"
    out = tmp_path / "out.keras"
    status, told = mlreg(registry, "export", f"flowers@{alias}", "-o", str(out))
    assert status == 6, told
    assert alias in told
    assert not out.exists()
    assert list(tmp_path.iterdir()) == [registry.folder]


@pytest.mark.exhaustive(keep=6)
@pytest.mark.gate(keep=6)
@pytest.mark.parametrize("how", ALIASES)
@pytest.mark.parametrize(
    "words",
    [["show"], ["compare", "trees@1"], ["export", "--format", "figures"], ["tag", "a=b"]],
    ids=" ".join,
)
def test_an_alias_that_was_moved_by_hand_is_not_used(registry, how, words):
    by_hand(registry.store, ALIASES[how])
    before = _everything(registry.folder)
    alias = "staging" if "name" in how else "production"
    command, *rest = words
    status, told = mlreg(registry, command, f"flowers@{alias}", *rest)
    assert status == 6, told
    assert _everything(registry.folder) == before


def test_an_alias_that_was_moved_by_hand_is_not_promoted_from(registry):
    """A reference by the alias leads nowhere that a promotion could start from."""
    by_hand(registry.store, ALIASES["to an earlier holder"])
    status, told = mlreg(registry, "promote", "flowers@production", "staging")
    assert status == 6, told
    assert "staging" not in registry.store.aliases("flowers")


def test_an_alias_as_the_ledger_has_it_is_exported(registry, tmp_path):
    """Moved, rolled back, released and given again: each by a row, and so believed."""
    store, out = registry.store, tmp_path / "out"
    for number, step in enumerate(
        (
            lambda: None,
            lambda: registry.rollback("flowers", "production"),
            lambda: store.release_alias("flowers", "production"),
            lambda: store.move_alias(store.resolve(parse_ref("flowers@2")), "production"),
        )
    ):
        step()
        wanted = {0: b"0.9", 1: b"0.5", 3: b"0.75"}.get(number)
        status, told = mlreg(registry, "export", "flowers@production", "-o", f"{out}{number}.keras")
        assert status == (2 if wanted is None else 0), told
        if wanted:
            assert Path(f"{out}{number}.keras").read_bytes() == b"weights of flowers " + wanted


# --- a manifest of somebody's own ----------------------------------------------------------------


@pytest.fixture
def forged(registry) -> Registry:
    """Version 3 has another manifest: a whole one, of another model's file, with a better score."""
    store = registry.store
    third = store.resolve(parse_ref("flowers", "3"))
    content = b"weights that nobody registered"
    digest = sha256(content).hexdigest()
    manifest = json.loads(blob(store, third.digest).read_bytes())
    manifest["metrics"]["test_accuracy"] = 0.99
    for file in manifest["files"]:
        if file["path"] == MODEL:
            file.update(size=len(content), sha256=digest)
    record = json.dumps(
        manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    its_digest = sha256(record).hexdigest()
    for name, written in ((digest, content), (its_digest, record)):
        blob(store, name).parent.mkdir(exist_ok=True)
        blob(store, name).write_bytes(written)
        blob(store, name).chmod(0o444)
    by_hand(
        store,
        f"UPDATE versions SET digest = '{its_digest}', score = 0.99, "
        f"summary = replace(summary, '0.9', '0.99') {_THIRD}",
        f"UPDATE files SET size = {len(content)}, sha256 = '{digest}' {_THIRD_MODEL}",
    )
    return registry


@pytest.mark.parametrize("use", USES)
def test_a_manifest_that_no_row_of_the_ledger_registered_is_not_used(forged, tmp_path, use):
    """It is intact and the index agrees; the row that registered the version has another digest."""
    out = tmp_path / "out"
    with pytest.raises(IntegrityError):
        USES[use](forged, parse_ref("flowers", "3"), out)
    assert not out.exists()


def test_a_forged_manifest_is_a_problem_of_the_audit(forged):
    assert any("flowers@3" in problem.what for problem in audit(forged.store).problems)
    status, told = mlreg(forged, "export", "flowers@best", "-o", str(forged.folder / "out.keras"))
    assert status == 6, told


# --- what goes on --------------------------------------------------------------------------------


@pytest.mark.exhaustive(keep=6)
@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("change", READABLE)
def test_listing_works_with_a_changed_row(registry, change):
    """They are for finding; one changed row does not hide the others."""
    by_hand(registry.store, *READABLE[change])
    for words in (["list"], ["list", "flowers"], ["list", "flowers", "--json"]):
        status, told = mlreg(registry, *words)
        assert status == 0, told


@pytest.mark.parametrize("how", ALIASES)
def test_listing_works_with_an_alias_moved_by_hand(registry, how):
    by_hand(registry.store, ALIASES[how])
    assert mlreg(registry, "list")[0] == 0
    assert mlreg(registry, "list", "flowers")[0] == 0


def mlreg(registry: Registry, *words: str) -> tuple[int, str]:
    """Run a command line in this process; its status, and what it said."""
    with _captured() as told:
        status = run_command(["--registry", str(registry.folder), *words])
    return status, told.getvalue()


@contextlib.contextmanager
def _captured() -> Iterator[io.StringIO]:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        yield told
