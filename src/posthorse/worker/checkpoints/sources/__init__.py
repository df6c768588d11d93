"""Sources: what a long loop can run over, stop in, and resume from. They know neither the job nor the store."""

from posthorse.worker.checkpoints.sources.base import AsyncSource, AsyncSplittable, Chunk, Source, Splittable
from posthorse.worker.checkpoints.sources.csv_rows import csv
from posthorse.worker.checkpoints.sources.folder import files
from posthorse.worker.checkpoints.sources.keyset import keyset
from posthorse.worker.checkpoints.sources.lines import lines
from posthorse.worker.checkpoints.sources.querysets import QuerySetOf
from posthorse.worker.checkpoints.sources.rows import rows
from posthorse.worker.checkpoints.sources.sequence import as_source

__all__ = [
    "AsyncSource",
    "AsyncSplittable",
    "Chunk",
    "QuerySetOf",
    "Source",
    "Splittable",
    "as_source",
    "csv",
    "files",
    "keyset",
    "lines",
    "rows",
]
