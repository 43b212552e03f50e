"""What a version is: metrics, how it was made, its group, data, environment, files, loading."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.data.recorded import validation_split
from registry_core.evaluation.groups import metrics_of
from registry_core.formatting import (
    better_when,
    copy_of,
    counted,
    epochs_of,
    fraction,
    parent_facts,
    size,
    stages_line,
    training_facts,
    when,
    work_facts,
)
from registry_core.records import MODEL_FILE
from registry_core.refs import series
from registry_core.reports.sources import ReportSource
from registry_core.reports.sweep_words import sweep_facts
from registry_core.reports.wording import (
    clip,
    damaged,
    interval,
    left_out,
    setting,
    shape_of,
)
from registry_core.sections import Block, Code, Facts, Section, Table, Text

# A report lists at most this many files, classes, settings and members of a group.
MAX_FILES = 200
MAX_CLASSES = 200
MAX_SETTINGS = 300
MAX_MEMBERS = 100

_LIBRARIES = ("python", "tensorflow", "keras", "numpy", "mlreg")


def summary(source: ReportSource) -> Section:
    """Metrics with intervals, and what was run when."""
    blocks: list[Block] = []
    if problem := source.problems.get("manifest"):
        blocks.append(damaged("The record of this version", problem))
    blocks += metrics_table(source)
    blocks.append(Facts(_facts(source)))
    return Section("Summary", blocks)


def metrics_table(source: ReportSource) -> list[Block]:
    if not source.metrics:
        return [Text("No metrics are recorded.")]
    found = source.intervals
    rows = [
        (name, fraction(name, value), interval(name, found.get(name)))
        for name, value in source.metrics.items()
    ]
    blocks: list[Block] = [Table(("metric", "value", "95 % interval"), rows)]
    if found:
        examples = counted(source.results.examples, "test example") if source.results else ""
        blocks.append(
            Text(
                f"An interval says how far the {examples} determine the value. It does not include "
                "how runs with other seeds differ."
            )
        )
    return blocks


def _facts(source: ReportSource) -> list[tuple[str, str]]:
    version, manifest = source.version, source.manifest
    facts: list[tuple[str, str]] = []
    if version:
        tags = [f"{key}={value}" if value else key for key, value in version.tags.items()]
        facts += [
            ("created", when(version.created)),
            ("aliases", ", ".join(version.aliases) or "none"),
            ("tags", ", ".join(tags) or "none"),
        ]
        if version.origin:
            facts.append(("copy of", copy_of(version.origin)))
    dataset = version.dataset if version else manifest.get("dataset")
    preset = version.preset if version else manifest.get("preset")
    seed = version.seed if version else manifest.get("seed")
    if objective := manifest.get("objective"):
        unit = objective.get("unit", "")
        words = better_when(objective["metric"], objective["direction"], unit)
        facts.append(("objective", words))
    facts += [("dataset", str(dataset)), ("preset", str(preset)), ("seed", str(seed))]
    facts += work_facts(manifest)
    model = version.file(MODEL_FILE) if version else None
    if model:
        facts.append(("model file", size(model.size)))
    facts += [*_origin(manifest), *parent_facts(manifest)]
    seconds = version.seconds if version else manifest.get("seconds") or {}
    if seconds:
        facts.append(("times", stages_line(seconds)))
    run = version.run if version else manifest.get("run")
    facts.append(("run", str(run or "not recorded")))
    if version:
        facts.append(("digest", version.digest))
    return [(name, clip(value)) for name, value in facts]


def _origin(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the model was made: trained, resumed, or imported."""
    if imported := manifest.get("imported"):
        return [
            (
                "imported",
                f"{imported.get('file')}, {size(imported.get('size', 0))}, by Keras "
                f"{imported.get('keras_version')}; loss: {imported.get('loss')}",
            )
        ]
    facts = []
    if training := manifest.get("training"):
        facts = [("training", epochs_of(training)), *training_facts(training)]
    elif epochs := manifest.get("epoch_seconds"):
        facts = [("training", counted(len(epochs), "epoch"))]
    if resumed := manifest.get("resumed"):
        facts.append(("resumed", counted(resumed, "time")))
    return [*facts, *sweep_facts(manifest)]


