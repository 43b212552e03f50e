"""A model card in Markdown, from what the registry recorded and nothing else.

What is not recorded is said to be not recorded. A person adds texts with tags of the version. The
metadata at the top is what the Hugging Face Hub reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from registry_core.data.recorded import validation_split
from registry_core.evaluation.groups import metrics_of
from registry_core.evaluation.task_summary import class_scores, residuals
from registry_core.evaluation.wording import format_row_group
from registry_core.formatting import (
    as_typed,
    better_when,
    copy_of,
    counted,
    duration,
    epochs_of,
    fraction,
    number,
    parent_facts,
    size,
    spread,
    stages_line,
    training_facts,
    when,
    work_facts,
)
from registry_core.records import FIGURES_FOLDER, MODEL_FILE, LedgerAction, LedgerRow, Version
from registry_core.refs import series
from registry_core.reports.limits import limits
from registry_core.reports.markdown import bullets, code, escaped, paragraph, table, yaml
from registry_core.reports.sources import VersionSource
from registry_core.reports.sweep_words import sweep_facts
from registry_core.reports.wording import output_line, signature_lines, task_line

# Texts that a person adds with `mlreg tag`; the first two are sections of the card.
INTENDED_USE, NOT_FOR, LICENSE = "card.intended-use", "card.not-for", "card.license"

_MOVES = {
    LedgerAction.PROMOTED.value: "promoted",
    LedgerAction.ROLLED_BACK.value: "rolled back to",
    LedgerAction.REFUSED.value: "refused",
    LedgerAction.RELEASED.value: "released",
}
_NOT_RECORDED = "Not recorded."
# A table of classes has at most this many rows.
_MOST_CLASSES = 100


def render_card(source: VersionSource, hub: bool = False) -> str:
    """The card of a version.

    Args:
        source: the version, and what is recorded of it.
        hub: whether it stands in a folder for the Hub, beside the unpacked model.
    """
    version, manifest = source.version, source.manifest
    parts = [
        f"---\n{yaml(_metadata(source))}---",
        f"# {version.ref}",
        _summary(source),
        "## Intended use",
        _by_tag(source, INTENDED_USE),
        "### Not intended for",
        _by_tag(source, NOT_FOR),
        "## Metrics",
        *_metrics(source),
        "## Data",
        *_data(source),
        "## Training",
        *_training(source),
        "## Promotions",
        _promotions(source),
        "## Limits",
        bullets([*limits(source), "Fairness, and data other than the test split: not measured."]),
        "## How to load it",
        *_loading(source, hub),
        *(_figures(source) if hub else ()),
        "## Record",
        _facts(
            [
                ("version", f"{version.ref}, registered {when(version.created)}"),
                *([("copy of", copy_of(version.origin))] if version.origin else []),
                ("digest of the manifest", f"sha256:{version.digest}"),
                ("weights", manifest.get("weights")),
                ("run", version.run),
            ]
        ),
        table(
            ["file", "size", "sha256"],
            [(each.path, size(each.size), each.sha256) for each in version.files],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(source: VersionSource) -> dict[str, Any]:
    """The block at the top, with the fields of the Hub's model card specification."""
    version, task = source.version, source.task
    kind = task.kind if task is not None else "other"
    found: dict[str, Any] = {"library_name": "keras", "tags": ["keras", "mlreg", kind]}
    if license_name := version.tags.get(LICENSE):
        found["license"] = license_name
    metrics = [
        {"type": name.removeprefix("test_"), "name": name, "value": value}
        for name, value in version.metrics.items()
    ]
    if metrics:
        dataset = {"type": version.dataset, "name": version.dataset, "split": "test"}
        result = {"task": {"type": kind}, "dataset": dataset, "metrics": metrics}
        found["model-index"] = [{"name": version.ref, "results": [result]}]
    return found


def _summary(source: VersionSource) -> str:
    version, objective = source.version, source.manifest["objective"]
    what = task_line(source.task)
    best = better_when(objective["metric"], objective["direction"], objective.get("unit", ""))
    made = "imported from a file" if source.imported else f"preset {version.preset}"
    rows = [
        ("model", f"{version.model}, version {version.version}, a Keras model"),
        ("task", what or None),
        ("objective", best),
        ("dataset", version.dataset),
        ("made by", f"{made}, {when(version.created)}"),
        ("aliases now", ", ".join(version.aliases) or "none"),
        ("license", version.tags.get(LICENSE)),
    ]
    return _facts(rows)


