"""Makes what a registry needs, once: a folder, or tables and a prefix that were tried before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.store.transactions import Transactions

if TYPE_CHECKING:
    from registry_core.places import RegistryPlace
    from registry_core.store.store import Store


def set_up(store: Store) -> bool:
    """Make the registry if it is not there, and bring an older one up to date.

    Returns:
        Whether it was made now.

    Raises:
        StorageError: it cannot be written, or versions would not be safe in the object store.
        RefusedError: this user may not make tables.
    """
    access = Transactions(store.parts, store.busy_seconds)
    with access.translate_storage_errors("setting up the registry", outcome="Nothing was made."):
        if not store.parts.in_folder:
            from registry_core.store.s3.probe import probe

            probe(store.parts.objects_place)
        made = store.parts.index.state() == "missing"
    with access.writing("setting up the registry", create=True, outcome="Nothing was made."):
        access.blobs.prepare()
        access.runs.prepare()
    return made


def grants(place: RegistryPlace) -> str:
    """The SQL that makes the roles of a team's registry. Connects to nothing.

    Raises:
        UsageError: a library is not installed.
    """
    from registry_core.process.requirements import require_extra

    require_extra("team", "A team's registry")
    from registry_core.store.postgres import grants as roles
    from registry_core.store.postgres.index import PostgresIndex

    return roles.grants(PostgresIndex(place.index, busy_seconds=0).schema)
