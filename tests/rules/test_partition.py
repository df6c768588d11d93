"""Partition keys of limits: different values are distinguished, also from a value that cannot be computed."""

from __future__ import annotations

import posthorse as ph
from posthorse.rules.arguments.signature import Signature
from posthorse.rules.gates import gate_name
from posthorse.rules.partition import value_of


def test_a_value_that_cannot_be_told_is_no_value_that_a_job_may_have() -> None:
    def resize(size: str) -> None: ...

    def broken(size: str) -> str:
        raise ValueError(size)

    signature = Signature(resize, kind="resize", context_type=ph.Context)
    heard: list[Exception] = []
    told = value_of("size", signature, signature.encode(("?",), {}), "")
    untold = value_of(broken, signature, signature.encode(("?",), {}), "", failed=heard.append)
    assert told == "?"
    assert [str(error) for error in heard] == ["?"]
    assert gate_name("rate", "kind", "resize", "size", told) != gate_name("rate", "kind", "resize", "size", untold)
