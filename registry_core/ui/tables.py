"""Models, versions, promotions and the ledger as tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from registry_core.records import (
    GarbageCollection,
    LedgerRow,
    ModelSummary,
    Promotion,
    Removal,
    UnfinishedRun,
    Version,
)
from registry_core.refs import series, spans
from registry_core.ui.output import print_warning, stderr, stdout
from registry_core.ui.text import (
    duration,
    fraction,
    literal,
    metrics_line,
    shown,
    signed,
    size,
    spread,
)

if TYPE_CHECKING:
    from registry_core.comparison import SideBySide
    from registry_core.gates import Check, Decision
    from registry_core.groups import Group, GroupDifference
    from registry_core.reevaluation import Reevaluation
    from registry_core.reproduction import Reproduction
    from registry_core.samples import MeanDifference
    from registry_core.store.audit import Audit
    from registry_core.store.rebuild import Rebuilt

# So many places of test examples are named; --json names all.
_PLACES = 10

_STAGES = ("data", "model", "fit", "evaluate", "save", "plot")


def show_models(models: Sequence[ModelSummary]) -> None:
    """One line a model: its newest version, what it measured, who holds its aliases."""
    table = _table("model", "versions", "latest", "test metrics", "aliases", "created")
    for model in models:
        aliases = ", ".join(f"{alias}={number}" for alias, number in model.aliases.items())
        table.add_row(
            shown(model.name, "bold"),
            shown(model.versions),
            shown(model.latest.ref),
            shown(metrics_line(_test_metrics(model.latest))),
            shown(aliases, "green"),
            shown(_when(model.latest.created)),
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
    table = _table(*columns, *(["group"] if groups else []), *(["tags"] if tagged else []))
    for version in versions:
        mark = "  damaged" if version.ref in damaged else ""
        table.add_row(
            shown(version.ref, "bold").append(mark, "red bold"),
            shown(metrics_line(_test_metrics(version))),
            shown(version.preset),
            shown(version.seed),
            shown(duration(version.seconds["fit"]) if "fit" in version.seconds else ""),
            shown(", ".join(version.aliases), "green"),
            shown(_when(version.created)),
            *([shown(_numbers(groups.get(version.group, [])))] if groups else []),
            *([shown(_tags_line({"set": version.tags}))] if tagged else []),
        )
    stdout().print(table)


def show_runs(unfinished: Sequence[tuple[UnfinishedRun, str]], finished: Sequence[Version]) -> None:
    """One line a run, those without a version first; and what each can still do.

    Args:
        unfinished: runs without a version, and how far each came, in words.
        finished: the versions of those that have one.
    """
    table = _table("run", "state", "model", "preset", "seed", "how far", "what it can do")
    styles = {"running": "cyan", "damaged": "red", "failed": "red", "interrupted": "yellow"}
    for run, place in unfinished:
        record = run.record
        can = f"mlreg resume {run.id[-8:]}" if record else f"mlreg runs --discard {run.id[-8:]}"
        if run.process is not None:
            can = f"runs in process {run.process}"
        table.add_row(
            shown(run.id, "bold"),
            shown(run.state, styles[run.state]),
            shown(record.get("model", "")),
            shown(record.get("preset", "")),
            shown(record.get("config", {}).get("seed", "")),
            shown(place),
            shown(can),
        )
    for version in finished:
        table.add_row(
            shown(version.run, "bold"),
            shown("finished", "green"),
            shown(version.model),
            shown(version.preset),
            shown(version.seed),
            shown(metrics_line(_test_metrics(version))),
            shown("" if version.preset == "imported" else f"mlreg reproduce {version.ref}"),
        )
    console = stdout()
    console.print(table)
    for run, _ in unfinished:
        if run.state == "failed":
            console.print(shown(f"{run.id[-8:]} failed: {run.record['failed']}"))


def show_reproduction(found: Reproduction) -> None:
    """The verdict, what was measured beside what was recorded, and what drifted."""
    from registry_core.gates import told

    console = stdout()
    ref = found.version.ref
    table = _table(f"{ref} again", "now", "recorded")
    for name, value in found.metrics.items():
        recorded = _exact(found.version.metrics.get(name))
        table.add_row(shown(name), shown(_exact(value)), shown(recorded))
    table.add_row("weights", shown(found.weights[:19]), shown(found.recorded_weights[:19]))
    console.print(table)
    if found.verdict == "identical":
        console.print(shown("identical: weights, history and metrics, bit for bit", "green"))
    else:
        console.print(shown(found.verdict, "yellow bold"))
        if found.first_epoch is not None:
            console.print(shown(f"  the history differs from epoch {found.first_epoch} on"))
        compared = told(found.comparison) if found.comparison else f"not compared: {found.why_not}"
        console.print(shown(f"  now against the record: {compared}"))
        if not found.drift:
            console.print(
                "  settings, data, plugins, libraries and hardware are those of the record"
            )
    for drift in found.drift:
        console.print(shown(f"  drifted: {drift}"))


def show_removals(removals: Sequence[Removal]) -> None:
    """One line a removed version, newest first."""
    table = _table("version", "test metrics", "preset", "removed", "files")
    for removal in removals:
        version, collected = removal.version, removal.collected
        table.add_row(
            shown(version.ref, "bold"),
            shown(metrics_line(_test_metrics(version))),
            shown(version.preset),
            shown(_when(removal.at)),
            shown(f"collected {_when(collected)}" if collected else "can be restored"),
        )
    stdout().print(table)


def show_collection(collection: GarbageCollection, dry_run: bool) -> None:
    """What went, or would go; and what looks like it and stays."""
    console = stdout()
    if collection.blobs or collection.removals:
        console.print(shown(f"{collection_line(collection, 'would go' if dry_run else 'went')}."))
    else:
        console.print("Nothing is to be collected.")
    for removal in collection.removals:
        console.print(shown(f"  {removal.version.ref}, removed {_when(removal.at)}"))
    for digest in collection.unregistered:
        print_warning(
            f"{digest} is the manifest of a version that the index does not know; it and its "
            "files stay. `mlreg verify` says more."
        )


def collection_line(collection: GarbageCollection, verb: str) -> str:
    """`2 versions, 3 files and 1.5 MB went`."""
    versions, files = len(collection.removals), collection.blobs
    return (
        f"{versions} version{'' if versions == 1 else 's'}, {files} file"
        f"{'' if files == 1 else 's'} and {size(collection.size)} {verb}"
    )


def show_audit(audit: Audit) -> None:
    """How much was read, the ledger's head, and whether all is well."""
    print(f"{audit.versions} versions, {audit.files} files, {audit.size:,} bytes read")
    if audit.orphans:
        print(f"{audit.orphans} files that nothing needs; `mlreg gc` removes them")
    print(f"{audit.rows} ledger rows, head {audit.head or 'none'}")
    if not audit.problems:
        print("All is as it was written.")


