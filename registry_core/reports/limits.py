"""Why a person should not rely on a version too much, as its own record says."""

from __future__ import annotations

from collections.abc import Mapping

from registry_core.data.recorded import validation_split
from registry_core.reports.sources import VersionSource


def limits(source: VersionSource) -> list[str]:
    """A sentence for each limit; empty if the record has none."""
    manifest, found = source.manifest, []
    same = validation_split(source.splits)
    if same == "test" and not source.imported:
        found.append(
            "The validation split is the test split itself: what was decided by validation was "
            "decided on the test split, so its metrics may be too good."
        )
    if same == "train" and not source.imported:
        found.append("The validation split is the training split itself.")
    if source.decisions:
        times = "once" if source.decisions == 1 else f"{source.decisions:,} times"
        found.append(
            f"Promotions of {source.version.model} compared versions on this test split {times}; "
            "each use makes its metrics a little less independent."
        )
    for part in manifest.get("not_repeatable", ()):
        found.append(f"Not repeatable{_when(part)}: {part['what']}")
    if changed := (manifest.get("training") or {}).get("weights_changed_by"):
        found.append(f"The weights are not those of the last epoch: {changed}.")
    if source.imported:
        found.append("The model was imported: how it was trained, and on what, is not known.")
    elif len(source.group) < 2:
        found.append("One run with one seed: how much the metrics vary between seeds is not known.")
    if source.results is None:
        found.append("No results for single test examples are recorded: there are no intervals.")
    if manifest.get("figures_missing"):
        found.append(f"Figures are missing: {manifest['figures_missing']}")
    git = (manifest.get("environment") or {}).get("git")
    if git and git.get("dirty"):
        found.append(f"The code had changes beside git commit {git['commit'][:12]}.")
    return found


def _when(part: Mapping[str, str]) -> str:
    return " if the run is stopped and resumed" if part.get("when") == "resumed" else ""
