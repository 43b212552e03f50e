"""The SQL of a `VersionQuery`: which versions of a model, and in what order.

A list by a key reads the rows of that key in `sort_keys` in their order, and stops at its limit;
one by number that asks for equal values reads the rows of one of them.
"""

from __future__ import annotations

from typing import Any

from registry_core.store.sort_keys import key_of
from registry_core.store.sql.dialect import Dialect
from registry_core.version_query import PRESENT, Condition, VersionQuery

_NOT_REMOVED = (
    "NOT EXISTS (SELECT 1 FROM removals "
    "WHERE removals.model = :model AND removals.number = listed.number)"
)
_LISTED = f"listed.model = :model AND {_NOT_REMOVED}"


class Find:
    """How versions are found, for the parameters `model` and `limit`.

    Args:
        query: what is looked for.
        dialect: of the database.
        last: what the version that the list continues after has for the key of the order.
    """

    def __init__(
        self,
        query: VersionQuery,
        dialect: Dialect,
        last: str | int | float | None = None,
    ) -> None:
        self._query = query
        self._sort_value = dialect.sort_value
        self._among = dialect.among
        self._last = last
        self.values: dict[str, Any] = {}

    def by_number(self) -> str:
        """A condition on `versions`, with their order by their numbers."""
        order, where = self._query.order, list(self._query.where)
        source, terms = "versions", []
        for condition in where:
            if condition.operator == "=" and not (
                condition.is_tag or condition.key == "version" or isinstance(condition.value, tuple)
            ):
                where.remove(condition)
                source, terms = "sort_keys", [self._row(condition)]
                break
        terms += map(self._condition, where)
        if self._query.after is not None:
            sign = "<" if order.descending else ">"
            terms.append(f"listed.number {sign} {self._value(self._query.after)}")
        sequence = f"number{' DESC' if order.descending else ''}"
        if source == "versions":
            found = " AND ".join([_LISTED, *terms]).replace("listed.", "versions.")
            return f"{found} ORDER BY versions.{sequence} LIMIT :limit"
        numbers = self._select(source, terms, f"listed.{sequence}")
        return f"model = :model AND number IN ({numbers}) ORDER BY versions.{sequence}"

    def by_key(self) -> str | None:
        """A query for the numbers of those that have the key, by its values; None without any."""
        descending, after = self._query.order.descending, self._query.after
        terms = [self._key(self._query.order.key), *map(self._condition, self._query.where)]
        if after is not None and self._last is None:
            return None
        if after is not None:
            last, number = self._value(self._sort_value(self._last)), self._value(after)
            if descending:  # as the primary key has them, so that the search begins there
                terms.append(f"(listed.value, listed.number) < ({last}, {number})")
            else:
                beyond = f"listed.value > {last} OR listed.number < {number}"
                terms.append(f"listed.value >= {last} AND ({beyond})")
        order = f"listed.value{' DESC' if descending else ''}, listed.number DESC"
        return self._select("sort_keys", terms, order)

    def without_key(self) -> str:
        """A query for the numbers of those that lack the key, newest first: the end of the list."""
        key = self._value(key_of(self._query.order.key))
        having = f"SELECT number FROM sort_keys WHERE model = :model AND key = {key}"
        terms = [f"listed.number NOT IN ({having})", *map(self._condition, self._query.where)]
        if self._query.after is not None and self._last is None:
            terms.append(f"listed.number < {self._value(self._query.after)}")
        return self._select("versions", terms, "listed.number DESC")

    def _select(self, source: str, terms: list[str], order: str) -> str:
        where = " AND ".join([_LISTED, *terms])
        return (
            f"SELECT listed.number FROM {source} AS listed WHERE {where} "
            f"ORDER BY {order} LIMIT :limit"
        )

    def _condition(self, condition: Condition) -> str:
        if condition.is_tag:
            return self._tag(condition)
        if condition.key == "version":
            return f"listed.number {condition.operator} {self._value(condition.value)}"
        row = "SELECT number FROM sort_keys AS other WHERE other.model = :model AND " + self._row(
            condition, "other"
        )
        if condition.operator == "=" and not isinstance(condition.value, tuple):
            return f"EXISTS ({row} AND other.number = listed.number)"
        return self._among.format("listed.number", row)

    def _row(self, condition: Condition, table: str = "listed") -> str:
        """What the row of a version that meets the condition has."""
        key, value = self._key(condition.key, table), condition.value
        column, operator = f"{table}.value", condition.operator
        if operator == PRESENT:
            return key
        if not isinstance(value, tuple):
            return f"{key} AND {column} {operator} {self._value(self._sort_value(value))}"
        first, last = (self._value(self._sort_value(end)) for end in value)
        if operator in ("=", "!="):
            return f"{key} AND {column} {'NOT ' * (operator == '!=')}BETWEEN {first} AND {last}"
        return f"{key} AND {column} {operator} {first if operator in ('<', '>=') else last}"

    def _key(self, name: str, table: str = "listed") -> str:
        return f"{table}.key = {self._value(key_of(name))}"

    def _tag(self, condition: Condition) -> str:
        """Versions without the tag are among those whose tag has another value."""
        key, value = self._value(condition.key), self._value(condition.value)
        tagged = f"SELECT number FROM tags WHERE tags.model = :model AND key = {key}"
        if condition.operator != PRESENT:
            tagged += f" AND value = {value}"
        if condition.operator == "!=":
            return f"listed.number NOT IN ({tagged})"
        return self._among.format("listed.number", tagged)

    def _value(self, value: Any) -> str:
        """A parameter with this value."""
        name = f"value_{len(self.values)}"
        self.values[name] = value
        return f":{name}"