def show_rebuilt(rebuilt: Rebuilt, dry_run: bool) -> None:
    """What the new index has, and where the old one is."""
    verb = "would have" if dry_run else "has"
    print(f"The new index {verb} {rebuilt.versions} versions, from {rebuilt.rows} ledger rows.")
    if rebuilt.found:
        some = ", ".join(rebuilt.found[:_PLACES]) + (", …" if rebuilt.found[_PLACES:] else "")
        print(f"No row told of {len(rebuilt.found)} of them: {some}")
    if rebuilt.old_index:
        print(f"The old index is {rebuilt.old_index}; remove it once all is well.")


def show_tags(version: Version) -> None:
    """One line a tag."""
    if not version.tags:
        stdout().print(shown(f"{version.ref} has no tags."))
        return
    table = _table(version.ref, "")
    for key, value in version.tags.items():
        table.add_row(shown(key, "bold"), shown(value))
    stdout().print(table)


def show_holders(rows: Sequence[LedgerRow]) -> None:
    """One line an alias: who holds it since when, and who moved it there why."""
    table = _table("alias", "version", "since", "who", "reason")
    for row in rows:
        table.add_row(
            shown(row.alias, "green"),
            shown(f"{row.model}@{row.version}", "bold"),
            shown(_when(row.at)),
            shown(row.who),
            shown(row.reason),
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
    files = _table("file", "size", "sha256")
    for file in version.files:
        files.add_row(shown(file.path), shown(size(file.size)), shown(file.sha256[:16]))
    console.print(files)


def show_side_by_side(compared: SideBySide) -> None:
    """What differs between versions: metrics, settings, classes; and the paired test of each."""
    from registry_core.gates import told

    console = stdout()
    columns = [version.ref for version in compared.versions]
    metrics = {
        name: ["" if value is None else fraction(name, value) for value in values]
        for name, values in compared.metrics.items()
    }
    settings = {key: [str(v) for v in values] for key, values in compared.config.items()}
    classes = {
        name: ["" if value is None else f"{value:.3f}" for value in values]
        for name, values in compared.classes.items()
    }
    for title, rows in (("metric", metrics), ("setting", settings), ("class", classes)):
        if rows:
            table = _table(title, *columns)
            for name, values in rows.items():
                table.add_row(shown(name), *(shown(value) for value in values))
            console.print(table)
            console.print()
    for each in compared.differences:
        found = told(each.comparison) if each.comparison else f"not compared: {each.why_not}"
        console.print(shown(f"{each.version.ref} against {columns[0]}: {found}"))
        for name, places in (("gained", each.gained), ("lost", each.lost)):
            if places:
                console.print(shown(f"  {name} {len(places):,} test examples: {_some(places)}"))
    if compared.groups:
        console.print()
        _show_groups(compared.groups, compared.group_differences)


def show_group(versions: Sequence[Version]) -> None:
    """What versions of one group measured: mean and deviation of each metric."""
    together = series(versions[0].model, [version.version for version in versions])
    print(f"{together}, mean ± deviation of {len(versions)} runs: {_means(versions)}")


def _show_groups(groups: Sequence[Group], differences: Sequence[GroupDifference]) -> None:
    from registry_core.samples import CONFIDENCE

    console = stdout()
    table = _table(
        "group", "metric", "n", "mean", "deviation", f"{_percent(CONFIDENCE)} interval of the mean"
    )
    for group in groups:
        for place, (metric, sample) in enumerate(group.metrics.items()):
            ends = [sample.deviation, sample.low, sample.high]
            deviation, low, high = ["" if e is None else fraction(metric, e) for e in ends]
            table.add_row(
                shown("" if place else group.name, "bold"),
                shown(metric),
                shown(sample.n),
                shown(fraction(metric, sample.mean)),
                shown(deviation),
                shown(f"{low} to {high}" if low else ""),
            )
    console.print(table)
    for each in differences:
        console.print()
        against = f"{each.group.name} against {each.first.name}"
        if each.why_not:
            console.print(shown(f"{against}: not compared: {each.why_not}"))
            continue
        console.print(shown(f"{against}, by their means:"))
        for metric, found in each.metrics.items():
            console.print(shown(f"  {metric} {_told_difference(metric, found)}"))


def _told_difference(metric: str, found: MeanDifference) -> str:
    from registry_core.gates import chance

    difference = signed(metric, found.difference)
    if found.low is None or found.high is None or found.p_value is None:
        return f"{difference}, without an interval: {found.why_not}"
    return (
        f"{difference}, {_percent(found.confidence)} interval {signed(metric, found.low)} to "
        f"{signed(metric, found.high)}, {chance(found.p_value)} "
        f"(Welch, {found.degrees_of_freedom:.1f} degrees of freedom)"
    )


def _means(versions: Sequence[Version]) -> str:
    from registry_core.groups import metrics_of

    return ", ".join(f"{name} {spread(name, s)}" for name, s in metrics_of(versions).items())


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.4g} %"


