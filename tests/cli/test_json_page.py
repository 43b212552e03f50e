"""docs/json.md has the keys and types of what every command prints with `--json`.

`python tests/cli/test_json_page.py` writes the examples of the page.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from cli_helpers import forked_python
from fakes import READS_FILES, TABLE_PLUGIN, write_plugin, write_settings

pytestmark = pytest.mark.processes

PAGE = Path(__file__).parents[2] / "docs" / "json.md"

TEAM = "MLREG_INDEX='postgresql://db.example/models', MLREG_OBJECTS='s3://models/team'"

# A section of the page, and the command lines that it is about, in this order. `{stopped}` is the
# id of a stopped run, `{request}` the number of an open request, `{sweep}` the id of a sweep; what
# begins with ! is Python.
LINES = [
    ("run", "run flowers --preset quick"),
    ("run --seeds", "run flowers --seeds 2 --seed 3"),
    ("run --dry-run", "run flowers --dry-run"),
    ("run --dry-run", "run flowers --dry-run --seeds 2"),
    ("run --dry-run", "run flowers --dry-run --from flowers@3"),
    ("run --print-config", "run flowers --print-config"),
    ("run --print-config", "run flowers --print-config --seeds 2"),
    ("sweep --dry-run", "sweep flowers -p units=4,8 -p epochs=1 --sampler grid --dry-run"),
    ("sweep", "sweep flowers -p units=4,8 -p epochs=1 --sampler grid --name shrubs"),
    ("", "!stop()"),
    ("runs", "runs"),
    ("resume", "resume"),
    ("", "!stop()"),
    ("runs --discard", "runs --discard {stopped} --yes"),
    ("import --dry-run", "import flowers sound.keras --dry-run"),
    ("import", "import flowers sound.keras"),
    ("reproduce", "reproduce flowers@1 -p epochs=2"),
    ("evaluate", "evaluate flowers@2"),
    ("evaluate", "evaluate flowers@2 --split train"),
    ("", "!open('new.csv', 'w').write('1,1')"),
    ("predict", "predict flowers@1 new.csv"),
    ("promote", "promote flowers@1 production"),
    ("rules set", "rules set production --floor test_accuracy=0.5 --margin 0.9"),
    ("rules set", "rules set production --ceiling test_loss=9"),
    ("rules list", "rules list"),
    ("rules sync", "rules sync --yes"),
    ("promote", "promote flowers@2 production --reason better"),
    ("promote", "promote flowers@3 staging --dry-run"),
    ("promote", "promote flowers@2 production --member flowers@3 --dry-run"),
    ("rules set", "rules set canary --approvals 1 --versus off"),
    ("promote", "promote flowers@3 canary --request --reason better"),
    ("requests", "requests"),
    ("", "!os.environ.update(LOGNAME='somebody-else')"),
    ("approve", "approve {request} --reason agreed"),
    ("promote", "promote flowers@2 canary --request"),
    ("decline", "decline {request} --reason worse"),
    ("", "!os.environ.pop('LOGNAME')"),
    ("notify", "notify"),
    ("notify", "notify --retry"),
    ("rollback", "rollback flowers@production"),
    ("alias", "alias flowers"),
    ("alias --remove", "alias flowers@production --remove"),
    ("tag", "tag flowers@3 reviewed quality=good"),
    ("list", "list"),
    ("list MODEL", "list flowers"),
    ("show", "show flowers@2"),
    ("show --log", "show flowers@2 --log"),
    ("history", "history flowers"),
    ("history --at", "history flowers@production --at 2030-01-01"),
    ("compare", "compare flowers@1 flowers@2"),
    ("report", "report flowers@1"),
    ("report", "report flowers@1 flowers@2 -o both.html"),
    ("", "!keep_sweep()"),
    ("sweeps", "sweeps"),
    ("show SWEEP", "show {sweep}"),
    ("report", "report {sweep}"),
    ("sweeps --discard", "sweeps --discard {sweep} --dry-run"),
    ("sweeps --discard", "sweeps --discard {sweep} --yes"),
    ("rm", "rm flowers@5"),
    ("list MODEL --removed", "list flowers --removed"),
    ("restore", "restore flowers@5"),
    ("rm", "rm flowers@5"),
    ("gc", "gc --older-than 0 --yes"),
    ("export", "export flowers@1"),
    ("card", "card flowers@1"),
    ("bom", "bom flowers@1"),
    ("", "!__import__('signing_helpers').write_keys(Path(), 'key') and None"),
    ("sign", "sign flowers@1 --key key.pem"),
    ("verify MODEL@VERSION", "verify flowers@1 --key key.pub"),
    ("rules set", "rules set staging --signed-by key.pub"),
    ("push", "push flowers@1 ./other"),
    ("pull", "pull --all ./other --dry-run"),
    ("pack", "pack flowers@1 -o versions.mlreg"),
    ("unpack", "unpack versions.mlreg --name trees"),
    ("show", "show trees@1"),
    ("rules remove", "rules remove production --yes"),
    ("verify", "verify"),
    ("", "!os.remove('registry/registry.sqlite3')"),
    ("verify", "verify --rebuild"),
    ("init", "init below"),
    ("registry init", "registry init"),
    ("", f"!os.environ.update({TEAM})"),
    ("registry grants", "registry grants"),
    ("", "!os.environ.update(MLREG_INDEX='', MLREG_OBJECTS='')"),
    ("plugins new", "plugins new leaves --kind table"),
    ("plugins list", "plugins list"),
    ("plugins show", "plugins show flowers"),
    ("plugins check", "plugins check flowers --quick"),
    ("data fetch", "data fetch flowers"),
    ("data verify", "data verify flowers"),
    ("data path", "data path flowers"),
    ("env", "env"),
]

# Runs the lines with a backend and an examiner that need no TensorFlow; tells what each printed.
SCRIPT = f"""
import contextlib, functools, io, json, os, sys, types
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import fakes
from registry_core import Registry, running
from registry_core.cli import run_command
from registry_core.model_import.limits import Limits
from registry_core.transfer import examination

