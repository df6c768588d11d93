"""Sources: what a long loop can run over, be stopped in, and go on from. They know no job and no store."""

from posthorse.worker.sources.base import AsyncSource, Chunk, Source
from posthorse.worker.sources.csv_rows import csv
from posthorse.worker.sources.folder import files
from posthorse.worker.sources.keyset import keyset
from posthorse.worker.sources.lines import lines
from posthorse.worker.sources.querysets import QuerySetOf
from posthorse.worker.sources.rows import rows
from posthorse.worker.sources.sequence import as_source

__all__ = ["AsyncSource", "Chunk", "QuerySetOf", "Source", "as_source", "csv", "files", "keyset", "lines", "rows"]
