"""`posthorse send-event`: let jobs go on that wait for an event."""

from __future__ import annotations

import click
import msgspec

from posthorse.cli.screen import out, out_json
from posthorse.cli.target import json_option, open_store, target_options
from posthorse.errors import InvalidArgument


@click.command("send-event")
@click.argument("name")
@click.argument("payload", required=False)
@click.option("--job", metavar="ID", help="The job that the event is for.")
@click.option("--topic", help="A topic instead: all jobs that wait for the event there.")
@click.option("--tenant", help="With --topic: the tenant whose jobs get it.")
@click.option("--again", "replaces", is_flag=True, help="Replace an earlier event of this name.")
@click.option("--expires", metavar="SPAN", default="30d", show_default=True, help="For how long it stays.")
@target_options
@json_option
def send_event(
    name: str,
    payload: str | None,
    job: str | None,
    topic: str | None,
    tenant: str | None,
    replaces: bool,
    expires: str,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Send an event to the jobs that wait for it, now or later.

    The payload is JSON; it is what ctx.wait_event(NAME) returns in the job. The first event of a name counts,
    unless --again is given.

    \b
      posthorse send-event approved '{"by": "eva"}' --job 01936f5e-7c1a-7d2b-8e3f-0123456789ab
      posthorse send-event paid --topic order-7
    """
    app = open_store(target, url)
    is_sent = app.send_event(
        name, _decoded(payload), job=job, topic=topic, tenant=tenant, again=replaces, expires=expires
    )
    if as_json:
        out_json({"event": name, "job": job, "topic": topic, "sent": is_sent})
    else:
        out(f"sent  {name}" if is_sent else f"not sent: an earlier {name} counts; --again replaces it")
    return 0


def _decoded(payload: str | None) -> object:
    if payload is None:
        return None
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"the payload is not JSON: {error}; write text as '\"text\"'") from None