running.load_backend, running.standard_report = fakes.FakeBackend, fakes.standard_report
found = types.SimpleNamespace(numbers=1, keras_version="3")
running.Runner._examiner = lambda self, limits: types.SimpleNamespace(
    inspect=lambda file: found, trial_run=lambda file, config, data: Limits(1 << 33, 60.0)
)
Registry.load = lambda self, reference: None
examination.examine_in_process = lambda progress: lambda file, custom: None


def run(line):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_command([*line.split(), "--json"])
    return [status, out.getvalue(), err.getvalue()]


def stop():
    stops = functools.partial(fakes.FakeBackend, interrupt_at=(1, 1))
    running.load_backend = stops
    run("run flowers")
    running.load_backend = fakes.FakeBackend


def keep_sweep():
    from registry_core.store import Store
    from sweep_helpers import keep, registered_sweep

    keep(Store(Path("registry")), registered_sweep())


told = []
for line in json.load(sys.stdin):
    if line.startswith("!"):
        told.append(eval(line[1:]))
        continue
    if "{{stopped}}" in line:
        line = line.replace("{{stopped}}", json.loads(run("runs")[1])["runs"][0]["id"])
    if "{{sweep}}" in line:
        line = line.replace("{{sweep}}", json.loads(run("sweeps")[1])["sweeps"][0]["id"])
    if "{{request}}" in line:
        open_requests = json.loads(run("requests")[1])["requests"]
        line = line.replace("{{request}}", str(open_requests[0]["number"]))
    told.append(run(line))
json.dump(told, sys.__stdout__)
"""

CACHE = """

from types import SimpleNamespace
from pathlib import Path


class Cache:
    path = Path("cache").absolute()

    def fetch(self, progress):
        return "nowhere"

    def verify(self):
        return [SimpleNamespace(path="images", size=12, sha256="0" * 64)]


@hookimpl
def mlreg_data():
    return Cache()
