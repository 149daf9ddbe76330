"""The model checker against a slow search that shares no code with it and reduces nothing."""

from __future__ import annotations

from types import ModuleType

import pytest

from oppcache.consistency import load_protocol
from oppcache.consistency.checker import Model, check
from oppcache.consistency.library import protocol_from_text, protocol_path
from oppcache.consistency.vocabulary import PROPERTIES

DEPTH = 9
WEAK = ["naive", "forget", "write-through", "freeze-drop", "drain", "buffer-forward", "fetch", "instant"]
BOUNDS = [
    {"packets": 2, "promotions": 1, "demotions": 1},
    {"packets": 1, "promotions": 1, "ring_drops": 1},
    {"packets": 2, "promotions": 1, "nic_crashes": 1},
    {"packets": 2, "promotions": 1, "cpu_crashes": 1},
]


def steps_to(protocol: object, bounds: dict[str, int]) -> dict[str, int]:
    """Violated safety properties with the number of steps to each, as the checker finds them."""
    names = [p.name for p in PROPERTIES if p.name != "liveness"]
    verdict = check(protocol, Model(liveness=False, **bounds), properties=names, to_the_end=True)  # type: ignore[arg-type]
    assert verdict.complete
    return {name: len(verdict.trace(name).steps) for name in verdict.violated}


def shallow(found: dict[str, int], depth: int) -> dict[str, int]:
    return {name: steps for name, steps in found.items() if steps <= depth}


@pytest.mark.parametrize("bounds", BOUNDS, ids=lambda bounds: "-".join(bounds))
@pytest.mark.parametrize("name", WEAK)
def test_a_plain_search_finds_the_same_violations_as_far_away(
    name: str, bounds: dict[str, int], plain_protocol: ModuleType, full: bool
) -> None:
    depth = DEPTH if full else 5 if "crashes" in str(bounds) else 6
    protocol = load_protocol(name)
    plain = plain_protocol.PlainSearch(protocol, **bounds)
    plain.run(depth)
    assert plain.found == shallow(steps_to(protocol, bounds), depth)


@pytest.mark.parametrize(
    ("name", "old", "new", "bounds"),
    [
        ("cas", "", "", {"packets": 1, "promotions": 1, "demotions": 1}),
        ("cas", "clear-q", "zero-q", {"packets": 1, "promotions": 1}),
        ("cas", "new-generation, ", "", {"packets": 1, "promotions": 1}),
        ("cas", "not g-given], do: drain", "not g-given], do: [clear-context, drain]", {"packets": 2, "cpu_crashes": 1}),
    ],
    ids=["right", "q", "generation", "emptied"],
)  # fmt: skip
def test_and_so_it_does_with_a_strong_protocol_and_its_mistakes(
    name: str, old: str, new: str, bounds: dict[str, int], plain_protocol: ModuleType, full: bool
) -> None:
    depth = DEPTH + 1 if full else 7
    protocol = protocol_from_text(protocol_path(name).read_text(encoding="utf-8").replace(old or "\0", new))
    plain = plain_protocol.PlainSearch(protocol, **bounds)
    plain.run(depth)
    assert plain.found == shallow(steps_to(protocol, bounds), depth)


LATE_PACKET = (
    "[count-try, process, send watch], next: trying",
    "[count-try, process, take-n, put efence, send install]",
)


@pytest.mark.parametrize(
    ("name", "old", "new", "bounds", "depths"),
    [
        ("naive", "", "", {"packets": 2, "promotions": 1, "demotions": 1, "flows": 2}, (6, 8)),
        ("drain", "", "", {"packets": 2, "promotions": 1, "nic_crashes": 1, "flows": 2}, (5, 7)),
        ("naive", "", "", {"packets": 2, "promotions": 1, "cpu_crashes": 1, "flows": 2}, (5, 7)),
        ("naive", "idea:", "steering: flow\nidea:", {"packets": 3, "promotions": 1, "flows": 3, "queues": 2}, (5, 6)),
        ("cas-hold-queues", "", "", {"packets": 2, "promotions": 1, "flows": 2, "queues": 2}, (4, 7)),
        ("cas-hold-queues", "", "", {"packets": 2, "promotions": 1, "ring_drops": 1, "flows": 2, "queues": 2}, (3, 6)),
        ("cas-hold-queues", "fences: every-queue", "", {"packets": 1, "promotions": 1, "flows": 2, "queues": 2}, (6, 8)),
        ("cas-hold-queues", "steering: flow", "steering: spread", {"packets": 2, "promotions": 1, "queues": 2}, (4, 7)),
        ("cas-hold-queues", *LATE_PACKET, {"packets": 2, "promotions": 1, "flows": 2, "queues": 2}, (4, 8)),
    ],
    ids=["weak", "nic-crash", "cpu-crash", "weak-queues", "queues", "ring-drop", "one-fence", "spread", "late-packet"],
)  # fmt: skip
def test_and_so_it_does_with_several_flows_of_a_context_and_queues(
    name: str,
    old: str,
    new: str,
    bounds: dict[str, int],
    depths: tuple[int, int],
    plain_protocol: ModuleType,
    full: bool,
) -> None:
    text = protocol_path(name).read_text(encoding="utf-8")
    assert old in text
    protocol = protocol_from_text(text.replace(old, new, 1) if old else text)
    plain = plain_protocol.PlainSearch(protocol, **bounds)
    plain.run(depths[full])
    assert plain.found == shallow(steps_to(protocol, bounds), depths[full])
