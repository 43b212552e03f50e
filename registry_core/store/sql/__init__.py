"""The statements of an index, which SQLite and PostgreSQL both know."""
