"""What only PostgreSQL does inside a transaction that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.store.postgres import grants
from registry_core.store.sql.write import SqlWriteTransaction

if TYPE_CHECKING:
    from registry_core.records import LedgerAction


class PostgresWriteTransaction(SqlWriteTransaction):
    """One exclusive transaction on an index in PostgreSQL, as `WriteTransaction` describes it."""

    def withdraw(self, model: str, run: str) -> bool:
        """Never: what PostgreSQL committed is durable, and what it did not is not there."""
        return False

    def require(self, action: LedgerAction) -> None:
        table, privilege = grants.privilege_of(action)
        query = "SELECT session_user::text, has_table_privilege(:table, :privilege)"
        user, granted = self._all(query, table=table, privilege=privilege)[0]
        if not granted:
            raise grants.may_not(user, action)
