"""Child processes of tests, forked from a process that has imported what they need: each import takes a second.

Like new processes, they share nothing with the tests.
"""

from __future__ import annotations

import multiprocessing

children = multiprocessing.get_context("forkserver")
children.set_forkserver_preload(["hypothesis", "psycopg", "pytest", "posthorse", "tests.store.yard"])
