"""Policies that users write: what loads, what is refused and how the refusal reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oppcache.cache import admission_names, eviction_names, load_admission, load_policy
from oppcache.cache.replay import replay
from oppcache.opp.errors import InputError, Mark

EVICTION = {
    "state_size": "def state_size(capacity, keys):\n    return 1 + capacity\n",
    "init": "def init(state, capacity):\n    state[0] = 0\n",
    "hit": "def hit(state, slot, now, next_use):\n    pass\n",
    "victim": (
        "def victim(state, candidates, n, key, now, next_use):\n"
        "    if n > 0:\n        return candidates[n - 1]\n    return state[0] % 4\n"
    ),
    "insert": "def insert(state, slot, key, now, next_use):\n    state[0] += 1\n",
    "remove": "def remove(state, slot, evicted):\n    pass\n",
}
ADMISSION = {
    "state_size": "def state_size(capacity, keys):\n    return 0\n",
    "init": "def init(state, capacity):\n    pass\n",
    "admit": "def admit(state, key, packets, rate, now):\n    return 1\n",
}


def policy_file(folder: Path, base: dict[str, str], head: str = "", **changed: str | None) -> Path:
    """Write a policy, with functions replaced or (None) left out."""
    parts = [text for text in {**base, **changed}.values() if text is not None]
    path = folder / "mine.py"
    path.write_text(head + "\n".join(parts))
    return path


def problem(path: Path | str, load: Any = load_policy) -> Any:
    """The one problem with which loading fails."""
    with pytest.raises(InputError) as caught:
        load(path)
    assert len(caught.value.problems) == 1, caught.value.problems
    return caught.value.problems[0]


def test_a_whole_policy_loads(tmp_path: Path) -> None:
    policy = load_policy(policy_file(tmp_path, EVICTION))
    assert (policy.name, policy.needs_next_use, policy.needs_keys) == ("mine", False, False)
    assert policy.state_size(7, 99) == 8


def test_a_policy_says_what_it_needs(tmp_path: Path) -> None:
    sized = "def state_size(capacity, keys):\n    return 1 + capacity + 2 * keys\n"
    policy = load_policy(policy_file(tmp_path, EVICTION, "NEEDS_NEXT_USE = True\n", state_size=sized))
    assert (policy.needs_next_use, policy.needs_keys) == (True, True)


def test_a_policy_may_have_helpers_and_import_lists(tmp_path: Path) -> None:
    head = "from oppcache.cache.lists import list_words\n\ndef twice(x):\n    return 2 * x\n\n"
    sized = "def state_size(capacity, keys):\n    return twice(list_words(capacity))\n"
    assert load_policy(policy_file(tmp_path, EVICTION, head, state_size=sized)).state_size(4, 0) == 30


def test_a_policy_may_take_functions_over_from_a_built_in_one(tmp_path: Path) -> None:
    """S3-FIFO whose main queue never goes round: helpers of the built-in file come along."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from oppcache.cache.eviction.s3fifo import init, insert, remove, state_size, victim\n"
        "def hit(state, slot, now, next_use):\n    pass\n"
    )
    policy, theirs = load_policy(path), load_policy("s3fifo")
    dense = (np.random.default_rng(3).pareto(0.9, 3_000) * 20).astype(np.int64).clip(0, 500).astype(np.int32)
    assert policy.state_size(10, 1) == theirs.state_size(10, 1)
    assert replay(policy, dense, 501, 20) > replay(theirs, dense, 501, 20)


def test_an_edited_policy_is_loaded_anew(tmp_path: Path) -> None:
    assert load_policy(policy_file(tmp_path, EVICTION)).state_size(1, 1) == 2
    edited = policy_file(
        tmp_path, EVICTION, state_size="def state_size(capacity, keys):\n    return 50 + capacity\n"
    )
    assert load_policy(edited).state_size(1, 1) == 51


LINES = {
    name: 1 + sum(text.count("\n") + 1 for text in list(EVICTION.values())[:i])
    for i, name in enumerate(EVICTION)
}


@pytest.mark.parametrize("name", EVICTION)
def test_a_wrong_signature_says_where_what_was_got_and_what_is_expected(tmp_path: Path, name: str) -> None:
    text = EVICTION[name].replace("):", ", extra):", 1)
    got = problem(path := policy_file(tmp_path, EVICTION, **{name: text}))
    right = EVICTION[name].split("\n")[0].removeprefix("def ").rstrip(":")
    assert got.mark == Mark(str(path), LINES[name], 1)
    assert got.message == f"got {right[:-1]}, extra), expected {right}"


@pytest.mark.parametrize("name", EVICTION)
def test_a_missing_function_is_named(tmp_path: Path, name: str) -> None:
    path = policy_file(tmp_path, EVICTION, **{name: None})
    right = EVICTION[name].split("\n")[0].removeprefix("def ").rstrip(":")
    assert f"{right} is missing" in str(problem(path))
    assert str(path) in str(problem(path))


def test_all_wrong_signatures_are_reported_at_once(tmp_path: Path) -> None:
    path = policy_file(tmp_path, EVICTION, hit="def hit(state):\n    pass\n", remove=None, init="init = 3\n")
    with pytest.raises(InputError) as caught:
        load_policy(path)
    assert len(caught.value.problems) == 3