def show_reevaluation(found: Reevaluation) -> None:
    """What was measured beside what was recorded, and what comes of it."""
    from registry_core.gates import told

    columns = [f"{found.version.ref} on {found.examples:,} {found.split} examples", "now"]
    table = _table(*columns, *(["recorded"] if found.recorded else []))
    for name, value in found.metrics.items():
        then = [shown(_exact(found.recorded.get(name)))] if found.recorded else []
        table.add_row(shown(name), shown(_exact(value)), *then)
    console = stdout()
    console.print(table)
    if found.verdict == "not recorded":
        console.print(
            "The data is not that of the record: there is nothing to compare with."
            if found.split == "test"
            else "Nothing was recorded on this split."
        )
        return
    console.print(shown(f"{found.verdict}: {len(found.changed):,} answers differ"))
    if found.changed and found.comparison:
        console.print(shown(f"  test examples: {_some(found.changed)}"))
        console.print(shown(f"  now against the record: {told(found.comparison)}"))


def show_decision(decision: Decision) -> None:
    """What was asked of the candidate, and what was found; nothing where nothing was asked."""
    if not decision.checks:
        return
    table = _table("asked", "", "found")
    for check in decision.checks:
        mark = shown("holds", "green") if check.passed else shown("fails", "red bold")
        table.add_row(shown(check.name), mark, shown(check.found))
    stdout().print(table)


