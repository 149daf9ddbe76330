"""Damaged captures: whatever the bytes, a run ends, and its counts add up."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.opp.errors import InputError
from oppcache.traffic import open_capture

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "fuzzed"


def read_anyhow(path: Path, layout) -> None:
    try:
        source = open_capture(path)
        delivered = sum(len(chunk) for chunk in source.chunks(layout))
    except InputError:
        return
    counts = source.counts()
    skipped = sum(n for name, n in counts.items() if name.startswith("skipped_"))
    assert delivered == counts["packets"]
    assert delivered + skipped == counts["packets_read"]


@settings(derandomize=True, deadline=None, max_examples=400)
@given(number=st.integers(0, 3), seed=st.integers(0, 2**32))
def test_mutated_captures_never_stop_a_run(craft, everything, place, number, seed):
    rng = random.Random(seed)
    frames = craft.corpus()
    seeds = (
        craft.pcap(frames),
        craft.pcap(frames, order=">"),
        craft.pcapng(frames),
        craft.pcapng(frames, ">"),
    )
    place.write_bytes(craft.mutated(seeds[number], rng))
    read_anyhow(place, everything)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(body=st.binary(max_size=200), magic=st.sampled_from(["pcap", "pcapng", "gzip", "none"]))
def test_bytes_behind_a_magic_never_stop_a_run(everything, place, body, magic):
    heads = {"pcap": b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + bytes(11) + b"\x04\x01\x00\x00\x00"}
    heads |= {"pcapng": b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a" + bytes(12) + b"\x1c\x00\x00\x00"}
    heads |= {"gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "none": b""}
    place.write_bytes(heads[magic] + body)
    read_anyhow(place, everything)


@pytest.mark.parametrize(
    ("setting", "count"),
    [("NUMBA_BOUNDSCHECK", 500), ("NUMBA_DISABLE_JIT", 60)],
    ids=["bounds-checked", "no-jit"],
)
def test_no_index_is_out_of_bounds(tmp_path, full, setting, count):
    """The kernels read no byte outside their arrays, compiled with checks and as plain Python."""
    command = [sys.executable, str(HERE / "fuzz.py"), str(tmp_path), "7", str(count * 20 if full else count)]
    done = subprocess.run(
        command, env={**os.environ, setting: "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > count


def test_a_compiled_read_out_of_bounds_would_be_caught(tmp_path):
    """The check above means something: with bounds checks, a wild index in one of our kernels raises."""
    code = (
        "import numpy as np; from oppcache.traffic.bytesread import be32\n"
        "try: be32(np.zeros(3, np.uint8), np.uint64(0))\n"
        "except IndexError: print('caught')"
    )
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "caught", done.stderr[-2000:]
