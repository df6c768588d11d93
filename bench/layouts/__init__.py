"""Measures the possible PostgreSQL layouts of the job store against each other and against naive SQL.

`python -m bench.layouts` starts a private, durable server, prints a table and writes every sample as JSON.
Nothing here knows the library: a layout is only tables and statements, so that it can be judged alone.
"""
