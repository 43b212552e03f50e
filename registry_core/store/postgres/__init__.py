"""The index in PostgreSQL: every use of psycopg is here, and only a team's registry loads it."""
