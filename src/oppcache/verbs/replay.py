"""``oppcache replay``: what a translated ruleset does with given packets, one record each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .common import Format, FormatOption

RANK = 54
EXAMPLE = (
    "oppcache replay --rules three-functions.v4 --packets three-functions.pcap "
    "--sidecar three-functions.csv --out answer.jsonl"
)


def replay(
    rules: Annotated[str, typer.Option(metavar="RULES.v4", help="The ruleset.")],
    packets: Annotated[Path, typer.Option(metavar="FILE.pcap", help="The packets: Ethernet frames.")],
    sidecar: Annotated[
        Path, typer.Option(metavar="FILE.csv", help="A row a packet: input interface, time, patches.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.jsonl", help="Where the records go, a line a packet.")],
    topology: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="The router: interfaces, addresses, routes.")
    ] = None,
    conntrack: Annotated[
        str, typer.Option(metavar="BLOCK", help="Connection tracking: linux, or paper (7 entries).")
    ] = "linux",
    pcap_out: Annotated[
        Path | None, typer.Option(metavar="FILE.pcap", help="Also write every packet that left.")
    ] = None,
    hybrid: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml", help="Run through NIC and CPU as this experiment has them, not one machine."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what the rules draw at random.")] = 0,
    format: FormatOption = Format.text,
) -> None:
    """Say packet by packet what a router with a translated ruleset does: verdict, ways out, rewritten headers."""
    from oppcache.controller import load_translation, shipped_file
    from oppcache.controller.shell import Shell, load_packets, write_records
    from oppcache.controller.shell import replay as run
    from oppcache.controller.tables import Tables
    from oppcache.opp import Machine

    translation = load_translation(rules, topology, conntrack)
    router = translation.topology
    sent = load_packets(shipped_file(packets), shipped_file(sidecar), router.by_name)
    if hybrid is not None:
        from oppcache.experiments.hybrid_runner import make_hybrid_runner

        runner, tables = make_hybrid_runner(translation, hybrid, seed)
    else:
        from oppcache.controller.shell import MachineRunner

        machine = Machine(translation.program, seed)
        runner, tables = MachineRunner(machine), Tables(translation, machine)
    shell = Shell(router, runner, translation.reassemble)
    count = write_records(out, run(shell, sent, tables.inspect), pcap_out)
    if format is Format.json:
        typer.echo(json.dumps({"packets": count, "out": str(out)}))
    else:
        typer.echo(f"{count} packets, records in {out}")
