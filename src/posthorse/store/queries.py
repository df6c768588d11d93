"""Named, described SQL, compiled for one dialect.

A `.sql` file holds blocks that begin with `-- ## name` and a line of description. `shared.sql` serves both
dialects; a block of the same name in `sqlite.sql` or `postgres.sql` overrides it there. In a block

    @jobs           is one of our tables: "posthorse".jobs on PostgreSQL, posthorse_jobs on SQLite
    :name           is a parameter; the store supplies some (`values_of`): :now, :lease_now, :boot, and on PostgreSQL
                    :channel, :sequence, :meta, and :again, which is true if the rows may have been written before;
                    :light_arguments are the arguments that a claim returns: NULL if they are longer than LIGHT
    {rows}          is the list of rows given with the call, as a table `r` of the columns that the
                    block declares in a line `-- rows: job uuid, epoch int, …`, plus `r.ordinal` from 1;
                    declared as `-- pairs: job uuid, result text` there are two columns, the first of them
                    a unique id or number: SQLite parses these in a third of the time
                    In a block marked `-- row by row` each statement runs once for each row, whose columns
                    are parameters in the place of `r.job`: SQLite writes long texts so at half the cost
                    In a look, a block marked `-- by key` runs with the planner configured as for our writes: without
                    reading whole tables. Looks that sum up are planned as the server likes
    {other}         is the statement of the block of that name, or a piece of one where that block is marked `-- part`

A statement that finds jobs is composed when it is first used. Its name says of what: `jobs_found by_lane newest
state_is|state_is -tag_is` is the block `jobs_found` with the way `by_lane` as {way}, the marks of `newest` ({order},
{beyond} …), and {conditions}: either of two states, and not a tag. The parameters :value, :path and :keys of conditions
are numbered in their order: :value_0, :value_1.

A block may hold several statements; they run in order in one transaction, and the result is the rows of the last. In
a block marked `-- picks` the first statement returns one JSON array of rows, which the others take as :picked, and
which is the result. The result of a block marked `-- tells now` is :now, and 0, because it notified no runner. The
types of the columns of a result are declared in Python, because type checkers must see them: as a `TypedQuery`
(store/base) in the module that reads them. This module knows no driver except for the style of its parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import count
from operator import itemgetter
from typing import Any, cast

import msgspec

Value = str | int | float | bool | bytes | None
Row = tuple[Value, ...]

LIGHT = 8_000
"""Maximum size of arguments that a claim returns, in characters (bytes on PostgreSQL). A runner reads longer ones when
their job starts, because it may claim a thousand jobs ahead.
"""

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+\d*)\b")
_TABLE = re.compile(r"(?<![\w@])@([a-z_]+)\b")
_BLOCK = re.compile(r"^-- ## (\w+)\n", re.MULTILINE)
_COLUMNS = re.compile(r"^-- (rows|pairs): (.+)$", re.MULTILINE)
_PART = re.compile(r"^-- part$", re.MULTILINE)
_PICKS, _TELLS_NOW, _ROW_BY_ROW, _BY_KEY = _MARKS = "picks", "tells now", "row by row", "by key"
_COMMENT = re.compile(r"--[^\n]*")
_OTHER = re.compile(r"\{(?!rows\})([a-z_]+)\}")
_OF_ROW = re.compile(r"\br\.([a-z_]+)\b")
_OF_CONDITION = re.compile(r"(?<![:\w]):(value|path|keys)\b")
_DIRECTIONS: Mapping[str, Mapping[str, str]] = {
    "newest": {"order": "DESC", "opposite": "ASC", "beyond": "<", "until": "<=", "within": ">="},
    "oldest": {"order": "ASC", "opposite": "DESC", "beyond": ">", "until": ">=", "within": "<="},
}
MAX_COMPOSED = 500
"""How many composed statements are kept: users may write any filter."""
_BETWEEN = "\0"
"""No text of PostgreSQL contains it."""
_json = msgspec.json.Encoder().encode


class Dialect(msgspec.Struct, frozen=True):
    """What the compiler must know about a database."""

    name: str
    table: Callable[[str], str]
    placeholder: Callable[[int], str]
    expressions: Mapping[str, str]
    """Reserved parameters that are replaced by an expression, which may use `:shift`."""
    repeats: bool = False
    """Whether parameters have no numbers or names, so that one that occurs twice is passed twice."""


class Statement(msgspec.Struct, frozen=True):
    """One statement with its parameters, and their names in order."""

    sql: str
    encoded: bytes
    """The statement, for drivers that take bytes."""
    names: tuple[str, ...]
    parameters: Callable[[Any], Sequence[Any]]
    """Selects its parameters from all values, in order; if it runs once for each row, from the row and then :now."""


class Query(msgspec.Struct, frozen=True):
    """A named block, compiled."""

    name: str
    description: str
    statements: tuple[Statement, ...]
    columns: tuple[tuple[str, str], ...]
    """Names and types of the columns of `{rows}`."""
    has_pairs: bool
    """Whether `{rows}` are pairs: two columns, the first of which is unique."""
    picks: bool
    """Whether the result is the first statement's JSON, which the others take as :picked."""
    tells_now: bool
    """Whether :now is the result."""
    is_row_by_row: bool
    """Whether its statements run once for each row."""
    goes_by_key: bool
    """Whether a look reaches rows by key, so that statistics must not lead PostgreSQL's planner elsewhere."""
    takes: frozenset[str]
    """The names of all parameters of its statements."""


