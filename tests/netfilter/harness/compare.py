"""Whether an answer agrees with what the kernel did, at the levels of the record format's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .case import Packet

REWRITE = "iface src dst proto sport dport icmp_type icmp_code icmp_id ttl tos mark".split()
FULL = [
    *REWRITE,
    *"len df frag ipopt seq ack flags win opts icmp_seq plen pcrc csum dmac mtu gw inner".split(),
]
GENERATED = "iface kind src dst proto sport dport icmp_type icmp_code flags seq ack mtu inner".split()
QUOTED = "src dst proto sport dport icmp_type icmp_code icmp_id".split()
TUPLE = "src dst sport dport type code id packets".split()
FIELDS: dict[str, tuple[list[str], list[str]]] = {
    "verdict": ([], []),
    "rewrite": (REWRITE, GENERATED),
    "full": (FULL, [*GENERATED, "ttl", "tos"]),
}


def disagreements(
    packets: Sequence[Packet],
    kernel: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    level: str = "rewrite",
) -> list[tuple[int, str]]:
    """Every difference as (number of the packet, what differs)."""
    assert len(kernel) == len(packets), f"{len(packets)} packets, {len(kernel)} records of the kernel"
    found = []
    for i, (packet, want) in enumerate(zip(packets, kernel, strict=True)):
        if i >= len(answers):
            found.append((i, "no answer"))
            continue
        found.extend((i, text) for text in differences(packet, want, answers[i], answers, level))
    return found


def differences(
    packet: Packet,
    want: Mapping[str, Any],
    got: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
    level: str,
) -> list[str]:
    """Differences of one packet's answer; none if it agrees."""
    relax = packet.relax
    if "verdict" in relax:
        wrong = got.get("verdict") not in relax["verdict"]
        return [f"verdict: want one of {relax['verdict']} got {got.get('verdict')}"] if wrong else []
    if want["verdict"] != got.get("verdict"):
        return [f"verdict: want {want['verdict']} got {got.get('verdict')} ({want['pkt']})"]
    of_packet, of_generated = FIELDS[level]
    found: list[str] = []
    for part, names in (("out", of_packet), ("local", of_packet), ("emitted", of_generated)):
        if names:
            found += _part(part, want.get(part) or [], got.get(part) or [], names, relax, answers)
    if level == "full" and "ct" in got and "ct" not in relax:
        found += _entry(packet, want, got)
    return found


def _part(
    part: str,
    want: list[Any],
    got: list[Any],
    names: list[str],
    relax: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
) -> list[str]:
    if len(want) != len(got):
        return [f"{part}: want {len(want)} packets got {len(got)}"]
    if part == "out" and len(want) > 1:
        want, got = (
            sorted(p, key=lambda f: (f.get("iface", ""), (f.get("frag") or [0])[0])) for p in (want, got)
        )
    if part == "local":
        names = [n for n in names if n not in ("iface", "dmac")]
    found: list[str] = []
    for k, (w, g) in enumerate(zip(want, got, strict=True)):
        found += _packet(f"{part}[{k}]" if k else part, part, w, g, names, relax, answers)
    return found


def _packet(
    label: str,
    part: str,
    want: Mapping[str, Any],
    got: Mapping[str, Any],
    names: list[str],
    relax: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
) -> list[str]:
    found: list[str] = []
    for name in names:
        w, g = want.get(name), got.get(name)
        if name == "inner":
            if (w is None) != (g is None):
                found.append(f"{label}.inner: want {w is not None} got {g is not None}")
            elif w is not None and g is not None:
                found += _packet(f"{label}.inner", f"{part}.inner", w, g, QUOTED, relax, answers)
            continue
        if name == "mark":
            w, g = w or 0, g or 0
        key = f"{part}.{name}"
        if key in relax:
            if not _within(relax[key], name, g, answers):
                found.append(f"{label}.{name}: want in {relax[key]} got {g}")
        elif w != g:
            found.append(f"{label}.{name}: want {w} got {g}")
    return found


def _within(relax: Any, name: str, got: Any, answers: Sequence[Mapping[str, Any]]) -> bool:
    if relax is None:
        return True
    if isinstance(relax, str):
        number = int(relax[1:])
        earlier = answers[number] if number < len(answers) else {}
        return ((earlier.get("out") or earlier.get("local") or [{}])[0]).get(name) == got
    low, high, value = (_number(x) for x in (*relax, got))
    return isinstance(value, int) and low <= value <= high


def _number(value: Any) -> Any:
    if isinstance(value, str) and value.count(".") == 3:
        return int.from_bytes(bytes(int(x) for x in value.split(".")), "big")
    return value


def _entry(packet: Packet, want: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    relax = packet.relax
    w, g = want.get("ct"), got.get("ct")
    found: list[str] = []
    if (w is None) != (g is None):
        found.append(
            f"ct: want {'none' if w is None else 'an entry'} got {'none' if g is None else 'an entry'}"
        )
    elif w is not None and g is not None:
        free = bool(packet.patch) or any(k.startswith(("out.", "local.")) for k in relax)
        found += [
            f"ct.{f}: want {w.get(f)} got {g.get(f)}"
            for f in ("state", "dir", "mark", "zone")
            if w.get(f) != g.get(f)
        ]
        for side in ("orig", "reply"):
            for f in TUPLE:
                if (free and side == "reply" and f != "packets") or f"ct.{side}.{f}" in relax:
                    continue
                if w[side].get(f) != g[side].get(f):
                    found.append(f"ct.{side}.{f}: want {w[side].get(f)} got {g[side].get(f)}")
        if "ct.flags" not in relax and sorted(w["flags"]) != sorted(g.get("flags", [])):
            found.append(f"ct.flags: want {w['flags']} got {g.get('flags')}")
        if "timeout" in g and "ct.timeout" not in relax and abs(w["timeout"] - g["timeout"]) > 1:
            found.append(f"ct.timeout: want {w['timeout']} got {g['timeout']}")
    if "ct_n" in got and "ct_n" not in relax and want.get("ct_n") != got["ct_n"]:
        found.append(f"ct_n: want {want.get('ct_n')} got {got['ct_n']}")
    return found


def agreed_within(times: int, differences: Callable[[], list[Any]]) -> list[Any]:
    """Ask the kernel again where it disagrees: a machine that stalls lets timers pass between two packets.

    What is recorded wrongly disagrees every time.
    """
    found: list[Any] = []
    for _ in range(times):
        found = differences()
        if not found:
            break
    return found
