"""The YAML dialect of every file that a user writes: few surprises, bounded size, places that can be named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.opp import yaml_source
from oppcache.opp.errors import NOWHERE, InputError, Mark
from oppcache.opp.yaml_source import load_yaml, mark_of, parse_yaml, read_text


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("True", "True"),
        ("y", "y"),
        ("null", None),
        ("~", None),
        ("Null", "Null"),
        ("0", 0),
        ("007", "007"),  # no octal trap
        ("0o17", "0o17"),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("-5", -5),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1:30", "1:30"),  # no sexagesimal
        ("2001-01-01", "2001-01-01"),  # no dates
        (".inf", ".inf"),
        ("64k", "64k"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("", None),
        ("# nothing", None),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    got = parse_yaml(text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: duplicate key 'a': it stands at line 1 already"),
        ("x:\n  b: 1\n  'b': 2\n", "f.yaml:3:3: duplicate key 'b': it stands at line 2 already"),
        ("a: {b: 1, b: 2}\n", "f.yaml:1:11: duplicate key 'b'"),
        ("a: [1, 2\nb: 3\n", "f.yaml:2:"),
        ("a: 1\n b: 2\n", "f.yaml:2:3: not valid YAML"),
        ("\ta: 1\n", "f.yaml:1:1: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: not valid YAML: but found another document"),
        ("? [1]\n: 2\n", "f.yaml:1:3: a key must be a plain value, got a list or mapping"),
        ("a: !!python/object/apply:os.system [true]\n", "f.yaml:1:4:"),
        ("a: !mine 3\n", "f.yaml:1:4: cannot read this value"),
        ("a: *nowhere\n", "f.yaml:1:4: not valid YAML: found undefined alias"),
        ("a: \x01\n", "f.yaml: not valid YAML"),
        ("a: !!int x\n", "f.yaml:1:4: cannot read this value"),
        ("a: &x [*x]\n", "f.yaml:1:"),
        ("!!binary 'aGk='\n", "f.yaml:1:1: cannot read this value: unknown tag"),
        ("a: !!set {x}\n", "f.yaml:1:4: cannot read this value: unknown tag"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    got = refused(text)
    assert got.startswith(message)
    assert "\n" not in got


def test_places_are_known() -> None:
    document = parse_yaml("a: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")
    assert mark_of(document) == Mark("f.yaml", 1, 1)
    assert mark_of(document, "b", at_key=True) == Mark("f.yaml", 2, 1)
    assert mark_of(document, "b") == Mark("f.yaml", 3, 3)
    assert mark_of(document["b"], 1) == Mark("f.yaml", 4, 5)
    assert mark_of(document["b"][1], "c") == Mark("f.yaml", 4, 9)
    assert mark_of(document["b"][1], "none") == Mark("f.yaml", 4, 5)
    assert mark_of(document["b"], 9) == Mark("f.yaml", 3, 3)
    assert mark_of({"a": 1}, "a") == NOWHERE


def test_depth_is_bounded() -> None:
    assert parse_yaml("[" * 60 + "]" * 60) is not None
    assert "nested deeper than 64 levels" in refused("[" * 70 + "]" * 70)
    assert "nested too deeply" in refused("[" * 5_000 + "]" * 5_000)


def test_alias_bombs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_source, "MAX_NODES", 20_000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    assert "more than 20000 values (aliases count each time)" in refused("\n".join(lines))


def test_aliases_as_such_are_fine() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(yaml_source, "MAX_BYTES", 100)
    assert "larger than 100 bytes" in refused("a: " + "x" * 100)
    (tmp_path / "big.yaml").write_text("x" * 101)
    with pytest.raises(InputError, match="is larger than 100 bytes"):
        read_text(tmp_path / "big.yaml", 100)


def test_files_are_named_as_the_user_named_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text("a: 1\na: 2\n")
    with pytest.raises(InputError) as caught:
        load_yaml("f.yaml")
    assert str(caught.value).startswith("f.yaml:2:1: duplicate key")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(value=PLAIN)
def test_what_is_written_is_read(value: Any) -> None:
    # Quoted, since what other dialects leave plain (yes, 012) is text here and theirs is not.
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=False)) == value


@settings(max_examples=300, derandomize=True, deadline=None)
@given(text=st.text(alphabet="ab:-[]{},&*!|>'\"#% \n\t01.?~@`\\", max_size=40))
def test_no_text_crashes_the_loader(text: str) -> None:
    try:
        parse_yaml(text, "f.yaml")
    except InputError as error:
        told = str(error)
        assert told.startswith("f.yaml")
