"""Versions, runs, promotions and the ledger as tables; one file for each group of commands."""
