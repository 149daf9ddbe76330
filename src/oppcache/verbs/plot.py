"""``oppcache plot``: a result folder's figures again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .common import Format, FormatOption

RANK = 40
EXAMPLE = "oppcache plot results/quickstart"


def plot(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result folder of oppcache run.")],
    format: FormatOption = Format.text,
) -> None:
    """Draw a result folder's figures again, as PNG and PDF."""
    from oppcache.experiments.plots import plot as draw

    files = [str(path) for path in draw(folder)]
    typer.echo(json.dumps(files, indent=2) if format is Format.json else "\n".join(files))
