"""What PostgreSQL itself knows about its health, for `posthorse doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from posthorse.store.postgres.connections import Connection

_HEALTH = """
    SELECT current_setting('server_version'),
        (SELECT extract(epoch FROM clock_timestamp() - min(xact_start))::float8 FROM pg_stat_activity
         WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'),
        (SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE schemaname = %s),
        (SELECT coalesce(sum(n_live_tup), 0)::bigint FROM pg_stat_user_tables WHERE schemaname = %s),
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        current_setting('max_connections')::bigint, current_setting('fsync'), current_setting('synchronous_commit'),
        current_setting('server_encoding')
"""


def read_health(connection: Connection, schema: str, *, is_pooled: bool) -> Mapping[str, str | int | float | None]:
    """Return facts about the server; ages are in seconds."""
    row = connection.execute(_HEALTH, [schema, schema]).fetchone()
    assert row is not None
    version, oldest, dead, live, connections, most, fsync, commits, encoding = cast(
        "tuple[str, float | None, int, int, int, int, str, str, str]", row
    )
    return {
        "server": version,
        "oldest_transaction_seconds": oldest,
        "dead_rows": dead,
        "live_rows": live,
        "connections": connections,
        "most_connections": most,
        "pooled": int(is_pooled),
        "fsync": fsync,
        "synchronous_commit": commits,
        "encoding": encoding,
    }
