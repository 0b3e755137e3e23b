"""The vocabulary in which a corpus is made, as a small lazy plan that an engine executes.

    engine.session(folder, console):  read(sources) → Dataset
    Dataset:  map · group · join · sort · persist → Dataset;  collect → iterator of rows, in order

A step speaks only these words, so it runs unchanged in worker processes on a laptop (`engines/local.py`) or on a
cluster. A row is a `Document` or a flat tuple of int, float, str and bytes (its elements may themselves be flat tuples:
`(key, (value, value))`). Rows have one global order: that of the sources, their files, and the place in the file.

Nothing runs until `collect`. Maps that follow each other are fused, so that a document passes through all of them
while it is in hand. Functions given to a dataset travel to other processes: they are methods of parts, functions of a
module or `functools.partial` of those, never lambdas; and they see one partition at a time, never all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from yanmo.core.config import Part

if TYPE_CHECKING:
    from yanmo.core.console import Console
    from yanmo.core.data import Document
    from yanmo.corpus.source import Source

Row = Any
Key = int | str | bytes
How = Literal["left", "inner", "anti"]
RowFunction = Callable[[Iterator[Row]], Iterator[Row]]


@dataclass(frozen=True, eq=False)
class Plan:
    """One operation. `number` counts operations as they are written down, the same in every run of the same recipe."""

    number: int


@dataclass(frozen=True, eq=False)
class Read(Plan):
    sources: tuple[Source, ...]


@dataclass(frozen=True, eq=False)
class Given(Plan):
    rows: tuple[Row, ...]


@dataclass(frozen=True, eq=False)
class Map(Plan):
    child: Plan
    fn: RowFunction
    across: bool = False


@dataclass(frozen=True, eq=False)
class Persist(Plan):
    child: Plan


@dataclass(frozen=True, eq=False)
class Group(Plan):
    child: Plan
    key: Callable[[Row], Key | None]
    value: Callable[[Row], Any]
    reduce: Callable[[Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Join(Plan):
    child: Plan
    other: Plan
    key: Callable[[Row], Key | None]
    how: How


@dataclass(frozen=True, eq=False)
class Sort(Plan):
    child: Plan
    key: Callable[[Row], Any]


def by_place(doc: Document) -> int:
    """The key of a document by its place in the corpus: an engine knows where that is and need not look for it."""
    return doc.order


@dataclass(frozen=True)
class Concatenation:
    """The `reduce` of byte strings: those of a key behind each other, in no order that could be relied on."""

    def __call__(self, a: bytes, b: bytes) -> bytes:
        return a + b

    def all(self, values: Iterable[bytes]) -> bytes:
        """The same for many at once, which copies each byte once."""
        return b"".join(values)


class Session(Protocol):
    """An engine at work: numbers the operations of a plan, and executes it when rows are asked for."""

    def number(self) -> int: ...

    def read(self, sources: Iterable[Source]) -> Dataset: ...

    def rows(self, plan: Plan) -> Iterator[Row]: ...

    def sweep(self) -> None: ...


class Dataset:
    """Rows that a plan describes. Each method returns a new dataset; `collect` alone executes."""

    def __init__(self, plan: Plan, session: Session):
        self.plan, self.session = plan, session

    def map(self, fn: RowFunction, across: bool = False) -> Dataset:
        """`fn` turns the rows of a partition into other rows, none or many; it holds no more than a few at a time.

        `across`: where the rows are grouped next, it may be given those of several partitions in one go."""
        return self._then(Map(self.session.number(), self.plan, fn, across))

    def group(self, key: Callable[[Row], Key | None], value: Callable[[Row], Any], reduce: Callable[[Any, Any], Any]) -> Dataset:
        """(key, value) for each key, its values combined two by two with `reduce`, which neither order nor grouping may
        matter to. A row whose key is None takes no part. Values are small: they travel between processes. The order is that of
        the top byte of the key's hash and then of the key: the same for any cut and on every engine."""
        return self._then(Group(self.session.number(), self.plan, key, value, reduce))

    def join(
        self, other: Dataset | Iterable[tuple[Key, Any]], key: Callable[[Row], Key | None], how: How = "left"
    ) -> Dataset:
        """'left': (row, value of its key in `other`, or None) for each row; 'inner': that for the rows whose key it has, and the
        others cost next to nothing where the rows are stored; 'anti': the rows whose key `other` lacks.

        `other` is a dataset of (key, value) with each key once, or such rows themselves. The rows keep their order."""
        if not isinstance(other, Dataset):
            other = self._then(Given(self.session.number(), tuple(other)))
        return self._then(Join(self.session.number(), self.plan, other.plan, key, how))

    def sort(self, key: Callable[[Row], Any]) -> Dataset:
        """The rows in the order of `key`; equal ones keep theirs."""
        return self._then(Sort(self.session.number(), self.plan, key))

    def persist(self) -> Dataset:
        """The same rows, worked out once although they are read several times."""
        return self if isinstance(self.plan, Persist) else self._then(Persist(self.session.number(), self.plan))

    def collect(self) -> Iterator[Row]:
        """Executes the plan and yields its rows, in order, without holding them."""
        return self.session.rows(self.persist().plan)

    def _then(self, plan: Plan) -> Dataset:
        return Dataset(plan, self.session)


class Engine(Part):
    """Where a plan is executed. Every engine gives the same rows in the same order."""

    def check(self) -> None:
        """Raises a RequestError for what can be known to be missing before any work."""

    def session(self, folder: Path, console: Console) -> AbstractContextManager[Session]:
        """A session whose intermediate files lie in `folder`; what an earlier one left there is used again where it fits.

        `inputs.json` in it says the digest of each file that is read ({written path: sha256})."""
        raise NotImplementedError
