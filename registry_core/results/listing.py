"""A sequence of values with facts about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    pass


_Item = TypeVar("_Item")


class Listing(Sequence[_Item], Generic[_Item]):
    """A sequence of values, with facts about them; a subclass names its items."""

    @property
    def _items(self) -> Sequence[_Item]:
        raise NotImplementedError

    def __getitem__(self, place: Any) -> Any:
        return self._items[place]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[_Item]:
        return iter(self._items)
