"""Errors as users read them, and as they cross processes."""

from __future__ import annotations

import pickle

import pytest

from oppcache.opp.errors import NOWHERE, InputError, Mark, OppCacheError, Problem, Problems, near_miss


def test_a_mark_shows_what_it_knows() -> None:
    assert str(Mark("a.yaml", 3, 7)) == "a.yaml:3:7"
    assert str(Mark("a.yaml", 3)) == "a.yaml:3"
    assert str(Mark("a.yaml")) == "a.yaml"
    assert str(NOWHERE) == "<python>"


def test_a_problem_shows_place_message_and_hint() -> None:
    assert str(Problem("wrong", Mark("a", 1, 2), "did you mean 'b'?")) == "a:1:2: wrong (did you mean 'b'?)"


def test_problems_come_sorted_and_once() -> None:
    problems = Problems()
    problems.raise_if_any()
    assert not problems
    for line in (9, 2, 9, 5):
        problems.add("wrong", Mark("a", line, 1))
    problems.add("other", Mark("a", 2, 1))
    with pytest.raises(InputError) as caught:
        problems.raise_if_any()
    assert str(caught.value).splitlines() == ["a:2:1: wrong", "a:2:1: other", "a:5:1: wrong", "a:9:1: wrong"]


@pytest.mark.parametrize("kind", [OppCacheError, InputError])
def test_errors_survive_a_trip_between_workers(kind: type[OppCacheError]) -> None:
    error = kind([Problem("one", Mark("a", 1, 2), "hint"), Problem("two")])
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert back.problems == error.problems
    assert str(back) == str(error)


def test_a_message_or_a_problem_will_do() -> None:
    assert InputError("text", Mark("f")).problems == (Problem("text", Mark("f")),)
    assert InputError(Problem("text")).problems == (Problem("text"),)
    assert (InputError.exit_status, issubclass(InputError, OppCacheError)) == (2, True)


@pytest.mark.parametrize(
    ("got", "hint"),
    [
        ("evicton", "did you mean 'eviction'?"),
        ("zzz", ""),
        ("", ""),
        ("admision", "did you mean 'admission'?"),
    ],
)
def test_near_misses(got: str, hint: str) -> None:
    assert near_miss(got, ["eviction", "admission"]) == hint
