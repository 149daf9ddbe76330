"""The files of a result folder. Each is written whole or not at all; what is not ours is never touched.

``runs/KEY.json`` (and ``.npz`` where a run has series) is what one finished run leaves behind; its key is a hash
of everything that the run depends on, so a repeated call finds it and a changed one does not.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from oppcache import __version__
from oppcache.opp.errors import InputError, Mark

RESULTS, TIMING, MANIFEST = "results.csv", "timing.csv", "manifest.json"
RUNS, SERIES, FIGURES = "runs", "series", "figures"
_ENGINE_ROOMS = ("opp", "traffic", "fastpath", "slowpath", "cache", "consistency", "hybrid")

Series = Mapping[str, Mapping[str, np.ndarray]]


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call ``write`` on a temporary name beside ``path``, then rename it into place."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, atomically."""
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8", newline="\n"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a stable layout, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def prepare(out: Path) -> None:
    """Make the result folder.

    Raises:
        InputError: it is a file, or cannot be made or written to.
    """
    try:
        (out / RUNS).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError("is not a folder, expected one for the results (--out)", Mark(str(out))) from None
    except OSError as error:
        raise InputError(f"cannot hold results: {error.strerror or error}", Mark(str(out))) from None
    if not os.access(out / RUNS, os.W_OK):
        raise InputError("cannot hold results: not writable", Mark(str(out)))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", Mark(str(path))) from None


@cache
def engine_hash() -> str:
    """Hash the sources that decide a run's results, so that no result outlives the code that made it."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(__version__.encode())
    for room in _ENGINE_ROOMS:
        folder = package / room
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".yaml") and path.is_file():
                digest.update(
                    path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
                )
    return digest.hexdigest()


def run_key(facts: Mapping[str, Any]) -> str:
    """Return a run's key: a hash of its configuration, seed, inputs and the engine's sources."""
    text = json.dumps({**facts, "engine": engine_hash()}, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def save_run(out: Path, key: str, record: Mapping[str, Any], series: Series) -> None:
    """Leave a finished run's results behind; the ``.json``, which says that it is finished, comes last."""
    columns = {f"{name}/{column}": data for name, table in series.items() for column, data in table.items()}
    if columns:
        path = out / RUNS / f"{key}.npz"

        def write(file: Path) -> None:
            with file.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **columns)

        write_atomically(path, write)
    write_json(out / RUNS / f"{key}.json", dict(record))


def load_run(out: Path, key: str) -> dict[str, Any] | None:
    """Return what a finished run left behind, or None."""
    path = out / RUNS / f"{key}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or "metrics" not in record:
        return None
    if record.get("series") and not path.with_suffix(".npz").is_file():
        return None
    return record


def load_series(out: Path, key: str) -> dict[str, dict[str, np.ndarray]]:
    """Return a finished run's series, name → column → values."""
    path = out / RUNS / f"{key}.npz"
    found: dict[str, dict[str, np.ndarray]] = {}
    if not path.is_file():
        return found
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            table, _, column = name.partition("/")
            found.setdefault(table, {})[column] = archive[name]
    return found


def cell(value: Any) -> str:
    """Return a value as a CSV cell: shortest text that reads back as the same number, missing = empty."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table whose bytes depend on its values alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    write_text(path, text.getvalue())
