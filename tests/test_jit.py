"""The kernel cache: never a stale kernel, never a stranger's pickle, never in the way of the user's own Numba.

Each test runs a small package of its own around a copy of ``_jit.py``, in processes of their own.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"), reason="nothing is compiled, so nothing cached"
)

MODULES = {
    "__init__.py": "",
    "numbers/__init__.py": "",
    "numbers/constants.py": "STEP = 1\n",
    "numbers/callee.py": "from mini._jit import kernel\n\n@kernel\ndef add(x):\n    return x + 10\n",
    "users/__init__.py": "",
    "users/caller.py": (
        "from mini._jit import kernel\n"
        "from mini.numbers.callee import add\n"
        "from mini.numbers.constants import STEP\n\n"
        "@kernel\ndef twice(x):\n    return add(add(x)) + STEP\n"
    ),
    "plain/__init__.py": "",
    "plain/callee.py": "import numba\n\n@numba.njit(cache=True)\ndef add(x):\n    return x + 10\n",
    "plain/caller.py": (
        "import numba\nfrom .callee import add\n\n"
        "@numba.njit(cache=True)\ndef twice(x):\n    return add(add(x))\n"
    ),
    "numbers/last.py": "from mini._jit import kernel\n\n@kernel\ndef last(x, i):\n    return x[i]\n",
    "numbers/total.py": (
        "from mini._jit import kernel\n\n"
        "@kernel\ndef part(x, i):\n    s = x[0]\n    for j in range(i):\n        s += x[j]\n    return s\n\n"
        "@kernel\ndef total(x):\n    s = x[0]\n    for i in range(len(x)):\n        s += part(x, i)\n    return s\n"
    ),
    "unrelated.py": "",
}
CALL = """
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
from mini.users.caller import twice
print(twice(1), sum(twice.dispatcher.stats.cache_hits.values()))
"""


class Mini:
    """A package with ``_jit.py``, its rooms behind links as in a checkout, and a kernel cache of its own."""

    def __init__(self, folder: Path, jit: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        (folder / "src" / "mini").mkdir(parents=True)
        for name in ("_jit.py", "_linking.py"):
            shutil.copy(jit.with_name(name), folder / "src" / "mini" / name)
        for room in ("numbers", "users", "plain"):
            (folder / room).mkdir()
            (folder / "src" / "mini" / room).symlink_to(Path("..", "..", room))
        for name, text in MODULES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        (self.folder / "src" / "mini" / name).write_text(text)

    def run(self, code: str = CALL, **environment: str) -> str:
        cleared = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
        done = subprocess.run(
            [sys.executable, "-B", "-c", code],
            env=cleared
            | {"PYTHONPATH": str(self.folder / "src"), "OPPCACHE_CACHE_DIR": str(self.cache)}
            | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() + done.stderr.strip()

    def folders(self) -> list[Path]:
        return sorted(self.cache.glob("kernels-*"))


@pytest.fixture
def mini(tmp_path: Path, checkout: Path) -> Mini:
    return Mini(tmp_path, checkout / "src" / "oppcache" / "_jit.py")


def test_an_edit_of_a_callee_or_a_constant_counts_at_the_next_run(mini: Mini) -> None:
    assert mini.run() == "22 0"
    assert mini.run() == "22 1"  # from the cache
    mini.write("unrelated.py", "x = 1\n")
    assert mini.run() == "22 1"
    mini.write("numbers/callee.py", MODULES["numbers/callee.py"].replace("10", "50"))
    assert mini.run() == "102 0"
    mini.write("numbers/constants.py", "STEP = 2\n")
    assert mini.run() == "103 0"
    assert len(mini.folders()) == 3


def test_numba_alone_would_serve_the_old_result(mini: Mini) -> None:
    """Why there is a cache of our own; where this fails, numba#1833 is fixed and ours can go."""
    code = "from mini.plain.caller import twice\nprint(twice(1))"
    own = str(mini.folder / "numba")
    assert mini.run(code, NUMBA_CACHE_DIR=own) == "21"
    mini.write("plain/callee.py", MODULES["plain/callee.py"].replace("10", "50"))
    if mini.run(code, NUMBA_CACHE_DIR=own) == "101":
        pytest.skip("this Numba notices edits of callees")
    assert mini.run(code, NUMBA_CACHE_DIR=own) == "21"


def test_numba_settings_have_folders_of_their_own(mini: Mini) -> None:
    mini.run()
    assert mini.run(NUMBA_BOUNDSCHECK="1") == "22 0"
    assert len(mini.folders()) == 2
    assert mini.run(NUMBA_CACHE_DIR=str(mini.folder / "numba")) == "22 1"


