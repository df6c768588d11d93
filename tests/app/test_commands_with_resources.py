"""Handlers of commands take resources as jobs do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import pytest

import posthorse as ph

steps: list[str] = []


def smtp() -> Iterator[list[str]]:
    yield steps
    steps.append("closed")


@dataclass
class SendMail:
    to: str


@dataclass
class SendFax:
    to: str

    def execute(self, line: Annotated[list[str], ph.depends(smtp)]) -> int:
        line.append(self.to)
        return len(self.to)


def send_mail(command: SendMail, server: list[str] = ph.depends(smtp)) -> str:
    server.append(command.to)
    return command.to


async def asend_mail(ctx: ph.Context, command: SendMail, *, server: list[str] = ph.depends(smtp)) -> str:
    server.append(ctx.job_id)
    return command.to


def test_a_handler_gets_its_resources(app: ph.Posthorse) -> None:
    steps.clear()
    app.bus.register(SendMail, send_mail)
    app.bus.register(SendFax)
    with app.worker():
        assert app.bus.enqueue(SendMail("you")).result(timeout=30) == "you"
        assert app.bus.enqueue(SendFax("them")).result(timeout=30) == 4
    assert steps == ["you", "closed", "them", "closed"]
    with pytest.raises(ph.InvalidCall, match="'server' as a resource"):
        app.bus.handle(SendMail("you"))


def test_an_async_handler_gets_its_resources_beside_the_context(app: ph.Posthorse) -> None:
    steps.clear()
    app.bus.register(SendMail, asend_mail)
    with app.worker():
        job = app.bus.enqueue(SendMail("you"))
        assert job.result(timeout=30) == "you"
    assert steps == [job.id, "closed"]