def group(source: ReportSource) -> list[Section]:
    """The versions that one command made with other seeds, by mean and deviation."""
    if problem := source.problems.get("group"):
        return [Section("Group", [damaged("The group of this version", problem)])]
    members = source.group
    if source.version is None or len(members) < 2:
        return []
    names = series(source.version.model, [each.version for each in members])
    rows = []
    for metric, stats in metrics_of(members).items():
        ends = [stats.std, stats.low, stats.high]
        deviation, low, high = ["" if end is None else fraction(metric, end) for end in ends]
        between = f"{low} to {high}" if low else ""
        rows.append((metric, stats.n, fraction(metric, stats.mean), deviation, between))
    columns = ("metric", "runs", "mean", "deviation", "95 % interval of the mean")
    return [
        Section(
            "Group",
            [
                Text(
                    f"{names} were made together, with the same settings and other seeds. The "
                    "interval is Student's, and says how far the runs determine the mean."
                ),
                Table(columns, rows),
                members_table(members),
                *left_out(MAX_MEMBERS, len(members), "version"),
            ],
        )
    ]


def members_table(members: Sequence[Any]) -> Table:
    """A row for each version, with its seed and metrics."""
    names = list(dict.fromkeys(name for each in members for name in each.metrics))
    rows = [
        (
            each.ref,
            str(each.seed),
            *(fraction(n, each.metrics[n]) if n in each.metrics else None for n in names),
        )
        for each in members[:MAX_MEMBERS]
    ]
    return Table(("version", "seed", *names), rows)


def data(source: ReportSource) -> Section:
    """The splits with their sizes and fingerprints, and the classes."""
    recorded, splits = source.data, source.splits
    if not splits:
        return Section("Data", [Text("The data is not recorded.")])
    rows = [
        (
            name,
            split.get("examples"),
            shape_of(split.get("inputs"), "examples"),
            shape_of(split.get("targets"), "examples"),
            clip(split.get("fingerprint") or "none"),
        )
        for name, split in splits.items()
    ]
    blocks: list[Block] = [
        Table(("split", "examples", "inputs", "targets", "fingerprint"), rows),
    ]
    same = validation_split(splits) if "validation" in splits else None
    if same is not None:
        blocks.append(Text(f"The validation split is the {same} split itself."))
    facts = [("source", clip(recorded.get("source") or "not recorded"))]
    task: Mapping[str, Any] = recorded.get("task") or {}
    if task:
        facts.append(("task", str(task.get("kind"))))
    for noun, plural in (("class", "classes"), ("label", "labels"), ("target", "targets")):
        names = task.get(f"{noun}_names") or (
            recorded.get("class_names") if noun == "class" else []
        )
        if names:
            units = task.get("units") or []
            heading = noun if len(names) == 1 else f"{len(names):,} {plural}, in order"
            facts.append((heading, _listed(names, units)))
    return Section("Data", [*blocks, Facts(facts)])


def _listed(names: Sequence[str], units: Sequence[str]) -> str:
    """The names of classes, labels or targets; targets with their units."""
    shown = [
        f"{clip(name, 60)} ({units[number]})" if len(units) > number and units[number] else name
        for number, name in enumerate(names[:MAX_CLASSES])
    ]
    return clip(", ".join(shown) + (", …" if len(names) > MAX_CLASSES else ""))


def configuration(source: ReportSource) -> Section:
    """The settings that the run was made with."""
    config = source.config
    if not config:
        imported = bool(source.imported)
        said = "An imported model has no settings." if imported else "No settings are recorded."
        return Section("Configuration", [Text(said)])
    rows = [(clip(key), setting(value)) for key, value in sorted(config.items())]
    return Section(
        "Configuration",
        [Facts(rows[:MAX_SETTINGS]), *left_out(MAX_SETTINGS, len(rows), "setting")],
    )