def test_only_users_functions_count_indices_from_the_end(mini: Mini) -> None:
    """The package's own kernels do without; a run with bounds checks refuses such an index there."""
    head = "import numba\nimport numpy as np\nimport mini._jit\n"
    own = head + "print(numba.njit(lambda x, i: x[i])(np.arange(3), -1))"
    assert mini.run(own) == mini.run(own, NUMBA_BOUNDSCHECK="1") == "2"
    ours = head + (
        "from mini.numbers.last import last\n"
        "print(last(np.arange(3), 2))\n"
        "try:\n    print(last(np.arange(3), -1))\nexcept IndexError:\n    print('refused')"
    )
    assert "refused" in mini.run(ours, NUMBA_BOUNDSCHECK="1")


def test_only_kernels_keep_their_loops_as_they_are(mini: Mini) -> None:
    """Neither a kernel's own nor those of what it calls are made vector operations; other packages' functions are."""
    code = (
        "import numba\nimport numpy as np\nfrom mini.numbers.total import part, total\n"
        "x = np.arange(9)\nprint(total(x))\n"
        "def vectors(f): return 'vector.body' in ''.join(f.inspect_llvm().values())\n"
        "other = numba.njit(part.py_func)\nother(x, 3)\nprint(vectors(total.dispatcher), vectors(other))"
    )
    assert mini.run(code) == f"{sum(i * (i - 1) // 2 for i in range(9))}\nFalse True"


def test_only_the_newest_five_folders_stay(mini: Mini) -> None:
    for age in range(1, 8):
        folder = mini.cache / f"kernels-{age}"
        folder.mkdir(parents=True)
        os.utime(folder, (10_000 - age, 10_000 - age))
    (mini.cache / "other").mkdir()
    mini.run()
    names = [p.name for p in mini.folders()]
    assert len(names) == 5
    assert {"kernels-1", "kernels-2", "kernels-3", "kernels-4"} < set(names)
    assert (mini.cache / "other").is_dir()


def test_the_folder_is_private(mini: Mini) -> None:
    mini.run()
    (folder,) = mini.folders()
    for path in (mini.cache, folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert any(folder.rglob("*.nbi"))
    folder.chmod(0o777)
    mini.run()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_strangers_folder_is_not_used(mini: Mini) -> None:
    mini.run()
    (folder,) = mini.folders()
    os.chown(folder, 4321, 4321)
    out = mini.run()
    assert out.startswith("22 0")
    assert "WARNING kernels are not cached" in out
    assert "owned by user 4321" in out


def test_a_cache_that_cannot_be_written_only_warns(mini: Mini) -> None:
    (mini.folder / "file").write_text("")
    out = mini.run(OPPCACHE_CACHE_DIR=str(mini.folder / "file" / "cache"))
    assert out.startswith("22 0")
    assert out.count("WARNING kernels are not cached") == 1


def test_the_users_own_numba_cache_is_left_alone(mini: Mini) -> None:
    """Whoever sets NUMBA_CACHE_DIR, or numba.config.CACHE_DIR, finds it as it was, and only his functions in it."""
    own = mini.folder / "numba"
    code = """
import numba
from mini.users.caller import twice
twice(1)
print(numba.config.CACHE_DIR)
from mini.plain.caller import twice as plain
plain(1)
numba.config.CACHE_DIR = "elsewhere"
from mini._jit import kernel
kernel(lambda x: x, on_disk=False)
print(numba.config.CACHE_DIR)
"""
    assert mini.run(code, NUMBA_CACHE_DIR=str(own)).split() == [str(own), "elsewhere"]
    assert {p.name.split(".")[0] for p in own.rglob("*.nbi")} == {"caller", "callee"}
    assert all("plain" in str(p) for p in own.rglob("*.nbi"))


def test_without_compilation_the_plain_function_comes_back(mini: Mini) -> None:
    code = "from mini.users.caller import twice\nprint(twice(1), type(twice).__name__)"
    assert mini.run(code, NUMBA_DISABLE_JIT="1") == "22 function"
    assert not mini.cache.exists()


def test_every_module_whose_constants_kernels_freeze_is_hashed(checkout: Path) -> None:
    """Numbers of fields, words and counters are compiled in; a cache that ignored their files would go stale."""
    from oppcache._jit import kernel_sources

    package = checkout / "src" / "oppcache"
    hashed = {str(path.relative_to(package)) for path in kernel_sources()}
    needed = "_jit.py _linking.py _reference.py opp/step.py opp/arrays.py opp/fields.py opp/program.py hybrid/counters.py hybrid/engine.py "
    needed += (
        "cache/eviction/lru.py cache/contract.py fastpath/slots.py consistency/migrate.py traffic/parser.py"
    )
    assert set(needed.split()) <= hashed
    assert "cli.py" not in hashed
