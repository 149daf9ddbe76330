"""Wrappers that bound a source's packets or set their times anew; each is a packet source itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oppcache.opp.fields import STATUS_REASON_BITS, W_LENGTH, W_NOW, W_STATUS, Layout
from oppcache.opp.units import parse_bits_per_second, parse_packets_per_second

from .headers import Reason
from .source import Chunk, PacketSource

WIRE_OVERHEAD = 24  # FCS, preamble, start delimiter and least gap, bytes a frame
_REASON_MASK = np.uint64((1 << STATUS_REASON_BITS) - 1)
_EXPECTED = "as-captured, a bandwidth such as 40Gbps, a packet rate such as 10Mpps, or a factor such as x2.5"


@dataclass(frozen=True)
class Rate:
    """How fast packets are to arrive.

    Attributes:
        kind: ``as-captured``; ``bits``: back to back at ``value`` bits/s on the wire; ``packets``: ``value``
            packets/s, evenly spaced; ``factor``: gaps divided by ``value``.
        value: the number, positive.
    """

    kind: Literal["as-captured", "bits", "packets", "factor"] = "as-captured"
    value: float = 1.0


def parse_rate(value: Any) -> Rate:
    """Read ``as-captured``, ``40Gbps``, ``10Mpps`` or ``x2.5``.

    Raises:
        ValueError: anything else, with what was got and what was expected.
    """
    problem = ValueError(f"got {value!r}, expected {_EXPECTED}")
    if not isinstance(value, str):
        raise problem
    text = value.strip()
    if text == "as-captured":
        return Rate()
    if text.startswith("x"):
        try:
            factor = float(text[1:])
        except ValueError:
            raise problem from None
        if not 0 < factor < float("inf"):
            raise problem
        return Rate("factor", factor)
    if text.endswith(("bps", "bit/s")):
        return Rate("bits", parse_bits_per_second(text))
    if text.endswith(("pps", "p/s")):
        return Rate("packets", parse_packets_per_second(text))
    raise problem


def limit(source: PacketSource, packets: int | None = None, duration_ns: int | None = None) -> PacketSource:
    """Bound a source: at most ``packets``, and only packets less than ``duration_ns`` after the first."""
    if packets is None and duration_ns is None:
        return source
    return _Limited(source, packets, duration_ns)


def retime(source: PacketSource, rate: Rate) -> PacketSource:
    """Set the times of a source's packets by ``rate``; the first keeps its own."""
    return source if rate.kind == "as-captured" else _Retimed(source, rate)


class _Wrapper:
    def __init__(self, source: PacketSource) -> None:
        self.source = source

    def counts(self) -> dict[str, int]:
        """Counts of the source."""
        return self.source.counts()

    def inputs(self) -> list[Path]:
        """Files of the source."""
        return self.source.inputs()


class _Limited(_Wrapper):
    def __init__(self, source: PacketSource, packets: int | None, duration_ns: int | None) -> None:
        super().__init__(source)
        self.packets = packets
        self.duration_ns = duration_ns
        self._delivered = 0
        self._reasons: np.ndarray | None = None

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        """Yield the source's chunks up to the limits."""
        self._delivered = 0
        reasons = self._reasons = np.zeros(256, np.int64)
        end: int | None = None
        if self.packets == 0:
            return
        for chunk in self.source.chunks(layout):
            stamps = chunk.vectors[:, W_NOW]
            keep = len(chunk)
            if self.duration_ns is not None:
                if end is None:
                    end = int(stamps[0]) + self.duration_ns
                keep = int(np.searchsorted(stamps, np.uint64(end), side="left"))
            if self.packets is not None:
                keep = min(keep, self.packets - self._delivered)
            whole = keep == len(chunk)
            if keep:
                status = chunk.vectors[:keep, W_STATUS] & _REASON_MASK
                reasons += np.bincount(status.astype(np.int64), minlength=256)
                self._delivered += keep
                yield chunk if whole else chunk.head(keep)
            if not whole or self._delivered == self.packets:
                return

    def counts(self) -> dict[str, int]:
        """Counts of the source, with ``packets`` and ``parse_*`` those of the packets that passed.

        The source may have read some packets further: ``packets_read`` and ``skipped_*`` are its own.
        """
        found = {k: v for k, v in self.source.counts().items() if not k.startswith("parse_")}
        found["packets"] = self._delivered
        if self._reasons is not None:
            for reason in Reason:
                if reason and self._reasons[reason]:
                    found[f"parse_{reason.name.lower()}"] = int(self._reasons[reason])
        return found

    def describe(self) -> dict[str, Any]:
        """The source's description and the limits."""
        limits = {"limit_packets": self.packets, "limit_duration_ns": self.duration_ns}
        return {**self.source.describe(), **{k: v for k, v in limits.items() if v is not None}}


class _Retimed(_Wrapper):
    def __init__(self, source: PacketSource, rate: Rate) -> None:
        super().__init__(source)
        self.rate = rate

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        """Yield the source's chunks with their time words set anew."""
        first, done, wire_bits = 0, 0, 0
        for chunk in self.source.chunks(layout):
            stamps = chunk.vectors[:, W_NOW]
            passed: np.ndarray
            if done == 0:
                first = int(stamps[0])
            if self.rate.kind == "factor":
                passed = (stamps - np.uint64(first)).astype(np.float64) / self.rate.value
            elif self.rate.kind == "packets":
                passed = np.arange(done, done + len(chunk)) * (1e9 / self.rate.value)
            else:
                bits = (chunk.vectors[:, W_LENGTH].astype(np.int64) + WIRE_OVERHEAD) * 8
                sums = wire_bits + np.cumsum(bits)
                passed = (sums - bits) * (1e9 / self.rate.value)
                wire_bits = int(sums[-1])
            stamps[:] = np.uint64(first) + np.minimum(np.rint(passed), float(1 << 62)).astype(np.uint64)
            done += len(chunk)
            yield chunk

    def describe(self) -> dict[str, Any]:
        """The source's description and the rate."""
        return {**self.source.describe(), "rate": {"kind": self.rate.kind, "value": self.rate.value}}
