"""Every shipped protocol keeps and gives up exactly what its matrix says."""

from __future__ import annotations

import pytest

from oppcache.consistency import load_protocol, protocol_names
from oppcache.consistency.matrix import SMALL, claimed, measure, model_of
from oppcache.consistency.vocabulary import FAULTS

STRONG = ("cas", "cas-hold", "cas-hold-queues", "output-commit")


@pytest.mark.parametrize("fault", [fault.name for fault in FAULTS])
@pytest.mark.parametrize("name", protocol_names())
def test_every_cell_of_the_matrix_is_as_the_checker_finds_it(name: str, fault: str, full: bool) -> None:
    protocol = load_protocol(name)
    model = model_of(protocol, fault)
    if full and name not in STRONG:
        model = SMALL[fault].but(packets=4, promotions=2)
    verdict = measure(protocol, fault, model)
    assert verdict.complete
    assert sorted(verdict.violated) == sorted(claimed(protocol, fault))
