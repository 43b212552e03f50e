"""A virtual environment of a test's own, in which pip installs without a network.

It has what this interpreter has, mlreg included, and the commands `mlreg`, `pip`, `pytest` and
`python`. What is installed into it is seen by no other test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from cli_helpers import process_environment

import registry_core

# pip builds with the setuptools that is here, and takes what is installed for what is required
_PIP = {
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the value of --build-isolation
    "PIP_NO_INDEX": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_CONFIG_FILE": os.devnull,
}


class FreshEnvironment:
    """The environment, in a folder of its own.

    Args:
        folder: where it is made.

    Attributes:
        packages: the folder that pip installs into.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self._bin = folder / "bin"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        # a path file in one of these folders is read as well: an editable install has one
        found = [path for path in sys.path if Path(path).name == "site-packages"]
        lines = [f"import site; site.addsitedir({path!r})" for path in found]
        lines.append(str(Path(registry_core.__file__).parents[1]))
        (self.packages / "what_the_tests_have.pth").write_text("\n".join(lines) + "\n")
        for command in ("mlreg", "pip", "pytest"):
            script = self._bin / command
            script.write_text(f'#!/bin/sh\nexec "{self._bin}/python" -m {command} "$@"\n')
            script.chmod(0o755)

    def run(self, script: str, cwd: Path) -> str:
        """Run lines of bash; the first that fails is the last.

        Returns:
            What they wrote to stdout.

        Raises:
            AssertionError: a line failed; it has what was written and the lines.
        """
        path = os.pathsep.join([str(self._bin), os.environ.get("PATH", os.defpath)])
        environment = process_environment({"PATH": path, "VIRTUAL_ENV": str(self._bin.parent)})
        environment |= _PIP
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
        return done.stdout
