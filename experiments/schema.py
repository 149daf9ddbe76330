"""The experiment file as pydantic models, one a section: names, units, ranges and defaults.

What a value means on its own is checked here; what needs files, other sections or this version's abilities
is checked in :mod:`.checks`. Titles name the axes of figures, descriptions are what editors show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from oppcache.opp import units
from oppcache.opp.errors import near_miss

from .quantities import (
    BitsPerSecond,
    Count,
    EventsPerSecond,
    Nanoseconds,
    OptionalPositiveCount,
    OptionalPositiveNanoseconds,
    PositiveCount,
    PositiveNanoseconds,
    Share,
    ShareBelowOne,
    positive,
    write_time,
)

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
PROGRAM_KINDS = ("nf", "opp", "iptables")
MEASURES = ("max_lossless_rate",)


class Misplaced(ValueError):
    """A value error inside a free-form mapping: ``path`` leads from the field to the wrong value.

    ``at_key`` says that the key, not its value, is what is wrong.
    """

    def __init__(
        self, message: str, path: tuple[Any, ...] = (), hint: str = "", at_key: bool = False
    ) -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint
        self.at_key = at_key


def _program(value: Any) -> dict[str, Any]:
    expected = "a mapping with one of nf, opp, iptables, such as {nf: stateful-firewall}"
    if not isinstance(value, Mapping):
        raise ValueError(f"got {value!r}, expected {expected}")
    kinds = [kind for kind in PROGRAM_KINDS if kind in value]
    if len(kinds) != 1:
        got = " and ".join(kinds) or ", ".join(map(str, value)) or "an empty mapping"
        hint = (
            next(filter(None, (near_miss(str(key), PROGRAM_KINDS) for key in value)), "") if not kinds else ""
        )
        raise Misplaced(f"got {got}, expected {expected}", hint=hint)
    _text_at(value, kinds[0])
    for key in value:
        if not isinstance(key, str):
            raise Misplaced(f"got {key!r}, expected the name of a parameter", (key,), at_key=True)
    return dict(value)


def _generator(value: Any) -> dict[str, Any]:
    expected = "a mapping with the model and its parameters, such as {model: caida-like, flows: 100k}"
    if not isinstance(value, Mapping):
        raise ValueError(f"got {value!r}, expected {expected}")
    if "model" not in value:
        raise Misplaced(f"got no model, expected {expected}")
    _text_at(value, "model")
    return dict(value)


def _text_at(value: Mapping[str, Any], key: str) -> None:
    if not isinstance(value[key], str) or not value[key]:
        raise Misplaced(f"got {value[key]!r}, expected a name or path", (key,))


_ADMISSION_PARAMETERS = {
    "packet": positive(units.parse_count),
    "probability": units.parse_fraction,
    "rate": units.parse_packets_per_second,
}


def _admission(value: Any) -> str | dict[str, Any]:
    expected = "always, {packet: 8}, {probability: 10%}, {rate: 10kpps}, a policy's name or a file"
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError(f"got {value!r}, expected {expected}")
    key, given = next(iter(value.items()))
    if key not in _ADMISSION_PARAMETERS:
        hint = near_miss(str(key), _ADMISSION_PARAMETERS)
        raise Misplaced(f"got {key!r}, expected {expected}", (key,), hint, at_key=True)
    try:
        return {key: _ADMISSION_PARAMETERS[key](given)}
    except ValueError as error:
        raise Misplaced(str(error), (key,)) from None


def _seeds(value: Any) -> tuple[int, ...]:
    expected = "a number of seeds such as 5, or a list such as [0, 7]"
    if not isinstance(value, list | tuple):
        try:
            return tuple(range(positive(units.parse_count)(value)))
        except ValueError:
            raise ValueError(f"got {value!r}, expected {expected}, more than 0") from None
    if not value:
        raise ValueError(f"got an empty list, expected {expected}")
    for index, seed in enumerate(value):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise Misplaced(f"got {seed!r}, expected a whole number from 0", (index,))
        if seed in value[:index]:
            raise Misplaced(f"got seed {seed} twice, expected each once", (index,))
    return tuple(value)


def _times(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"got {value!r}, expected a list of times such as [1.5s]")
    times = []
    for index, item in enumerate(value):
        try:
            times.append(units.parse_time_ns(item))
        except ValueError as error:
            raise Misplaced(str(error), (index,)) from None
    return tuple(times)


def _sweep(value: Any) -> dict[str, list[Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"got {value!r}, expected a mapping of dotted keys to lists of values")
    for key, items in value.items():
        if not isinstance(key, str):
            raise Misplaced(f"got {key!r}, expected a dotted key such as nic.contexts", (key,), at_key=True)
        if not isinstance(items, list) or not items:
            raise Misplaced(f"got {items!r}, expected a list of values", (key,))
    return {str(key): list(items) for key, items in value.items()}


def _rate(value: Any) -> str:
    """Keep the text: the traffic room parses it, :mod:`.checks` asks it to."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"got {value!r}, expected as-captured, 40Gbps, 10Mpps or x2.5")
    return str(value)


