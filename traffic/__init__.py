"""Packets in and out: capture files, header parsing, generators and workload models."""

if __name__ != "oppcache.traffic":
    raise ImportError(f"import oppcache.traffic, not {__name__}: a second copy would not share its classes")