def test_a_misspelt_function_is_suggested(tmp_path: Path) -> None:
    path = policy_file(tmp_path, EVICTION, victim=EVICTION["victim"].replace("victim", "victims"))
    assert "victims" in problem(path).hint


@pytest.mark.parametrize(
    ("changed", "fragment", "line"),
    [
        (
            {"hit": "def hit(state, slot, now, next_use):\n    state['a'] = 1\n"},
            "hit does not compile",
            "hit",
        ),
        ({"hit": "def hit(state, slot, now, next_use):\n    unknown(slot)\n"}, "hit does not compile", "hit"),
        (
            {"victim": "def victim(state, candidates, n, key, now, next_use):\n    pass\n"},
            "victim does not compile to victim(state, candidates, n, key, now, next_use) -> int",
            "victim",
        ),
        (
            {"victim": "def victim(state, candidates, n, key, now, next_use):\n    return 'x'\n"},
            "victim does not compile",
            "victim",
        ),
        (
            {"victim": "def victim(state, candidates, n, key, now, next_use):\n    return 4\n"},
            "victim chose slot 4 of a full cache of 4, expected 0 to 3",
            None,
        ),
        (
            {"victim": "def victim(state, candidates, n, key, now, next_use):\n    return 0\n"},
            "victim chose slot 0, expected one of its candidates 1 and 3",
            None,
        ),
        ({"state_size": "def state_size(capacity, keys):\n    return -1\n"}, "is -1, expected 0 to", None),
        (
            {"state_size": "def state_size(capacity, keys):\n    return 2 ** 40\n"},
            "is 1099511627776, expected 0 to",
            None,
        ),
    ],
)
def test_what_cannot_run_is_refused(
    tmp_path: Path, changed: dict[str, str], fragment: str, line: str | None
) -> None:
    path = policy_file(tmp_path, EVICTION, **changed)
    got = problem(path)
    assert fragment in got.message
    assert "\n" not in got.message
    assert got.mark == (Mark(str(path), LINES[line], 1) if line else Mark(str(path)))


@pytest.mark.parametrize(
    ("text", "fragment", "line"),
    [
        ("def init(:\n", "not valid Python", 1),
        ("x = 1\nimport no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'", 0),
        ("1 / 0\n", "cannot be loaded: ZeroDivisionError", 0),
        ("x = '\0'\n", "", 0),
    ],
)
def test_a_file_that_does_not_run_is_refused(tmp_path: Path, text: str, fragment: str, line: int) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    got = problem(path)
    assert fragment in got.message
    assert (got.mark.file, got.mark.line) == (str(path), line)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert str(problem(tmp_path / "none.py")) == f"{tmp_path}/none.py: no such policy file"
    (tmp_path / "folder.py").mkdir()
    assert "is a directory" in str(problem(tmp_path / "folder.py"))


def test_loading_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    load_policy(policy_file(tmp_path, EVICTION))
    assert [p.name for p in tmp_path.iterdir()] == ["mine.py"]


def test_built_in_policies_load_by_name() -> None:
    assert {"fifo", "lru", "sieve", "belady"} <= set(eviction_names())
    assert {"always", "packet"} <= set(admission_names())
    for name in eviction_names():
        assert load_policy(name).needs_next_use == (name == "belady")


def test_an_unknown_policy_gets_a_near_miss() -> None:
    got = problem("lur")
    assert got.message.startswith("unknown eviction policy 'lur'; known: ")
    assert got.hint == "did you mean 'lru'?"
    assert problem("alway", load_admission).hint == "did you mean 'always'?"


@pytest.mark.parametrize(
    ("source", "fragment"),
    [
        ("packet", "admission packet needs a number: {packet: N}"),
        ({"packet": 0}, "admission packet: got 0, expected a whole number from 1"),
        ({"packet": -3}, "got -3"),
        ({"packet": 2.5}, "got 2.5"),
        ({"packet": True}, "got True"),
        ({"packet": "8"}, "got '8'"),
        ({"always": 3}, "admission always takes no number"),
        ({}, "expected one policy, as in {packet: 8}"),
        ({"packet": 1, "always": 1}, "expected one policy, as in {packet: 8}"),
        ({"packets": 3}, "unknown admission policy 'packets'"),
    ],
)
def test_admissions_that_do_not_suit_are_refused(source: Any, fragment: str) -> None:
    assert fragment in str(problem(source, load_admission))


def test_an_admission_file_loads_with_and_without_a_number(tmp_path: Path) -> None:
    path = policy_file(tmp_path, ADMISSION)
    assert load_admission(str(path)).value is None
    assert "takes no number" in str(problem({str(path): 3}, load_admission))
    configure = "def configure(state, value):\n    state[0] = value\n"
    path = policy_file(tmp_path, ADMISSION, configure=configure)
    assert load_admission({str(path): 3}).value == 3


@pytest.mark.parametrize("name", ADMISSION)
def test_an_admission_file_is_checked_too(tmp_path: Path, name: str) -> None:
    path = policy_file(tmp_path, ADMISSION, **{name: f"def {name}(state):\n    return 0\n"})
    right = ADMISSION[name].split("\n")[0].removeprefix("def ").rstrip(":")
    got = problem(path, load_admission)
    assert got.message == f"got {name}(state), expected {right}"
