"""A backbone-like mix: TCP and UDP flows of heavy-tailed lengths, packet sizes with three modes.

With ``zipf``, packets choose among a fixed population of flows by popularity, and a flow whose connection has
closed opens the next one. Without, flows arrive, live and end, and ``flows`` of them are active on average.
The shares are round numbers in the manner of CAIDA's backbone monitors; it is no model of one trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oppcache.traffic.models import COMMON, RST_SHARE, TCP_SHARE, Mixture, Parameter, Workload

PARAMETERS = {
    "flows": Parameter(
        "count", 100_000, "flows in the population (with zipf), or active on average (without)"
    ),
    "zipf": Parameter("number", None, "exponent of the flows' popularity; absent: flows come and go"),
    "tcp_share": TCP_SHARE,
    "rst_share": RST_SHARE,
    "new_ports": Parameter("flag", False, "with zipf: a flow's next connection has a new source port"),
    **COMMON,
}

# Mice of a few packets, transfers of tens, and a tail of elephants; mean about 26 packets.
LENGTHS = Mixture(
    (
        (0.30, "uniform", (0.0, 2.0)),
        (0.42, "lognorm", (0.6, 0.0, 9.0)),
        (0.25, "lognorm", (1.0, 0.0, 25.0)),
        (0.03, "lognorm", (1.6, 0.0, 100.0)),
    )
)


def build(values: Mapping[str, Any]) -> Workload:
    """Return the mix."""
    return Workload(lengths=LENGTHS, **values)
