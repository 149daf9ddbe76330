"""The experiment file as pydantic models, one a section: names, units, ranges and defaults.

What a value means on its own is checked here; what needs files, other sections or this version's abilities
is checked in :mod:`.checks`. Titles name the axes of figures, descriptions are what editors show.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema

from . import freeform
from .quantities import (
    BitsPerSecond,
    Count,
    EventsPerSecond,
    EventsPerSecondOrZero,
    Nanoseconds,
    OptionalPositiveCount,
    OptionalPositiveNanoseconds,
    PositiveCount,
    PositiveNanoseconds,
    Share,
    ShareBelowOne,
    write_time,
)

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _free(description: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"description": description, **more})


_STRINGS = {"type": "array", "items": {"type": "string"}}
_TIME_LIST = {"type": "array", "items": {"type": "string"}}
Times = Annotated[
    tuple[int, ...],
    PlainValidator(freeform.read_times),
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
        PlainValidator(freeform.read_generator),
        _free("a traffic model and its parameters", type="object", required=["model"]),
    ] = Field(default=None, title="traffic model")
    rate: Annotated[str, PlainValidator(freeform.read_rate), _free("as-captured, 40Gbps, 10Mpps or x2.5")] = (
        Field(default="as-captured", title="offered rate")
    )
    packets: OptionalPositiveCount = Field(default=None, title="packets at most")
    duration: OptionalPositiveNanoseconds = Field(default=None, title="duration at most")
    warmup: ShareBelowOne = Field(default=0.0, title="warm-up share of the packets")


class Nic(Section):
    """The fast path."""

    profile: str = Field(
        default="netfpga-sume",
        title="NIC profile",
        description="a NIC model's name or file",
        examples=["netfpga-sume", "ideal"],
    )
    contexts: Count = Field(default=4096, title="contexts per table")
    organisation: (
        Literal["fully-associative", "direct-mapped", "set-associative", "d-left", "cuckoo"] | None
    ) = Field(default=None, title="context table", description="absent: as the profile")
    entries: OptionalPositiveCount = Field(
        default=None, title="ternary entries per stage", description="absent: as the profile"
    )
    hazard: Literal["stall", "stale", "none"] | None = Field(
        default=None,
        title="same-flow hazard",
        description="what the pipeline does about a packet whose context is still being written; absent: as the profile",
    )


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
    burst: PositiveCount = Field(default=32, title="inserts at once")
    queue: PositiveCount = Field(default=1024, title="inserts that may wait")
    bandwidth: BitsPerSecond = Field(default=8e9, title="control bandwidth")
    rules: EventsPerSecond = Field(default=1e3, title="rule changes per second")


class Cpu(Section):
    """The slow path."""

    cores: PositiveCount = Field(default=2, title="CPU cores")
    service: PositiveNanoseconds = Field(default=850, title="CPU service time")
    stage: Nanoseconds = Field(default=0, title="CPU time per stage")
    distribution: Literal["fixed", "exponential", "uniform"] = Field(
        default="fixed", title="distribution of the service time"
    )
    batch: PositiveCount = Field(default=1, title="packets of a batch")
    batch_time: Nanoseconds = Field(default=0, title="CPU time per batch")
    queue: PositiveCount = Field(default=4096, title="CPU queue slots")


Labels = Annotated[
    tuple[str | int, ...],
    PlainValidator(freeform.read_labels),
    PlainSerializer(list, when_used="json"),
    _free("state labels, by name or number", type="array", items={"type": ["string", "integer"]}),
]


class Release(Section):
    """When a context gives its NIC slot up although no other needs it."""

    idle: OptionalPositiveNanoseconds = Field(
        default=None, title="idle timeout", description="time without a lookup on the NIC; absent: never"
    )
    states: Labels = Field(default=(), title="closing states", description="in one of these state labels")
    flags: tuple[Literal["FIN", "RST"], ...] = Field(
        default=(), title="closing flags", description="after a TCP packet with one of these flags"
    )


class Cache(Section):
    """What is worth a NIC slot."""

    admission: Annotated[
        str | dict[str, Any],
        PlainValidator(freeform.read_admission),
        _free(
            "when a flow may take a slot: always, {packet: k}, {probability: p}, {rate: r}, a name or a file",
            anyOf=[
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {key: {} for key in freeform.ADMISSION_PARAMETERS},
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
    rules: Literal["none", "dependent-sets", "cover-sets", "mixed-sets"] = Field(
        default="none",
        title="rule caching",
        description="which entries the NIC holds of a stage that has more than it has room for",
    )
    rules_interval: PositiveNanoseconds = Field(default=10_000_000, title="time between updates of rules")
    release: Release = Field(default=Release(), title="release")
    unit: Literal["context", "bundle"] = Field(default="context", title="unit of caching")


class Consistency(Section):
    """How a context moves between NIC and CPU, and how state stays one."""

    protocol: str = Field(
        default="cas-hold",
        title="protocol",
        description="a protocol's name or file",
        examples=["cas-hold", "instant"],
    )
    stages: Literal["sandwich", "inclusion"] = Field(default="sandwich", title="order of stages")
    globals: Literal["by-class", "replicate", "local", "delta", "merge", "home-nic", "home-cpu", "escrow"] = (
        Field(default="by-class", title="mode of globals")
    )
    hold: Count = Field(default=8, title="packets held per key")
    hold_timeout: PositiveNanoseconds = Field(default=50_000, title="hold time-out")
    resend: PositiveNanoseconds = Field(default=50_000, title="resend time-out")
    retries: Count = Field(default=8, title="retries")
    writeback_interval: OptionalPositiveNanoseconds = Field(
        default=None, title="write-back interval", description="absent: the NIC sends no copies"
    )
    checkpoint_interval: PositiveNanoseconds = Field(default=10_000_000, title="checkpoint interval")


class ControlFaults(Section):
    """What the control channel does to messages."""

    loss: Share = Field(default=0.0, title="control loss")
    duplicate: Share = Field(default=0.0, title="control duplication")
    reorder: Share = Field(default=0.0, title="control reordering")
    delay: PositiveNanoseconds = Field(
        default=100_000,
        title="control lateness",
        description="how late a reordered message or a second copy comes at most",
    )


class Faults(Section):
    """What goes wrong, and when."""

    control: ControlFaults = Field(default=ControlFaults(), title="control channel faults")
    ring_drop: Share = Field(default=0.0, title="ring drop probability")
    nic_reset_at: Times = Field(default=(), title="NIC resets")
    cpu_crash_at: Times = Field(default=(), title="CPU crashes")
    nic_reset_rate: EventsPerSecondOrZero = Field(
        default=0.0, title="rate of NIC resets", description="random ones, on average"
    )
    cpu_crash_rate: EventsPerSecondOrZero = Field(
        default=0.0, title="rate of CPU crashes", description="random ones, on average"
    )
    restart_after: Nanoseconds = Field(
        default=0, title="restart after", description="how long a side is down"
    )


class FigureSpec(Section):
    """One figure: ``y`` against ``x``, one line (or bar) for each value of ``by``."""

    y: str = Field(title="y", description="a metric of results.csv")
    x: str = Field(
        title="x",
        description="a swept key, or time or packets for kinds that draw a series, or a metric for a scatter",
    )
    by: Annotated[
        tuple[str, ...],
        PlainValidator(freeform.read_by),
        PlainSerializer(list, when_used="json"),
        _free("swept keys that tell the lines apart", anyOf=[{"type": "string"}, _STRINGS]),
    ] = Field(default=(), title="by")
    shade: str | None = Field(
        default=None, title="shade", description="a metric that the colour of a scatter's points shows"
    )
    kind: str = Field(default="line", title="kind", description="how it is drawn", examples=["line", "bar"])


class Experiment(Section):
    """One experiment: a program, its traffic, the two paths, and what is varied."""

    name: str = Field(pattern=NAME_PATTERN, title="name", description="also the default result folder's name")
    question: str = Field(
        default="", title="question", description="what the experiment answers; the figures' title"
    )
    program: Annotated[
        dict[str, Any],
        PlainValidator(freeform.read_program),
        _free(
            "one of nf, opp, iptables; other keys are the program's parameters",
            type="object",
            oneOf=[{"required": [kind]} for kind in freeform.PROGRAM_KINDS],
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
        PlainValidator(freeform.read_sweep),
        _free(
            "dotted keys and the values they take: the runs are the grid, first key slowest",
            type="object",
            additionalProperties={"type": "array", "minItems": 1},
            propertyNames={"pattern": r"^[a-z]+(\.[A-Za-z0-9_-]+)*$"},
        ),
    ] = Field(default={}, title="sweep")
    draw: Annotated[
        dict[str, Any],
        PlainValidator(freeform.read_draw),
        _free(
            "what each seed of `oppcache stress` draws: dotted keys and a list of values, or {from: A, to: B}",
            type="object",
            additionalProperties={
                "anyOf": [
                    {"type": "array", "minItems": 1},
                    {
                        "type": "object",
                        "properties": {"from": {}, "to": {}},
                        "required": ["from", "to"],
                        "additionalProperties": False,
                    },
                ]
            },
            propertyNames={"pattern": r"^[a-z]+(\.[A-Za-z0-9_-]+)*$"},
        ),
    ] = Field(default={}, title="draw")
    seeds: Annotated[
        tuple[int, ...],
        PlainValidator(freeform.read_seeds),
        PlainSerializer(list, when_used="json"),
        _free("a number of seeds, or a list of them", anyOf=[{"type": "integer"}, {"type": "array"}]),
    ] = Field(default=(0,), title="seeds")
    figures: tuple[FigureSpec, ...] = Field(default=(), title="figures")


# Keys of which one experiment has one value: they cannot be swept.
WHOLE = ("name", "question", "sweep", "draw", "seeds", "figures", "measure")
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
