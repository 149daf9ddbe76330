"""Flows that come and go with lengths from a mixture file, such as the published ones of AGH campus traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oppcache.traffic.models import COMMON, RST_SHARE, TCP_SHARE, Parameter, Workload

PARAMETERS = {
    "mixture": Parameter("path", None, "JSON file of a mixture of flow lengths (required)"),
    "flows": Parameter("count", 1000, "flows active on average"),
    "tcp_share": TCP_SHARE,
    "rst_share": RST_SHARE,
    **COMMON,
}


def build(values: Mapping[str, Any]) -> Workload:
    """Return the flows; ``values["mixture"]`` is the mixture itself by now."""
    rest = {key: value for key, value in values.items() if key != "mixture"}
    return Workload(lengths=values["mixture"], **rest)
