"""What is slow once in each process that makes a run, for one whose forks make runs.

Resolves the files of all modules that are imported, and draws a figure.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from registry_core.evaluation.figures.canvas import picture
from registry_core.plugins.source_digests import describe_code

with tempfile.TemporaryDirectory() as folder, picture(Path(folder) / "figure.png") as figure:
    describe_code({}, Path(folder))
    figure.subplots().set_title("loss")
