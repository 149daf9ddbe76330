"""``oppcache calibrate``: what a packet costs in this machine's software path."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .common import Format, FormatOption

RANK = 85
EXAMPLE = "oppcache calibrate nf:stateful-firewall-2stage"


def calibrate(
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM", help="A program's YAML file, or nf:NAME for a shipped one.")
    ] = "nf:stateful-firewall",
    packets: Annotated[int, typer.Option(min=1000, help="Packets of a round.")] = 200_000,
    format: FormatOption = Format.text,
) -> None:
    """Measure this machine's software path and print the numbers to paste into an experiment."""
    from dataclasses import asdict

    from oppcache.bench.calibration import ROUNDS
    from oppcache.bench.calibration import calibrate as measure
    from oppcache.bench.harness import describe_machine
    from oppcache.opp import load_program

    found = measure(load_program(program), packets)
    machine = describe_machine()
    if format is Format.json:
        facts = asdict(found) | {"service_ns": found.service_ns, "machine": machine}
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(
        f"# {found.program} on {machine['cpu']}, load {machine['load_average']:.1f}: {found.stages_ns:.0f} ns for its "
        f"stages\n# and {found.parse_ns:.0f} ns to parse a packet; medians of {ROUNDS} rounds of {packets:,} packets. "
        f"Moving\n# packets to and from the cores is not in it.\ncpu: {{service: {found.service_ns}ns}}"
    )
