"""A registry's folder that somebody else can write into: no file in it is trusted to be one.

Each thing in it is a link, a pipe, a socket, a folder, a giant, or JSON of a kind that nobody
wrote. Every command ends soon and says what is wrong; nothing behind a link is read or changed;
once the thing is gone, the registry goes on.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import stat
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from cli_helpers import fill, newest, stop
from store_helpers import blob

from registry_core.cli import run_command
from registry_core.errors import MlregError
from registry_core.store import Store

pytestmark = pytest.mark.processes

GIANT = 3 << 30
MEMORY = 300 << 20
SECONDS = 60.0
FINE = {0, 2, 6, 7, 8}
DEEP = b"[" * 100_000 + b"]" * 100_000
SECRET = "secret"  # what only the files behind links say

# What lies in a registry -> whether it is a folder.
TARGETS = {
    "runs": True,
    "runs/RUN": True,
    "runs/RUN/files": True,
    "objects": True,
    "objects/sha256": True,
    "objects/sha256/MODEL": True,
    "a model": False,
    "a manifest": False,
    "ledger.jsonl": False,
    "objects/ledger.head": False,
    "registry.sqlite3": False,
    "registry.sqlite3-journal": False,
    "runs/RUN/run.json": False,
    "runs/RUN/publishing.json": False,
    "runs/RUN/lock": False,
    "runs/RUN/checkpoint.zip": False,
}
ANY = ("link", "dangling link", "pipe", "socket")
OF_FOLDERS = (*ANY, "file")
OF_FILES = (*ANY, "folder", "giant", "deep", "7", "null", "[]")
CASES = [
    (target, form)
    for target, is_folder in TARGETS.items()
    for form in (OF_FOLDERS if is_folder else OF_FILES)
]


class Registry(NamedTuple):
    """A registry with two versions, an alias, and a run that stopped; and somebody's own things."""

    folder: Path
    run: str
    somebody: Path

    def place(self, target: str) -> Path:
        version = newest(Store(self.folder))
        model = version.file("model.keras")
        assert model is not None
        if target == "a model":
            return blob(Store(self.folder), model.sha256)
        if target == "a manifest":
            return blob(Store(self.folder), version.digest)
        return self.folder / target.replace("RUN", self.run).replace("MODEL", model.sha256[:2])


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Registry:
    folder = tmp_path_factory.mktemp("template")
    store = fill(folder / "registry", 0.5, 0.75)
    store.move_alias(store.versions("flowers")[0], "production")
    run = stop(store)
    # what lies behind the links is as good as what they replace, so that following would work
    theirs = fill(folder / "theirs", 0.25)
    their_run = stop(theirs, preset=SECRET)
    made = Registry(folder / "registry", run, theirs.folder / "runs" / their_run)
    _import_all(Registry(shutil.copytree(made.folder, folder / "warm"), run, folder))
    return made


def _import_all(registry: Registry) -> None:
    """Let this process import what its children need, once for all of them."""
    for words in (*_all_commands(registry), ["history"], ["verify", "--rebuild"]):
        if words != ["publish"]:
            run_command(["--registry", str(registry.folder), *words])


@pytest.fixture
def registry(template, tmp_path) -> Registry:
    shutil.copytree(template.folder, tmp_path / "registry", symlinks=True)
    return template._replace(folder=tmp_path / "registry", somebody=tmp_path / "somebody")


class Hostile:
    """One thing of a registry, replaced by what should not be there.

    Args:
        registry: the registry.
        target: which thing.
        form: by what.
        template: whose things lie behind the links.
    """

    def __init__(self, registry: Registry, target: str, form: str, template: Registry) -> None:
        self.path = registry.place(target)
        self.form = form
        self._aside = registry.folder.with_name("aside")
        self._somebody = registry.somebody
        self._nowhere = registry.folder.with_name("nowhere")
        self._make_somebodys(target, template)
        if os.path.lexists(self.path):
            self.path.rename(self._aside)
        _make(self.path, form, self._somebody, self._nowhere)
        self._number = os.lstat(self.path).st_ino
        self._before = _looked_at(self._somebody)

    def assert_untouched(self) -> None:
        """Nothing behind a link was read, written, made or removed."""
        assert not os.path.lexists(self._nowhere), "a file was made behind the link"
        assert _looked_at(self._somebody) == self._before

    def take_away(self) -> None:
        """Put back what was there, if the hostile thing still is."""
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(self.path).st_ino == self._number:
                _remove(self.path)
                if os.path.lexists(self._aside):
                    self._aside.rename(self.path)

    def _make_somebodys(self, target: str, template: Registry) -> None:
        """The same kind of thing as what is replaced, elsewhere, with a letter where it fits."""
        name = target.rpartition("/")[2]
        source = self.path
        if target == "runs":
            source = template.somebody.parent
        elif target == "runs/RUN":
            source = template.somebody
        elif name in ("run.json", "checkpoint.zip"):
            source = template.somebody / name
        if source.is_dir():
            shutil.copytree(source, self._somebody)
            if target == "runs":  # it looks like what a run left that was killed as it published
                dead = self._somebody / "20200101T000000Z-dead"
                (dead / "files").mkdir(parents=True)
                (dead / "lock").write_text("1\n")
                (dead / "publishing.json").write_text("[]")
        elif source.is_file():
            shutil.copy(source, self._somebody)
            self._somebody.chmod(0o640)
        elif name == "files":
            self._somebody.mkdir()
        else:
            self._somebody.write_text("[]")
        if self._somebody.is_dir():
            (self._somebody / "letter.txt").write_text("Dear Ann,")
        # a time so old that the next read is recorded
        for path in (*self._somebody.rglob("*"), self._somebody):
            os.utime(path, (1_000_000, 1_500_000))


