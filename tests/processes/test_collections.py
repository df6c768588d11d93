"""What the garbage collector of a runner walks through."""

from __future__ import annotations

from typing import cast

from tests.project import Project


def test_full_collections_in_a_runner_leave_out_what_was_imported(project: Project) -> None:
    project.write("""
        import gc

        @app.job
        def counts():
            return len(gc.get_objects()), gc.get_freeze_count()
    """)
    with project.working():
        walked, left_out = cast("tuple[int, int]", project.result("counts"))
    assert left_out > 10_000
    assert walked < left_out
