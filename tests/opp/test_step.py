"""The compiled step against the plain reference, on programs and packets drawn at random.

If these break, the NIC model, the software switch and the live processes no longer mean what the machine's
definition says.
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

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
# Shrinking a failing program takes minutes; the failure shows the program as it was drawn.
PHASES = tuple(Phase) if "--full" in sys.argv else (Phase.explicit, Phase.generate)


@settings(max_examples=250, derandomize=True, deadline=None, phases=PHASES, suppress_health_check=QUIET)
@given(rng=st.randoms(use_true_random=False))
def test_the_step_means_what_the_reference_says(random_programs: ModuleType, rng: Random) -> None:
    random_programs.check_machine(rng, packets=24)


def test_the_step_means_what_the_reference_says_on_many_seeds(
    random_programs: ModuleType, seeds: range
) -> None:
    valid = 0
    for seed in seeds:
        try:
            valid += random_programs.check_machine(Random(seed))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
    assert valid > 0.9 * len(seeds)


SCRIPT = """
import importlib.util, sys
from random import Random
spec = importlib.util.spec_from_file_location("random_programs", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(sum(module.check_machine(Random(seed), 12) for seed in range(int(sys.argv[2]))))
"""


@pytest.mark.parametrize(
    ("setting", "programs", "programs_full"),
    [("NUMBA_DISABLE_JIT", 200, 5_000), ("NUMBA_BOUNDSCHECK", 400, 20_000)],
)
def test_it_does_so_under_every_numba_setting(
    setting: str,
    programs: int,
    programs_full: int,
    checkout: Path,
    full: bool,
    run_script: Callable[..., str],
) -> None:
    """Plain Python finds types that only Numba forgives; bounds checks find what writes past an array's end."""
    count = programs_full if full else programs
    module = checkout / "tests" / "random_programs.py"
    assert int(run_script(SCRIPT, module, count, **{setting: "1"})) > 0.8 * count
