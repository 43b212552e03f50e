"""The test examples that one version gets right and another wrong."""

from __future__ import annotations

from collections.abc import Sequence

from registry_core.evaluation.comparison import Difference
from registry_core.evaluation.parts import part_names
from registry_core.evaluation.shown_examples import ShownExample
from registry_core.formatting import counted
from registry_core.reports.mistakes import item_of
from registry_core.reports.sources import ReportSource
from registry_core.reports.wording import clip, percent
from registry_core.sections import Block, Gallery, GalleryItem, Section, Table, Text

# What a comparison lists and shows of the examples that changed hands, for each pair.
MAX_LISTED = 100
MAX_SHOWN = 24
MAX_PAIRS = 8


def changed_hands(
    sources: Sequence[ReportSource], differences: Sequence[Difference]
) -> list[Section]:
    """Counts of what both, one or none of two versions get right, and the examples themselves."""
    baseline, sections = sources[0], []
    pairs = zip(sources[1:], differences, strict=True)
    known = [(source, each) for source, each in pairs if _right(source, each, baseline)]
    for source, each in known[:MAX_PAIRS]:
        title = "Examples that changed hands"
        if len(known) > 1:
            title += f": {source.name}"
        sections.append(Section(title, _blocks(baseline, source, each)))
    return sections


def _right(source: ReportSource, each: Difference, baseline: ReportSource) -> bool:
    """Whether the examples of both are right or wrong, and are the same."""
    results, theirs = source.results, baseline.results
    return bool(
        results
        and theirs
        and results.correct is not None
        and theirs.correct is not None
        and results.fingerprint == theirs.fingerprint
        and each.comparison is not None
    )


def _blocks(baseline: ReportSource, source: ReportSource, each: Difference) -> list[Block]:
    assert source.results and baseline.results  # noqa: S101 - `_right` found both
    examples = source.results.examples
    right = sum(source.results.right() or ())
    gained, lost = len(each.gained), len(each.lost)
    both = right - gained
    rows = [
        ("both are right", both, percent(both / examples)),
        (f"only {source.name} is right", gained, percent(gained / examples)),
        (f"only {baseline.name} is right", lost, percent(lost / examples)),
        ("both are wrong", examples - both - gained - lost, None),
    ]
    rows[-1] = (*rows[-1][:2], percent((rows[-1][1] or 0) / examples))
    blocks: list[Block] = [Table(("test examples", "number", "share"), rows)]
    if not gained and not lost:
        return [*blocks, Text("No example changed hands.")]
    blocks += _gallery(baseline, source, each)
    return [*blocks, *_listed(baseline, source, each)]


def _gallery(baseline: ReportSource, source: ReportSource, each: Difference) -> list[Block]:
    """Those that are known with their content: the worst mistakes of either version."""
    items = [
        *_items(each.gained, baseline, f"only {source.name} is right"),
        *_items(each.lost, source, f"only {baseline.name} is right"),
    ]
    if not items:
        return []
    return [
        Text(
            "Examples among the worst mistakes of the version that is wrong; the content of others "
            "is not recorded."
        ),
        Gallery(items[:MAX_SHOWN]),
    ]


def _items(places: Sequence[int], wrong: ReportSource, said: str) -> list[GalleryItem]:
    """What the version that is wrong recorded of these examples."""
    known: dict[int, ShownExample] = {example.index: example for example in wrong.examples}
    return [item_of(known[place], ("changed hands", said)) for place in places if place in known][
        : MAX_SHOWN // 2
    ]


def _listed(baseline: ReportSource, source: ReportSource, each: Difference) -> list[Block]:
    """A row for each example, with its true class and what both predict, where it is recorded."""
    names = part_names(source.manifest)
    results = source.results, baseline.results
    ours, theirs = ([] if each is None else each.predicted_classes() or [] for each in results)
    expected = (source.results.expected_classes() if source.results else None) or []

    classes_of = {"true": expected, source.name: ours, baseline.name: theirs}
    recorded = {name: classes for name, classes in classes_of.items() if classes}

    def named(classes: Sequence[int], place: int) -> str:
        if place >= len(classes):
            return ""
        number = classes[place]
        return clip(names[number]) if 0 <= number < len(names) else str(number)

    blocks: list[Block] = []
    for places, title in (
        (each.gained, f"Only {source.name} is right"),
        (each.lost, f"Only {baseline.name} is right"),
    ):
        if not places:
            continue
        rows: list[tuple[int | str, ...]] = [
            (place, *(named(classes, place) for classes in recorded.values()))
            for place in places[:MAX_LISTED]
        ]
        total = counted(len(places), "example")
        shown = f"the first {MAX_LISTED} of {total}" if len(places) > MAX_LISTED else total
        blocks.append(Table(("test example", *recorded), rows, f"{title}: {shown}"))
    return blocks
