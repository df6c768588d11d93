"""The jobs that `record_timings` records: real work in slices. It knows neither Posthorse nor clocks.

A kind of work is prepared once, by `prepare(scene)`. That returns a function which does one slice, given its number,
and returns how many items that was. A slice may be done again, as after a crash.
"""

from __future__ import annotations

import ast
import csv
import difflib
import hashlib
import http.client
import io
import json
import lzma
import os
import re
import sqlite3
import subprocess
import sys
import sysconfig
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from random import Random

from examples.flights.places import flights_file

Work = Callable[[int], int]  # number of the slice -> items


@dataclass(frozen=True)
class Scene:
    """Where and how to make a recording."""

    random: Random
    folder: Path
    slices: int
    scale: float  # of the size of a slice

    def size(self, usual: int) -> int:
        """Return the items of a slice, about `usual`."""
        return max(1, round(usual * self.scale))

    def database(self, *statements: str) -> sqlite3.Connection:
        """Create a durable database."""
        connection = sqlite3.connect(self.folder / "work.db", isolation_level=None)
        for statement in ("PRAGMA journal_mode=wal", "PRAGMA synchronous=full", *statements):
            connection.execute(statement)
        return connection


def inserting_flights(scene: Scene) -> Work:
    """Insert rows into a table without an index."""
    return _inserting(scene, scene.size(9000), indexed=False)


def inserting_indexed_flights(scene: Scene) -> Work:
    """Insert rows into a table whose indexes grow."""
    return _inserting(scene, scene.size(4000), indexed=True)


def parsing_flights(scene: Scene) -> Work:
    """Parse lines of CSV and add them up for each destination."""
    size = scene.size(5000)
    lines = _flight_lines(scene.slices * size)
    delays: dict[str, float] = {}

    def work(number: int) -> int:
        for row in csv.DictReader(lines[number * size : (number + 1) * size], fieldnames=FLIGHT_FIELDS):
            delays[row["dest"]] = delays.get(row["dest"], 0.0) + float(row["distance"] or 0)
        return size

    return work


def adding_up_flights(scene: Scene) -> Work:
    """Insert rows into a table, and after each slice add up the whole table."""
    insert = _inserting(scene, scene.size(2000), indexed=False)
    reader = sqlite3.connect(scene.folder / "work.db")

    def work(number: int) -> int:
        items = insert(number)
        reader.execute("SELECT destination, avg(distance), count(*) FROM flights GROUP BY destination").fetchall()
        return items

    return work


