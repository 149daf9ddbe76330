"""What needs files, other sections or this version's abilities to be checked, for one configuration.

:func:`check` runs on the experiment as written and again for every swept value, so what it opens and loads is
remembered (:class:`Memory`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oppcache import opp
from oppcache.opp.errors import NOWHERE, InputError, Mark, Problem, Problems, near_miss
from oppcache.opp.yaml_source import MarkedDict, names_file

from .abilities import absent, check_name, is_file
from .document import OptionMark, mark_at, without
from .freeform import PROGRAM_KINDS
from .programs import RULESET, load
from .schema import Experiment


@dataclass(frozen=True)
class Resolved:
    """Where a configuration's files are, and what its names stand for.

    Attributes:
        program: what :func:`.programs.load` takes.
        parameters: the program's parameters, plain values.
        capture: the capture, or None with a generator.
        generator_base: what files that the generator names are relative to.
        traffic_files: files that the packets depend on.
        eviction: a policy's name or its file.
        admission: a policy's name, its file, or a mapping such as ``{"packet": 8}``.
        profile: a NIC profile's name or its file.
        protocol: a protocol's name or its file.
    """

    program: str | Path
    parameters: dict[str, Any]
    capture: Path | None
    generator_base: Path
    traffic_files: tuple[Path, ...]
    eviction: str | Path
    admission: str | Path | dict[str, Any]
    profile: str | Path
    protocol: str | Path

    def files(self) -> list[Path]:
        """Files of the user's that a run depends on."""
        found = (
            self.program,
            *self.traffic_files,
            self.eviction,
            self.admission,
            self.profile,
            self.protocol,
        )
        return [item for item in found if isinstance(item, Path)]


@dataclass
class Memory:
    """What has been opened and checked already, with the problems that it had."""

    answers: dict[tuple[str, str], tuple[Any, tuple[Problem, ...]]] = field(default_factory=dict)

    def ask(self, kind: str, key: str, act: Callable[[], Any], problems: Problems, mark: Mark) -> Any:
        """Return what ``act`` gives, or None after recording its problems (those without a place at ``mark``)."""
        if (kind, key) not in self.answers:
            try:
                self.answers[kind, key] = (act(), ())
            except InputError as error:
                self.answers[kind, key] = (None, error.problems)
        answer, found = self.answers[kind, key]
        for problem in found:
            nowhere = problem.mark == NOWHERE or problem.mark.file == ""
            problems.add(problem.message, mark if nowhere else problem.mark, problem.hint)
        return answer


def located(tree: MarkedDict, path: tuple[Any, ...], text: str, folder: Path) -> Path:
    """Return the file that ``text`` names: relative to the experiment, or in ``--set`` to the working directory."""
    return Path(text) if isinstance(mark_at(tree, path), OptionMark) else folder / text


def check(
    tree: MarkedDict, experiment: Experiment, folder: Path, problems: Problems, memory: Memory
) -> Resolved | None:
    """Check one configuration.

    Returns:
        Its files and names, or None if any of them is wrong.
    """
    before = len(problems.items)
    profile = _check_profile(tree, experiment, folder, problems, memory)
    protocol = _check_protocol(tree, experiment, folder, problems, memory)
    _check_abilities(tree, experiment, protocol, problems)
    packets = _check_traffic(tree, experiment, folder, problems, memory)
    program, parameters = _check_program(tree, experiment, folder, problems, memory)
    eviction = _check_eviction(tree, experiment, folder, problems, memory)
    _check_unit(tree, experiment, eviction, problems)
    admission = _check_admission(tree, experiment, folder, problems, memory)
    if program is not None:
        _check_release(tree, experiment, program, parameters, problems)
    if len(problems.items) > before or program is None:
        return None
    return Resolved(
        program,
        parameters,
        packets.capture,
        packets.generator_base,
        packets.files,
        eviction,
        admission,
        profile,
        protocol,
    )


def _check_profile(
    tree: MarkedDict, experiment: Experiment, folder: Path, problems: Problems, memory: Memory
) -> str | Path:
    from oppcache.fastpath import load_profile, profile_names

    path, example = ("nic", "profile"), "my-nic.yaml"
    names = (profile_names(), ())
    return _name_or_file(
        tree, path, experiment.nic.profile, names, example, folder, problems, memory, load_profile
    )


def _check_protocol(
    tree: MarkedDict, experiment: Experiment, folder: Path, problems: Problems, memory: Memory
) -> str | Path:
    from oppcache.consistency import protocol_names
    from oppcache.hybrid.setup import RUNNABLE_PROTOCOLS
    from oppcache.hybrid.timed.parts import runnable

    path, example = ("consistency", "protocol"), "my-protocol.yaml"
    names = (RUNNABLE_PROTOCOLS, protocol_names())
    return _name_or_file(
        tree, path, experiment.consistency.protocol, names, example, folder, problems, memory, runnable
    )


