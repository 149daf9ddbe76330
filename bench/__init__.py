"""Benchmarks against peers: each file here but the harness is one, and gives its candidates for one interleaved run.

A benchmark module has ``TITLE``, ``UNIT``, ``EXCLUDES`` (what its figures leave out) and a context manager
``candidates(quick)`` that prepares inputs and yields a dictionary of name to function; a function processes
its workload once and returns how many units that were. The first candidate is ours; the others are peers, unless
``RATIO`` words what the ratio of the first to another is. With a function ``against(name)`` a benchmark names the
candidate that each is compared with, "" for none; ``ROUNDS`` is its number of rounds.
"""

if __name__ != "oppcache.bench":
    raise ImportError(f"import oppcache.bench, not {__name__}: a second copy would not share its classes")

from .harness import Report, benchmark_names, run_benchmark

__all__ = ["Report", "benchmark_names", "run_benchmark"]
