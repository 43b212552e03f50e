"""Make a registry for the compatibility tests, with the mlreg that is installed beside Python.

The tests beside this file open registries that earlier commits made. A generation has

    registry-NAME.tar.gz   the registry's folder, with its modes
    json/NAME/*.json       what commands printed then: {"command", "status", "output"}
    plugin/                its dataset plugin, which never changes

2026-11 was made by commit 3cac7ed (mlreg 0.1.0, registry schema 1, TensorFlow 2.21, Keras 3.15).
Never make a generation again: a remade one proves nothing about old registries. To add the next
one, in an environment with mlreg and TensorFlow:

    python tests/compatibility/make_registry.py 2027-03

The registry has versions of two models, a group of two seeds, an imported model, a custom layer,
aliases that were moved, rolled back, forced, refused and deleted, rules, tags, versions that were
removed, restored and collected, and a run that SIGTERM stopped in its second epoch. `points@3` is
the same run, never stopped. Only the command line is used, so this script works with
any mlreg. `who` is "user" in every record, and no path of this machine is in any file.
"""

from __future__ import annotations

import argparse
import getpass
import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
MLREG = Path(sys.executable).with_name("mlreg")

SETTINGS = '[registry]\npath = "registry"\n\n[plugins]\npoints = "points"\n'

# replaces the folder of plugins.toml in what commands print
PROJECT = "/home/user/project"

# exit statuses
REFUSED, STOPPED = 9, 143

# the commands that make the registry, in order, and their exit statuses
STEPS: tuple[tuple[str, int], ...] = (
    ("run points --seeds 2 --seed 1", 0),  # points@1 and @2
    ("run points --preset long --seed 7", 0),  # points@3
    ("export points@1 -o model.keras", 0),
    ("import points model.keras", 0),  # points@4
    ("run points --preset short --seeds 3 --seed 5", 0),  # points@5 to @7
    ("run points --preset custom --name sketch", 0),  # sketch@1
    ("promote points 1 production --reason first", 0),
    ("promote points 2 production --yes", 0),
    ("rollback points@production --reason slower", 0),
    ("promote points 1 staging", 0),
    ("promote points 3 staging", 0),
    ("rules set production --floor test_accuracy=0.5 --requires staging --reason policy", 0),
    ("rules set production --versus not-worse --margin 0.5 --rollback-days 365", 0),
    ("rules set canary --floor test_accuracy=0.999", 0),
    ("promote points 5 production", REFUSED),
    ("promote points 3 production --reason accurate", 0),
    ("promote points 4 canary", REFUSED),
    ("promote points 4 canary --force --reason trial --yes", 0),
    ("alias points@canary --remove --reason over", 0),
    ("rules set trial --versus better --alpha 0.1", 0),
    ("rules remove trial --yes", 0),
    ("tag points@3 reviewed quality=good", 0),
    ("tag points@1 draft", 0),
    ("tag points@1 --remove draft", 0),
    ("rm sketch@1", 0),
    ("restore sketch@1", 0),
    ("rm points@6 --reason unused", 0),
    ("gc --older-than 0 --yes", 0),
    ("rm points@7 --reason unused", 0),
    # the eleventh batch is the third of the second epoch
    ("POINTS_STOP_AFTER=11 run points --preset long --seed 7", STOPPED),
)

