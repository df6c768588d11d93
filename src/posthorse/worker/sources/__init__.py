"""Sources: what a long loop can run over, be stopped in, and go on from. They know no job and no store."""

from posthorse.worker.sources.base import AsyncSource, Chunk, Source
from posthorse.worker.sources.csv_rows import csv
from posthorse.worker.sources.keyset import keyset
from posthorse.worker.sources.lines import lines
from posthorse.worker.sources.sequence import as_source

__all__ = ["AsyncSource", "Chunk", "Source", "as_source", "csv", "keyset", "lines"]