def _is_instantaneous(protocol: str | Path) -> bool:
    from oppcache.consistency import load_protocol

    try:
        return load_protocol(protocol).instantaneous
    except InputError:
        return False  # it has been told already


def _name_or_file(
    tree: MarkedDict,
    path: tuple[str, str],
    got: str,
    names: tuple[Sequence[str], Sequence[str]],
    example: str,
    folder: Path,
    problems: Problems,
    memory: Memory,
    load: Callable[[str, Mark], object],
) -> str | Path:
    """Check a key that takes a shipped name or a file, which is loaded once; return the name, or where the file is.

    Args:
        names: available, and planned.
        example: of a file's name, for messages.
    """
    mark = mark_at(tree, path)
    if names_file(got):
        file = located(tree, path, got, folder)
        memory.ask(path[-1], str(file), lambda: load(str(file), mark), problems, mark)
        return file
    check_name(problems, ".".join(path), got, *names, mark, f"a file such as {example}")
    return got


def _check_abilities(
    tree: MarkedDict, experiment: Experiment, protocol: str | Path, problems: Problems
) -> None:
    def mark(*path: str) -> Mark:
        return mark_at(tree, path)

    only = (
        (("consistency", "stages"), experiment.consistency.stages, "sandwich"),
        (("consistency", "globals"), experiment.consistency.globals, "by-class"),
    )
    for path, got, available in only:
        if got != available:
            problems.add(f"{'.'.join(path)}: " + absent(repr(got), (available,)), mark(*path))
    if tree.get("faults") and _is_instantaneous(protocol):
        message = (
            f"faults: protocol {experiment.consistency.protocol} takes no time and sends nothing, so that nothing of the "
            "kind befalls it"
        )
        problems.add(message, mark("faults"), "as in consistency: {protocol: cas-hold}")
    if experiment.measure is not None and not is_timed(experiment):
        message = f"measure: got {experiment.measure} of a machine that takes no time and loses nothing"
        problems.add(message, mark("measure"), "as in nic: {profile: netfpga-sume}")


@dataclass(frozen=True)
class _Packets:
    """What the traffic section resolves to."""

    capture: Path | None = None
    generator_base: Path = Path()
    files: tuple[Path, ...] = ()


def _check_traffic(
    tree: MarkedDict, experiment: Experiment, folder: Path, problems: Problems, memory: Memory
) -> _Packets:
    section = experiment.traffic
    mark = mark_at(tree, ("traffic", "rate"))
    memory.ask("rate", section.rate, lambda: _parse_rate(section.rate), problems, mark)
    mark = mark_at(tree, ("traffic",), at_key=True)
    if section.pcap is None and section.generator is None:
        hint = "--set traffic.pcap=FILE names a capture"
        problems.add("traffic: got neither pcap nor generator, expected one of them", mark, hint)
    elif section.pcap is not None and section.generator is not None:
        problems.add("traffic: got both pcap and generator, expected one of them", mark)
    elif section.generator is not None:
        return _check_generator(tree, experiment, folder, problems)
    else:
        capture = located(tree, ("traffic", "pcap"), str(section.pcap), folder)
        mark = mark_at(tree, ("traffic", "pcap"))
        memory.ask("capture", str(capture), lambda: _open_capture(capture), problems, mark)
        return _Packets(capture, files=(capture,))
    return _Packets()


def _parse_rate(text: str) -> Any:
    from oppcache.traffic import parse_rate

    try:
        return parse_rate(text)
    except ValueError as error:
        raise InputError(f"traffic.rate: {error}") from None


def _open_capture(path: Path) -> Any:
    from oppcache.traffic import open_capture

    return open_capture(path)


def _check_generator(tree: MarkedDict, experiment: Experiment, folder: Path, problems: Problems) -> _Packets:
    from oppcache.traffic import make_generator

    section, path = experiment.traffic, ("traffic", "generator")
    mark = mark_at(tree, path, at_key=True)
    if section.packets is None and section.duration is None:
        message = "traffic: a generator has no end, expected packets or duration to be given"
        problems.add(message, mark, "as in packets: 1M")
    # A file that the generator names is relative to where it is named.
    base = Path() if isinstance(mark_at(tree, (*path, "mixture")), OptionMark) else folder
    given = tree["traffic"]["generator"]
    try:
        generator = make_generator(given, seed=0, packets=section.packets, base=base)
    except InputError as error:
        for problem in error.problems:
            place = mark if problem.mark == NOWHERE else problem.mark
            problems.add(f"traffic.generator: {problem.message}", place, problem.hint)
        return _Packets()
    return _Packets(generator_base=base, files=tuple(generator.inputs()))


