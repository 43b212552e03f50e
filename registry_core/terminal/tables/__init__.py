"""Versions, runs, promotions and the ledger as tables; a file for each kind of command."""
