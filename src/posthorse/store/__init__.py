"""The store: one SQLite file or a PostgreSQL database, with the same meaning in both."""
