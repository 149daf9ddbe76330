"""What figures show (their data, not their pixels), and that they are the same bytes each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars
import pytest

from oppcache.experiments import load
from oppcache.experiments.drawings import kinds
from oppcache.experiments.figure_data import Axis, FigureData, from_metrics, from_results, from_series
from oppcache.experiments.metrics import METRICS, find_metric, in_order
from oppcache.experiments.plots import draw, plot
from oppcache.experiments.schema import FigureSpec
from oppcache.opp.errors import InputError

HIT_RATES = """\
nic.contexts,cache.eviction,link.rx,seed,packets,hit_rate
1024,lru,1e-06,0,100,0.5
1024,lru,1e-06,1,100,0.7
1024,belady,1e-06,0,100,0.8
1024,belady,1e-06,1,100,0.8
256,lru,1e-06,0,100,0.25
256,lru,1e-06,1,100,0.5
256,belady,1e-06,0,100,
256,belady,1e-06,1,100,0.75
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A result folder written by hand."""
    (tmp_path / "results.csv").write_text(HIT_RATES)
    figures: list[dict[str, Any]] = [
        {"y": "hit_rate", "x": "nic.contexts", "by": "cache.eviction"},
        {"y": "hit_rate", "x": "cache.eviction", "by": "nic.contexts", "kind": "bar"},
        {"y": "hit_rate", "x": "cache.eviction", "by": "nic.contexts"},
    ]
    configuration = {"question": "Why?", "figures": figures}
    (tmp_path / "manifest.json").write_text(json.dumps({"configuration": configuration, "seeds": [0, 1]}))
    return tmp_path


def data(folder: Path, **spec: Any) -> FigureData:
    results = load(folder)
    return from_results(results.results, FigureSpec(**spec), results.manifest)


def as_plain(figure: FigureData) -> list[Any]:
    return [
        (group.label, group.x.tolist(), group.mean.tolist(), group.low.tolist(), group.high.tolist())
        for group in figure.groups
    ]


def test_lines_are_means_over_seeds_with_their_range(folder: Path) -> None:
    figure = data(folder, y="hit_rate", x="nic.contexts", by="cache.eviction")
    assert as_plain(figure) == [
        ("lru", [256.0, 1024.0], [0.375, 0.6], [0.25, 0.5], [0.5, 0.7]),
        # A failed run is left out, not drawn as 0.
        ("belady", [256.0, 1024.0], [0.75, 0.8], [0.75, 0.8], [0.75, 0.8]),
    ]
    assert [group.bound for group in figure.groups] == [False, True]
    assert (figure.title, figure.legend, figure.seeds) == ("Why?", "eviction policy", 2)
    assert (figure.x.label, figure.y.label) == ("contexts per table", "NIC hit rate")


def test_names_on_x_keep_the_order_of_the_sweep(folder: Path) -> None:
    figure = data(folder, y="hit_rate", x="cache.eviction", by="nic.contexts")
    assert figure.x.values == ("lru", "belady")
    assert figure.x.categorical
    assert as_plain(figure) == [
        ("1,024", [0.0, 1.0], [0.6, 0.8], [0.5, 0.8], [0.7, 0.8]),
        ("256", [0.0, 1.0], [0.375, 0.75], [0.25, 0.75], [0.5, 0.75]),
    ]
    assert figure.ordered


def test_a_quantity_has_its_unit(folder: Path) -> None:
    figure = data(folder, y="hit_rate", x="link.rx", by=["cache.eviction", "nic.contexts"])
    assert (figure.x.label, figure.x.unit, figure.x.values) == ("NIC to CPU latency", "s", (1e-6,))
    assert figure.groups[0].label == "lru · 1,024"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((64, 256, 1024), True),
        ((256, 1000, 4000, 16000), True),
        ((1, 2, 3, 4), False),
        ((0, 64, 1024), False),
        ((64, 1024), False),
        ((0.5, 1.0, 2.0, 4.0), True),
    ],
)
def test_sizes_that_grow_by_factors_are_spread_evenly(values: tuple[float, ...], expected: bool) -> None:
    assert Axis("x", "", values).is_geometric() is expected


def test_series_give_one_curve_a_run() -> None:
    frame = polars.DataFrame(
        {
            "run": [0, 0, 1, 1],
            "cache.eviction": ["lru", "lru", "fifo", "fifo"],
            "seed": [0, 0, 0, 0],
            "time": [0.5, 1.0, 0.5, 1.0],
            "packets": [10, 10, 10, 5],
            "hit_rate": [0.1, 0.2, 0.3, 0.4],
        }
    )
    spec = FigureSpec(y="hit_rate", x="packets", by=("cache.eviction",), kind="timeline")
    figure = from_series(frame, spec, {})
    curves = [(curve.label, curve.x.tolist(), curve.y.tolist()) for curve in figure.curves]
    assert curves == [("lru", [10.0, 20.0], [0.1, 0.2]), ("fifo", [10.0, 15.0], [0.3, 0.4])]


COSTS = """\
consistency.protocol,nic.contexts,seed,hit_rate,control_messages_per_packet,anomaly_rate
naive,64,0,0.3,0.5,0.1
naive,64,1,0.5,0.7,0.3
naive,256,0,0.6,0.25,0.001
naive,256,1,0.6,0.25,0.001
cas,64,0,0.4,0.8,0
cas,64,1,0.4,0.8,0
cas,256,0,0.6,0.25,0
cas,256,1,,,
lone,64,0,,,
"""
SCATTER: dict[str, Any] = {
    "y": "hit_rate",
    "x": "control_messages_per_packet",
    "by": ["consistency.protocol", "nic.contexts"],
    "shade": "anomaly_rate",
    "kind": "scatter",
}


def scatter() -> FigureData:
    frame = polars.read_csv(COSTS.encode())
    return from_metrics(frame, FigureSpec(**SCATTER), {"seeds": [0, 1]})


def test_a_scatter_has_a_group_for_each_name_and_its_points_in_the_sweep_s_order() -> None:
    figure = scatter()
    assert [group.label for group in figure.groups] == ["naive", "cas"], "what lacks a metric is left out"
    naive, cas = figure.groups
    assert naive.x.tolist() == pytest.approx([0.6, 0.25])
    assert naive.mean.tolist() == pytest.approx([0.4, 0.6])
    assert (naive.low.tolist(), naive.high.tolist()) == ([0.3, 0.6], [0.5, 0.6])
    assert naive.shade.tolist() == pytest.approx([0.2, 0.001])
    assert cas.shade.tolist() == [0, 0]
    assert (figure.x.label, figure.y.unit) == ("control messages per packet", "1")
    assert figure.shade is not None
    assert figure.shade.label == "anomalies per packet"


def test_a_scatter_names_its_points_apart_and_leaves_those_without_anomalies_hollow() -> None:
    figure = draw(scatter())
    axes = figure.axes[0]
    names = {text.get_text(): text for text in axes.texts}
    assert set(names) == {"naive", "cas"}
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in names.values()]
    assert not boxes[0].overlaps(boxes[1]), "both end at the same place"
    assert axes.get_legend() is None
    faces = {tuple(face) for points in axes.collections for face in points.get_facecolors()}
    assert (1.0, 1.0, 1.0, 1.0) in faces
    assert len(faces) == 3
    assert figure.axes[1].get_ylabel() == "anomalies per packet (hollow: 0)"


def test_a_scatter_of_what_never_goes_wrong_has_no_colours() -> None:
    frame = polars.read_csv(COSTS.encode()).filter(polars.col("consistency.protocol") == "cas")
    assert len(draw(from_metrics(frame, FigureSpec(**SCATTER), {})).axes) == 1
    plain = from_metrics(frame, FigureSpec(**{**SCATTER, "shade": None}), {})
    assert plain.shade is None
    assert len(draw(plain).axes) == 1


def test_figures_are_files_of_the_same_bytes_each_time(folder: Path) -> None:
    files = plot(folder)
    names = [path.name for path in files]
    assert names == [
        "hit_rate-vs-nic.contexts.png",
        "hit_rate-vs-nic.contexts.pdf",
        "hit_rate-vs-cache.eviction.png",
        "hit_rate-vs-cache.eviction.pdf",
        "hit_rate-vs-cache.eviction-2.png",
        "hit_rate-vs-cache.eviction-2.pdf",
    ]
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in plot(folder)] == before
    assert not any(b"CreationDate" in content for content in before)


def test_axes_say_what_they_measure(folder: Path) -> None:
    axes = draw(data(folder, y="hit_rate", x="nic.contexts", by="cache.eviction")).axes[0]
    assert axes.get_xlabel() == "contexts per table"
    assert axes.get_ylabel() == "NIC hit rate"
    assert axes.yaxis.get_major_formatter()(0.5).startswith("50")
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["belady (bound)", "lru"]
    axes = draw(data(folder, y="hit_rate", x="link.rx", by="cache.eviction")).axes[0]
    assert axes.get_xlabel() == "NIC to CPU latency (µs)"


def test_a_kind_is_a_file_and_has_what_it_needs() -> None:
    assert kinds() == ("bar", "cdf", "line", "scatter", "timeline")


def test_a_manifest_with_a_figure_of_no_known_kind_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["configuration"]["figures"][0]["kind"] = "pie"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="got kind 'pie', expected bar, cdf, line, scatter, timeline"):
        plot(folder)


def test_metrics_stand_in_the_table_s_order_whatever_the_runs_report_first() -> None:
    given = ["sim_seconds", "context_hit_rate.b", "novel", "hit_rate", "packets", "context_hit_rate"]
    expected = ["packets", "hit_rate", "context_hit_rate", "context_hit_rate.b", "sim_seconds", "novel"]
    assert in_order(given) == expected
    assert in_order(metric.name for metric in METRICS) == [metric.name for metric in METRICS]


def test_only_metrics_with_parts_have_parts() -> None:
    assert find_metric("context_hit_rate.connections") is not None
    assert find_metric("latency_p99.delayed") is not None
    assert find_metric("latency_p99.slow") is None
    assert find_metric("hit_rate.x") is None