def _by_tag(source: VersionSource, tag: str) -> str:
    text = source.version.tags.get(tag, "").strip()
    return paragraph(text) if text else _NOT_RECORDED


def _metrics(source: VersionSource) -> Iterable[str]:
    version, intervals = source.version, source.intervals
    examples = source.splits.get("test", {}).get("examples")
    of = "an unknown number of examples" if examples is None else counted(examples, "example")
    yield f"Of the registered model, on the test split of {of}. Intervals are of 95 %."
    yield table(
        ["metric", "value", "interval"],
        [
            (name, fraction(name, value), _interval(name, intervals.get(name)))
            for name, value in version.metrics.items()
        ],
    )
    if len(source.group) > 1:
        means = [(n, spread(n, stats)) for n, stats in metrics_of(source.group).items()]
        numbers = [each.version for each in source.group]
        yield (
            f"Mean and standard deviation of {series(version.model, numbers)}, which differ in "
            "their seed alone:"
        )
        yield table(["metric", "mean ± deviation"], means)
    yield from _details(source)


def _details(source: VersionSource) -> Iterable[str]:
    task, results = source.task, source.results
    if results is None:
        return
    if source.class_names and (scores := class_scores(results, source.class_names)):
        rows = [
            (
                each.name,
                f"{each.examples:,}",
                _share(each.precision),
                _interval("accuracy", each.precision_interval),
                _share(each.recall),
                _interval("accuracy", each.recall_interval),
            )
            for each in scores
        ]
        yield "### By class"
        yield table(
            ["class", "examples", "precision", "interval", "recall", "interval"],
            rows[:_MOST_CLASSES],
        )
        if len(rows) > _MOST_CLASSES:
            yield f"{len(rows) - _MOST_CLASSES:,} more classes are left out."
    for each in (residuals(results, task) if task else None) or ():
        yield f"### Errors of {escaped(each.target)}" if each.target else "### Errors"
        unit = f" {each.unit}" if each.unit else ""
        quantiles = ", ".join(f"{100 * q:.0f} %: {number(v)}" for q, v in each.quantiles.items())
        yield _facts(
            [
                ("mean error (predicted minus true)", f"{number(each.bias)}{unit}"),
                ("mean absolute error", f"{number(each.mean_absolute)}{unit}"),
                ("root mean square error", f"{number(each.root_mean_square)}{unit}"),
                ("quantiles of the error", f"{quantiles}{unit}"),
            ]
        )


def _data(source: VersionSource) -> Iterable[str]:
    manifest, splits = source.manifest, source.splits
    example: Mapping[str, Any] = next(iter(splits.values()), {})
    yield _facts(
        [
            ("dataset", source.version.dataset),
            ("source", manifest.get("data", {}).get("source") or None),
            ("inputs", "; ".join(signature_lines(example.get("inputs"))) or None),
            ("targets", "; ".join(signature_lines(example.get("targets"))) or None),
            ("output", output_line(source.task) or None),
            *([("classes", ", ".join(source.class_names))] if source.class_names else []),
        ]
    )
    same = validation_split(splits)
    rows = [
        (
            f"{name} (the {same} split itself)" if name == "validation" and same else name,
            f"{split['examples']:,}",
            split["fingerprint"],
        )
        for name, split in splits.items()
    ]
    yield table(["split", "examples", "fingerprint"], rows)


