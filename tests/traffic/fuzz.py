"""Reads mutated captures in a process of its own: ``python fuzz.py FOLDER SEED COUNT``; fails on any exception.

Run by a test under ``NUMBA_BOUNDSCHECK=1`` and under ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path

import craft

from oppcache.opp.errors import InputError
from oppcache.opp.fields import FIELDS, layout_for
from oppcache.traffic import open_capture


def main(folder: Path, seed: int, count: int) -> None:
    logging.disable()  # a damaged file is warned of each time
    rng = random.Random(seed)
    layout = layout_for([f.name for f in FIELDS])
    seeds = [craft.pcap(craft.corpus()), craft.pcap(craft.corpus(), order=">", nano=True)]
    seeds += [craft.pcapng(craft.corpus(), order) for order in "<>"]
    ip_frames = [frame[14:] for frame in craft.corpus()]
    seeds += [
        craft.pcap(ip_frames, linktype=101),
        craft.pcap([bytes(2) + f for f in craft.corpus()], linktype=113),
    ]
    seeds += [craft.pcap([f[12:14] + bytes(18) + f[14:] for f in craft.corpus()], linktype=276)]
    path, packets = folder / "fuzzed", 0
    for _ in range(count):
        path.write_bytes(craft.mutated(rng.choice(seeds), rng))
        try:
            source = open_capture(path)
            delivered = sum(len(chunk) for chunk in source.chunks(layout))
        except InputError:
            continue
        assert delivered == source.counts()["packets"] <= source.counts()["packets_read"]
        packets += delivered
    print(packets)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