"""


def printed(folder: Path) -> list[tuple[str, str, dict]]:
    """Section, command line, and what the command printed; as a user who works in `folder`."""
    from hostile_files import sound

    write_plugin(folder, "flowers_plugin", TABLE_PLUGIN + CACHE + READS_FILES)
    settings = write_settings(folder, {"flowers": "flowers_plugin"}, registry="registry")
    with settings.file.open("a") as file:
        file.write("[promotion.staging]\nfloor = { test_accuracy = 0.1 }\n")
        file.write('[notify.pager]\ncommand = ["true"]\n')
    sound(folder / "sound.keras")
    lines = json.dumps([line for _, line in LINES])
    done = forked_python("-c", SCRIPT, cwd=folder, given=lines)
    assert done.status == 0, done.stderr
    found = []
    for (section, line), told in zip(LINES, done.json, strict=True):
        if section:
            status, out, err = told
            assert status == 0, (line, err)
            found.append((section, line, json.loads(out)))
    return found


def tables(page: str) -> dict[str, dict[str, str]]:
    """Heading -> key -> type; without `mlreg` and the marks of code."""
    found: dict[str, dict[str, str]] = {}
    for section in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0].strip("`").removeprefix("mlreg ")
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)
        found[title] = {key: re.sub(r"\[([^]]+)\]\([^)]+\)", r"[\1]", kind) for key, kind in rows}
    return found


SIMPLE = {
    "text": str,
    "path": str,
    "time": str,
    "reference": str,
    "integer": int,
    "boolean": bool,
    "object": dict,
    "null": type(None),
}


def wrong(value: object, kind: str, types: dict[str, dict[str, str]], place: str) -> list[str]:
    """Where a value is not what a type of the page says."""
    if kind.startswith("list of ") and isinstance(value, list):
        inner = kind.removeprefix("list of ")
        return [
            w for n, each in enumerate(value) for w in wrong(each, inner, types, f"{place}.{n}")
        ]
    if kind.startswith("map of ") and isinstance(value, dict):
        inner = kind.removeprefix("map of ")
        return [w for n, each in value.items() for w in wrong(each, inner, types, f"{place}.{n}")]
    if kind.endswith(" or null"):
        return [] if value is None else wrong(value, kind.removesuffix(" or null"), types, place)
    if kind.startswith("[") and isinstance(value, dict):
        return wrong_keys(value, types[kind.strip("[]")], types, place)
    if kind == "any" or (kind == "number" and type(value) in (int, float)):
        return []
    return [] if type(value) is SIMPLE.get(kind) else [f"{place} is no {kind}: {value!r:.60}"]


def wrong_keys(
    value: dict, keys: dict[str, str], types: dict[str, dict[str, str]], place: str = ""
) -> list[str]:
    """Where an object has not the keys and types of a table."""
    problems = [f"{place}.{key} is not in the table" for key in value if key not in keys]
    for key, kind in keys.items():
        if key in value:
            inner = kind.removeprefix("optional ")
            problems += wrong(value[key], inner, types, f"{place}.{key}")
        elif not kind.startswith("optional "):
            problems.append(f"{place}.{key} is missing")
    return problems


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return printed(tmp_path_factory.mktemp("project"))


@pytest.mark.gate
def test_every_command_prints_the_keys_and_types_of_the_page(answers):
    """A key that is not documented, one that is missing and one of another type are named."""
    types = tables(PAGE.read_text("utf-8"))
    problems = []
    for section, line, value in answers:
        assert value.pop("schema") == 1
        problems += [f"{line}: {each}" for each in wrong_keys(value, types[section], types)]
    assert problems == []


def test_every_command_is_on_the_page():
    """And in the list of what is run for it."""
    from typer.main import get_command

    from registry_core.cli.app import app, register_commands

    def commands(group, path=()):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, (*path, name))
            elif any("--json" in parameter.opts for parameter in command.params):
                yield " ".join((*path, name))

    register_commands([])
    tried = {section for section, _ in LINES}
    documented = set(tables(PAGE.read_text("utf-8")))
    assert set(commands(get_command(app))) <= tried <= documented | {""}


def test_the_examples_have_the_keys_of_their_tables():
    """`python tests/cli/test_json_page.py` writes them anew."""
    page = PAGE.read_text("utf-8")
    types = tables(page)
    found = examples(page)
    assert set(found) == {section for section, _ in LINES if section}
    for section, example in found.items():
        assert example.pop("schema") == 1
        assert wrong_keys(example, types[section], types) == []


def examples(page: str) -> dict[str, dict]:
    """Heading -> the example below its table."""
    found = {}
    for section in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0].strip("`").removeprefix("mlreg ")
        if "```json\n" in section:
            found[title] = json.loads(section.split("```json\n")[1].partition("```")[0])
    return found


def shortened(value: object) -> object:
    """An example with one item of each list, few keys of free objects, and short digests."""
    if isinstance(value, dict):
        free = {"bom", "manifest", "evidence", "config", "machine", "versions", "keras", "space"}
        return {
            key: first_keys(each) if key in free and isinstance(each, dict) else shortened(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [shortened(each) for each in value[:1]]
    if isinstance(value, str):
        value = f"{value[:20]}…" if value.startswith("---") else value  # a model card
        return re.sub(r"[0-9a-f]{24,}", lambda found: found[0][:12] + "…", value)
    return round(value, 4) if isinstance(value, float) else value


def first_keys(value: dict) -> dict:
    return {key: shortened(each) for key, each in [*value.items()][:3]}


def write_examples() -> None:
    """Put an example below each table of a command."""
    page = re.sub(r"\n```json\n.*?```\n", "", PAGE.read_text("utf-8"), flags=re.S)
    with tempfile.TemporaryDirectory() as folder:
        for section, _, value in reversed(printed(Path(folder))):
            title = f"### `mlreg {section}`\n"
            start = page.index(title)
            end = page.index("\n#", start + len(title))
            text = json.dumps(shortened(value), indent=2, ensure_ascii=False)
            text = text.replace(str(Path(folder).resolve()), "/home/user/project")
            text = text.replace(folder, "/home/user/project").replace('"root"', '"user"')
            block = re.search(r"\n```json\n.*?```\n", page[start:end], re.S)
            if block:  # the first command line of a section is its example
                page = page[:start] + page[start:end].replace(block[0], "") + page[end:]
                end -= len(block[0])
            page = f"{page[:end]}\n```json\n{text}\n```\n{page[end:]}"
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    write_examples()
