"""``oppcache mrc``: miss-ratio curves of a trace."""

from __future__ import annotations

import csv as csv_files
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oppcache.opp.errors import InputError, Mark

from .common import Format, FormatOption

if TYPE_CHECKING:
    from oppcache.experiments.curves import Point

RANK = 50
EXAMPLE = "oppcache mrc capture.pcap --policy lru,s3fifo,belady --size 64,1k,10% --csv curve.csv"


def mrc(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="A capture, or a file of ids.")],
    policy: Annotated[
        str, typer.Option(metavar="P,...", help="Eviction policies, with commas: names or files.")
    ] = "lru",
    size: Annotated[
        str,
        typer.Option(metavar="S,...", help="Cache sizes, with commas: objects, or % of the distinct ones."),
    ] = "0.1%,1%,10%",
    key: Annotated[
        str | None,
        typer.Option(
            metavar="FIELDS", help="A capture's key: header fields; the symmetric 5-tuple unless given."
        ),
    ] = None,
    trace_format: Annotated[
        str | None,
        typer.Option(
            metavar="pcap|oraclegeneral|csv|npy",
            help="As what to read the trace; by its ending (.oracleGeneral[.bin], .csv with a column key, "
            ".npy of integers) or as a capture unless given.",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="OUT", help="Also write a table there.")] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Also draw the curves there (.png, .pdf, .svg).")
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Estimate from this share of the ids, such as 10%, with errors."),
    ] = None,
    format: FormatOption = Format.text,
) -> None:
    """Count the requests of a trace that a cache misses, for every policy at every size.

    A missed object is always inserted. Sizes in % are of the trace's distinct objects. Belady's optimum finds the next accesses
    itself. With --sample the miss ratios are estimates from disjoint samples, with their standard error.
    """
    from oppcache.cache.ids import dense_ids
    from oppcache.experiments.curves import curves, draw, estimates, load_policies, parse_sizes
    from oppcache.experiments.traces import read_trace

    share = None if sample is None else _share(sample)
    if figure is not None and figure.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"got {figure.suffix!r}, expected .png, .pdf or .svg", Mark(str(figure)))
    parse_sizes(size, 1)  # what is wrong with them is told before a long trace is read
    policies = load_policies(policy)
    started = time.perf_counter()
    requests = read_trace(trace, trace_format, key)
    reading = time.perf_counter() - started
    sizes = parse_sizes(size, dense_ids(requests.ids)[1] if "%" in size else 1)
    if share is None:
        points = list(curves(policies, requests, sizes))
    else:
        points = list(estimates(policies, requests, sizes, share))
    rows = [_row(point, reading) for point in points]
    if csv is not None:
        _write(csv, rows)
    if figure is not None:
        draw(points, figure, f"{trace.name}: {len(requests.ids):,} requests")
    typer.echo(json.dumps(rows, indent=2) if format is Format.json else _table(points))


def _share(text: str) -> float:
    from oppcache.opp.units import parse_fraction

    try:
        share = parse_fraction(text)
    except ValueError as error:
        raise InputError(str(error), Mark("--sample")) from None
    if not 0 < share <= 1:
        raise InputError(f"got {text!r}, expected more than 0", Mark("--sample"))
    return share


def _row(point: Point, reading_seconds: float) -> dict[str, Any]:
    row = {
        "policy": point.policy,
        "size": point.size,
        "requests": point.requests,
        "misses": point.misses,
        "miss_ratio": point.miss_ratio,
        "requests_per_second": round(point.per_second),
        "requests_per_second_dense": round(point.per_second_dense),
        "reading_seconds": round(reading_seconds, 6),
    }
    if point.error is not None:
        row["miss_ratio_error"] = point.error
    return row


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        with path.open("w", newline="") as file:
            writer = csv_files.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", Mark(str(path))) from None


def _table(points: list[Point]) -> str:
    width = max(6, *(len(point.policy) for point in points))
    estimated = points[0].error is not None
    head = f"{'policy':<{width}}  {'size':>9}  {'misses':>11}  miss ratio" + (
        "   ± error" if estimated else ""
    )
    lines = [f"{points[0].requests:,} requests", head + "  M requests/s (from dense ids)"]
    for point in points:
        error = f"  {point.error:.6f}" if point.error is not None else ""
        speed = f"{point.per_second / 1e6:.1f} ({point.per_second_dense / 1e6:.1f})"
        lines.append(
            f"{point.policy:<{width}}  {point.size:>9,}  {point.misses:>11,}  {point.miss_ratio:>10.6f}{error}  {speed}"
        )
    return "\n".join(lines)