def updating_rows(scene: Scene) -> Work:
    """Update rows anywhere in a large table, with an index on the changed column."""
    size, rows = scene.size(800), 100_000
    connection = _accounts(scene, rows)

    def work(number: int) -> int:
        wanted = [(scene.random.random(), scene.random.randrange(rows)) for _ in range(size)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("UPDATE accounts SET score = ? WHERE id = ?", wanted)
        connection.execute("COMMIT")
        return size

    return work


def deleting_rows(scene: Scene) -> Work:
    """Delete the lowest scores of a table that shrinks to a tenth."""
    size = scene.size(1000)
    connection = _accounts(scene, round(scene.slices * size * 1.1))

    def work(number: int) -> int:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM accounts WHERE id IN (SELECT id FROM accounts ORDER BY score LIMIT ?)", (size,))
        connection.execute("COMMIT")
        return size

    return work


def indexing_texts(scene: Scene) -> Work:
    """Index sources in a full-text index, which merges its segments now and then."""
    size, files = scene.size(30), _files_of(scene, ".py", scene.size(30))
    connection = scene.database("CREATE VIRTUAL TABLE texts USING fts5 (name, body)")

    def work(number: int) -> int:
        rows = [(path.name, _text(path)) for path in files(number)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO texts VALUES (?, ?)", rows)
        connection.execute("COMMIT")
        return size

    return work


def hashing_files(scene: Scene) -> Work:
    """Hash files of an installation by name; each is one item."""
    size, files = scene.size(200), _files_of(scene, "", scene.size(200))

    def work(number: int) -> int:
        for path in files(number):
            hashlib.sha512(path.read_bytes()).digest()
        return size

    return work


def hashing_files_by_weight(scene: Scene) -> Work:
    """Hash the same files from the largest to the smallest; each byte is an item."""
    return _hashing_by_size(scene, weighed=True, largest_first=True)


def hashing_files_from_small_to_large(scene: Scene) -> Work:
    """Hash files from the smallest to the largest, each as one item: nothing shows how expensive the last ones are."""
    return _hashing_by_size(scene, weighed=False, largest_first=False)


def copying_files(scene: Scene) -> Work:
    """Copy files, and sync each copy."""
    size, files = scene.size(80), _files_of(scene, ".py", scene.size(80))

    def work(number: int) -> int:
        for path in files(number):
            with (scene.folder / "copy").open("wb") as copy:
                copy.write(path.read_bytes())
                copy.flush()
                os.fsync(copy.fileno())
        return size

    return work


def compiling_sources(scene: Scene) -> Work:
    """Compile sources to bytecode, by name."""
    return _for_each_text(scene, scene.size(8), lambda text: compile(text, "recorded", "exec"))


def parsing_sources(scene: Scene) -> Work:
    """Parse sources to syntax trees, by name."""
    return _for_each_text(scene, scene.size(6), ast.parse)


def searching_texts(scene: Scene) -> Work:
    """Search sources with regular expressions, by name."""
    pattern = re.compile(r"\b(\w+)\s*=\s*\1\b|(?i:todo|fixme)|\"[^\"\n]*%\w")
    return _for_each_text(scene, scene.size(12), lambda text: len(pattern.findall(text)))


def counting_words(scene: Scene) -> Work:
    """Count words of sources in a dictionary that grows."""
    words: Counter[str] = Counter()
    return _for_each_text(scene, scene.size(20), lambda text: words.update(re.findall(r"\w+", text)))


def comparing_texts(scene: Scene) -> Work:
    """Compare neighbouring sources line by line; the cost grows with the square of their lengths."""
    size, files = scene.size(16), _files_of(scene, ".py", scene.size(16))

    def work(number: int) -> int:
        for path in files(number):
            lines = _text(path).splitlines()[:300]
            difflib.SequenceMatcher(None, lines, lines[1::2] + lines[::2], autojunk=False).ratio()
        return size

    return work


def compressing_with_zlib(scene: Scene) -> Work:
    """Compress blocks of text of one size."""
    return _for_each_block(scene, scene.size(12), lambda block: zlib.compress(block, 9))


def compressing_with_lzma(scene: Scene) -> Work:
    """Compress blocks of text of one size, with another method."""
    return _for_each_block(scene, scene.size(5), lambda block: lzma.compress(block, preset=4))


def growing_documents(scene: Scene) -> Work:
    """Write and read a document as JSON that gains an entry with each item."""
    size, document = scene.size(20), [{"id": n, "name": f"entry {n}", "tags": ["a", "b"]} for n in range(500)]

    def work(number: int) -> int:
        for item in range(number * size, (number + 1) * size):
            document.append({"id": item, "name": f"entry {item}", "tags": [str(item), "b"]})
            json.loads(json.dumps(document))
        return size

    return work


def documents_that_become_ten_times_as_large(scene: Scene) -> Work:
    """Write and read documents as JSON: all of one size up to the middle, and ten times as large from there on."""
    size = scene.size(4)
    small, large = ([{"id": n, "name": f"entry {n}"} for n in range(entries)] for entries in (500, 5000))

    def work(number: int) -> int:
        for _ in range(size):
            json.loads(json.dumps(small if number < scene.slices / 2 else large))
        return size

    return work


def sorting_unequal_batches(scene: Scene) -> Work:
    """Sort lists of very different lengths, each as one item."""
    lengths = [
        [round(scene.random.lognormvariate(6.5, 1.0)) for _ in range(scene.size(100))] for _ in range(scene.slices)
    ]

    def work(number: int) -> int:
        for length in lengths[number]:
            sorted(scene.random.random() for _ in range(length))
        return len(lengths[number])

    return work


def sorting_weighed_batches(scene: Scene) -> Work:
    """Sort slices of very different sizes; each element is an item."""
    lengths = [round(scene.size(150_000) * scene.random.choice((0.2, 0.5, 1, 2))) for _ in range(scene.slices)]

    def work(number: int) -> int:
        sorted(scene.random.random() for _ in range(lengths[number]))
        return lengths[number]

    return work


def hashing_passwords(scene: Scene) -> Work:
    """Hash passwords: a few old ones take many rounds, most take few."""
    size = scene.size(20)
    rounds = [[scene.random.choice((2000, 2000, 2000, 10_000)) for _ in range(size)] for _ in range(scene.slices)]

    def work(number: int) -> int:
        for count in rounds[number]:
            hashlib.pbkdf2_hmac("sha256", b"password", b"salt", count)
        return size

    return work


def drawing_a_fractal(scene: Scene) -> Work:
    """Draw lines of a picture, some of which cost many times as much as others."""
    width, height = scene.size(5000), scene.slices

    def work(number: int) -> int:
        for column in range(width):
            point, z = complex(-2.2 + 3 * column / width, -1.3 + 2.6 * number / height), 0j
            for _ in range(250):
                z = z * z + point
                if abs(z) > 2:
                    break
        return width

    return work


def finding_primes(scene: Scene) -> Work:
    """Find primes by trial division; the numbers grow."""
    size = scene.size(5000)

    def work(number: int) -> int:
        for candidate in range(100_000 + number * size, 100_000 + (number + 1) * size):
            all(candidate % divisor for divisor in range(2, int(candidate**0.5) + 1))
        return size

    return work


def asking_a_server(scene: Scene) -> Work:
    """Send small requests to a server in another thread, which looks something up."""
    size, rows = scene.size(40), 2000
    _accounts(scene, rows).close()

    class Lookup(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # so that a reply is sent as one segment

        def do_GET(self) -> None:
            reader = sqlite3.connect(scene.folder / "work.db")
            found = reader.execute("SELECT name FROM accounts WHERE id = ?", (int(self.path[1:]),)).fetchone()
            reader.close()
            answer = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Lookup)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = http.client.HTTPConnection("127.0.0.1", server.server_port)

    def work(number: int) -> int:
        for _ in range(size):
            client.request("GET", f"/{scene.random.randrange(rows)}")
            client.getresponse().read()
        return size

    return work


def starting_processes(scene: Scene) -> Work:
    """Start one small program per item."""
    size = scene.size(2)

    def work(number: int) -> int:
        for _ in range(size):
            subprocess.run([sys.executable, "-S", "-I", "-c", "import json"], check=True)
        return size

    return work


FLIGHT_FIELDS = [
    "year",
    "month",
    "day",
    "at",
    "due",
    "late",
    "arrived",
    "hour",
    "arr_late",
    "carrier",
    "flight",
    "tail",
    "origin",
    "dest",
    "air",
    "distance",
]


@cache
def _flight_lines(count: int) -> list[str]:
    path, member = flights_file()
    assert member
    with zipfile.ZipFile(path) as archive, archive.open(member) as raw:
        lines = list(islice(io.TextIOWrapper(raw), 1, count + 1))
    return [lines[n % len(lines)] for n in range(count)]


def _inserting(scene: Scene, size: int, *, indexed: bool) -> Work:
    rows = [(r[11], r[13], r[15], " ".join(r)) for r in csv.reader(_flight_lines(min(300_000, scene.slices * size)))]
    connection = scene.database("CREATE TABLE flights (tail TEXT, destination TEXT, distance INTEGER, line TEXT)")
    if indexed:
        connection.execute("CREATE INDEX by_tail ON flights (tail, distance)")
        connection.execute("CREATE INDEX by_line ON flights (destination, line)")

    def work(number: int) -> int:
        connection.execute("BEGIN IMMEDIATE")
        chunk = (rows[n % len(rows)] for n in range(number * size, (number + 1) * size))
        connection.executemany("INSERT INTO flights VALUES (?, ?, ?, ?)", chunk)
        connection.execute("COMMIT")
        return size

    return work


def _accounts(scene: Scene, rows: int) -> sqlite3.Connection:
    connection = scene.database("CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT, score REAL)")
    connection.execute("CREATE INDEX by_score ON accounts (score)")
    connection.execute("BEGIN")
    new = ((n, f"account number {n} " * 5, scene.random.random()) for n in range(rows))
    connection.executemany("INSERT INTO accounts VALUES (?, ?, ?)", new)
    connection.execute("COMMIT")
    return connection


@cache
def _installed(suffix: str) -> list[Path]:
    """Return files of the Python installation by name, of 1 kB to 2 MB."""
    found: list[Path] = []
    for folder, folders, names in os.walk(sysconfig.get_paths()["stdlib"]):
        folders.sort()
        found += [Path(folder, name) for name in sorted(names) if name.endswith(suffix)]
    return [path for path in found if path.is_file() and 1_000 < path.stat().st_size < 2_000_000]


def _files_of(scene: Scene, suffix: str, size: int) -> Callable[[int], list[Path]]:
    """Return a function that returns neighbouring files of the installation."""
    files = _installed(suffix)
    start = scene.random.randrange(len(files))
    return lambda number: [files[(start + number * size + n) % len(files)] for n in range(size)]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").replace("\0", "")


def _for_each_text(scene: Scene, size: int, use: Callable[[str], object]) -> Work:
    files = _files_of(scene, ".py", size)

    def work(number: int) -> int:
        for path in files(number):
            try:
                use(_text(path))
            except SyntaxError:
                continue  # some installed files are for other versions of Python
        return size

    return work


def _for_each_block(scene: Scene, size: int, use: Callable[[bytes], object]) -> Work:
    text = b"".join(path.read_bytes() for path in _files_of(scene, ".py", 800)(0))
    blocks = len(text) // 16_384

    def work(number: int) -> int:
        for n in range(number * size, (number + 1) * size):
            use(text[n % blocks * 16_384 :][:16_384])
        return size

    return work


def _hashing_by_size(scene: Scene, *, weighed: bool, largest_first: bool) -> Work:
    size = scene.size(80)
    files = scene.random.choices(_installed(""), k=scene.slices * size)
    sizes = {path: path.stat().st_size for path in files}
    files.sort(key=sizes.__getitem__, reverse=largest_first)

    def work(number: int) -> int:
        chunk = files[number * size : (number + 1) * size]
        for path in chunk:
            hashlib.sha512(path.read_bytes()).digest()
        return sum(sizes[path] for path in chunk) if weighed else size

    return work
