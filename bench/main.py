"""The main job from a capture to its results: parse, NIC cache and software switch, results.csv."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from oppcache.experiments.api import plan
from oppcache.experiments.progress import Silent
from oppcache.experiments.results import write
from oppcache.experiments.runner import run_plan

from .inputs import headers_capture

TITLE = "a stateful firewall behind an ideal NIC cache (LRU, 4,096 contexts), from a capture to results.csv"
UNIT = "packets"
EXCLUDES = "imports, kernel compilation, making and gunzipping the capture (96-byte headers, in the page cache), figures"


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Callable[[], int]]]:
    """One whole run of the main job, single process."""
    packets = 20_000 if quick else 1_000_000
    with headers_capture(packets) as capture, tempfile.TemporaryDirectory(prefix="oppcache-bench-") as out:
        planned = plan(
            {
                "name": "bench-main",
                "program": {"nf": "stateful-firewall"},
                "traffic": {"pcap": str(capture)},
                "nic": {"profile": "ideal", "contexts": 4096},
                "cache": {"eviction": "lru"},
                "consistency": {"protocol": "instant"},
            }
        )

        def run() -> int:
            write(planned, run_plan(planned, Path(out), 1, Silent(), force=True), Path(out), ["bench"])
            return packets

        yield {"oppcache": run}
