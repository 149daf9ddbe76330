"""The software machine: a lowered program with its contexts and globals, taking packets in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import arrays as A
from . import contents
from .contents import Context, KeyValues
from .contexts import grow, has_room, make_store, renew, reset
from .editing import Editor
from .emission import Made, has_queue_room, make_scratch, makes_packets, take
from .entry_counts import Counts, entry_counts
from .errors import InputError, near_miss
from .fields import W_NOW, Layout
from .lower import Lowered, lower
from .program import MAX_RECORDS, Entry, Program
from .runs import overdue, process_packets, sweep_contexts, waiting
from .snapshot import Snapshot, snapshot
from .swap import Carried, swap

# Records that one packet can create in one table at most.
RESERVE = MAX_RECORDS


class Verdicts(NamedTuple):
    """What became of a batch of packets: ``uint8[n]`` verdict codes and ``uint32[n]`` output ports."""

    verdict: np.ndarray
    port: np.ndarray


class Machine:
    """One OPP program in software, without limits on its tables.

    Args:
        program: a checked program.
        seed: of the ``random`` operand.
        fields: names of fields that header vectors are to have beyond those that the program names, for entries
            to come.

    Attributes:
        layout: what header vectors must look like.
        lowered: the program as it is now, in arrays; other ones after a change.
        version: grows by one with every change of entries, contexts, globals or the program, which are all made
            between two packets.
        now_ns: ingress stamp of the last packet, 0 before the first.
        globals: ``uint64`` global variables, in order of declaration.
    """

    def __init__(self, program: Program, seed: int = 0, fields: Iterable[str] = ()) -> None:
        fields = tuple(fields)
        self.lowered: Lowered = lower(program, fields)
        # Where there are many entries, what changes need takes a while to make: not at the first change.
        self._editor = Editor(self.lowered) if self.lowered.spaces else None
        self._fields = fields
        self.version = 0
        self.now_ns = 0
        self.seed = np.uint64(seed)
        self.store = make_store(self.lowered.arrays, capacity=4 * RESERVE)
        self.globals = self.lowered.arrays.globals.copy()
        self._scratch = make_scratch(self.lowered)
        self._made: list[Made] = []

    @property
    def layout(self) -> Layout:
        return self.lowered.layout

    @property
    def program(self) -> Program:
        """The program as it is now."""
        return self.lowered.program

    def add_entry(self, stage: str, entry: Entry | Mapping[str, Any]) -> None:
        """Add an entry behind those of a stage; the next packet meets it.

        Args:
            stage: name.
            entry: an entry, or a mapping as in a program file, with a name and a priority.

        Raises:
            InputError: everything that loading the program with this entry would refuse, and a field that the
                header vectors do not have or a table that has no key yet. Nothing has changed then.
        """
        self._changed(self._edit().add(stage, entry))

    def delete_entry(self, stage: str, name: str) -> None:
        """Take an entry out of a stage; contexts stay as they are.

        Raises:
            InputError: there is no such stage or entry.
        """
        self._changed(self._edit().delete(stage, name))

    def modify_entry(self, stage: str, name: str, entry: Entry | Mapping[str, Any]) -> None:
        """Put an entry in the place of another, whose name it may have; no packet meets neither or both.

        Raises:
            InputError: as for :meth:`add_entry` and :meth:`delete_entry`.
        """
        self._changed(self._edit().modify(stage, name, entry))

    def _edit(self) -> Editor:
        if self._editor is None:
            self._editor = Editor(self.lowered)
        return self._editor

    def _changed(self, lowered: Lowered) -> None:
        self.lowered = lowered
        if makes_packets(lowered) and not self._scratch[A.S_CAPACITY]:
            self._scratch = make_scratch(lowered, self._scratch)
        self.version += 1

    def process(self, vectors: np.ndarray) -> Verdicts:
        """Run a batch of packets, in order; rewritten fields are left in their rows.

        Args:
            vectors: ``uint64[n, layout.words]``, C-contiguous.

        Raises:
            ValueError: the vectors are not of this machine's layout.
        """
        count = len(vectors)
        if vectors.shape[1:] != (self.layout.words,):
            raise ValueError(f"got vectors of shape {vectors.shape}, expected (n, {self.layout.words})")
        if count:
            self.now_ns = int(vectors[-1, W_NOW])
        verdicts, ports = np.zeros(count, np.uint8), np.zeros(count, np.uint32)
        done = 0
        with np.errstate(all="ignore"):
            while True:
                done = int(
                    process_packets(
                        self.lowered.arrays,
                        self.store,
                        self.globals,
                        vectors,
                        done,
                        self.seed,
                        verdicts,
                        ports,
                        self._scratch,
                    )
                )
                if done == count and not waiting(self._scratch):
                    break
                self._make_room()
        self._collect()
        return Verdicts(verdicts, ports)

    def sweep(self, now_ns: int) -> int:
        """Expire every context whose deadline has passed at a time, and run the packets that tell of it.

        The contexts go in the order of their deadlines, each before the packets that it makes; of equal deadlines that
        of the earlier table, then that of the earlier key. A context whose deadline has not passed is not touched.

        Args:
            now_ns: not later than the stamp of any packet that is still to come.

        Returns:
            how many contexts expired.
        """
        due = overdue(self.lowered.arrays, self.store, now_ns)
        done = 0
        before = int(self._scratch[A.S_SWEPT])
        with np.errstate(all="ignore"):
            while True:
                args = (
                    self.lowered.arrays,
                    self.store,
                    self.globals,
                    due,
                    done,
                    np.uint64(now_ns),
                    self.seed,
                )
                done = int(sweep_contexts(*args, self._scratch, np.zeros(self.layout.words, np.uint64)))
                if done == len(due) and not waiting(self._scratch):
                    break
                self._make_room(grow)  # what is due is known by its record
        self._collect()
        return int(self._scratch[A.S_SWEPT]) - before

    def made(self) -> list[Made]:
        """Take the packets that the program has made since the last call: generated ones, and those of passed timers."""
        found, self._made = self._made, []
        return found

    def _collect(self) -> None:
        if self._scratch[A.S_TAIL]:
            self._made.append(take(self._scratch, self.layout.words))

    def _make_room(self, make: Callable[[A.ProgramArrays, A.Store, int], A.Store] = renew) -> None:
        """Store or queue are short: take out what has run or is no more, and let grow what is short still."""
        if not has_room(self.store, RESERVE):
            self.store = make(self.lowered.arrays, self.store, RESERVE)
        self._collect()
        if not has_queue_room(self._scratch):
            self._scratch = make_scratch(self.lowered, self._scratch)

    # What it holds

    def read_context(self, table: str, key: KeyValues) -> Context | None:
        """The context of a key, or None if it does not exist.

        Timers pass when a packet next uses a context: one whose deadline is over may still be there.

        Args:
            table: name.
            key: values of the key's parts by name, as a packet would have them, or all of them in order, as they
                stand in :meth:`contexts`. Addresses may be text.

        Raises:
            InputError: no such table, or not a key of it.
        """
        one, words = self._key(table, key)
        base = self._place(one, words, create=False)
        return None if base < 0 else contents.read(self.lowered, one, self.store, base)

    def write_context(self, table: str, key: KeyValues, context: Context | Mapping[str, Any]) -> None:
        """Put a whole context in the place of what the key has, or make it; the next packet meets it.

        Args:
            table, key: as for :meth:`read_context`.
            context: a context, or a mapping of its attributes.

        Raises:
            InputError: as for :meth:`read_context`, or a context that the table cannot hold. Nothing has changed then.
        """
        one, words = self._key(table, key)
        values = contents.words_of(self.lowered, one, contents.context_of(context), self.now_ns)
        if self.store.tables["used"][one.number] == self.store.tables["capacity"][one.number]:
            self.store = grow(self.lowered.arrays, self.store, RESERVE)
        base = self._place(one, words, create=True)
        for word, value in values.items():
            self.store.memory[base + word] = value
        self._touched(base)

    def delete_context(self, table: str, key: KeyValues) -> bool:
        """Let a context cease to exist; whether it did exist.

        Raises:
            InputError: as for :meth:`read_context`.
        """
        one, words = self._key(table, key)
        base = self._place(one, words, create=False)
        if base < 0 or contents.read(self.lowered, one, self.store, base) is None:
            return False
        with np.errstate(over="ignore"):
            reset(self.lowered.arrays, self.store.memory, one.number, base)
        self._touched(base)
        return True

    def list_contexts(self, table: str) -> Iterator[tuple[dict[str, Any], Context]]:
        """Keys (by the names of their parts, addresses as text) and contexts of a table, in order of first sight.

        Raises:
            InputError: no such table.
        """
        one = contents.named(self.lowered, table)
        for base in contents.places(self.lowered, one, self.store):
            context = contents.read(self.lowered, one, self.store, base)
            if context is not None:
                yield contents.key_as_fields(self.lowered, one, self.store, base), context

    def read_global(self, name: str) -> int:
        """The value of a global variable, by ``group.name``.

        Raises:
            InputError: there is none of that name.
        """
        return int(self.globals[self._global(name)])

    def write_global(self, name: str, value: int) -> None:
        """Give a global variable a value; the next packet meets it.

        Raises:
            InputError: there is none of that name, or the value is too wide.
        """
        place = self._global(name)
        bits = [v.bits for g in self.program.globals for v in g.variables][place]
        contents.check_range(value, (1 << max(bits, self.program.word_bits)) - 1, f"global {name}")
        self.globals[place] = value
        self.version += 1

    def replace_program(self, program: Program) -> Carried:
        """Put another program in the place of this one; the next packet meets it, from its first stage on.

        What carries over is said in :mod:`.swap`; :attr:`layout` may be another one afterwards.

        Returns:
            names of the tables whose contexts stayed, and of the globals whose values did.

        Raises:
            InputError: the program cannot be lowered. Nothing has changed then.
        """
        lowered = lower(program, self._fields)
        editor = Editor(lowered) if lowered.spaces else None
        self.store, self.globals, kept = swap(self.lowered, self.store, self.globals, lowered, 4 * RESERVE)
        self.lowered, self._editor = lowered, editor
        swept = self._scratch[A.S_SWEPT]
        self._scratch = make_scratch(lowered)
        self._scratch[A.S_SWEPT] = swept
        self.version += 1
        return kept

    def entry_counts(self) -> Counts:
        """Packets, bytes and last hit of each entry, by stage and entry name, since the entry is there."""
        return entry_counts(self.lowered, None if self._editor is None else self._editor.numbers)

    def contexts(self) -> Snapshot:
        """Every existing context, in the plain form that the reference gives too."""
        return snapshot(self.lowered, self.store)

    def global_values(self) -> dict[str, int]:
        """Global variables by ``group.name``."""
        return dict(zip(self._global_names(), map(int, self.globals), strict=True))

    def _global_names(self) -> list[str]:
        return [f"{g.name}.{v.name}" for g in self.program.globals for v in g.variables]

    def _global(self, name: str) -> int:
        names = self._global_names()
        if name not in names:
            raise InputError(f"the program has no global {name!r} {near_miss(name, names)}".strip())
        return names.index(name)

    def _key(self, table: str, key: KeyValues) -> tuple[contents.Named, np.ndarray]:
        one = contents.named(self.lowered, table)
        words = int(self.lowered.arrays.tables["key_words"][one.number])
        return one, contents.key_words(one, words, key)

    def _place(self, one: contents.Named, words: np.ndarray, *, create: bool) -> int:
        with np.errstate(over="ignore"):
            place = contents.place_of(self.lowered.arrays, self.store, one.number, words, create)
        return int(place)

    def _touched(self, base: int) -> None:
        """Count a change of the context at a word of the memory."""
        self.store.memory[base + A.C_VERSION] += np.uint64(1)
        self.version += 1
