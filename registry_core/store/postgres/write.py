"""What only PostgreSQL does inside a transaction that writes."""

from __future__ import annotations

from registry_core.store.sql.write import SqlWriteTransaction


class PostgresWriteTransaction(SqlWriteTransaction):
    """One exclusive transaction on an index in PostgreSQL, as `WriteTransaction` describes it."""

    def withdraw(self, model: str, run: str) -> bool:
        """Never: what PostgreSQL committed is durable, and what it did not is not there."""
        return False
