"""Where a context is must not matter: the hybrid's verdicts, packets and final state are the reference's.

All runs are poisoned: what a migration leaves behind is overwritten, so that any use of it shows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oppcache.hybrid import simulation
from oppcache.opp.contexts import make_store

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
# Shrinking a failing program takes minutes; the failure shows the program as it was drawn.
PHASES = tuple(Phase) if "--full" in sys.argv else (Phase.explicit, Phase.generate)
CAPACITIES = (0, 1, 2, 3, 8, 1000)


@pytest.fixture(autouse=True, scope="module")
def _tiny_store() -> None:
    """Begin with room for one context, so that the store grows while the NIC holds contexts."""
    patch = pytest.MonkeyPatch()
    patch.setattr(simulation, "make_store", lambda program, slots, capacity: make_store(program, slots, 1))
    yield
    patch.undo()


@settings(max_examples=80, derandomize=True, deadline=None, phases=PHASES, suppress_health_check=QUIET)
@given(rng=st.randoms(use_true_random=False))
def test_the_hybrid_means_what_the_reference_says(random_programs: ModuleType, rng: Random) -> None:
    random_programs.check_hybrid(rng, [rng.randrange(4)], packets=24)


def test_the_hybrid_means_what_the_reference_says_on_many_seeds(
    random_programs: ModuleType, full: bool
) -> None:
    count = 10_000 if full else 200
    valid = 0
    for seed in range(count):
        try:
            valid += random_programs.check_hybrid(Random(seed), CAPACITIES)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
    assert valid > 0.9 * count


SCRIPT = """
import importlib.util, sys
from random import Random
spec = importlib.util.spec_from_file_location("random_programs", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(sum(module.check_hybrid(Random(seed), (0, 1, 3), 12) for seed in range(int(sys.argv[2]))))
"""


@pytest.mark.parametrize("setting", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_it_does_so_under_every_numba_setting(
    setting: str, checkout: Path, full: bool, run_script: Callable[..., str]
) -> None:
    if setting == "NUMBA_BOUNDSCHECK" and not full:
        pytest.skip("compiling the engine with bounds checks takes a while: --full")
    count = 1_000 if full else 30
    module = checkout / "tests" / "random_programs.py"
    assert int(run_script(SCRIPT, module, count, **{setting: "1"})) > 0.8 * count
