"""docs/team.md on a bare Debian, from installing PostgreSQL to restoring both halves elsewhere.

`pytest -m endurance tests/system/test_team_debian.py` downloads and installs what the page says, in
a folder: it needs root, apt-get and a network.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_debian import BareDebian, Typed
from team_servers import is_listened_on

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "team.md"
SOURCE = ("pyproject.toml", "LICENSE", "docs", "mlreg", "registry_core", "cifar_plugin")

# Registers a version with the content that it is given.
PUBLISH = """
import os, sys
from pathlib import Path
from registry_core.store import Store
from registry_core.store.parts import team_parts

runs = Path.home() / "runs"
runs.mkdir(exist_ok=True)
index, objects = os.environ["MLREG_INDEX"], os.environ["MLREG_OBJECTS"]
store = Store(team_parts(runs, index, objects, 30))
what = {
    "dataset": "dummy", "preset": "quick", "seed": 7, "metrics": {"test_accuracy": 0.5},
    "seconds": {"fit": 1.0}, "objective": {"metric": "test_accuracy", "direction": "max"},
}
with store.start_run("dummy") as run:
    (run.files / "model.keras").write_text(sys.argv[1])
    store.publish(run, what, {"model.keras": run.files / "model.keras"}, lambda paths: None)
"""


def blocks() -> list[list[str]]:
    """The commands of the page, by block."""
    found = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return [re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE) for block in found]


@pytest.fixture(params=["bookworm", "trixie"])
def debian(request) -> Iterator[BareDebian]:
    used = [port for port in (5432, 8333, 8888, 9333, 9340) if is_listened_on(port)]
    assert not used, f"the page's servers need ports that are in use: {used}"
    made = BareDebian(request.param)
    yield made
    made.remove()


@pytest.mark.endurance
@pytest.mark.processes
def test_every_command_of_the_page_works_on_a_bare_debian(debian):
    """Also the restore: over what is there, and on a server that has nothing."""
    set_up, back_up, restore = blocks()
    source = debian.home / "mlreg-source"
    source.mkdir()
    for name in SOURCE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    (debian.home / "publish.py").write_text(PUBLISH)
    (rclone,) = re.findall(r"`(sudo apt-get install --yes rclone)`", PAGE.read_text("utf-8"))
    bucket = "\":s3,provider=Other,env_auth,endpoint='$AWS_ENDPOINT_URL':models/team\""
    lost = [
        f"rclone purge {bucket}",
        "dropdb models",
        *(f"dropuser mlreg_{role}" for role in ("keeper", "promoter", "trainer", "reader")),
        'sudo -u postgres createdb --owner "$USER" models',
    ]
    listing = "mlreg list dummy --json"
    lines = [
        "sudo chown --recursive $USER .",
        *set_up,
        "python ~/publish.py first && mlreg promote dummy@1 production",
        rclone,
        *back_up,
        "python ~/publish.py second",
        *restore,
        listing,
        *lost,
        *restore,
        listing,
        "mlreg promote dummy@1 staging",
    ]
    answers = debian.type(lines, "mlreg-source")
    assert len(answers) == len(lines)

    def after(line: str, nth: int = 0) -> Typed:
        return [answer for answer in answers if answer.line == line][nth]

    without_roles = after(restore[1], 1)
    failed = [answer for answer in answers if answer.status and answer is not without_roles]
    assert failed == []
    assert without_roles.status == 1
    assert 'role "mlreg_reader" does not exist' in without_roles.output
    assert "The new index has 2 versions" in after("mlreg verify --rebuild").output
    assert '"dummy@2"' in after(listing).output
    assert '"dummy@1"' in after(listing, 1).output
    assert '"dummy@2"' not in after(listing, 1).output
    assert "is now dummy@1" in answers[-1].output
