"""Which objects can be deleted, and when.

An object is needed if a version, or a row of the ledger, refers to it. Objects are put before the
index's lock is taken, so for a while nothing refers to those of the next version. Three rules keep
them, whatever else is deleted at the same time:

- Before a run puts an object, it writes an intent with the object's digest. What the intent of any
  other run names stays. It is read under the index's lock, and no intent is added until the
  deletion is over: a publisher that adds one later also puts its objects later.
- An object of which the index knows nothing stays for `GRACE_SECONDS` after it was put: its
  publisher may not have been able to write an intent, or to let others read it. The files of a
  collected version need no such period: the index knows that they were referred to and are not
  any more. They have one if the intent of some run cannot be read.
- Under the lock, a publisher looks once more whether its objects are all there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Set
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from registry_core.dataclass import dataclass

if TYPE_CHECKING:
    from registry_core.store.interfaces import Intents, Leftover, Objects, Workspaces

# Longer than any upload of one object takes.
GRACE_SECONDS = 3600.0


class References(Protocol):
    """What a transaction of the index knows of objects."""

    def unreferenced(self, digests: Iterable[str]) -> list[str]: ...

    def needed(self, prefix: str) -> set[str]: ...


def unneeded(objects: Objects, view: References) -> Iterator[str]:
    """The objects that nothing refers to, those of publishing runs among them."""
    for prefix, some in groupby(objects.list(), lambda info: info.digest[:2]):
        needed = view.needed(prefix)
        yield from (info.digest for info in some if info.digest not in needed)


@dataclass(frozen=True)
class Deletable:
    """The rules by which an object that nothing refers to can be deleted.

    Args:
        objects: where it is.
        intents: what runs are about to refer to.
        known: digests of the files of collected versions.
    """

    objects: Objects
    intents: Intents
    known: Set[str]

    def of(self, digests: Iterable[str]) -> list[str]:
        """Those of `digests` that can be deleted now."""
        return [digest for digest in digests if self._is_deletable(digest)]

    def _is_deletable(self, digest: str) -> bool:
        if digest in self.intents.digests:
            return False
        return (digest in self.known and self.intents.complete) or not self._is_young(digest)

    def _is_young(self, digest: str) -> bool:
        info = self.objects.stat(digest)
        # one from the future was put before the clock went back, and nobody knows when
        return info is not None and time.time() - info.put_at < GRACE_SECONDS


def tidy(index: References, objects: Objects, workspaces: Workspaces, leftover: Leftover) -> None:
    """Delete what a run that is over left, except for what a resumed run needs.

    Only inside a write transaction.
    """
    if leftover.intended:
        with workspaces.intents(apart_from=leftover.id) as others:
            deletable = Deletable(objects, others, known=set(leftover.intended))
            try:
                objects.delete(*deletable.of(index.unreferenced(leftover.intended)))
            except PermissionError as error:
                # Who may put objects on a server may be denied deleting them. What the run left,
                # with its intent, stays until somebody writes who may.
                if "://" not in str(error.filename):
                    raise
                return
    registered = leftover.manifest and not index.unreferenced([leftover.manifest])
    leftover.remove(not registered)
