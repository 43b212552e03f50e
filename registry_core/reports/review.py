"""A page of predictions to look through: each example beside what the model takes it for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from registry_core.data.nesting import map_parts
from registry_core.dataclass import dataclass
from registry_core.errors import escape_surrogates, truncate
from registry_core.evaluation.beliefs import Belief, Prediction, ScoreKind
from registry_core.evaluation.example_views import View, views_of
from registry_core.formatting import counted
from registry_core.reports.html import render_page
from registry_core.reports.report import Report
from registry_core.sections import (
    MAX_ROWS,
    Bar,
    BarChart,
    Block,
    Gallery,
    GalleryItem,
    Section,
    Table,
    Text,
)

# The page shows this many examples; it has a section for each class up to this many classes.
MAX_SHOWN = 500
MAX_SECTIONS = 20

_LONGEST = 300


@dataclass(frozen=True)
class _Seen:
    prediction: Prediction
    view: View


class Review:
    """Collects predictions as they come, and draws them."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []
        self._answers: Counter[str] = Counter()
        self._examples = 0

    def add(self, predictions: Sequence[Prediction], inputs: Any) -> None:
        """Take some predictions.

        Args:
            predictions: of some examples.
            inputs: (examples, ...) their raw inputs, nested as the model takes them.
        """
        self._examples += len(predictions)
        self._answers.update(each.answer for each in predictions if _is_one_class(each))
        few = predictions[: MAX_SHOWN - len(self._seen)]
        if not few:
            return
        views, _ = views_of(
            [map_parts(lambda array, n=n: array[n], inputs) for n in range(len(few))]
        )
        pairs = zip(few, views, strict=True)
        self._seen += [_Seen(prediction, view) for prediction, view in pairs]

    def page(self, ref: str, score: ScoreKind, unreadable: Sequence[tuple[str, str]]) -> str:
        """The page as one HTML file.

        Args:
            ref: the version's reference.
            score: what the numbers beside classes are.
            unreadable: names of what could not be read, and why.
        """
        sections = [*self._overview(score), *self._galleries(score)]
        if unreadable:
            rows = [[_text(name), _text(why)] for name, why in unreadable[:MAX_ROWS]]
            title = f"Could not be read: {len(unreadable):,}"
            sections.append(Section(title, [Table(["name", "why"], rows)]))
        subtitle = f"{counted(self._examples, 'example')} and what the model takes them for"
        return render_page(Report(f"Predictions of {ref}", subtitle, sections, [ref]))

    def _overview(self, score: ScoreKind) -> list[Section]:
        blocks: list[Block] = []
        if self._examples > len(self._seen):
            blocks.append(
                Text(f"The first {len(self._seen):,} of {self._examples:,} examples are shown.")
            )
        if score == "score":
            blocks.append(
                Text(
                    "The numbers are scores: the model's loss does not say whether its outputs are "
                    "logits or probabilities."
                )
            )
        if len(self._answers) > 1:
            common = self._answers.most_common(MAX_SECTIONS)
            bars = [Bar(_text(name), count) for name, count in common]
            blocks.append(BarChart("Examples of each answer", bars, "examples"))
        return [Section("Answers", blocks)] if blocks else []

    def _galleries(self, score: ScoreKind) -> list[Section]:
        """One for each class, unsure ones first; or one of all, in the order of the files."""
        by_class: dict[str, list[_Seen]] = {}
        for each in self._seen:
            name = each.prediction.answer if _is_one_class(each.prediction) else ""
            by_class.setdefault(name, []).append(each)
        if "" in by_class or len(by_class) > MAX_SECTIONS:
            items = [_item(each, score) for each in self._seen]
            return [Section("Examples", [Gallery(items)])] if items else []
        return [
            Section(
                f"{_text(name)}: {counted(len(found), 'example')}",
                [Gallery([_item(each, score) for each in sorted(found, key=_certainty)])],
            )
            for name, found in sorted(by_class.items())
        ]


def _is_one_class(told: Prediction) -> bool:
    """Whether the answer is the most likely class: neither labels nor places have one."""
    return bool(told.classes) and not told.outputs and told.answer == told.classes[0].name


def _certainty(seen: _Seen) -> float:
    score = seen.prediction.classes[0].score
    return 0.0 if score is None else score


def _item(seen: _Seen, score: ScoreKind) -> GalleryItem:
    """One example: the answer, the picture or text, and what else was likely."""
    told, view = seen.prediction, seen.view
    title, others = told.answer or "(none)", told.classes
    if _is_one_class(told):
        title, others = _said(told.classes[0], score), told.classes[1:]
    facts = [("example", told.name)]
    if others:
        facts.append(("also", ", ".join(_said(each, score) for each in others)))
    facts += [(name, str(value)) for name, value in view.row or ()]
    return GalleryItem(
        _text(title),
        view.picture,
        view.text or "",
        [(_text(name), _text(value)) for name, value in facts],
    )


def _said(belief: Belief, score: ScoreKind) -> str:
    if belief.score is None:
        return belief.name
    value = f"{belief.score:.3f}" if score == "score" else f"{100 * belief.score:.1f}\u00a0%"
    return f"{belief.name} {value}"


def _text(text: str) -> str:
    return truncate(escape_surrogates(text), _LONGEST)