class MigrationStep(msgspec.Struct, frozen=True):
    """One step of a migration, compiled."""

    name: str
    description: str
    statements: tuple[Statement, ...]
    table: str
    """The table that it changes first, as the dialect names it."""
    is_index: bool
    """Whether it builds the index of its name, in one statement."""
    has_batches: bool
    """Whether its statement, run again and again, changes a few rows each time: those whose first column is greater
    than :after, and returns that column.
    """


class Queries:
    """All blocks of one dialect, compiled at first use."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._sources = {**shipped_blocks("shared"), **shipped_blocks(dialect.name)}
        self._compiled: dict[str, Query] = {}
        self._composed: dict[str, Query] = {}

    def __getitem__(self, name: str) -> Query:
        query = self._compiled.get(name)
        if query is not None:
            return query
        if name in self._sources:
            query = self._compiled[name] = self._compile(name, self._sources[name])
            return query
        query = self._composed.get(name)
        if query is None:
            if len(self._composed) >= MAX_COMPOSED:
                self._composed.clear()
            query = self._composed[name] = self._compile(name, self._compose(name))
        return query

    def names(self) -> Sequence[str]:
        """Return the names of all queries, for the test that compiles each."""
        return tuple(name for name, source in self._sources.items() if not _PART.search(source))

    def script(self, text: str) -> tuple[str, ...]:
        """Return the statements of a schema file, with tables named for this dialect."""
        return tuple(self._named(part) for part in _statements(text))

    def steps(self, text: str) -> tuple[MigrationStep, ...]:
        """Return the steps of a migration file: its blocks, some marked `-- index` or `-- in batches`."""
        return tuple(self._step(name, source) for name, source in blocks_of(text, "a migration").items())

    def _step(self, name: str, source: str) -> MigrationStep:
        comments = [line[3:] for line in source.splitlines() if line.startswith("-- ")]
        table = _TABLE.search(_statements(source)[0].rpartition(" ON ")[2])
        assert table is not None
        return MigrationStep(
            name,
            comments[0],
            tuple(self._statement(sql, (), has_pairs=False) for sql in _statements(source)),
            self._dialect.table(table[1]),
            is_index="index" in comments,
            has_batches="in batches" in comments,
        )

    def _compose(self, name: str) -> str:
        """Return the source of a composed statement."""
        frame, way, direction, *conditions = name.split()
        numbers = count()
        judged = " AND ".join(self._condition(condition, numbers) for condition in conditions) or "true"
        source = self._sources[frame].replace("{way}", self._piece(way)).replace("{conditions}", judged)
        for mark, words in _DIRECTIONS[direction].items():
            source = source.replace(f"{{{mark}}}", words)
        columns = _COLUMNS.search(self._sources[way])
        return source if columns is None else f"{columns[0]}\n{source}"

    def _condition(self, condition: str, numbers: Iterator[int]) -> str:
        """Return one condition: either of its parts, or with a minus none of them. What is missing meets none."""
        pieces: list[str] = []
        for part in condition.removeprefix("-").split("|"):
            number = next(numbers)
            piece = _OTHER.sub(lambda found: self._piece(found[1]), self._piece(part))
            numbered = _OF_CONDITION.sub(rf":\1_{number}", piece)
            pieces.append(f"({numbered})")
        return f"{'NOT ' * condition.startswith('-')}coalesce({' OR '.join(pieces)}, false)"

    def _piece(self, name: str) -> str:
        return _statements(self._sources[name])[0]

    def _compile(self, name: str, source: str) -> Query:
        declared = _COLUMNS.search(source)
        columns = tuple(_column(part) for part in declared[2].split(",")) if declared else ()
        has_pairs = declared is not None and declared[1] == "pairs"
        comments = [line[3:] for line in source.splitlines() if line.startswith("-- ")]
        description = " ".join(
            line for line in comments if line not in _MARKS and not line.startswith(("rows:", "pairs:", "──"))
        )
        whole = _OTHER.sub(lambda found: _statements(self._sources[found[1]])[0], source)
        if _ROW_BY_ROW in comments:
            whole = _OF_ROW.sub(r":\1", whole)
        statements = tuple(self._statement(sql, columns, has_pairs=has_pairs) for sql in _statements(whole))
        if _ROW_BY_ROW in comments:
            statements = tuple(_from_row(statement, columns) for statement in statements)
        return Query(
            name,
            description,
            statements,
            columns,
            has_pairs,
            picks=_PICKS in comments,
            tells_now=_TELLS_NOW in comments,
            is_row_by_row=_ROW_BY_ROW in comments,
            goes_by_key=_BY_KEY in comments,
            takes=frozenset(name for statement in statements for name in statement.names),
        )

    def _statement(self, sql: str, columns: tuple[tuple[str, str], ...], *, has_pairs: bool) -> Statement:
        for reserved, expression in self._dialect.expressions.items():
            # Doubled, because backslashes have a meaning in the replacement.
            sql = re.sub(rf"(?<![:\w]):{reserved}\b", expression.replace("\\", r"\\"), sql)
        if "{rows}" in sql:
            table = _unnested if self._dialect.name == "postgres" else _json_pairs if has_pairs else _json_rows
            sql = sql.replace("{rows}", table(columns))
        names: list[str] = []

        def number(found: re.Match[str]) -> str:
            if self._dialect.repeats or found[1] not in names:
                names.append(found[1])
            return self._dialect.placeholder(names.index(found[1]) + 1)

        numbered = self._named(_PARAMETER.sub(number, sql))
        return Statement(numbered, numbered.encode(), tuple(names), _parameters(names))

    def _named(self, sql: str) -> str:
        # Last, because the name of a schema may look like anything.
        return _TABLE.sub(lambda found: self._dialect.table(found[1]), sql)


@cache
def shipped_blocks(file: str) -> dict[str, str]:
    """Return the blocks of `shared`, `sqlite` or `postgres`."""
    text = files("posthorse.store").joinpath("sql", f"{file}.sql").read_text(encoding="utf-8")
    return blocks_of(text, f"{file}.sql")


def blocks_of(text: str, file: str) -> dict[str, str]:
    """Return the blocks of a file by name. Raises ValueError if a name occurs twice."""
    parts = _BLOCK.split(text)[1:]
    found: dict[str, str] = {}
    for name, source in zip(parts[::2], parts[1::2], strict=True):
        if name in found:
            raise ValueError(f"{file} has two blocks {name!r}, and the first would never run; remove or rename one")
        found[name] = source
    return found


def rows_as_json(rows: Sequence[Row]) -> str:
    """Encode rows for SQLite: one JSON text, so that a batch is one step of one statement."""
    return _json(rows).decode()


def pairs_as_json(pairs: Sequence[Row]) -> str:
    """Encode rows of two columns, the first of which is unique."""
    return _json(dict(cast("Sequence[tuple[Value, Value]]", pairs))).decode()


def rows_as_arrays(rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Encode rows for PostgreSQL: one array literal a column.

    Joining text is several times faster than a driver's dumpers, which visit each element in Python.
    """
    by_column = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return {
        f"rows_{name}": "{" + (_quoted(values) if kind == "text" else _plain(values)) + "}"
        for (name, kind), values in zip(columns, by_column, strict=True)
    }


