"""The guide is true: its commands run, its files load, its links lead somewhere, its tables miss nothing."""

from __future__ import annotations

import re
import shlex
import shutil
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from oppcache.cli import app, call

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
SETUP = (
    "python3 -m venv .venv && . .venv/bin/activate && pip install -e . && oppcache run gallery:quickstart",
    "python3 -m venv .venv && . .venv/bin/activate && pip install -e '.[test]' && pytest",
)
# What a developer runs; this suite is one of them, the others have steps of their own in CI.
TOOLS = ("pytest", "ruff", "mypy", "bash")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, the words behind its fence, its text."""

    place: str
    words: tuple[str, ...]
    text: str

    def option(self, name: str) -> str:
        return next((w.partition("=")[2] for w in self.words if w.startswith(f"{name}=")), "")


def blocks(page: Path) -> Iterator[Block]:
    """Fenced blocks of a page, in order."""
    opened: tuple[int, tuple[str, ...]] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif opened is None:
            opened, lines = (number, tuple(line[3:].split())), []
        else:
            place = f"{page.relative_to(CHECKOUT)}:{opened[0]}"
            yield Block(place, opened[1] or ("text",), "\n".join(lines) + "\n")
            opened = None
    assert opened is None, f"{page}: a fenced block is not closed"


class Guide:
    """Follows a page as a reader would, in a folder of its own, with small numbers of packets."""

    def __init__(
        self, folder: Path, capture: Path, capsys: pytest.CaptureFixture[str], full: bool = False
    ) -> None:
        self.full = full
        self.folder = folder
        self.capture = capture
        self.capsys = capsys
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def follow(self, block: Block) -> None:
        kind = block.words[0]
        act = getattr(self, f"on_{kind}", None)
        assert act is not None or kind == "text", f"{block.place}: no test for blocks of kind {kind!r}"
        if act is not None:
            act(block)

    def on_sh(self, block: Block) -> None:
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                status, _, err = self.command(line, block)
                assert status == (1 if "wrong" in block.words else 0), f"{block.place}: {line}\n{err}"

    def on_console(self, block: Block) -> None:
        """``$ command`` and then every line that it shows."""
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            line, _, expected = part.partition("\n")
            status, out, err = self.command(line, block)
            shown = [line for line in expected.splitlines() if line.strip()]
            told = [line for line in (out + err).splitlines() if line.strip()]
            assert told == shown, f"{block.place}: {line}"
            assert status == (2 if "error: " in expected else 0)

    def on_yaml(self, block: Block) -> None:
        document = yaml.safe_load(block.text)
        name = document.get("name") or document.get("program") or document["protocol"]
        path = self.folder / f"{name}.yaml"
        path.write_text(block.text, encoding="utf-8")
        if "wrong" in block.words:
            return
        if "name" in document:
            assert call(["validate", path.name]) == 0, f"{block.place}: {self.capsys.readouterr().err}"
        elif "protocol" in document:
            from oppcache.consistency import load_protocol

            assert load_protocol(path).name == name
        else:
            from oppcache.opp import load_program

            assert load_program(path).name == name

    def on_python(self, block: Block) -> None:
        file = block.option("file")
        if file.startswith("docs/"):
            assert (CHECKOUT / file).read_text(encoding="utf-8") == block.text, f"{block.place}: not {file}"
        elif file:
            (self.folder / file).write_text(block.text, encoding="utf-8")
        else:
            exec(compile(block.text, block.place, "exec"), self.names)

    def command(self, line: str, block: Block) -> tuple[int, str, str]:
        """Run one command line; returns status, stdout, stderr."""
        if "venv" in line or "pip " in line:
            assert block.place.startswith("README.md"), f"{block.place}: set-up stands in the README alone"
            assert line in SETUP
            return 0, "", ""
        words = shlex.split(line)
        if words[0] in TOOLS:
            assert block.place.startswith("docs/development.md"), f"{block.place}: {line}"
            paths = [word for word in words[1:] if "/" in word]
            assert all((CHECKOUT / path).exists() for path in paths), f"{block.place}: {line}"
            return 0, "", ""
        assert words[0] == "oppcache", f"{block.place}: cannot run {line!r}"
        words, out_file = (words[:-2], words[-1]) if ">" in words[:-1] else (words, "")
        self.capsys.readouterr()
        status = call(self.small(words[1:]))
        shown = self.capsys.readouterr()
        if out_file:
            (self.folder / out_file).write_text(shown.out, encoding="utf-8")
        return status, shown.out, shown.err

    def small(self, words: list[str]) -> list[str]:
        """The same with the reader's capture in place of FILE, and with less to do."""
        words = [re.sub(r"\bFILE\b", str(self.capture), word) for word in words]
        if words[0] == "bench":
            return [*words, "--quick"]
        if words[0] == "run":
            if not any(word.startswith("traffic.packets=") for word in words):
                words += ["--set", "traffic.packets=1k"]
            # A user's policy is compiled for each run.
            swept = any(word.startswith("sweep.nic.contexts=") for word in words)
            if "gallery:quickstart" in words and not (swept or self.full):
                words += ["--set", "sweep.nic.contexts=[64, 1Ki]"]
            if "--jobs" not in words:
                words += ["--jobs", "1"]
        return words


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of a reader's own."""
    from oppcache.traffic import make_generator, write_pcap

    path = tmp_path_factory.mktemp("capture") / "mine.pcap"
    write_pcap(path, make_generator({"model": "caida-like", "flows": 50}, seed=0, packets=1500))
    return path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_what_a_page_shows_works(
    page: Path,
    capture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    full: bool,
) -> None:
    shutil.copytree(CHECKOUT / "docs" / "examples", tmp_path / "docs" / "examples")
    monkeypatch.chdir(tmp_path)
    guide = Guide(tmp_path, capture, capsys, full)
    for block in blocks(page):
        guide.follow(block)


