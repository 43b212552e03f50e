"""Where versions are copied from: a registry, or an archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from registry_core.dataclass import dataclass
from registry_core.records import LedgerAction
from registry_core.refs import Ref

if TYPE_CHECKING:
    from registry_core.records import Version
    from registry_core.store import Store
    from registry_core.store.arrivals import Parcel

# How many versions, or rows of the ledger, are read at once.
_PAGE = 1_000


@dataclass(frozen=True)
class Wanted:
    """A version that is to be copied.

    Args:
        model: the registered name, where it comes from.
        number: its number there.
        digest: of its manifest.
        size: of its files, in bytes; 0 if it is not known yet.
    """

    model: str
    number: int
    digest: str
    size: int = 0

    @property
    def ref(self) -> str:
        return f"{self.model}@{self.number}"


class Source(Protocol):
    """What versions are copied from."""

    @property
    def place(self) -> str:
        """The registry or the file, for messages."""
        ...

    def model_names(self) -> list[str]:
        """Every model that it has."""
        ...

    def find(self, ref: Ref) -> Wanted:
        """The version that a reference names.

        Raises:
            UsageError: nothing has the reference.
        """
        ...

    def every(self, since: str = "") -> Iterator[Wanted]:
        """Every version, in the order of registration.

        Args:
            since: UTC, ISO 8601: only those that were registered then or later.
        """
        ...

    def parcel(self, wanted: Wanted) -> Parcel:
        """What is needed to copy a version.

        Raises:
            IntegrityError: it is damaged.
        """
        ...


class RegistrySource:
    """A registry that versions are copied from.

    Args:
        store: the registry.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def place(self) -> str:
        return self._store.place

    def model_names(self) -> list[str]:
        return self._store.model_names()

    def find(self, ref: Ref) -> Wanted:
        return _wanted(self._store.resolve(ref))

    def every(self, since: str = "") -> Iterator[Wanted]:
        found = self._registered_since(since) if since else self._all()
        yield from reversed(found)

    def parcel(self, wanted: Wanted) -> Parcel:
        return self._store.parcel(
            self._store.resolve(Ref(wanted.model, "number", str(wanted.number)))
        )

    def _all(self) -> Sequence[Wanted]:
        found: list[Wanted] = []
        while page := self._store.newest_versions(
            _PAGE, (found[-1].model, found[-1].number) if found else None
        ):
            found += map(_wanted, page)
        return found

    def _registered_since(self, since: str) -> Sequence[Wanted]:
        """By the rows of the ledger: a copied version was made earlier than it was registered."""
        found: list[Wanted] = []
        before = None
        while page := self._store.ledger(limit=_PAGE, before=before):
            before = page[-1].number
            for row in page:
                digest = row.evidence.get("digest")
                if row.action != LedgerAction.REGISTERED or row.at < since or not row.version:
                    continue
                entry = self._store.copy_of(row.model, str(digest))
                if entry and entry.removed is None and entry.version.version == row.version:
                    found.append(_wanted(entry.version))
            if all(row.at < since for row in page):
                break
        return found


def _wanted(version: Version) -> Wanted:
    size = sum(file.size for file in version.files)
    return Wanted(version.model, version.version, version.digest, size)
