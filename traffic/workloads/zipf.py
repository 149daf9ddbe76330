"""Independent references: each packet is of a UDP flow drawn by Zipf's law, whatever came before.

The independent-reference model of textbook cache studies. Flow ranks keep their 5-tuples for the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oppcache.traffic.models import COMMON, Parameter, Workload

PARAMETERS = {
    "flows": Parameter("count", 100_000, "flows in the population"),
    "zipf": Parameter(
        "number", 1.0, "exponent of popularity: the i-th flow's share goes as i^-zipf; 0: uniform"
    ),
    **COMMON,
}


def build(values: Mapping[str, Any]) -> Workload:
    """Return one-way UDP flows that never end."""
    return Workload(
        flows=values["flows"],
        zipf=values["zipf"],
        tcp_share=0.0,
        one_way_share=1.0,
        inside_initiated=values["inside_initiated"],
        clients=values["clients"],
        servers=values["servers"],
        rate=values["rate"],
    )
