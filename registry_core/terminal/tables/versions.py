"""Models, their versions, and one of them in full."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.text import Text

from registry_core.data.checks import validation_split
from registry_core.formatting import age, duration, fraction, size, stages_line, when
from registry_core.records import ModelSummary, Removal, Version
from registry_core.refs import series, spans
from registry_core.terminal.output import stdout
from registry_core.terminal.tables.table import (
    Cell,
    Column,
    facts_table,
    key,
    means,
    metric_head,
    metric_names,
    moment,
    new_table,
    tags_line,
)
from registry_core.terminal.text import shown

# the order in which splits are told; others follow
_SPLITS = ("train", "test", "validation")


def show_models(models: Sequence[ModelSummary], wide: bool = False) -> None:
    """One line a model: its newest version, what it measured, who holds its aliases."""
    metrics = metric_names([model.latest for model in models])
    table = new_table(
        key("model"),
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
            shown(model.name, "bold"),
            shown(model.latest.ref),
            *_metric_cells(model.latest, metrics[:2]),
            shown(aliases, "green"),
            shown(f"{model.versions:,}"),
            moment(model.latest.created),
            *_metric_cells(model.latest, metrics[2:]),
        )
    stdout().print(table)


def show_versions(
    versions: Sequence[Version],
    damaged: Collection[str],
    groups: Mapping[str, Sequence[Version]],
    wide: bool = False,
) -> None:
    """One line a version, newest first; a damaged one is marked.

    Args:
        versions: of one model.
        damaged: references of those that are.
        groups: the versions of each group that one of them belongs to, by the group's id.
        wide: show every column, however wide the terminal is.
    """
    metrics = metric_names(versions)
    has_aliases = any(version.aliases for version in versions)
    tagged = any(version.tags for version in versions)
    table = new_table(
        key("version"),
        *([Column("aliases", "between words")] if has_aliases else []),
        *map(Column, map(metric_head, metrics[:2])),
        Column("created"),
        Column("preset"),
        Column("seed"),
        Column("train time"),
        *([Column("group", "between words")] if groups else []),
        *([Column("tags", "anywhere")] if tagged else []),
        *map(Column, map(metric_head, metrics[2:])),
        wide=wide,
    )
    for version in versions:
        mark = "  damaged" if version.ref in damaged else ""
        table.add_row(
            shown(version.ref, "bold").append(mark, "red bold"),
            *([shown(", ".join(version.aliases), "green")] if has_aliases else []),
            *_metric_cells(version, metrics[:2]),
            moment(version.created),
            shown(version.preset),
            shown(version.seed),
            shown(duration(version.seconds["fit"]) if "fit" in version.seconds else ""),
            *([shown(_numbers(groups.get(version.group, [])))] if groups else []),
            *([shown(tags_line({"set": version.tags}))] if tagged else []),
            *_metric_cells(version, metrics[2:]),
        )
    stdout().print(table)


def show_version(
    version: Version, manifest: Mapping[str, Any], together: Sequence[Version]
) -> None:
    """Everything worth reading about one version.

    Args:
        version: the version.
        manifest: its record.
        together: the versions of its group, itself among them.
    """
    console = stdout()
    title = shown(version.ref, "bold")
    if version.aliases:
        title.append(f"  {', '.join(version.aliases)}", "green")
    console.print(title)
    console.print(facts_table(_facts(version, manifest, together)))
    console.print()
    files = new_table(key("file"), Column("size"), Column("sha256"))
    for file in version.files:
        files.add_row(shown(file.path), shown(size(file.size)), shown(file.sha256[:16]))
    console.print(files)


def show_removals(removals: Sequence[Removal], wide: bool = False) -> None:
    """One line a removed version, newest first."""
    metrics = metric_names([removal.version for removal in removals])
    table = new_table(
        key("version"),
        Column("removed"),
        Column("files", "between words"),
        *map(Column, map(metric_head, metrics)),
        Column("preset"),
        wide=wide,
    )
    for removal in removals:
        version, collected = removal.version, removal.collected
        deleted = Cell(shown(f"deleted {age(collected)}"), shown(f"deleted {when(collected)}"))
        table.add_row(
            shown(version.ref, "bold"),
            moment(removal.at),
            deleted if collected else shown("can be restored"),
            *_metric_cells(version, metrics),
            shown(version.preset),
        )
    stdout().print(table)


def show_tags(version: Version) -> None:
    """One line a tag."""
    if not version.tags:
        stdout().print(shown(f"{version.ref} has no tags."))
        return
    table = new_table(key(version.ref), "")
    for name, value in version.tags.items():
        table.add_row(shown(name, "bold"), shown(value))
    stdout().print(table)


def show_files(rows: Sequence[tuple[str, int, str]]) -> None:
    """Files with size in bytes and digest."""
    table = new_table(key("file"), Column("size"), Column("sha256"))
    for path, count, digest in rows:
        table.add_row(shown(path), shown(size(count)), shown(digest))
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
        ("metrics", ", ".join(f"{n} {fraction(n, v)}" for n, v in version.metrics.items())),
        ("preset", f"{version.dataset} {version.preset}, seed {version.seed}"),
        *_group_facts(version, together),
        *([("tags", tags_line({"set": version.tags}))] if version.tags else []),
        ("config", config),
        ("data", f"{splits}; from {data['source'] or 'the plugin'}"),
        _origin(version, manifest),
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


def _split_line(name: str, splits: Mapping[str, Any]) -> str:
    """`10,000 test`; and of a validation split that is another one, which."""
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
        ("group mean", f"{means(together)}, n = {len(together)}"),
    ]


def _metric_cells(version: Version, names: Sequence[str]) -> list[Text]:
    values = version.metrics
    return [shown(fraction(name, values[name]) if name in values else "") for name in names]


def _numbers(versions: Sequence[Version]) -> str:
    """The versions' numbers: 1–5, 9."""
    found = spans(version.version for version in versions)
    return ", ".join(f"{first}–{last}" if last > first else str(first) for first, last in found)


def _origin(version: Version, manifest: Mapping[str, Any]) -> tuple[str, str]:
    """How the model came to be: trained here, or made elsewhere."""
    if imported := manifest.get("imported"):
        return "imported", (
            f"{imported['file']}, {size(imported['size'])}, by Keras {imported['keras_version']}; "
            f"loss: {imported['loss']}"
        )
    epochs = len(manifest["epoch_seconds"])
    fit = version.seconds.get("fit", 0.0)
    throughput = epochs * manifest["data"]["splits"]["train"]["examples"] / fit if fit else 0.0
    return "training", f"{epochs} epochs, {throughput:,.0f} examples/s, validation included"
