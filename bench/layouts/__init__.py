"""Layouts of the job store that are possible on PostgreSQL, measured against each other and against naive SQL.

`python -m bench.layouts` starts a private, durable server, prints a table and writes every sample as JSON. Nothing here
knows the library: a layout consists of tables and statements, so that it can be judged by itself.
"""
