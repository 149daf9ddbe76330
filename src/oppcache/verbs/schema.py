"""``oppcache schema``: the JSON Schema of experiment files."""

from __future__ import annotations

import json

import typer

RANK = 30
EXAMPLE = "oppcache schema > oppcache.schema.json"


def schema() -> None:
    """Print the JSON Schema of experiment files, for editors that complete and check YAML."""
    from oppcache.experiments.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
