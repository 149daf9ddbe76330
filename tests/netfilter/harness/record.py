"""Record the kernel's answers to the cases: as root, ``python tests/netfilter/harness/record.py [NAME…]``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(wanted: list[str]) -> None:
    """Ask the kernel about these cases, or all, and keep what it says."""
    spec = importlib.util.spec_from_file_location(
        "netfilter_harness", HERE / "__init__.py", submodule_search_locations=[str(HERE)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["netfilter_harness"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["netfilter_harness"])
    from netfilter_harness import kernel, library

    for name in wanted or library.names():
        case = library.load(name)
        library.write_golden(name, kernel.ask(case))
        print(f"{name}: {len(case.packets)} packets")


if __name__ == "__main__":
    main(sys.argv[1:])
