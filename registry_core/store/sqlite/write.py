"""What only SQLite does inside a transaction that writes."""

from __future__ import annotations

from registry_core.records import LedgerAction
from registry_core.store.sql import derived
from registry_core.store.sql.read import SqlReadTransaction
from registry_core.store.sql.write import SqlWriteTransaction, blobs_of
from registry_core.store.sqlite.schema import ALLOW_DELETE, REFUSE_DELETE


class SqliteWriteTransaction(SqlWriteTransaction):
    """One exclusive transaction on a SQLite index, as `WriteTransaction` describes it."""

    def withdraw(self, model: str, run: str) -> bool:
        last = self._all("SELECT model, version, action FROM ledger ORDER BY number DESC LIMIT 1")
        number = last[0][1] if last else None
        theirs = self._all(
            "SELECT 1 FROM versions WHERE model = :model AND number = :number AND run = :run",
            model=model,
            number=number,
            run=run,
        )
        if not theirs or last != [(model, number, LedgerAction.REGISTERED)]:
            return False
        for statement in ALLOW_DELETE:
            self._connection.execute(statement)
        for table in ("files", "sort_keys", "versions", "origins"):
            self._execute(
                f"DELETE FROM {table} WHERE model = :model AND number = :number",
                model=model,
                number=number,
            )
        row = self.ledger(model, number, limit=1)[0]
        self._execute("DELETE FROM ledger WHERE number = :number", number=row.number)
        for digest in blobs_of(row):
            # reads the whole ledger, but only after a disk failed while a version was copied
            self._execute(
                "DELETE FROM evidence WHERE sha256 = :digest "
                "AND NOT EXISTS (SELECT 1 FROM ledger WHERE instr(evidence, :digest))",
                digest=digest,
            )
        derived.fill_clock(self._connection)
        for statement in REFUSE_DELETE:
            self._connection.execute(statement)
        self._last = SqlReadTransaction.last_ledger_row(self)
        return True