def _training(source: VersionSource) -> Iterable[str]:
    manifest, version = source.manifest, source.version
    environment = manifest.get("environment", {})
    if source.imported:
        of = source.imported
        yield "Not recorded: the model was imported."
        yield _facts(
            [
                ("file", f"{of['file']}, {size(of['size'])}"),
                ("loss", of.get("loss")),
                ("written by", f"Keras {of['keras_version']}" if "keras_version" in of else None),
            ]
        )
        return
    training = manifest.get("training")
    ran = len(manifest.get("epoch_seconds") or ())
    epochs = f"{ran:,}" if ran else None
    if training and training["epochs"] != training["of"]:
        epochs = epochs_of(training)
    libraries = [n for n in ("python", "tensorflow", "keras", "numpy", "mlreg") if n in environment]
    git = environment.get("git")
    yield _facts(
        [
            ("preset", version.preset),
            ("seed", str(version.seed)),
            *parent_facts(manifest),
            *sweep_facts(manifest),
            ("epochs", epochs),
            *(training_facts(training) if training else ()),
            *work_facts(manifest),
            ("resumed", counted(manifest["resumed"], "time") if manifest.get("resumed") else "no"),
            ("time", stages_line(version.seconds) or None),
            ("whole command", _seconds(manifest.get("command_seconds"))),
            ("device", environment.get("device")),
            ("machine", _machine(environment)),
            ("libraries", ", ".join(f"{n} {environment[n]}" for n in libraries) or None),
            ("deterministic", _yes_no(environment.get("deterministic"))),
            ("git commit", git["commit"] if git else None),
        ]
    )
    yield "### Settings"
    yield table(
        ["setting", "value"],
        [(key, as_typed(value)) for key, value in sorted(manifest["config"].items())],
    )


def _promotions(source: VersionSource) -> str:
    rows = [
        (when(row.at), row.alias, _move(row, source.version), row.reason)
        for row in source.moves
        if row.action in _MOVES
    ]
    if not rows:
        return "None."
    return table(["time", "alias", "what happened", "reason"], rows)


def _move(row: LedgerRow, version: Version) -> str:
    """What a row of the ledger says of the version: `promoted`, `replaced by flowers@4`."""
    if row.version not in (version.version, None):
        return f"replaced by {row.model}@{row.version}"
    what = _MOVES[row.action]
    if group := format_row_group(row.evidence):
        what += f" {group}"
    if row.evidence.get("forced"):
        what += ", although a check failed"
    approvers = row.evidence.get("approved_by")
    if isinstance(approvers, list) and approvers:
        what += f", approved by {', '.join(map(str, approvers))}"
    return what


def _loading(source: VersionSource, hub: bool) -> Iterable[str]:
    ref = source.version.ref
    custom = [each["name"] for each in source.manifest.get("custom_objects") or ()]
    if hub:
        yield code(
            "import keras\n\n"
            "# this folder, or hf://ACCOUNT/NAME once it is on the Hub\n"
            'model = keras.saving.load_model("path/to/this/folder")',
            "python",
        )
    else:
        yield code(
            f'from mlreg import open_registry\n\nmodel = open_registry().load("{ref}")', "python"
        )
        yield f"Or as a file of its own, without mlreg: `mlreg export {ref} -o model.keras`."
    yield "The model takes the dataset's raw inputs: preprocessing is part of it."
    if custom:
        modules = {each["module"] for each in source.manifest["custom_objects"]}
        yield (
            f"It has custom objects ({escaped(', '.join(custom))}): import "
            f"{escaped(', '.join(sorted(filter(None, modules))) or 'the code that has them')} "
            "before Keras loads it."
        )
    if source.version.file(MODEL_FILE) is None:
        yield "The version has no model file."


def _figures(source: VersionSource) -> Iterable[str]:
    """The figures, which are in the same folder as the card."""
    paths = [each.path for each in source.version.files if each.path.endswith(".png")]
    shown = [path for path in paths if path.startswith(f"{FIGURES_FOLDER}/")]
    if shown:
        yield "## Figures"
    for path in shown:
        yield f"![{escaped(path)}]({quote(path)})"


def _facts(rows: Iterable[tuple[str, str | None]]) -> str:
    return table(["field", "value"], [(name, value or "not recorded") for name, value in rows])


def _interval(name: str, interval: Any) -> str:
    if interval is None:
        return "not recorded"
    return f"{fraction(name, interval.low)} to {fraction(name, interval.high)}"


def _share(value: float | None) -> str:
    return "–" if value is None else fraction("accuracy", value)


def _seconds(value: float | None) -> str | None:
    return None if not value else duration(value)


def _yes_no(value: object) -> str | None:
    return None if value is None else "yes" if value else "no"


def _machine(environment: Mapping[str, Any]) -> str | None:
    parts = [environment.get("processor"), environment.get("platform")]
    cores = environment.get("cpus")
    if cores:
        parts.append(f"{cores} cores")
    return ", ".join(str(part) for part in parts if part) or None
