"""Limits and rates: how many packets pass, and when."""

from __future__ import annotations

import numpy as np
import pytest

from oppcache.opp.fields import W_LENGTH, W_NOW, Layout
from oppcache.traffic import PacketSource, Rate, limit, make_generator, open_capture, parse_rate, retime
from oppcache.traffic.shaping import WIRE_OVERHEAD


@pytest.fixture
def source():
    return make_generator({"model": "caida-like", "flows": 100, "zipf": 1.0}, 1, 20_000)


def columns(source, *words):
    chunks = [chunk.vectors[:, list(words)].astype(np.int64) for chunk in source.chunks(Layout())]
    return np.concatenate(chunks).T if chunks else np.zeros((len(words), 0), np.int64)


@pytest.mark.parametrize("packets", [0, 1, 4095, 4096, 4097, 19_999, 20_000, 50_000])
def test_at_most_so_many_packets(source, packets):
    bounded = limit(source, packets=packets)
    assert isinstance(bounded, PacketSource)
    (stamps,) = columns(bounded, W_NOW)
    assert len(stamps) == min(packets, 20_000) == bounded.counts()["packets"]
    assert np.array_equal(stamps, columns(source, W_NOW)[0][:packets])
    assert bounded.describe()["limit_packets"] == packets


def test_only_so_long(source):
    (stamps,) = columns(source, W_NOW)
    duration = int(stamps[7000] - stamps[0])
    (kept,) = columns(limit(source, duration_ns=duration), W_NOW)
    assert np.array_equal(kept, stamps[stamps < stamps[0] + duration])
    endless = make_generator({"model": "zipf"}, 1)
    assert 900 < len(columns(limit(endless, duration_ns=1_000_000), W_NOW)[0]) < 1100
    assert limit(source) is source


def test_reasons_are_those_of_the_packets_that_passed(craft, tmp_path):
    whole = craft.corpus()[0]
    (tmp_path / "a").write_bytes(craft.pcap([whole] * 3 + [whole[:10]] * 5))
    bounded = limit(open_capture(tmp_path / "a"), packets=4)
    list(bounded.chunks(Layout()))
    assert bounded.counts() == {"packets_read": 8, "packets": 4, "parse_truncated_l2": 1}


def test_back_to_back_on_a_wire(source):
    stamps, lengths = columns(retime(source, parse_rate("40Gbps")), W_NOW, W_LENGTH)
    on_wire = (lengths + WIRE_OVERHEAD) * 8 / 40  # ns
    assert np.abs(np.diff(stamps) - on_wire[:-1]).max() <= 1
    assert abs((stamps[-1] - stamps[0]) - on_wire[:-1].sum()) <= 1, "rounding does not add up"


def test_evenly_spaced(source):
    (stamps,) = columns(retime(source, Rate("packets", 3e6)), W_NOW)
    assert set(np.diff(stamps).tolist()) == {333, 334}
    assert stamps[-1] - stamps[0] == round(19_999 * 1e3 / 3)


def test_faster_by_a_factor(source):
    (before,) = columns(source, W_NOW)
    (after,) = columns(retime(source, parse_rate("x2.5")), W_NOW)
    assert after[0] == before[0]
    assert np.abs((after - after[0]) - (before - before[0]) / 2.5).max() <= 1
    assert retime(source, parse_rate("as-captured")) is source


def test_wrappers_wrap_each_other(source):
    both = limit(retime(source, Rate("packets", 1e6)), duration_ns=5_000_000)
    assert len(columns(both, W_NOW)[0]) == 5000
    assert both.describe()["rate"] == {"kind": "packets", "value": 1e6}
    assert both.inputs() == []


@pytest.mark.parametrize(
    "text", ["fast", "x0", "x-1", "xinf", "10", "10M", 10, True, None, "-5Gbps", "5GBps", "x"]
)
def test_wrong_rates(text):
    with pytest.raises(ValueError, match="expected"):
        parse_rate(text)


def test_right_rates():
    assert parse_rate("as-captured") == Rate()
    assert parse_rate("40Gbps") == Rate("bits", 40e9)
    assert parse_rate("10Mpps") == Rate("packets", 1e7)
    assert parse_rate(" x2.5 ") == Rate("factor", 2.5)
