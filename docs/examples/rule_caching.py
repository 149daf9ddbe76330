"""Hit rate against ternary entries for the algorithms of rule caching, as a table and a figure.

``python docs/examples/rule_caching.py [FOLDER]`` writes rule-caching.csv and rule-caching.png there.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from oppcache.bench.rules_generator import KINDS, make_rules, make_trace
from oppcache.cache.rules import ALGORITHMS, Dependencies, dependencies_of, select
from oppcache.opp import Machine, load_program

RULES, PACKETS, ZIPF = 2_000, 400_000, 1.0
ROWS = (32, 64, 128, 256, 512, 1024, 2048, 4096)


def counts_of(machine: Machine, vectors: np.ndarray, rules: int) -> np.ndarray:
    """Packets of each entry, ``int64[rules + 1]``; those that no entry matches last."""
    got = machine.process(vectors)
    return np.bincount(np.where(got.verdict == 1, got.port.astype(np.int64), rules), minlength=rules + 1)


def unsafe(dependencies: Dependencies, seen: np.ndarray, room: int) -> np.ndarray:
    """The entries of most packets a row, whatever they depend on: verdicts would be wrong."""
    order = np.argsort(-seen / np.maximum(dependencies.rows, 1), kind="stable")
    chosen = np.zeros(len(seen), bool)
    chosen[order[np.cumsum(dependencies.rows[order]) <= room]] = True
    return chosen


def measure(kind: str) -> list[dict[str, object]]:
    """Choose by the first half of the packets, count hits in the second."""
    rules = make_rules(kind, RULES)
    machine = Machine(load_program(rules.document()))
    stage = machine.program.stages[0]
    dependencies = dependencies_of(machine.program, stage, machine.layout)
    vectors = make_trace(rules, PACKETS, machine.layout, zipf=ZIPF)
    seen, later = (counts_of(machine, half, RULES) for half in np.array_split(vectors, 2))
    out: list[dict[str, object]] = []
    for room in ROWS:
        for algorithm in ALGORITHMS:
            chosen = select(dependencies, seen, room, algorithm)
            hits = later[chosen.cached].sum() / later.sum()
            out.append({"rules": kind, "rows": room, "algorithm": algorithm, "hit_rate": f"{hits:.4f}"})
        hits = later[unsafe(dependencies, seen, room)].sum() / later.sum()
        out.append({"rules": kind, "rows": room, "algorithm": "no dependencies", "hit_rate": f"{hits:.4f}"})
    return out


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """One panel a kind of rule set."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    import oppcache.experiments

    plt.style.use(Path(oppcache.experiments.__file__).parent / "house.mplstyle")
    figure, panels = plt.subplots(1, len(KINDS), figsize=(9.6, 3.4), sharey=True, layout="constrained")
    for panel, kind in zip(panels, KINDS, strict=True):
        for algorithm in (*reversed(ALGORITHMS), "no dependencies"):
            mine = [r for r in rows if r["rules"] == kind and r["algorithm"] == algorithm]
            bound = algorithm == "no dependencies"
            panel.plot(
                [int(str(r["rows"])) for r in mine],
                [100 * float(str(r["hit_rate"])) for r in mine],
                label="no dependencies (bound, wrong verdicts)" if bound else algorithm.replace("-", " "),
                **({"color": "#888888", "linestyle": ":", "marker": ""} if bound else {}),
            )
        panel.set_xscale("log", base=2)
        panel.set_xticks(ROWS[::2], [f"{n:,}" for n in ROWS[::2]])
        panel.set_title(f"{kind}, {RULES:,} rules", fontsize=9.5, loc="left")
        panel.set_xlabel("ternary entries")
    panels[0].set_ylabel("packets that stay on the NIC (%)")
    panels[0].set_ylim(0, 102)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path)


def main(folder: Path) -> None:
    rows = [row for kind in KINDS for row in measure(kind)]
    with (folder / "rule-caching.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, folder / "rule-caching.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
