"""The embedded log: topics, tables and offsets in one SQLite file."""