# name -> command whose `--json` output is recorded, each in a fresh copy of the registry
RECORDED = {
    "list": "list",
    "list-model": "list points",
    "list-removed": "list points --removed",
    "list-tag": "list points --tag reviewed",
    "show": "show points@1",
    "show-alias": "show points@production",
    "show-imported": "show points@4",
    "show-tagged": "show points@3",
    "show-custom-layer": "show sketch",
    "show-removed": "show points@7",
    "show-log": "show points@2 --log",
    "history": "history",
    "history-alias": "history points@production",
    "history-version": "history points@3",
    "runs": "runs",
    "verify": "verify",
    "verify-rebuild": "verify --rebuild",
    "promote": "promote points 1 production --reason better --yes",
    "promote-first": "promote points 2 canary --force --reason trial --yes",
    "promote-refused": "promote points 5 production",
    "promote-dry-run": "promote points 1 production --dry-run",
    "rollback": "rollback points@production",
    "rollback-deleted": "rollback points@canary",
    "alias": "alias points",
    "alias-remove": "alias points@staging --remove",
    "rules-list": "rules list",
    "rules-set": "rules set production --floor test_accuracy=0.6",
    "compare": "compare points@1 points@2 points@3",
    "tag": "tag points@3",
    "tag-set": "tag points@3 quality=bad",
    "rm": "rm points@5",
    "restore": "restore points@7",
    "gc": "gc --dry-run --older-than 0",
    "export": "export points@1 -o exported.keras",
    "no-version": "show points@99",
}


def main() -> None:
    """Make one generation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="name of the generation, such as 2027-03")
    name = parser.parse_args().name
    archive = HERE / f"registry-{name}.tar.gz"
    if archive.exists():
        sys.exit(f"{archive} exists, and must stay as it is.")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), archive)
    record(archive, HERE / "json" / name)


def make(project: Path, archive: Path) -> None:
    """Take all steps in a project folder, and pack its registry."""
    prepare(project)
    for line, status in STEPS:
        words = line.split()
        variables = dict(word.split("=") for word in words[:1] if word.startswith("POINTS_"))
        done = mlreg(project, *words[len(variables) :], **variables)
        if done.returncode != status:
            sys.exit(f"`mlreg {line}` ended with {done.returncode}:\n{done.stderr}")
        print(f"{status:3} mlreg {line}")
    for file, content in contents(project / "registry"):
        check_neutral(file, content, str(project))
    pack(project / "registry", archive)


def record(archive: Path, folder: Path) -> None:
    """Write down what each command prints as JSON."""
    folder.mkdir(parents=True)
    for name, line in RECORDED.items():
        with tempfile.TemporaryDirectory() as project:
            unpack(archive, Path(project))
            done = mlreg(Path(project), *line.split(), "--json")
        printed = done.stdout.replace(project, PROJECT)
        check_neutral(name, printed.encode())
        recorded = {"command": line, "status": done.returncode, "output": json.loads(printed)}
        (folder / f"{name}.json").write_text(json.dumps(recorded, indent=1) + "\n")
        print(f"{done.returncode:3} mlreg {line} --json")


def check_neutral(name: str, content: bytes, *private: str) -> None:
    """Stop if something names this machine, its user or one of its folders."""
    private += (str(HERE), str(Path.home()), socket.gethostname(), getpass.getuser())
    if found := [text for text in private if text.encode() in content]:
        sys.exit(f"{name} contains {found}.")


def prepare(project: Path) -> None:
    """Put plugins.toml and the plugin into a folder."""
    (project / "plugins.toml").write_text(SETTINGS)
    for file in (HERE / "plugin").glob("*.py"):
        shutil.copy(file, project)


def unpack(archive: Path, project: Path) -> None:
    """Make a project folder with the registry that an archive has."""
    prepare(project)
    with tarfile.open(archive) as packed:
        packed.extractall(project, filter="tar")  # "data" would make objects writable


def pack(registry: Path, archive: Path) -> None:
    """Pack a registry: the same folder gives the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in [registry, *sorted(registry.rglob("*"))]:
            member = tar.gettarinfo(path, arcname=path.relative_to(registry.parent).as_posix())
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = int(member.mtime)
            with path.open("rb") if member.isfile() else io.BytesIO() as content:
                tar.addfile(member, content)
    archive.write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and every file in a zip archive there."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield str(file), file.read_bytes()
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as members:
                for name in members.namelist():
                    yield f"{file}, {name}", members.read(name)


def mlreg(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a project, as a user called "user" who has set nothing."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(project),
        "LOGNAME": "user",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [MLREG, *words],
        cwd=project,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


if __name__ == "__main__":
    main()