def show_promotion(promotion: Promotion, overruled: Sequence[Check], dry_run: bool) -> None:
    """Which alias moved, from where; and what was overruled to move it."""
    version, previous = promotion.version, promotion.previous
    verb = "would be" if dry_run else "is"
    before = f", before it {previous.ref}" if previous else ", which nothing held before"
    stdout().print(shown(f"{version.model}@{promotion.alias} {verb} {version.ref}{before}"))
    for check in overruled:
        stderr().print(shown(f"Overruled: {check.name}: {check.found}", "yellow"))


def show_history(rows: Sequence[LedgerRow]) -> None:
    """The ledger, newest first."""
    table = _table("when", "what", "who", "reason")
    for row in rows:
        table.add_row(shown(_when(row.at)), shown(_what(row)), shown(row.who), shown(_reason(row)))
    stdout().print(table)


def show_plugins(rows: Sequence[Mapping[str, Any]]) -> None:
    """Every plugin that is known, and where its name comes from."""
    table = _table("plugin", "kind", "module", "named by", "state")
    for row in rows:
        good = row["state"] == "ok"
        table.add_row(
            shown(row["name"], "bold"),
            shown(row["kind"]),
            shown(row["module"]),
            shown(row["named_by"]),
            shown(row["state"], "" if good else "red"),
        )
    stdout().print(table)


def show_files(rows: Sequence[tuple[str, int, str]]) -> None:
    """Files with size in bytes and digest."""
    table = _table("file", "size", "sha256")
    for path, count, digest in rows:
        table.add_row(shown(path), shown(size(count)), shown(digest))
    stdout().print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


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
        ("created", _when(version.created)),
        ("metrics", ", ".join(f"{n} {fraction(n, v)}" for n, v in version.metrics.items())),
        ("preset", f"{version.dataset} {version.preset}, seed {version.seed}"),
        *_group_facts(version, together),
        *([("tags", _tags_line({"set": version.tags}))] if version.tags else []),
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
        ("group mean", f"{_means(together)}, n = {len(together)}"),
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


def _test_metrics(version: Version) -> dict[str, float]:
    """The metrics in one short cell: accuracy first, `test_` is in the column's head."""
    ordered = sorted(version.metrics.items(), key=lambda item: "accuracy" not in item[0])
    return {name.removeprefix("test_"): value for name, value in ordered[:2]}


def _some(places: Sequence[int]) -> str:
    """The first places of examples; an ellipsis stands for the others."""
    return ", ".join(map(str, places[:_PLACES])) + (", …" if len(places) > _PLACES else "")


def _exact(value: float | None) -> str:
    """A metric with as many digits as tell noise from a difference."""
    return "" if value is None else f"{value:.7g}"


def _what(row: LedgerRow) -> str:
    subject = row.model if row.version is None else f"{row.model}@{row.version}"
    before = f" (before: {row.previous})" if row.previous else ""
    if row.action == "promoted":
        return f"{subject} became {row.alias}{before}"
    if row.action == "rolled back":
        return f"{row.alias} went back to {subject}{before}"
    if row.action == "rebuilt":
        return "the index was rebuilt"
    if row.action == "refused":
        return f"{subject} was refused as {row.alias}"
    if row.action == "released":
        return f"{row.alias} was taken from {subject}"
    if row.action == "tagged":
        return f"{subject} was tagged {_tags_line(row.evidence)}"
    return f"{subject} was {row.action}"


def _tags_line(evidence: Mapping[str, Any]) -> str:
    """`reviewed, owner=ann, without draft`."""
    tags = [f"{key}={value}" if value else key for key, value in evidence.get("set", {}).items()]
    return ", ".join([*tags, *(f"without {key}" for key in evidence.get("removed", ()))])


def _reason(row: LedgerRow) -> str:
    said = [row.reason] if row.reason else []
    overruled = " (overruled)" if row.evidence.get("forced") else ""
    for check in row.evidence.get("checks", []):
        if not check["passed"]:
            said.append(f"{check['name']}: {check['found']}{overruled}")
    return literal("; ".join(said))


def _when(moment: str) -> str:
    """`2026-03-05 09:14 UTC` of an ISO 8601 time."""
    return f"{moment[:10]} {moment[11:16]} UTC"
