"""Benchmarks against peers, as ratios in one run."""

if __name__ != "oppcache.bench":
    raise ImportError(f"import oppcache.bench, not {__name__}: a second copy would not share its classes")
