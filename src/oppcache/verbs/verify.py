"""``oppcache verify``: an exhaustive model check of a consistency protocol."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import DOES_NOT_HOLD, INCOMPLETE, Format, FormatOption, Settings

if TYPE_CHECKING:
    from oppcache.consistency.checker import Verdict
    from oppcache.consistency.checker.trace import Trace

RANK = 60
EXAMPLE = "oppcache verify cas-hold --packets 2 --promotions 1 --demotions 1 --channel lossy"


class Channel(StrEnum):
    """What the control channel does."""

    reliable = "reliable"
    lossy = "lossy"


def verify(
    protocol: Annotated[
        str, typer.Argument(metavar="PROTOCOL", help="A shipped protocol's name, or a file ending in .yaml.")
    ],
    keys: Annotated[int, typer.Option(help="Contexts; they share the rings.")] = 1,
    packets: Annotated[int, typer.Option(help="Packets that enter, in all.")] = 0,
    promotions: Annotated[int, typer.Option(help="Promotions that the policy asks for, in all.")] = 0,
    demotions: Annotated[int, typer.Option(help="Demotions that a policy asks for, in all.")] = 0,
    nic_crashes: Annotated[int, typer.Option(help="Restarts of the NIC.")] = 0,
    cpu_crashes: Annotated[int, typer.Option(help="Restarts of the CPU.")] = 0,
    ring_drops: Annotated[int, typer.Option(help="Packets or markers that a ring drops.")] = 0,
    queues: Annotated[int, typer.Option(help="RX queues.")] = 1,
    channel: Annotated[
        Channel,
        typer.Option(help="reliable, or lossy: control messages lost, duplicated, delayed, reordered."),
    ] = Channel.reliable,
    untagged: Annotated[
        int, typer.Option(help="Packets that an earlier stage may punt, so that they come without a tag.")
    ] = 0,
    flows: Annotated[
        int, typer.Option(help="Flows that the packets of a key belong to; each keeps its own order.")
    ] = 1,
    no_timers: Annotated[
        bool, typer.Option("--no-timers", help="A protocol must get on without a timer: nothing is lost.")
    ] = False,
    safety_only: Annotated[bool, typer.Option("--safety-only", help="Leave out liveness.")] = False,
    hash_compact: Annotated[
        bool, typer.Option("--hash-compact", help="Keep hashes of states: less memory, and not quite exact.")
    ] = False,
    trace_out: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the counterexample there.")
    ] = None,
    format: FormatOption = Format.text,
) -> None:
    """Check every state that a protocol can reach within bounds, against all properties.

    Exit status: 0 it holds, 1 a property is violated (with a shortest counterexample), 3 undecided.
    """
    from oppcache.consistency import load_protocol
    from oppcache.consistency.checker import Model, check
    from oppcache.consistency.checker.report import as_dict, last_line, write_diagram
    from oppcache.opp.errors import Mark

    model = Model(
        keys, packets, promotions, demotions, nic_crashes, cpu_crashes, ring_drops, queues,
        channel is Channel.lossy, not safety_only, not no_timers, untagged,
        flows=flows,
    )  # fmt: skip
    loaded = load_protocol(protocol, Mark("PROTOCOL"))
    verdict = check(loaded, model, compact=hash_compact, progress=None if Settings.quiet else _progress())
    trace = verdict.trace(verdict.violated[0]) if verdict.violated else None
    if trace is not None and trace_out is not None:
        write_diagram(trace, loaded.name, trace_out)
    if format is Format.json:
        typer.echo(json.dumps(as_dict(verdict, trace), indent=2))
    else:
        if trace is not None:
            typer.echo(trace.text())
        typer.echo(last_line(verdict))
    _leave(verdict, trace)


def _leave(verdict: Verdict, trace: Trace | None) -> None:
    if trace is not None:
        raise typer.Exit(DOES_NOT_HOLD)
    if not verdict.decided:
        raise typer.Exit(INCOMPLETE)


def _progress() -> Any:
    """Tell how far the search is, every few seconds, on stderr."""
    import logging
    import time

    log = logging.getLogger("oppcache")
    from oppcache._jit import tell_if_compiling

    tell_if_compiling("search.expand")
    told = [time.monotonic()]

    def tell(states: int, ahead: int, depth: int) -> None:
        if time.monotonic() - told[0] > 5:
            told[0] = time.monotonic()
            log.info("%d states at depth %d, %d still to expand", states, depth, ahead)

    return tell