def environment(source: ReportSource) -> Section:
    """Libraries, machine, code."""
    recorded: Mapping[str, Any] = source.manifest.get("environment") or {}
    if not recorded:
        return Section("Environment", [Text("The environment is not recorded.")])
    facts = [(name, str(recorded[name])) for name in _LIBRARIES if name in recorded]
    facts += [
        (label, str(recorded[name]))
        for name, label in (
            ("platform", "platform"),
            ("processor", "processor"),
            ("cpus", "processors"),
            ("device", "device"),
        )
        if recorded.get(name)
    ]
    for name, value in (recorded.get("variables") or {}).items():
        facts.append((name, _without_paths(value)))
    if git := recorded.get("git"):
        changed = ", with uncommitted changes" if git.get("dirty") else ""
        facts.append(("git", f"{git.get('commit')}{changed}"))
    blocks: list[Block] = [Facts([(clip(name), clip(value)) for name, value in facts])]
    if plugins := _plugins(source.manifest.get("plugins")):
        blocks.append(Table(("plugin", "module", "package"), plugins, "Plugins of the run"))
    return Section("Environment", blocks)


def _without_paths(value: str) -> str:
    """The value of a variable; a page that is sent around names no folder of a machine."""
    return "set to a path" if re.search(r"[/\\~]", value) else value


def _plugins(recorded: Any) -> list[tuple[str, str, str]]:
    rows = []
    for each in recorded if isinstance(recorded, list) else ():
        package = each.get("distribution") or "none: a file of the project"
        rows.append((clip(each.get("name") or ""), clip(each.get("module") or ""), clip(package)))
    return rows[:MAX_SETTINGS]


def files(source: ReportSource) -> list[Section]:
    """The version's files with their sizes and digests."""
    if source.version is None:
        return []
    listed = source.version.files
    rows = [(clip(file.path), size(file.size), file.sha256) for file in listed[:MAX_FILES]]
    blocks: list[Block] = [Table(("file", "size", "sha256"), rows)]
    blocks += left_out(MAX_FILES, len(listed), "file")
    if missing := source.manifest.get("figures_missing"):
        blocks.append(Text(f"Figures are missing: {clip(missing)}", is_alert=True))
    return [Section("Files", blocks)]


def loading(source: ReportSource) -> Section:
    """How to load the model, and what it takes."""
    splits = source.splits
    split = splits.get("test") or splits.get("train") or {}
    name = source.name
    blocks: list[Block] = []
    if source.version is None:
        name = f"{source.model}@latest"
        blocks.append(
            Text(f"Once it is registered, `mlreg list {source.model}` shows the version's number.")
        )
    python = f'import mlreg\n\nmodel = mlreg.open_registry().load("{name}")\n'
    shell = f"mlreg export {shlex.quote(name)} -o model.keras\nmlreg show {shlex.quote(name)}"
    blocks += [
        Facts(
            [
                ("inputs", clip(shape_of(split.get("inputs")))),
                ("targets", clip(shape_of(split.get("targets")))),
            ]
        ),
        Text(
            "The model takes the dataset's raw inputs: normalisation and the like are part of it."
        ),
        Code(f"{python}outputs = model.predict(inputs)", "python"),
        Code(shell, "sh"),
    ]
    return Section("How to load it", blocks)


def subtitle(source: ReportSource) -> str:
    """`flowers, preset baseline, seed 7, created 2026-03-05 09:14 UTC`."""
    version, manifest = source.version, source.manifest
    if version:
        made = f"created {when(version.created)}"
        return f"{version.dataset}, preset {version.preset}, seed {version.seed}, {made}"
    return (
        f"{manifest.get('dataset')}, preset {manifest.get('preset')}, seed {manifest.get('seed')}, "
        f"run {manifest.get('run', 'not recorded')}"
    )
