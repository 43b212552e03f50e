"""The index in a SQLite file: every statement, and every use of sqlite3, is in this folder."""