def _check_program(
    tree: MarkedDict, experiment: Experiment, folder: Path, problems: Problems, memory: Memory
) -> tuple[str | Path | None, dict[str, Any]]:
    given = experiment.program
    kind = next(kind for kind in PROGRAM_KINDS if kind in given)
    mark = mark_at(tree, ("program", kind))
    # Parameters keep their places, so that the program's own messages name them.
    parameters = without(tree["program"], (kind,))
    plain = {key: value for key, value in given.items() if key != kind}
    if kind == "iptables":
        path = located(tree, ("program", kind), str(given[kind]), folder)
        source: str | Path = RULESET + str(path if path.exists() else given[kind])
        if "topology" in plain:
            plain["topology"] = str(located(tree, ("program", "topology"), str(plain["topology"]), folder))
        key = f"{source} {json.dumps(plain, sort_keys=True, default=str)}"
        ruleset = memory.ask("program", key, lambda: load(source, plain), problems, mark)
        return (None if ruleset is None else source), plain
    source = _program_source(tree, kind, str(given[kind]), folder)
    if isinstance(source, str) and source[3:] not in opp.shipped_programs():
        known = opp.shipped_programs()
        hint = near_miss(str(given[kind]), known) or f"shipped are {', '.join(known)}"
        problems.add(f"program.nf: got {given[kind]!r}, expected a shipped program", mark, hint)
        return None, plain
    key = f"{source} {json.dumps(plain, sort_keys=True, default=str)}"
    program = memory.ask("program", key, lambda: opp.load_program(source, parameters), problems, mark)
    return (None if program is None else source), plain


def _program_source(tree: MarkedDict, kind: str, name: str, folder: Path) -> str | Path:
    if kind == "nf":
        return f"nf:{name}"
    path = located(tree, ("program", kind), name, folder)
    if not path.exists() and Path(name).stem in opp.shipped_programs():
        return f"nf:{Path(name).stem}"
    return path


def is_timed(experiment: Experiment) -> bool:
    """Whether a configuration's machines take time: else it is the textbook's cache."""
    from oppcache.hybrid.setup import takes_time

    nic, rules = experiment.nic, experiment.cache.rules
    algorithm = "" if rules == "none" else rules
    return takes_time(
        nic.profile, experiment.consistency.protocol, nic.organisation or "", algorithm, nic.entries
    )


def _check_release(
    tree: MarkedDict,
    experiment: Experiment,
    program: str | Path,
    parameters: dict[str, Any],
    problems: Problems,
) -> None:
    """States that contexts are released in must be the program's."""
    from oppcache.hybrid.release import closing_labels

    states = experiment.cache.release.states
    if not states:
        return
    loaded = load(program, parameters)
    for index, state in enumerate(states):
        try:
            closing_labels(loaded, (state,))
        except InputError as error:
            mark = mark_at(tree, ("cache", "release", "states", index))
            for problem in error.problems:
                problems.add(problem.message, mark, problem.hint)


def _check_unit(tree: MarkedDict, experiment: Experiment, eviction: str | Path, problems: Problems) -> None:
    """Bundles need a machine that takes no time, and a policy that looks at no registers."""
    from oppcache.cache import eviction_names, load_policy
    from oppcache.hybrid.setup import bundle_refusal

    if experiment.cache.unit != "bundle" or (isinstance(eviction, str) and eviction not in eviction_names()):
        return
    try:
        observes = load_policy(eviction).observe is not None
    except InputError:
        return
    if why := bundle_refusal(is_timed(experiment), observes):
        problems.add(f"cache.unit: got bundle: {why}", mark_at(tree, ("cache", "unit")))


def tables(resolved: Resolved) -> list[str]:
    """Return the names of a configuration's context tables."""
    program = load(resolved.program, resolved.parameters)
    return [table.name for table in program.tables]


def _check_eviction(
    tree: MarkedDict, experiment: Experiment, folder: Path, problems: Problems, memory: Memory
) -> str | Path:
    from oppcache.cache import eviction_names, load_policy

    name, path = experiment.cache.eviction, ("cache", "eviction")
    mark = mark_at(tree, path)
    if is_file(name):
        file = located(tree, path, name, folder)
        memory.ask("eviction", str(file), lambda: load_policy(file), problems, mark)
        return file
    check_name(problems, ".".join(path), name, eviction_names(), (), mark, "a file such as my_policy.py")
    return name


def _check_admission(
    tree: MarkedDict, experiment: Experiment, folder: Path, problems: Problems, memory: Memory
) -> str | Path | dict[str, Any]:
    from oppcache.cache import admission_names, load_admission

    given, path = experiment.cache.admission, ("cache", "admission")
    mark = mark_at(tree, path)
    available = admission_names()
    if isinstance(given, dict):
        name, number = next(iter(given.items()))
        if check_name(problems, ".".join(path), name, available, (), mark):
            memory.ask("admission", f"{name}={number}", lambda: load_admission(given), problems, mark)
        return given
    if is_file(given):
        file = located(tree, path, given, folder)
        memory.ask("admission", str(file), lambda: load_admission(file), problems, mark)
        return file
    if check_name(problems, ".".join(path), given, available, (), mark, "a file such as my_admission.py"):
        memory.ask("admission", given, lambda: load_admission(given), problems, mark)
    return given