def _make(path: Path, form: str, somebody: Path, nowhere: Path) -> None:
    if form == "link":
        path.symlink_to(somebody)
    elif form == "dangling link":
        path.symlink_to(nowhere)
    elif form == "pipe":
        os.mkfifo(path)
    elif form == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    elif form == "folder":
        path.mkdir()
        (path / "letter.txt").write_text("Dear Ann,")
    elif form == "giant":
        path.touch()
        os.truncate(path, GIANT)
    else:
        content = {"file": b"", "deep": DEEP}.get(form, form.encode())
        path.write_bytes(content + b"\n" * (path.name == "ledger.jsonl"))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _looked_at(folder: Path) -> dict[str, tuple[int, ...]]:
    """Modes, sizes, and times, of reading too; without reading, which would be seen."""
    paths = [folder, *(Path(where) / name for where, *names in _walk(folder) for name in names)]
    found = {}
    for path in paths:
        status = os.lstat(path)
        seen = (status.st_mode, status.st_size, status.st_nlink, status.st_mtime_ns)
        # walking a folder is a read of it; of its files it is none
        is_folder = stat.S_ISDIR(status.st_mode)
        found[path.name] = seen if is_folder else (*seen, status.st_atime_ns)
    return found


def _walk(folder: Path) -> Iterator[tuple[str, ...]]:
    for where, folders, files in os.walk(folder):
        yield (where, *folders, *files)


class Ended(NamedTuple):
    """A command that was run: how it ended, and what it said."""

    words: str
    status: int
    stdout: str
    stderr: str


def _publish(folder: Path) -> int:
    try:
        fill(folder, 0.9)
    except MlregError as error:
        print(error, file=os.sys.stderr)
        return error.exit_status
    return 0


