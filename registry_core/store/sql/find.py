"""The SQL of a `VersionQuery`: conditions, order, and the place that a list continues after.

A metric is read from the JSON of each version: 100,000 versions take about a tenth of a second.
Where all versions of a model have one objective, its metric is read from the index of scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from registry_core.version_query import PRESENT, Condition, Order, VersionQuery

_FIELDS = {
    "version": "versions.number",
    "created": "created",
    "group": "grouped",
    "seed": "json_extract(summary, '$.seed')",
    "preset": "json_extract(summary, '$.preset')",
    "dataset": "json_extract(summary, '$.dataset')",
}
_SCORES = {"max": "score", "min": "-score"}


class Find:
    """The parts of a statement that finds versions of one model.

    Args:
        query: what is looked for.
        objective: that all versions of the model have, as `max test_accuracy`; or None.
    """

    def __init__(self, query: VersionQuery, objective: str | None) -> None:
        self._query = query
        self._objective = objective or ""
        self._metrics: dict[str, str] = {}
        self.values: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """What the versions are sorted by, as an expression."""
        return self._expression(self._query.order.key)

    def order(self) -> str:
        """The terms of ORDER BY."""
        order = self._query.order
        if order.key == "version":
            return f"versions.number{' DESC' if order.descending else ''}"
        if self._by_score(order.key):
            return f"score{' DESC' if self._high_scores_first(order) else ''}, versions.number DESC"
        direction = "DESC" if order.descending else "ASC"
        return f"{self.key} {direction} NULLS LAST, versions.number DESC"

    def conditions(self) -> Iterator[str]:
        """The terms of WHERE, beside the model, that each version meets."""
        if self._by_score(self._query.order.key):
            yield f"objective = {self._value(self._objective)}"
        elif self._query.order.key != "version":
            # true of all, and without it SQLite visits them in the order of their scores
            yield "versions.number > 0"
        for condition in self._query.where:
            yield self._tag(condition) if condition.is_tag else self._comparison(condition)

    def after(self, last: Any) -> str:
        """The term of WHERE for what follows one version.

        Args:
            last: what `key` is for that version.
        """
        order, number = self._query.order, self._value(self._query.after)
        if order.key == "version":
            return f"versions.number {'<' if order.descending else '>'} {number}"
        if last is None:
            return f"{self.key} IS NULL AND versions.number < {number}"
        value = self._value(last)
        if not self._by_score(order.key):
            # a row of values, so that a metric is read from the JSON once; NULL follows all values
            before, sign = ("<", "") if order.descending else (">", "-")
            places = f"({self.key}, {sign}versions.number) {before} ({value}, {sign}{number})"
            return f"coalesce({places}, 1)"
        # as the index has it, so that it begins there
        score = value if self._objective.startswith("max ") else f"-{value}"
        beyond = "<" if self._high_scores_first(order) else ">"
        return f"score {beyond}= {score} AND (score {beyond} {score} OR versions.number < {number})"

    def _by_score(self, key: str) -> bool:
        return bool(self._objective) and self._objective.partition(" ")[2] == key

    def _high_scores_first(self, order: Order) -> bool:
        return order.descending == self._objective.startswith("max ")

    def _expression(self, key: str) -> str:
        if key in _FIELDS:
            return _FIELDS[key]
        if self._by_score(key):
            return _SCORES[self._objective.partition(" ")[0]]
        if key not in self._metrics:
            if re.search(r'["\\\x00-\x1f]', key):  # what the path of a JSON function cannot have
                each = "SELECT value FROM json_each(summary, '$.metrics')"
                self._metrics[key] = f"({each} WHERE key = {self._value(key)})"
            else:
                path = self._value(f'$.metrics."{key}"')
                self._metrics[key] = f"json_extract(summary, {path})"
        return self._metrics[key]

    def _comparison(self, condition: Condition) -> str:
        what, operator, value = self._expression(condition.key), condition.operator, condition.value
        if operator == PRESENT:
            return f"{what} IS NOT NULL"
        if not isinstance(value, tuple):
            return f"{what} {operator} {self._value(value)}"
        first, last = map(self._value, value)
        if operator in ("=", "!="):
            return f"{what} {'NOT ' * (operator == '!=')}BETWEEN {first} AND {last}"
        return f"{what} {operator} {first if operator in ('<', '>=') else last}"

    def _tag(self, condition: Condition) -> str:
        """Versions without the tag are among those whose tag has another value."""
        key, value = self._value(condition.key), self._value(condition.value)
        tagged = f"SELECT number FROM tags WHERE tags.model = :model AND key = {key}"
        if condition.operator != PRESENT:
            tagged += f" AND value = {value}"
        return f"versions.number {'NOT ' * (condition.operator == '!=')}IN ({tagged})"

    def _value(self, value: Any) -> str:
        """A parameter with this value."""
        name = f"value_{len(self.values)}"
        self.values[name] = value
        return f":{name}"
