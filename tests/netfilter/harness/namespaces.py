"""Network namespaces that the tests make themselves: a router and, on the other ends of its wires, the hosts."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import itertools
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .wire import mac_bytes

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SIOCETHTOOL, SIOCGIFINDEX = 0x8946, 0x8933
ETHTOOL_SET_OFFLOADS = (0x15, 0x17, 0x1F, 0x24, 0x2C)  # rx checksums, tx checksums, TSO, GSO, GRO
RESTORE = "iptables-legacy-restore"
COUNTER = itertools.count()
ADDRESS = re.compile(r"(?<![\d.])(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(?![\d.])")

# What every router starts from, whatever this machine's defaults are; a topology's ``sysctl`` goes on top.
SYSCTLS = {
    "net.ipv6.conf.all.disable_ipv6": 1,
    "net.ipv6.conf.default.disable_ipv6": 1,
    "net.ipv4.ip_forward": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv4.icmp_msgs_per_sec": 1000000,
    "net.ipv4.icmp_msgs_burst": 1000000,
}


def missing() -> str | None:
    """Why the kernel cannot be asked on this machine, or None."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    for tool in ("ip", RESTORE):
        if shutil.which(tool) is None:
            return f"needs {tool} (Debian packages iproute2 and iptables)"
    name = f"oppcache-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=20)
    if done.returncode:
        return f"cannot make a network namespace: {done.stderr.strip()}"
    try:
        loaded = subprocess.run(
            ["ip", "netns", "exec", name, RESTORE],
            input="*filter\n-A INPUT -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n",
            capture_output=True,
            text=True,
            timeout=20,
        )
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)
    return f"{RESTORE} fails: {loaded.stderr.strip()}" if loaded.returncode else None


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """This thread in the namespace ``name``; sockets made meanwhile stay there."""
    with open("/proc/thread-self/ns/net") as before, open(f"/run/netns/{name}") as wanted:
        _setns(wanted.fileno())
        try:
            yield
        finally:
            _setns(before.fileno())


def _setns(fd: int) -> None:
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns failed")


def run(command: Sequence[str], text: str = "") -> str:
    """A command's output; a failure raises with what it said."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Namespaces:
    """A router's namespace and its hosts', wired as a topology says; removed when the context ends.

    The router's interfaces carry the topology's names, the hosts' ends ``h0``, ``h1``, … in the topology's order.
    """

    def __init__(self, topology: dict[str, Any], known: str = "") -> None:
        """Args:
        topology: as in ``topology.json``.
        known: text with addresses that may become next hops (the ruleset, the packets' addresses).
        """
        self.topology = topology
        self.known = known
        unique = f"oppcache-{os.getpid()}-{next(COUNTER)}"
        self.router, self.hosts = f"{unique}-r", f"{unique}-h"

    def __enter__(self) -> Namespaces:
        try:
            for name in (self.router, self.hosts):
                run(["ip", "netns", "add", name])
            self._sysctls(SYSCTLS)
            with inside(self.hosts):
                for key in ("all", "default"):
                    Path(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6").write_text("1")
            self._links()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.router, self.hosts):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30)

    def load(self, rules: str) -> None:
        """Load a ruleset (iptables-save text) into the router."""
        run(["ip", "netns", "exec", self.router, RESTORE], rules)
        self._sysctls({k: v for k, v in self.topology.get("sysctl", {}).items() if "nf_conntrack" in k})

    def _sysctls(self, values: dict[str, Any]) -> None:
        with inside(self.router):
            for key, value in values.items():
                # Per-thread: /proc/sys/net is that of the thread which opens it.
                path = Path("/proc/sys") / _sysctl_path(key)
                if path.exists():
                    path.write_text(str(value))

    def _links(self) -> None:
        batch = ["link set lo up"]
        interfaces = self.topology["interfaces"]
        for k, interface in enumerate(interfaces):
            name, mtu = interface["name"], interface.get("mtu", 1500)
            batch.append(f"link add {name} mtu {mtu} type veth peer name h{k} netns {self.hosts}")
            batch.append(f"link set {name} address {interface['mac']}")
            batch.extend(f"addr add {a} brd + dev {name}" for a in interface["addr"])
        run(["ip", "-n", self.router, "-batch", "-"], "\n".join(batch) + "\n")
        run(
            ["ip", "-n", self.hosts, "-batch", "-"],
            "".join(f"link set h{k} mtu 65535 up\n" for k in range(len(interfaces))),
        )
        with inside(self.router), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for interface in interfaces:
                no_offloads(control, interface["name"])
        self._sysctls({k: v for k, v in self.topology.get("sysctl", {}).items() if "nf_conntrack" not in k})
        up = [f"link set {i['name']} up" for i in interfaces]
        run(["ip", "-n", self.router, "-batch", "-"], "\n".join([*up, *self._neighbours()]) + "\n")
        run(["ip", "-n", self.router, "-batch", "-"], "\n".join([*self._routes(), ""]))

    def _routes(self) -> list[str]:
        lines = []
        for route in self.topology.get("routes", []):
            kind = f"{route['type']} " if route.get("type") else ""
            parts = [f"route add {kind}{route['dst']}"]
            for word in ("via", "dev", "table", "metric", "src", "mtu"):
                if route.get(word) not in (None, ""):
                    parts.append(f"{word} {route[word]}")
            if route.get("via"):
                parts.append("onlink")
            lines.append(" ".join(parts))
        lines.extend("rule add " + rule_words(rule) for rule in self.topology.get("ip_rules", []))
        return lines

    def _neighbours(self) -> list[str]:
        lines = []
        wanted = set(ADDRESS.findall(self.known))
        wanted -= {
            str(ipaddress.ip_interface(a).network.broadcast_address)
            for i in self.topology["interfaces"]
            for a in i["addr"]
        }
        wanted |= {r["via"] for r in self.topology.get("routes", []) if r.get("via")}
        for interface in self.topology["interfaces"]:
            for address in sorted(wanted):
                if all(int(x) < 256 for x in address.split(".")) and int(address.split(".")[0]) < 224:
                    mac = ":".join(f"{b:02x}" for b in mac_bytes(address))
                    lines.append(
                        f"neigh replace {address} lladdr {mac} dev {interface['name']} nud permanent"
                    )
        return lines


def rule_words(rule: Any) -> str:
    """An entry of ``ip_rules`` as words for ``ip rule add``."""
    if isinstance(rule, str):
        return rule
    names = {
        "mark": "fwmark",
        "table": "lookup",
        "src": "from",
        "dst": "to",
        "prio": "priority",
        "pref": "priority",
    }
    return " ".join(f"{names.get(k, k)} {v}" for k, v in rule.items() if v not in (None, ""))


def _sysctl_path(key: str) -> str:
    return key if "/" in key else key.replace(".", "/")


def no_offloads(control: socket.socket, name: str) -> None:
    """Turn checksum and segmentation offloads of a device off, so that what is captured is what a wire carries."""
    for command in ETHTOOL_SET_OFFLOADS:
        value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
        request = struct.pack("@16sP", name.encode(), ctypes.addressof(value))
        with contextlib.suppress(OSError):
            fcntl.ioctl(control, SIOCETHTOOL, request.ljust(40, b"\0"))
