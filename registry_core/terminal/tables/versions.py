"""Tables of models and versions, and everything about one version."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from registry_core.formatting import (
    age,
    better_when,
    copy_of,
    counted,
    duration,
    epochs_of,
    fraction,
    parent_facts,
    size,
    stages_line,
    training_facts,
    when,
    work_facts,
)
from registry_core.refs import series, spans
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import (
    Cell,
    Column,
    facts_table,
    format_means,
    key_column,
    metric_head,
    metric_names,
    new_table,
    tags_line,
    time_cell,
)
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.evaluation.per_example_results import PerExampleResults
    from registry_core.records import ModelSummary, Removal, Signature, Version

# the order of the splits; others follow
_SPLITS = ("train", "test", "validation")


def show_models(models: Sequence[ModelSummary], wide: bool = False) -> None:
    """Show a line for each model: its newest version and metrics, and its aliases."""
    metrics = metric_names([model.latest for model in models])
    table = new_table(
        key_column("model"),
        Column("latest"),
        *map(Column, map(metric_head, metrics[:2])),
        Column("aliases", "between words"),
        Column("versions"),
        Column("created"),
        *map(Column, map(metric_head, metrics[2:])),
        wide=wide,
    )
    for model in models:
        aliases = ", ".join(f"{alias}={number}" for alias, number in model.aliases.items())
        table.add_row(
            safe_text(model.name, "bold"),
            safe_text(model.latest.ref),
            *_metric_cells(model.latest, metrics[:2]),
            safe_text(aliases, "green"),
            safe_text(f"{model.versions:,}"),
            time_cell(model.latest.created),
            *_metric_cells(model.latest, metrics[2:]),
        )
    stdout().print(table)


def show_versions(
    versions: Sequence[Version],
    damaged: Collection[str],
    groups: Mapping[str, Sequence[Version]],
    wide: bool = False,
    sorted_by: str = "",
) -> None:
    """Show a line for each version, in the order given; damaged ones are marked.

    Args:
        versions: versions of one model.
        damaged: references of the damaged ones.
        groups: group id -> the versions of the group.
        wide: show every column, however narrow the terminal is.
        sorted_by: the metric or field that they are sorted by, whose column is always shown.
    """
    metrics = sorted(metric_names(versions), key=lambda name: name != sorted_by)
    has_aliases = any(version.aliases for version in versions)
    tagged = any(version.tags for version in versions)

    def column(name: str) -> Column:
        return Column(name, hideable=name != sorted_by)

    def metric_column(name: str) -> Column:
        return Column(metric_head(name), hideable=name != sorted_by)

    table = new_table(
        key_column("version"),
        *([Column("aliases", "between words")] if has_aliases else []),
        *map(metric_column, metrics[:2]),
        column("created"),
        column("preset"),
        column("seed"),
        Column("train time"),
        *([Column("group", "between words")] if groups else []),
        *([Column("tags", "anywhere")] if tagged else []),
        *map(metric_column, metrics[2:]),
        *([column("dataset")] if sorted_by == "dataset" else []),
        wide=wide,
    )
    for version in versions:
        mark = "  damaged" if version.ref in damaged else ""
        table.add_row(
            safe_text(version.ref, "bold").append(mark, "red bold"),
            *([safe_text(", ".join(version.aliases), "green")] if has_aliases else []),
            *_metric_cells(version, metrics[:2]),
            time_cell(version.created),
            safe_text(version.preset),
            safe_text(version.seed),
            safe_text(duration(version.seconds["fit"]) if "fit" in version.seconds else ""),
            *([safe_text(_numbers(groups.get(version.group, [])))] if groups else []),
            *([safe_text(tags_line({"set": version.tags}))] if tagged else []),
            *_metric_cells(version, metrics[2:]),
            *([safe_text(version.dataset)] if sorted_by == "dataset" else []),
        )
    stdout().print(table)


def show_version(
    version: Version,
    manifest: Mapping[str, Any],
    together: Sequence[Version],
    results: PerExampleResults | None,
    signatures: Sequence[Signature] = (),
) -> None:
    """Show a version's facts, how it learned, what it gets wrong, and its files.

    Args:
        version: the version.
        manifest: its manifest.
        together: all versions of its group, including itself.
        results: its results on the test split; None if they were not recorded.
        signatures: those that the ledger has.
    """
    from registry_core.terminal.tables.quality import show_quality  # a list needs none of it

    console = stdout()
    title = safe_text(version.ref, "bold")
    if version.aliases:
        title.append(f"  {', '.join(version.aliases)}", "green")
    console.print(title)
    facts = _facts(version, manifest, together)
    facts += [("signed", _signed(each)) for each in signatures]
    console.print(facts_table(facts))
    show_quality(manifest, results)
    console.print()
    files = new_table(key_column("file"), Column("size"), Column("sha256"))
    for file in version.files:
        files.add_row(safe_text(file.path), safe_text(size(file.size)), safe_text(file.sha256[:16]))
    console.print(files)


def show_removals(removals: Sequence[Removal], wide: bool = False) -> None:
    """Show a line for each removed version, newest first."""
    metrics = metric_names([removal.version for removal in removals])
    table = new_table(
        key_column("version"),
        Column("removed"),
        Column("files", "between words"),
        *map(Column, map(metric_head, metrics)),
        Column("preset"),
        wide=wide,
    )
    for removal in removals:
        version, collected = removal.version, removal.collected
        deleted = Cell(
            safe_text(f"deleted {age(collected)}"), safe_text(f"deleted {when(collected)}")
        )
        table.add_row(
            safe_text(version.ref, "bold"),
            time_cell(removal.at),
            deleted if collected else safe_text("can be restored"),
            *_metric_cells(version, metrics),
            safe_text(version.preset),
        )
    stdout().print(table)


def show_tags(version: Version) -> None:
    """Show a line for each tag."""
    if not version.tags:
        stdout().print(safe_text(f"{version.ref} has no tags."))
        return
    table = new_table(key_column(version.ref), "")
    for name, value in version.tags.items():
        table.add_row(safe_text(name, "bold"), safe_text(value))
    stdout().print(table)


def show_files(rows: Sequence[tuple[str, int, str]]) -> None:
    """Show files with their sizes and digests."""
    table = new_table(key_column("file"), Column("size"), Column("sha256"))
    for path, count, digest in rows:
        table.add_row(safe_text(path), safe_text(size(count)), safe_text(digest))
    stdout().print(table)


def _facts(
    version: Version, manifest: Mapping[str, Any], together: Sequence[Version]
) -> list[tuple[str, str]]:
    data, environment = manifest["data"], manifest["environment"]
    config = ", ".join(f"{key}={value}" for key, value in sorted(manifest["config"].items()))
    names = sorted(data["splits"], key=lambda n: _SPLITS.index(n) if n in _SPLITS else len(_SPLITS))
    splits = ", ".join(_split_line(name, data["splits"]) for name in names)
    libraries = ("python", "tensorflow", "keras", "numpy", "mlreg")
    versions = ", ".join(f"{lib} {environment[lib]}" for lib in libraries if lib in environment)
    facts = [
        ("created", when(version.created)),
        *([("copy of", copy_of(version.origin))] if version.origin else []),
        ("metrics", ", ".join(f"{n} {fraction(n, v)}" for n, v in version.metrics.items())),
        ("objective", _objective(manifest["objective"])),
        ("preset", f"{version.dataset} {version.preset}, seed {version.seed}"),
        *_group_facts(version, together),
        *([("tags", tags_line({"set": version.tags}))] if version.tags else []),
        ("config", config),
        ("data", f"{splits}; from {data['source'] or 'the plugin'}"),
        _origin(version, manifest),
        *parent_facts(manifest),
        *_picked_by(manifest),
        *(training_facts(manifest["training"]) if "training" in manifest else []),
        *work_facts(manifest),
        ("stages", stages_line(version.seconds)),
        ("libraries", versions),
        ("machine", f"{environment.get('platform')}, {environment.get('cpus')} cores"),
    ]
    if git := environment.get("git"):
        changed = ", with uncommitted changes" if git["dirty"] else ""
        facts.append(("git", f"{git['commit'][:12]}{changed}"))
    if missing := manifest.get("figures_missing"):
        facts.append(("figures", f"missing: {missing}"))
    return [*facts, ("run", version.run), ("digest", version.digest)]


def _signed(signature: Signature) -> str:
    reason = f": {signature.reason}" if signature.reason else ""
    return f"{when(signature.at)} by {signature.who}, with key {signature.key}{reason}"


def _objective(objective: Mapping[str, Any]) -> str:
    return better_when(objective["metric"], objective["direction"], objective.get("unit", ""))


def _split_line(name: str, splits: Mapping[str, Any]) -> str:
    """`10,000 test`; names the other split if the validation split is the same data."""
    from registry_core.data.recorded import validation_split

    split = splits[name]
    same = validation_split(splits) if name == "validation" else None
    if same is not None:
        return f"validation is the {same} split itself"
    return f"{split['examples']:,} {name}"


def _group_facts(version: Version, together: Sequence[Version]) -> list[tuple[str, str]]:
    others = [each.version for each in together if each.version != version.version]
    if not others:
        return []
    return [
        ("group", f"made together with {series(version.model, others)}"),
        ("group mean", f"{format_means(together)}, n = {len(together)}"),
    ]


def _picked_by(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sweep whose trial the version is, or confirms with another seed."""
    if "sweep" not in manifest and "confirms" not in manifest:
        return []
    from registry_core.reports.sweep_words import sweep_facts  # most versions need none of it

    return sweep_facts(manifest)


def _metric_cells(version: Version, names: Sequence[str]) -> list[Text]:
    values = version.metrics
    return [safe_text(fraction(name, values[name]) if name in values else "") for name in names]


def _numbers(versions: Sequence[Version]) -> str:
    """The numbers of versions: 1–5, 9."""
    found = spans(version.version for version in versions)
    return ", ".join(f"{first}–{last}" if last > first else str(first) for first, last in found)


def _origin(version: Version, manifest: Mapping[str, Any]) -> tuple[str, str]:
    """How the model was made: trained here, or imported."""
    if imported := manifest.get("imported"):
        return "imported", (
            f"{imported['file']}, {size(imported['size'])}, by Keras {imported['keras_version']}; "
            f"loss: {imported['loss']}"
        )
    epochs = len(manifest["epoch_seconds"])
    ran = epochs_of(manifest["training"]) if "training" in manifest else counted(epochs, "epoch")
    fit = version.seconds.get("fit", 0.0)
    throughput = epochs * manifest["data"]["splits"]["train"]["examples"] / fit if fit else 0.0
    return "training", f"{ran}, {throughput:,.0f} examples/s, validation included"