def commands(registry: Registry, *lines: Sequence[str]) -> list[Ended]:
    """Run command lines in a child that has little memory and little time for each."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            gc.freeze()  # what earlier tests left must not close files of this process
            os.close(reading)
            _run_all(registry, lines, writing)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    try:
        heard = _hear(reading, lines)
    finally:
        os.close(reading)
        os.kill(process, signal.SIGKILL)
        _, ended = os.waitpid(process, 0)
    if len(heard) < len(lines):
        code = os.waitstatus_to_exitcode(ended)
        pytest.fail(f"mlreg {' '.join(lines[len(heard)])} died with {code}, after {heard}")
    return heard


def _run_all(registry: Registry, lines: Sequence[Sequence[str]], writing: int) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    for words in lines:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                if words == ["publish"]:
                    status = _publish(registry.folder)
                else:
                    status = run_command(["--registry", str(registry.folder), *words])
            except BaseException as error:
                print(repr(error), file=err)
                status = 99
        told = [" ".join(words), status, out.getvalue(), err.getvalue()]
        os.write(writing, json.dumps(told).encode() + b"\n")


def _hear(reading: int, lines: Sequence[Sequence[str]]) -> list[Ended]:
    """What the child tells; fewer than the lines if it died."""
    heard = b""
    for number, words in enumerate(lines):
        until = time.monotonic() + SECONDS
        while heard.count(b"\n") <= number:
            left = until - time.monotonic()
            if left <= 0 or not select.select([reading], [], [], left)[0]:
                pytest.fail(f"mlreg {' '.join(words)} did not end within {SECONDS:g} s")
            piece = os.read(reading, 1 << 16)
            if not piece:
                return _ended(heard)
            heard += piece
    return _ended(heard)


def _ended(heard: bytes) -> list[Ended]:
    return [Ended(*json.loads(line)) for line in heard.splitlines()]


def _all_commands(registry: Registry) -> list[list[str]]:
    return [
        ["list"],
        ["list", "flowers"],
        ["show", "flowers@1"],
        ["runs"],
        ["runs", "-q"],
        ["verify"],
        ["promote", "flowers@1", "staging"],
        ["gc", "--yes", "--older-than", "0"],
        ["publish"],
        ["runs", "--discard", registry.run, "--yes"],
    ]


def _assert_said_well(ended: Sequence[Ended], hostile: Hostile) -> None:
    """No bug of ours, and what stands in the way is named."""
    for each in ended:
        assert each.status in FINE, f"mlreg {each.words}: {each.status} {each.stderr[-2000:]}"
        assert SECRET not in each.stdout + each.stderr, "it was read behind the link"
        if each.status in (6, 8):
            name = hostile.path.name.removesuffix("-journal")
            assert name in each.stderr, f"mlreg {each.words} does not name {name}: {each.stderr}"


def _go_on(registry: Registry, *lines: Sequence[str]) -> None:
    """These commands, and after them a version that gets the next number."""
    *_, published = commands(registry, *lines, ["publish"])
    assert published.status == 0, published.stderr
    numbers = [version.version for version in Store(registry.folder).versions("flowers")]
    assert len(numbers) == len(set(numbers))
    assert numbers[0] > 2


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("target", "form"), CASES)
def test_what_should_not_be_there_harms_nobody(registry, template, target, form):
    """Each command ends soon with a status that says why; a writer goes on once it is gone."""
    hostile = Hostile(registry, target, form, template)
    ended = commands(registry, *_all_commands(registry))
    hostile.assert_untouched()
    _assert_said_well(ended, hostile)
    hostile.take_away()
    _go_on(registry)


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate
@pytest.mark.parametrize(("target", "form"), CASES)
def test_a_rebuild_beside_what_should_not_be_there_is_a_way_on(registry, template, target, form):
    """It ends soon, too; a writer goes on after it, or once the thing itself is gone."""
    hostile = Hostile(registry, target, form, template)
    rebuilt, published = commands(registry, ["verify", "--rebuild"], ["publish"])
    hostile.assert_untouched()
    _assert_said_well([rebuilt, published], hostile)
    if published.status != 0:
        hostile.take_away()
    _go_on(registry, ["verify", "--rebuild"])


# --- names ---------------------------------------------------------------------------------------

_ESCAPES = ("\x1b[31mred", "\x1b]0;title\x07", "line\nbreak", "\x9b31m", "\u202ebackwards")


@pytest.fixture(params=_ESCAPES, ids=ascii)
def misnamed(request, registry) -> tuple[Registry, str]:
    """A stopped run whose folder has a name that a terminal would obey."""
    name = f"20260101T000000Z-{request.param}"
    (registry.folder / "runs" / registry.run).rename(registry.folder / "runs" / name)
    return registry, name


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("words", [["runs"], ["runs", "-q"]], ids=" ".join)
def test_a_runs_name_is_never_shown_as_it_stands(misnamed, words):
    registry, name = misnamed
    (ended,) = commands(registry, words)
    assert ended.status in FINE
    _assert_printable(ended, name)


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
def test_a_run_with_such_a_name_can_be_discarded(misnamed):
    """By its name, or by the end of it; and it is told of without the name's own characters."""
    registry, name = misnamed
    told = commands(
        registry,
        ["runs", "--discard", name, "--yes"],
        ["runs", "--discard", name],
        ["runs", "--discard", "20260101", "--yes"],
    )
    for ended in told:
        assert ended.status in FINE, ended.stderr
        _assert_printable(ended, name)
    assert not (registry.folder / "runs" / name).exists() or told[0].status in (2, 6)


def _assert_printable(ended: Ended, name: str) -> None:
    for text in (ended.stdout, ended.stderr):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), ascii(text)
        assert name not in text


# --- rows and records of any depth ---------------------------------------------------------------


LINES = {
    "a deep object": b'{"evidence":' * 100_000 + b"1" + b"}" * 100_000,
    "a deep list": DEEP,
    "no text": b"\xff" * 40,
    "nothing": b"",
    **{text: text.encode() for text in ("7", "null", "[]", "{}", '"text"', "1e999", "NaN")},
}


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("at", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_ledger_that_is_none_is_damage_and_no_bug(registry, line, at):
    """Whichever JSON it is, and however deep; a rebuild is the way on."""
    file = registry.folder / "ledger.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[at] = LINES[line] + b"\n"
    file.write_bytes(b"".join(lines))
    *ended, rebuilt = commands(
        registry, ["list"], ["verify"], ["history"], ["publish"], ["verify", "--rebuild"]
    )
    for each in (*ended, rebuilt):
        assert each.status in FINE, f"mlreg {each.words}: {each.stderr}"
    _go_on(registry)
