"""A registry that was set up, and who may do what in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry_core.dataclass import dataclass


@dataclass(frozen=True)
class RegistrySetup:
    """A registry that is ready for use.

    Args:
        registry: as it is shown: its folder, or both URLs of a team's.
        made: whether it was made now; it was there already otherwise.
        index: the URL of a team's index, without a password; empty for a folder.
        objects: the URL of a team's objects; empty for a folder.
    """

    registry: str
    made: bool
    index: str = ""
    objects: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "registry": self.registry,
            "made": self.made,
            "index": self.index or None,
            "objects": self.objects or None,
        }


@dataclass(frozen=True)
class RegistryGrants:
    """Who may do what in a team's registry.

    Args:
        registry: as it is shown.
        roles: role -> what it may do.
        sql: makes the roles and their rights; can be run again.
    """

    registry: str
    roles: Mapping[str, str]
    sql: str

    def to_json(self) -> dict[str, Any]:
        return {"registry": self.registry, "roles": dict(self.roles), "sql": self.sql}