def _by(value: Any) -> tuple[str, ...]:
    keys = [value] if isinstance(value, str) else value
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"got {value!r}, expected a swept key or a list of them")
    return tuple(keys)


def _free(description: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"description": description, **more})


_STRINGS = {"type": "array", "items": {"type": "string"}}
_TIME_LIST = {"type": "array", "items": {"type": "string"}}
Times = Annotated[
    tuple[int, ...],
    PlainValidator(_times),
    PlainSerializer(lambda times: [write_time(time) for time in times], when_used="json"),
    _free("virtual times", **_TIME_LIST),
]


class Section(BaseModel):
    """A mapping of the file: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Traffic(Section):
    """Packets that enter: a capture or a generator, and how much of it."""

    pcap: str | None = Field(default=None, title="capture", description="pcap or pcapng, plain or gzip")
    generator: Annotated[
        dict[str, Any] | None,
        PlainValidator(_generator),
        _free("a traffic model and its parameters", type="object", required=["model"]),
    ] = Field(default=None, title="traffic model")
    rate: Annotated[str, PlainValidator(_rate), _free("as-captured, 40Gbps, 10Mpps or x2.5")] = Field(
        default="as-captured", title="offered rate"
    )
    packets: OptionalPositiveCount = Field(default=None, title="packets at most")
    duration: OptionalPositiveNanoseconds = Field(default=None, title="duration at most")
    warmup: ShareBelowOne = Field(default=0.0, title="warm-up share of the packets")


class Nic(Section):
    """The fast path."""

    profile: str = Field(
        default="ideal", title="NIC profile", description="a NIC model's name", examples=["ideal"]
    )
    contexts: Count = Field(default=4096, title="contexts per table")


class Link(Section):
    """The rings between NIC and CPU."""

    rx: Nanoseconds = Field(default=2_000, title="NIC to CPU latency")
    tx: Nanoseconds = Field(default=2_000, title="CPU to NIC latency")
    bandwidth: BitsPerSecond = Field(default=31.5e9, title="link bandwidth")
    ring: PositiveCount = Field(default=4096, title="ring slots")


class Control(Section):
    """The control channel over which contexts are installed."""

    rtt: Nanoseconds = Field(default=10_000, title="control round trip")
    inserts: EventsPerSecond = Field(default=200e3, title="inserts per second")


class Cpu(Section):
    """The slow path."""

    cores: PositiveCount = Field(default=2, title="CPU cores")
    service: PositiveNanoseconds = Field(default=850, title="CPU service time")
    queue: PositiveCount = Field(default=4096, title="CPU queue slots")


class Cache(Section):
    """What is worth a NIC slot."""

    admission: Annotated[
        str | dict[str, Any],
        PlainValidator(_admission),
        _free(
            "when a flow may take a slot: always, {packet: k}, {probability: p}, {rate: r}, a name or a file",
            anyOf=[
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {key: {} for key in _ADMISSION_PARAMETERS},
                    "additionalProperties": False,
                    "minProperties": 1,
                    "maxProperties": 1,
                },
            ],
        ),
    ] = Field(default="always", title="admission policy")
    eviction: str = Field(
        default="lru",
        title="eviction policy",
        description="a policy's name, or a Python file (a plug-in is code that runs)",
        examples=["fifo", "lru", "sieve", "belady", "my_policy.py"],
    )
    unit: Literal["context", "bundle"] = Field(default="context", title="unit of caching")


class Consistency(Section):
    """How a context moves between NIC and CPU, and how state stays one."""

    protocol: str = Field(
        default="instant", title="protocol", description="a protocol's name", examples=["instant"]
    )
    stages: Literal["sandwich", "inclusion"] = Field(default="sandwich", title="order of stages")
    globals: Literal["by-class", "replicate", "local", "delta", "merge", "home-nic", "home-cpu", "escrow"] = (
        Field(default="by-class", title="mode of globals")
    )
    hold: Count = Field(default=8, title="packets held per key")
    hold_timeout: PositiveNanoseconds = Field(default=50_000, title="hold time-out")
    resend: PositiveNanoseconds = Field(default=50_000, title="resend time-out")
    retries: Count = Field(default=8, title="retries")
    writeback_interval: PositiveNanoseconds = Field(default=1_000_000, title="write-back interval")
    checkpoint_interval: PositiveNanoseconds = Field(default=10_000_000, title="checkpoint interval")


class ControlFaults(Section):
    """What the control channel does to messages."""

    loss: Share = Field(default=0.0, title="control loss")
    duplicate: Share = Field(default=0.0, title="control duplication")
    reorder: Share = Field(default=0.0, title="control reordering")


class Faults(Section):
    """What goes wrong, and when."""

    control: ControlFaults = Field(default=ControlFaults(), title="control channel faults")
    ring_drop: Share = Field(default=0.0, title="ring drop probability")
    nic_reset_at: Times = Field(default=(), title="NIC resets")
    cpu_crash_at: Times = Field(default=(), title="CPU crashes")
    restart_after: OptionalPositiveNanoseconds = Field(default=None, title="restart after")


class FigureSpec(Section):
    """One figure: ``y`` against ``x``, one line (or bar) for each value of ``by``."""

    y: str = Field(title="y", description="a metric of results.csv")
    x: str = Field(title="x", description="a swept key, or time or packets for kinds that draw a series")
    by: Annotated[
        tuple[str, ...],
        PlainValidator(_by),
        PlainSerializer(list, when_used="json"),
        _free("swept keys that tell the lines apart", anyOf=[{"type": "string"}, _STRINGS]),
    ] = Field(default=(), title="by")
    kind: str = Field(default="line", title="kind", description="how it is drawn", examples=["line", "bar"])


class Experiment(Section):
    """One experiment: a program, its traffic, the two paths, and what is varied."""

    name: str = Field(pattern=NAME_PATTERN, title="name", description="also the default result folder's name")
    question: str = Field(
        default="", title="question", description="what the experiment answers; the figures' title"
    )
    program: Annotated[
        dict[str, Any],
        PlainValidator(_program),
        _free(
            "one of nf, opp, iptables; other keys are the program's parameters",
            type="object",
            oneOf=[{"required": [kind]} for kind in PROGRAM_KINDS],
        ),
    ] = Field(title="program")
    traffic: Traffic = Field(title="traffic")
    nic: Nic = Field(default=Nic(), title="NIC")
    link: Link = Field(default=Link(), title="link")
    control: Control = Field(default=Control(), title="control channel")
    cpu: Cpu = Field(default=Cpu(), title="CPU")
    cache: Cache = Field(default=Cache(), title="cache")
    consistency: Consistency = Field(default=Consistency(), title="consistency")
    faults: Faults = Field(default=Faults(), title="faults")
    measure: Literal["max_lossless_rate"] | None = Field(default=None, title="measure")
    sweep: Annotated[
        dict[str, list[Any]],
        PlainValidator(_sweep),
        _free(
            "dotted keys and the values they take: the runs are the grid, first key slowest",
            type="object",
            additionalProperties={"type": "array", "minItems": 1},
            propertyNames={"pattern": r"^[a-z]+(\.[A-Za-z0-9_-]+)*$"},
        ),
    ] = Field(default={}, title="sweep")
    seeds: Annotated[
        tuple[int, ...],
        PlainValidator(_seeds),
        PlainSerializer(list, when_used="json"),
        _free("a number of seeds, or a list of them", anyOf=[{"type": "integer"}, {"type": "array"}]),
    ] = Field(default=(0,), title="seeds")
    figures: tuple[FigureSpec, ...] = Field(default=(), title="figures")


# Keys of which one experiment has one value: they cannot be swept.
WHOLE = ("name", "question", "sweep", "seeds", "figures", "measure")
# Mappings whose keys the schema does not list.
FREE = ("program", "traffic.generator", "cache.admission")


def leaves() -> dict[str, Any]:
    """Return every dotted key of the schema and its pydantic field, sections included, in file order."""
    found: dict[str, Any] = {}

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            found[prefix + name] = field
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                walk(kind, f"{prefix}{name}.")

    walk(Experiment, "")
    return found


def is_name(text: str) -> bool:
    """Whether ``text`` can name an experiment (and so its result folder)."""
    return re.match(NAME_PATTERN, text) is not None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an experiment file, for editors."""
    schema = Experiment.model_json_schema(mode="validation")
    for name, field in Experiment.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, Section):
            _write_defaults(schema["$defs"][model.__name__], model)
            # The whole section's default only repeats its keys' defaults.
            schema["properties"][name].pop("default", None)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "oppcache experiment"
    schema["$defs"]["Traffic"]["not"] = {"required": ["pcap", "generator"]}
    return schema


def _write_defaults(schema: dict[str, Any], model: type[Section]) -> None:
    """Show defaults as a user writes them (``2us``), not as the simulator holds them (2000)."""
    if any(field.is_required() for field in model.model_fields.values()):
        return
    for name, value in model().model_dump(mode="json").items():
        if value is None:
            schema["properties"][name].pop("default", None)
        elif "default" in schema["properties"][name]:
            schema["properties"][name]["default"] = value