def _quoted(values: Sequence[Value]) -> str:
    # All at once if they are texts. A text with the separator in it would become two; the server refuses it.
    try:
        joined = _BETWEEN.join(cast("Sequence[str]", values))
    except TypeError:
        pass
    else:
        if joined.count(_BETWEEN) == len(values) - 1:
            return _quoted_one(joined).replace(_BETWEEN, '","')
    return ",".join("NULL" if value is None else _quoted_one(str(value)) for value in values)


def _quoted_one(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(values: Sequence[Value]) -> str:
    try:
        return ",".join(cast("Sequence[str]", values))
    except TypeError:
        return ",".join("NULL" if value is None else str(value) for value in values)


def _unnested(columns: Sequence[tuple[str, str]]) -> str:
    arrays = ", ".join(f":rows_{name}::{kind}[]" for name, kind in columns)
    return f"unnest({arrays}) WITH ORDINALITY AS r({', '.join(name for name, _ in columns)}, ordinal)"


def _json_pairs(columns: Sequence[tuple[str, str]]) -> str:
    (key, _), (value, _) = columns
    return f"(SELECT key AS {key}, value AS {value}, rowid + 1 AS ordinal FROM json_each(:rows)) AS r"


def _json_rows(columns: Sequence[tuple[str, str]]) -> str:
    picks = ", ".join(f"json_extract(value, '$[{i}]') AS {name}" for i, (name, _) in enumerate(columns))
    return f"(SELECT {picks}, key + 1 AS ordinal FROM json_each(:rows)) AS r"


def _from_row(statement: Statement, columns: tuple[tuple[str, str], ...]) -> Statement:
    """Let a statement select its parameters from a row and :now, because a mapping for each row costs several times
    more.
    """
    order = [*(name for name, _ in columns), "now"]
    return msgspec.structs.replace(statement, parameters=itemgetter(*map(order.index, statement.names)))


def _parameters(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    if len(names) > 1:
        return itemgetter(*names)  # half the cost of a loop
    if names:
        [name] = names
        return lambda values: (values[name],)
    return lambda _: ()


def _statements(text: str) -> list[str]:
    return [part.strip() for part in _COMMENT.sub("", text).split(";") if part.strip()]


def _column(declared: str) -> tuple[str, str]:
    name, kind = declared.split()
    return name, kind
