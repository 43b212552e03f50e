"""What the store needs from a backend: an index of versions, objects by content, run folders.

SQLite and a folder implement them; another database or an object store can take their place. An
implementation translates its own errors: callers see `MlregError` and `IndexFault` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol

from registry_core.dataclass import dataclass
from registry_core.version_query import EVERY_VERSION, VersionQuery

if TYPE_CHECKING:
    from registry_core.records import (
        Delivery,
        LedgerAction,
        LedgerRow,
        ModelSummary,
        Removal,
        Version,
    )
    from registry_core.store.ledger import Event
    from registry_core.store.manifest import Objective

IndexState = Literal["missing", "empty", "ready"]

# A model and a number; a model and an alias.
VersionKey = tuple[str, int]
AliasKey = tuple[str, str]
# The model, alias and version of a request for a promotion.
RequestKey = tuple[str, str, int]


@dataclass(frozen=True)
class IndexEntry:
    """A version as the index has it.

    Args:
        version: the version.
        removed: when it was removed; None where it was not.
        collected: when its files were deleted for good; empty where they were not.
        objective: what the best version is chosen by, as text: `max test_accuracy`.
        score: by that objective; higher is better.
    """

    version: Version
    removed: str | None
    collected: str
    objective: str
    score: float


class Index(Protocol):
    """Models, versions, aliases, tags, removals, and the ledger.

    Opening one costs nothing; each transaction connects and disconnects.
    """

    def read(self) -> AbstractContextManager[ReadTransaction]:
        """One consistent view. Creates nothing; an index that is missing reads as empty."""
        ...

    def write(self, create: bool = False) -> AbstractContextManager[WriteTransaction]:
        """One exclusive transaction, committed when the body ends and rolled back if it raises.

        Args:
            create: create the index if it is missing.
        """
        ...

    def snapshot(self) -> AbstractContextManager[ReadTransaction]:
        """A view of one moment that can be read for hours and blocks no writer."""
        ...

    def state(self) -> IndexState:
        """Whether there is an index, and whether anything was ever written to it."""
        ...


class ReadTransaction(Protocol):
    """One consistent view of the index. A listing is one statement, whatever its length."""

    @property
    def who(self) -> str:
        """The account that rows are written by: the user's name, or the database's own."""
        ...

    # --- models and versions; removed versions are left out unless the method says otherwise -----

    def model_names(self) -> list[str]:
        """Every registered name, whether or not it still has versions."""
        ...

    def models(self, limit: int | None = None, after: str = "") -> list[ModelSummary]:
        """Models that have a version, by name.

        Args:
            limit: the largest number of models; None is all.
            after: only models whose names come after this one.
        """
        ...

    def versions(
        self, model: str, limit: int | None = None, query: VersionQuery = EVERY_VERSION
    ) -> list[Version]:
        """Some of a model's versions, newest first unless the query says otherwise.

        Args:
            model: the registered name.
            limit: the largest number of versions; None is all.
            query: which ones, and their order. The version that it continues after may have been
                removed.
        """
        ...

    def metric_names(self, model: str) -> list[str]:
        """The metrics of a model's newest versions."""
        ...

    def newest(self, limit: int, before: VersionKey | None = None) -> list[Version]:
        """The versions that were registered last, of any model, newest first.

        Args:
            limit: the largest number of versions.
            before: only those that were registered before this one.
        """
        ...

    def by_run(self, name: str, limit: int) -> list[Version]:
        """The versions whose run's id ends with a name, newest first, at most `limit`."""
        ...

    def entry(self, model: str, number: int) -> IndexEntry | None:
        """The version of a number, removed or not."""
        ...

    def alias_entry(self, model: str, alias: str) -> IndexEntry | None:
        """The version that an alias is on."""
        ...

    def best(self, model: str) -> IndexEntry | None:
        """The best by the newest version's objective; of equals, the first."""
        ...

    def by_digest(self, model: str, prefix: str) -> list[Version]:
        """Up to five versions whose digest begins with `prefix`."""
        ...

    def copy_of(self, model: str, digest: str) -> IndexEntry | None:
        """The newest version of a model that has this manifest, removed or not."""
        ...

    def groups(self, groups: Iterable[tuple[str, str]]) -> list[Version]:
        """The versions of some groups, each a model and a group's id; oldest first."""
        ...

    def removals(self, model: str) -> list[Removal]:
        """A model's removed versions, newest first."""
        ...

    # --- aliases and rules -----------------------------------------------------------------------

    def aliases(self, model: str) -> dict[str, int]:
        """Each alias of a model, and the number of the version that it is on."""
        ...

    def holders(self, alias: str) -> list[str]:
        """The references of the versions of all models that an alias is on."""
        ...

    def held(self, model: str, alias: str) -> list[int | None]:
        """The last two places that an alias can roll back through, the present one last.

        A number is a version's; None is a time when it was on no version.
        """
        ...

    def rules(self) -> dict[str, int]:
        """Each alias that has a rule, and the row of the ledger that set it, by the index."""
        ...

    def requests(self) -> dict[RequestKey, int]:
        """Each request that waits for approval, and the row that asked, by the index.

        Oldest first.
        """
        ...

    def deliveries(self, limit: int | None = None, undone: bool = False) -> list[Delivery]:
        """What receivers are told, newest row first; with `undone`, oldest row first.

        Args:
            limit: the most to return; None is all.
            undone: only what was not delivered.
        """
        ...

    # --- the ledger ------------------------------------------------------------------------------

    def ledger(
        self,
        model: str | None = None,
        version: int | None = None,
        alias: str | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[LedgerRow]:
        """Rows about a model, a version, an alias; all by default. Newest first.

        Args:
            model: the registered name.
            version: a version's number.
            alias: an alias.
            limit: the largest number of rows; None is all.
            before: only rows with a lower number.
        """
        ...

    def ledger_after(self, number: int) -> Iterator[LedgerRow]:
        """Every row after a number, oldest first, one at a time."""
        ...

    def last_ledger_row(self) -> tuple[int, str] | None:
        """Number and digest of the newest row; None without one."""
        ...

    def ledger_digest(self, number: int) -> str | None:
        """The digest of a row; None if there is no such row."""
        ...

    def registration(self, version: Version) -> tuple[LedgerRow, str, float] | None:
        """The row that registered a version, and the version's objective and score.

        None if the row or the version is missing.
        """
        ...

    def signed(self, model: str, version: int) -> list[LedgerRow]:
        """The rows that record signatures of a version, newest first."""
        ...

    def move(self, model: str, alias: str, until: str | None = None) -> LedgerRow | None:
        """The last row that moved or released an alias; None without one.

        Args:
            model: the registered name.
            alias: the alias.
            until: UTC, ISO 8601: the last one that is not later; None is the last of all.
        """
        ...

    def lost_aliases(self, version: Version) -> dict[str, str]:
        """Each alias that was ever taken from a version, and when that happened last."""
        ...

    def has_held(self, version: Version, alias: str) -> bool:
        """Whether an alias is on a version, or ever was."""
        ...

    def rule_rows(self) -> dict[str, LedgerRow]:
        """Each alias that ever had a rule, and the newest row about that rule."""
        ...

    def last_lost_row(self) -> int:
        """The last row that a rebuild did not find; 0 where it found all."""
        ...

    def lost_versions(self) -> list[str]:
        """References of versions that the ledger names and the index does not have."""
        ...

    def compared_before(self, candidate: Version, incumbent: Version, fingerprint: str) -> int:
        """The number of other candidates compared with an incumbent on one test split."""
        ...

    # --- objects that versions and rows refer to --------------------------------------------------

    def unreferenced(self, digests: Iterable[str], beside: Iterable[Version] = ()) -> list[str]:
        """Those of `digests` that nothing refers to.

        A version refers to its manifest, and to its files until it is collected; a row of the
        ledger to the blobs of its evidence.

        Args:
            digests: the objects.
            beside: versions whose files do not count.
        """
        ...

    def needed(self, prefix: str) -> set[str]:
        """The objects whose digests begin with `prefix` and that something refers to."""
        ...

    # --- for an audit ----------------------------------------------------------------------------

    def each_entry(self) -> Iterator[IndexEntry]:
        """Every version, in the order of registration, a few at a time."""
        ...

    def each_blob(self) -> Iterator[tuple[str, int]]:
        """Digest and largest recorded size of every object that is referred to, each once."""
        ...

    def each_removal(self) -> Iterator[tuple[VersionKey, tuple[str, str]]]:
        """Every removed version; when it was removed, and when it was collected."""
        ...

    def mislisted(self) -> list[VersionKey]:
        """The versions that lists would sort or filter by another value than they have."""
        ...

    def miscounted(self) -> list[str]:
        """Models that have another number of versions than the index keeps."""
        ...

    def all_tags(self) -> dict[VersionKey, dict[str, str]]:
        """The tags of every version that has some."""
        ...

    def evidence(self) -> list[str]:
        """The objects that rows of the ledger refer to."""
        ...

    def stretches(self) -> list[tuple[int, int, str]]:
        """The ledger cut where the clock went back: first row, last row, latest time."""
        ...


class WriteTransaction(ReadTransaction, Protocol):
    """One exclusive transaction."""

    @property
    def appended(self) -> Sequence[LedgerRow]:
        """The rows that this transaction added to the ledger."""
        ...

    def take_number(self, model: str) -> int:
        """The next number of a model. It is never given again.

        Raises:
            DamagedIndexError: a version or a row of the ledger has a later number already.
        """
        ...

    def reserve_number(self, model: str, number: int) -> None:
        """Never give this number, nor one below it, to a later version of the model."""
        ...

    def add_version(self, version: Version, objective: Objective) -> None:
        """Insert a version and its files."""
        ...

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point an alias at a version."""
        ...

    def release_alias(self, model: str, alias: str) -> None:
        """Delete an alias."""
        ...

    def tag(self, version: Version, tags: Mapping[str, str], removed: Iterable[str]) -> None:
        """Set some tags of a version and delete others."""
        ...

    def remove(self, version: Version, at: str) -> None:
        """Hide a version; `restore` undoes it."""
        ...

    def restore(self, version: Version) -> None:
        """Undo `remove`."""
        ...

    def collect(self, version: Version, at: str) -> None:
        """Mark the files of a removed version as deleted for good; its manifest stays."""
        ...

    def require(self, action: LedgerAction) -> None:
        """Refuse now what `append` of such a row would refuse, where users have roles.

        For what is done apart from the ledger, or long before its row.

        Raises:
            IndexFault: the user's role does not have it.
        """
        ...

    def put_delivery(self, delivery: Delivery) -> None:
        """Add what a receiver is to be told, or replace it."""
        ...

    def append(self, event: Event) -> LedgerRow:
        """Add a row to the ledger."""
        ...

    def insert(self, row: LedgerRow) -> None:
        """Add a row that already has its number and digest."""
        ...

    def withdraw(self, model: str, run: str) -> bool:
        """Delete the version that a run registered last; its number stays taken.

        Only for a commit that the disk did not confirm.

        Returns:
            Whether it was deleted. It was not if anything happened since.
        """
        ...
