"""Models, their versions, and one of them in full."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.table import Table

from registry_core.records import ModelSummary, Removal, Version
from registry_core.refs import series, spans
from registry_core.ui.output import stdout
from registry_core.ui.tables.cells import means, new_table, short_metrics, tags_line, when
from registry_core.ui.text import duration, fraction, metrics_line, shown, size

_STAGES = ("data", "model", "fit", "evaluate", "save", "plot")


def show_models(models: Sequence[ModelSummary]) -> None:
    """One line a model: its newest version, what it measured, who holds its aliases."""
    table = new_table("model", "versions", "latest", "test metrics", "aliases", "created")
    for model in models:
        aliases = ", ".join(f"{alias}={number}" for alias, number in model.aliases.items())
        table.add_row(
            shown(model.name, "bold"),
            shown(model.versions),
            shown(model.latest.ref),
            shown(metrics_line(short_metrics(model.latest))),
            shown(aliases, "green"),
            shown(when(model.latest.created)),
        )
    stdout().print(table)


def show_versions(
    versions: Sequence[Version],
    damaged: Collection[str],
    groups: Mapping[str, Sequence[Version]],
) -> None:
    """One line a version, newest first; a damaged one is marked.

    Args:
        versions: of one model.
        damaged: references of those that are.
        groups: the versions of each group that one of them belongs to, by the group's id.
    """
    tagged = any(version.tags for version in versions)
    columns = ["version", "test metrics", "preset", "seed", "fit", "aliases", "created"]
    table = new_table(*columns, *(["group"] if groups else []), *(["tags"] if tagged else []))
    for version in versions:
        mark = "  damaged" if version.ref in damaged else ""
        table.add_row(
            shown(version.ref, "bold").append(mark, "red bold"),
            shown(metrics_line(short_metrics(version))),
            shown(version.preset),
            shown(version.seed),
            shown(duration(version.seconds["fit"]) if "fit" in version.seconds else ""),
            shown(", ".join(version.aliases), "green"),
            shown(when(version.created)),
            *([shown(_numbers(groups.get(version.group, [])))] if groups else []),
            *([shown(tags_line({"set": version.tags}))] if tagged else []),
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
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    for name, value in _facts(version, manifest, together):
        facts.add_row(name, shown(value))
    console.print(facts)
    console.print()
    files = new_table("file", "size", "sha256")
    for file in version.files:
        files.add_row(shown(file.path), shown(size(file.size)), shown(file.sha256[:16]))
    console.print(files)


def show_removals(removals: Sequence[Removal]) -> None:
    """One line a removed version, newest first."""
    table = new_table("version", "test metrics", "preset", "removed", "files")
    for removal in removals:
        version, collected = removal.version, removal.collected
        table.add_row(
            shown(version.ref, "bold"),
            shown(metrics_line(short_metrics(version))),
            shown(version.preset),
            shown(when(removal.at)),
            shown(f"collected {when(collected)}" if collected else "can be restored"),
        )
    stdout().print(table)


def show_tags(version: Version) -> None:
    """One line a tag."""
    if not version.tags:
        stdout().print(shown(f"{version.ref} has no tags."))
        return
    table = new_table(version.ref, "")
    for key, value in version.tags.items():
        table.add_row(shown(key, "bold"), shown(value))
    stdout().print(table)


def show_files(rows: Sequence[tuple[str, int, str]]) -> None:
    """Files with size in bytes and digest."""
    table = new_table("file", "size", "sha256")
    for path, count, digest in rows:
        table.add_row(shown(path), shown(size(count)), shown(digest))
    stdout().print(table)


def _facts(
    version: Version, manifest: Mapping[str, Any], together: Sequence[Version]
) -> list[tuple[str, str]]:
    data, environment = manifest["data"], manifest["environment"]
    config = ", ".join(f"{key}={value}" for key, value in sorted(manifest["config"].items()))
    splits = ", ".join(f"{s['examples']:,} {name}" for name, s in data["splits"].items())
    libraries = ("python", "tensorflow", "keras", "numpy", "mlreg")
    versions = ", ".join(f"{lib} {environment[lib]}" for lib in libraries if lib in environment)
    stages = ", ".join(
        f"{stage} {duration(version.seconds[stage])}"
        for stage in _STAGES
        if stage in version.seconds
    )
    facts = [
        ("created", when(version.created)),
        ("metrics", ", ".join(f"{n} {fraction(n, v)}" for n, v in version.metrics.items())),
        ("preset", f"{version.dataset} {version.preset}, seed {version.seed}"),
        *_group_facts(version, together),
        *([("tags", tags_line({"set": version.tags}))] if version.tags else []),
        ("config", config),
        ("data", f"{splits}; from {data['source'] or 'the plugin'}"),
        _origin(version, manifest),
        ("stages", stages),
        ("libraries", versions),
        ("machine", f"{environment.get('platform')}, {environment.get('cpus')} cores"),
    ]
    if git := environment.get("git"):
        changed = ", with uncommitted changes" if git["dirty"] else ""
        facts.append(("git", f"{git['commit'][:12]}{changed}"))
    if missing := manifest.get("figures_missing"):
        facts.append(("figures", f"missing: {missing}"))
    return [*facts, ("run", version.run), ("digest", version.digest)]


def _group_facts(version: Version, together: Sequence[Version]) -> list[tuple[str, str]]:
    others = [each.version for each in together if each.version != version.version]
    if not others:
        return []
    return [
        ("group", f"made together with {series(version.model, others)}"),
        ("group mean", f"{means(together)}, n = {len(together)}"),
    ]


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
