"""A SYN flood from spoofed sources, one packet a flow, on top of a backbone-like mix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oppcache.traffic.models import Parameter, Workload

from . import caida_like

PARAMETERS = {
    "attack_share": Parameter("share", 0.5, "share of all packets that are the attack's"),
    "victims": Parameter("count", 1, "hosts inside that are attacked"),
    **caida_like.PARAMETERS,
}


def build(values: Mapping[str, Any]) -> Workload:
    """Return the mix with the flood beside it."""
    rest = {key: value for key, value in values.items() if key != "attack_share"}
    return Workload(lengths=caida_like.LENGTHS, flood_share=values["attack_share"], **rest)
