"""NIC and CPU as one machine that takes packets when they come: for a caller that looks at each one's outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from oppcache.cache import load_policy
from oppcache.opp import contents
from oppcache.opp.contents import Context, KeyValues
from oppcache.opp.errors import InputError, Mark
from oppcache.opp.fields import Layout
from oppcache.opp.machine import Verdicts
from oppcache.traffic.source import Chunk

from .engine import make_outcomes
from .setup import Setup
from .simulation import check_setup, make_run


class _NoPackets:
    """A source that gives none: packets come by :meth:`HybridMachine.process`."""

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        """Nothing."""
        return iter(())

    def counts(self) -> dict[str, int]:
        """Nothing was read."""
        return {}

    def inputs(self) -> list[Path]:
        """It depends on no file."""
        return []

    def describe(self) -> dict[str, Any]:
        """There is nothing to describe."""
        return {}


class HybridMachine:
    """One OPP program on a NIC with limited tables and the CPU behind it; the counterpart of a software machine.

    Args:
        setup: how the two are; its source is not used.

    Attributes:
        layout: what header vectors must look like.

    Raises:
        InputError: what :func:`~.simulation.simulate` would refuse, and a policy that must know the future.
    """

    def __init__(self, setup: Setup) -> None:
        if load_policy(setup.eviction).needs_next_use:
            raise InputError(
                f"eviction {str(setup.eviction)!r} looks into the future, which packets that come one by one lack",
                Mark("--hybrid"),
            )
        check_setup(setup)
        self._run = make_run(replace(setup, source=_NoPackets()))
        self.layout = self._run.lowered.layout

    def process(self, vectors: np.ndarray) -> Verdicts:
        """Run packets, in order; rewritten fields are left in their rows.

        Args:
            vectors: ``uint64[n, layout.words]``, C-contiguous.

        Raises:
            ValueError: the vectors are not of this machine's layout.
        """
        if (
            vectors.shape[1:] != (self.layout.words,)
            or vectors.dtype != np.uint64
            or not vectors.flags.c_contiguous
        ):
            got = f"{vectors.dtype}{list(vectors.shape)}"
            raise ValueError(f"got vectors {got}, expected uint64[n, {self.layout.words}], C-contiguous")
        outcomes = make_outcomes(len(vectors))
        self._run.take(vectors, 0, len(vectors), outcomes)
        return Verdicts(outcomes.verdict, outcomes.port)

    def read_context(self, table: str, key: KeyValues) -> Context | None:
        """The context of a key, wherever it is, or None if it does not exist."""
        lowered, store = self._run.lowered, self._run.store
        one = contents.named(lowered, table)
        words = contents.key_words(one, int(lowered.arrays.tables["key_words"][one.number]), key)
        with np.errstate(over="ignore"):
            base = int(contents.place_of(lowered.arrays, store, one.number, words, False))
        return None if base < 0 else contents.read(lowered, one, store, base)

    def counts(self) -> dict[str, int]:
        """Lookups and hits of the NIC so far."""
        return {"lookups": int(self._run.tally.lookups.sum()), "hits": int(self._run.tally.hits.sum())}