def test_the_first_screen_has_a_figure_and_exactly_two_commands() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert [line for line in readme.splitlines() if "venv" in line and line.startswith("python3")] == list(
        SETUP
    )
    screen = "\n".join(readme.splitlines()[:25])
    assert all(command in screen for command in SETUP)
    (figure,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", screen)
    assert (CHECKOUT / figure).read_bytes().startswith(b"\x89PNG")


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (CHECKOUT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [page.name for page in PAGES if page.name != "README.md" and f"({page.name})" not in index]
    assert not missing


def rows(page: str) -> list[list[str]]:
    """Cells of every table row of a page of the guide."""
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_key_of_an_experiment_is_documented_with_its_default() -> None:
    from pydantic import BaseModel

    from oppcache.experiments.schema import Experiment, Section, leaves

    documented = {name: row[-1] for row in rows("experiments.md") for name in names(row[0])}
    for key, field in leaves().items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and "." in key:
            continue
        assert key in documented, f"experiments.md does not document {key}"
        section, _, leaf = key.partition(".")
        default = names(documented[key])
        if not leaf or (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            continue
        model = Experiment.model_fields[section].annotation
        assert isinstance(model, type)
        if "." in leaf:
            inner, _, leaf = leaf.partition(".")
            assert issubclass(model, Section)
            model = model.model_fields[inner].annotation
            assert isinstance(model, type)
        assert issubclass(model, Section)
        if default:
            given = model.model_validate({leaf: yaml.safe_load(default[0])})
            assert getattr(given, leaf) == getattr(model(), leaf), f"experiments.md: default of {key}"
        else:
            assert getattr(model(), leaf) is None, f"experiments.md: default of {key}"


def test_every_metric_of_a_run_is_documented(tmp_path: Path) -> None:
    import oppcache

    small = {"traffic.packets": 500, "nic.contexts": 16, "cache.eviction": "fifo"}
    done = oppcache.run("gallery:quickstart", out=tmp_path / "out", set=small)
    text = (CHECKOUT / "docs" / "experiments.md").read_text(encoding="utf-8")
    for name in [*done.results.columns, *done.timing.columns]:
        assert f"`{name.partition('.')[0]}`" in text, f"experiments.md does not document {name}"


def test_every_verb_and_option_is_documented() -> None:
    text = (CHECKOUT / "docs" / "command-line.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    group = typing.cast(Any, typer.main.get_command(app))
    assert set(group.commands) == set(sections)
    everywhere = {"--help", "-h"}
    for verb, command in [("", group), *group.commands.items()]:
        for parameter in command.params:
            for option in {*parameter.opts} - everywhere if parameter.param_type_name == "option" else ():
                assert f"`{option}" in sections.get(verb, text), f"command-line.md: {verb} {option}"


def test_every_example_in_the_help_is_right(
    tmp_path: Path, capture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy2(capture, tmp_path / "capture.pcap")
    shutil.copy2(CHECKOUT / "experiments" / "gallery" / "quickstart.yaml", tmp_path / "my-experiment.yaml")
    group = typing.cast(Any, typer.main.get_command(app))
    guide = Guide(tmp_path, capture, capsys)
    for verb, command in group.commands.items():
        found = re.search(r"Example: (oppcache .*)", command.epilog or "")
        assert found, f"{verb} --help has no example"
        guide.on_sh(Block(f"{verb} --help", ("sh",), found.group(1)))


def test_every_exit_status_is_documented() -> None:
    from oppcache.verbs import common

    documented = {row[0] for row in rows("command-line.md")}
    for status in (
        common.FINE,
        common.DOES_NOT_HOLD,
        common.BAD_INPUT,
        common.INCOMPLETE,
        common.INTERNAL,
        common.INTERRUPTED,
    ):
        assert str(status) in documented


def test_every_generator_parameter_is_documented_with_its_default() -> None:
    from oppcache.opp.units import parse_count, parse_fraction, parse_packets_per_second
    from oppcache.traffic import generator_parameters

    readers = {"count": parse_count, "share": parse_fraction, "rate": parse_packets_per_second}
    documented: dict[tuple[str, str], list[str]] = {}
    for row in rows("traffic.md"):
        if len(row) == 5:
            for model in generator_parameters() if row[1] == "all" else names(row[1]):
                documented[model, row[0].strip("`")] = row
    for model, parameters in generator_parameters().items():
        for key, parameter in parameters.items():
            row = documented.pop((model, key))
            assert (row[2], row[4]) == (parameter.type, parameter.doc)
            text = names(row[3])
            default = readers.get(parameter.type, yaml.safe_load)(text[0]) if text else None
            assert default == parameter.default, f"traffic.md: default of {model} {key}"
    assert not [model for model, _ in documented if model in generator_parameters()]


def test_every_reason_to_stop_parsing_is_documented() -> None:
    from oppcache.traffic import Reason

    documented = {row[0].strip("`") for row in rows("traffic.md")}
    assert {reason.name.lower() for reason in Reason if reason} <= documented


def test_every_field_and_limit_of_programs_is_documented() -> None:
    from oppcache.opp import FIELDS, shipped_programs

    text = (CHECKOUT / "docs" / "programs.md").read_text(encoding="utf-8")
    for field in FIELDS:
        assert re.search(rf"(?<![\w.]){re.escape(field.name)}(?![\w.])", text), f"programs.md: {field.name}"
    for program in shipped_programs():
        assert f"nf: {program}" in text


def test_every_benchmark_is_documented() -> None:
    from oppcache.bench import benchmark_names

    documented = {name for row in rows("benchmarks.md") for name in names(row[0])}
    assert set(benchmark_names()) <= documented


def test_the_vocabulary_of_protocols_is_documented() -> None:
    from oppcache.consistency import vocabulary as v

    documented = [row for row in rows("protocols.md") if row[0].startswith("`")]
    for words in (v.MESSAGES, (*v.PACKET_EVENTS, *v.OWN_EVENTS), v.GUARDS, v.ACTIONS):
        for word in words:
            meanings = [row[-1] for row in documented if row[0] == f"`{word.name}`"]
            assert word.doc in meanings, f"protocols.md: {word.name}"
