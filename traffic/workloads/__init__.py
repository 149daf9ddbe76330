"""Workload models of the generator, one file each; see :mod:`oppcache.traffic.models` for what a file has."""
