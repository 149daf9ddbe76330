"""What the tests of packets share: hand-written packets, and a way to parse a few frames."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from oppcache.opp.fields import FIELDS, Layout, layout_for
from oppcache.traffic.parser import Parser, Records

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def craft() -> ModuleType:
    """The module ``craft.py`` beside this file: packets and capture files written by hand."""
    spec = importlib.util.spec_from_file_location("craft", HERE / "craft.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def everything() -> Layout:
    """A layout with every field."""
    return layout_for([f.name for f in FIELDS])


@pytest.fixture(scope="session")
def parse() -> Callable[..., np.ndarray]:
    """Parse frames: ``parse(frames, layout, kind=0, wire=None, before=b"", after=b"")`` → rows.

    Each frame stands between ``before`` and ``after`` in a buffer that ends with the last ``after``.
    """

    def parse_frames(frames, layout=None, kind=0, wire=None, before=b"", after=b""):
        layout = Layout() if layout is None else layout
        records, image = Records(len(frames)), bytearray()
        for i, frame in enumerate(frames):
            image += before
            records.offsets[i], records.captured[i] = len(image), len(frame)
            records.lengths[i] = len(frame) if wire is None else wire
            image += frame + after
        records.kinds[:] = kind
        rows = np.full((len(frames), layout.words), 0xDEAD, np.uint64)
        data = np.frombuffer(bytes(image), np.uint8)
        return Parser(layout).parse(data, records, 0, len(frames), rows).copy()

    return parse_frames


@pytest.fixture(scope="session")
def manifest(traces: Path) -> list[dict[str, str]]:
    """Rows of MANIFEST.tsv that are captures."""
    with open(traces / "MANIFEST.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row for row in rows if row["format/linktype"].startswith("pcap")]
