"""The texts of jobs are encoded and decoded only in known modules, so that each of them passes the codecs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src/posthorse"

KNOWN = {
    # arguments, before they are packed or after they are unpacked
    "app/retry_arguments.py": {"signature.encode", "signature.replaced", "texts.pack", "texts.unpack", "read.call"},
    "app/kind.py": {"signature.encode"},
    "app/command_bus.py": {"signature.encode"},  # only to check a command that runs here; the text is dropped
    "worker/claiming/limits.py": {"texts.unpack"},
    "worker/running/execution.py": {"encode_result", "signature.decode", "texts.pack", "texts.unpack"},
    "worker/running/onion.py": {"signature.named"},
    "store/operations/unique.py": {"identity_again"},
    # what a job left behind
    "app/reading.py": {"decode_kept", "decode_result", "read.call", "read.outcome", "texts.unpack"},
    "app/job_logs.py": {"texts.unpack"},
    "app/stock_base.py": {"decode_result"},  # of a result that was taken, unpacked there
    "worker/running/parts.py": {"decode_result"},  # of the parts of a job, which are unpacked there
    "worker/running/job_logs.py": {"texts.pack"},
    "app/sending.py": {"encode_kept"},  # the payload of an event, which is packed there
    "testing/contexts.py": {"encode_kept"},  # without a store
    "testing/enqueued.py": {"signature.named", "texts.unpack", "read.call"},
    "cli/show.py": {"read.arguments", "read.outcome"},
    "cli/bad_items.py": {"read.outcome"},  # only to check whether the job exists
    # checkpoints: the journal packs the results
    "worker/checkpoints/checkpoint_state.py": {"KeptValues", "texts.pack", "texts.unpack"},
    "worker/checkpoints/giving.py": {"texts.pack", "texts.unpack"},  # the arguments of a new part
    "worker/checkpoints/child_journal.py": {"texts.pack"},
    "worker/checkpoints/journal.py": {"load_checkpoint", "texts.unpack"},
    "worker/checkpoints/step_journal.py": {"texts.pack", "texts.unpack"},
    "worker/checkpoints/kept_values.py": {"decode_kept", "encode_kept"},
    "worker/checkpoints/slices.py": {"bad_items_to_retry", "decode_kept"},
    "worker/checkpoints/steps.py": {"decode_kept", "encode_kept"},
    "worker/checkpoints/tolerating.py": {"encode_kept"},
}
"""The modules outside of `rules` that encode, decode, read or pack such texts, and how. A new module must pass the
texts that it stores or reads through `JobTexts`."""

WATCHED = frozenset[str]().union(*KNOWN.values())


def calls_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name)):
                yield f"{owner}.{name}"
            case ast.Call(func=ast.Name(id=name)):
                yield name


def test_texts_of_jobs_are_handled_in_known_modules_alone() -> None:
    found: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        module = file.relative_to(PACKAGE).as_posix()
        if not module.startswith("rules/") and (calls := WATCHED.intersection(calls_in(file))):
            found[module] = set(calls)
    assert found == KNOWN
