"""The documentation's page on NIC profiles, made from the profiles themselves.

``python -m oppcache.fastpath.profiles_page > docs/profiles.md`` writes it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from .limits import SPECS, UNLIMITED, Limit, Spec
from .profiles import Profile, load_profile, profile_names

_HEAD = """\
# NIC profiles

A profile is a YAML file that says what a NIC can hold, what it can do, and how long it takes. The shipped ones
are in `fastpath/profiles/`; a file of your own works wherever a profile's name does. `oppcache analyse PROGRAM
--nic PROFILE` says what of a program fits, and every reason why something does not ([Analyse](analyse.md)).
Experiments run any of them ([Time](time.md)); `ideal` has no limits and takes no time.

```text
profile: my-nic
description: As a NetFPGA SUME, with a larger ternary table.
base: netfpga-sume              # its limits hold unless this file says otherwise
efsm:
  entries: 256                  # a value by itself ...
  width_bits: {value: 320, kind: assumed, source: "two entries side by side"}   # ... or with its source
contexts:
  key_bits: unlimited           # takes a limit of the base away
```

A limit that a profile does not have is no limit. `kind` is `read` (in the source), `derived` (from what was
read), `assumed`, or `given` where nothing is said. Values carry units, keys do not, as in experiments.

A stage whose limits are broken runs on the CPU. Where only some entries ask too much, packets that need those
are punted with their context; where only IPv6 packets do (their keys are wider), they are punted.
"""

_SUME_NOTE = """\
About 200,000 contexts of the published width (128 + 146 bit) would be 54.8 Mbit, more than the 54.2 Mbit of
the device's 1,470 block RAMs: the build that held them must have had narrower contexts. Both numbers are in the
paper and both are kept; `netfpga-sume-wide` reckons with the memory instead.
"""

_WIDE_NOTE = """\
A table holds `contexts.memory_bits` ÷ tables of the program ÷ (key + label + registers + `contexts.flag_bits` +
`contexts.protocol_bits`) contexts, rounded down; key, label and registers are the program's own.
"""
_RTL_NOTE = """\
The public RTL is not the build that the paper measures: without a scheduler it lets no packet follow a short one
before cycle 11, so that an element takes 14.2 million of them a second, where four 10G links bring 59.5 million.
"""
_NOTES = {
    "netfpga-sume": _SUME_NOTE,
    "netfpga-sume-rtl": _RTL_NOTE,
    "netfpga-sume-wide": _WIDE_NOTE,
}


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _HEAD
    yield "## Keys\n"
    yield "| key | unit | meaning |"
    yield "|---|---|---|"
    for key, spec in SPECS.items():
        yield f"| `{key}` | {_unit(spec)} | {spec.meaning} |"
    for name in profile_names():
        profile = load_profile(name)
        yield f"\n## {name}\n\n{profile.description}\n"
        if profile.limits:
            yield from _table(profile)
        if name in _NOTES:
            yield "\n" + _NOTES[name].rstrip()
    yield ""


def _table(profile: Profile) -> Iterator[str]:
    yield "| limit | value | kind | source |"
    yield "|---|---|---|---|"
    for key, spec in SPECS.items():
        if key in profile.limits:
            limit = profile.limits[key]
            yield f"| `{key}` | {shown(spec, limit)} | {limit.kind} | {limit.source} |"


def _unit(spec: Spec) -> str:
    return f"{spec.unit}: {', '.join(spec.names)}" if spec.names else spec.unit


_FREQUENCY = (("GHz", 1e9), ("MHz", 1e6), ("kHz", 1e3), ("Hz", 1.0))
_RATE = (("Gbps", 1e9), ("Mbps", 1e6), ("kbps", 1e3), ("bps", 1.0))


def shown(spec: Spec, limit: Limit) -> str:
    """A limit's value as a person reads it."""
    value = limit.value
    if value is None:
        return UNLIMITED
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if spec.unit == "share":
        return f"{100 * value:g} %"
    scale = {"frequency": _FREQUENCY, "rate": _RATE}.get(spec.unit)
    if scale is not None:
        name, factor = next((n, f) for n, f in scale if value >= f or f == 1.0)
        return f"{value / factor:g} {name}"
    unit = {"time": " ns", "bits": " bit", "bytes": " bytes", "cycles": " cycles"}.get(spec.unit, "")
    return (f"{value:,}" if isinstance(value, int) else f"{value:g}") + unit


if __name__ == "__main__":
    print(page(), end="")
