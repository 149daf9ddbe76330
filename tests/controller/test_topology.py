"""Topologies: numbers of interfaces, what addresses imply, policy rules, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oppcache.controller import load_topology
from oppcache.opp import InputError

ROUTER = {
    "interfaces": [
        {"name": "lan0", "addr": ["10.0.1.1/24"], "mac": "02:ff:00:00:00:01", "mtu": 1400},
        {"name": "wan0", "addr": ["203.0.113.1/24"], "mac": "02:ff:00:00:00:02"},
    ],
    "routes": [{"dst": "default", "via": "203.0.113.254", "dev": "wan0"}],
    "ip_rules": ["fwmark 0x10/0xff lookup 100", {"src": "10.0.1.0/24", "table": "101"}],
    "sysctl": {"net.netfilter.nf_conntrack_tcp_loose": "0"},
}


def written(folder: Path, document: object) -> Path:
    path = folder / "topology.json"
    path.write_text(json.dumps(document))
    return path


def test_a_router(tmp_path: Path) -> None:
    router = load_topology(written(tmp_path, ROUTER))
    assert [(i.name, i.number, i.mtu) for i in router.interfaces] == [
        ("lo", 1, 65536),
        ("lan0", 2, 1400),
        ("wan0", 3, 1500),
    ]
    routes = {(str(r.destination), r.device, r.table, r.type) for r in router.routes}
    assert ("0.0.0.0/0", "wan0", "main", "unicast") in routes
    assert ("10.0.1.1/32", "lan0", "local", "local") in routes
    assert ("10.0.1.255/32", "lan0", "local", "broadcast") in routes
    assert ("10.0.1.0/24", "lan0", "main", "unicast") in routes
    assert [(r.preference, r.table) for r in router.rules] == [
        (0, "local"),
        (32764, "101"),
        (32765, "100"),
        (32766, "main"),
        (32767, "default"),
    ]
    assert router.rules[2].mark == 0x10
    assert router.rules[2].mark_mask == 0xFF
    assert router.setting("net.netfilter.nf_conntrack_tcp_loose", 1) == 0
    assert router.setting("net.ipv4.ip_forward", 1) == 1


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    document = {
        "interfaces": [{"name": "lan0", "addr": ["10.0.1.1/33"]}],
        "routes": [{"dst": "10.0.0.0/40"}, {"dst": "10.9.0.0/16", "dev": "lan"}],
    }
    with pytest.raises(InputError) as caught:
        load_topology(written(tmp_path, document))
    text = str(caught.value)
    assert "10.0.1.1/33" in text
    assert "10.0.0.0/40" in text
    assert "did you mean 'lan0'" in text


def test_not_json(tmp_path: Path) -> None:
    path = tmp_path / "topology.json"
    path.write_text('{"interfaces": [')
    with pytest.raises(InputError, match=r"topology\.json:1:\d+: not JSON"):
        load_topology(path)
