"""The one kernel decorator and its on-disk cache.

Numba's own cache notices an edit of the cached function's file but not of a function that it calls in
another file (numba issue 1833), nor of a constant that another module defines. So every kernel is cached in a
folder whose name is a hash of the sources of all rooms that bear kernels, the Numba and NumPy versions and the
``NUMBA_*`` settings: an edit anywhere means a new folder. The newest :data:`KEEP_FOLDERS` folders stay. Numba's cache files are pickles,
so the folder is private (mode 0700); it is ``$OPPCACHE_CACHE_DIR`` or the user's cache directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.np import arrayobj

from ._linking import KernelCompiler, LinkedCompiler

log = logging.getLogger("oppcache")

KEEP_FOLDERS = 5
JIT_DISABLED = bool(getattr(numba.config, "DISABLE_JIT", 0))
# A module that bears kernels imports the decorator.
_MARKER = re.compile(rb"^from \S*_jit import .*\bkernel\b", re.MULTILINE)


def cache_root() -> Path:
    """Return the folder that holds all kernel caches, by platform convention unless the user set one."""
    chosen = os.environ.get("OPPCACHE_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "oppcache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oppcache"


def kernel_sources() -> list[Path]:
    """Return what makes kernels and every module of the rooms in which some module bears kernels, sorted.

    The others of such a room count too: kernels freeze the constants that they import from them.
    """
    rooms: dict[str, list[Path]] = {}
    bearing = set()
    package = Path(__file__).parent
    # Path.rglob does not enter the rooms, which are links in a checkout.
    for folder, subfolders, files in os.walk(package, followlinks=True):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        room = Path(folder).relative_to(package).parts[:1]
        for path in (Path(folder) / name for name in files if room and name.endswith(".py")):
            rooms.setdefault(room[0], []).append(path)
            if _MARKER.search(path.read_bytes()):
                bearing.add(room[0])
    return [*sorted(package.glob("_[a-z]*.py")), *sorted(path for room in bearing for path in rooms[room])]


def source_hash(paths: list[Path] | None = None) -> str:
    """Hash what a compiled kernel depends on: sources, versions and Numba settings.

    The CPU is in the names of Numba's own files.
    """
    digest = hashlib.sha256()
    for path in kernel_sources() if paths is None else paths:
        name = path.parent.name + "/" + path.name
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    settings = sorted(
        (k, v) for k, v in os.environ.items() if k.startswith("NUMBA_") and k != "NUMBA_CACHE_DIR"
    )
    digest.update(repr((numba.__version__, np.__version__, sys.version_info[:3], settings)).encode())
    return digest.hexdigest()[:16]


@cache
def cache_folder() -> Path | None:
    """Make and return this process's kernel cache folder, or None where none can be written."""
    root = cache_root()
    folder = root / f"kernels-{source_hash()}"
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        os.utime(folder)
        _check_private(folder)
        _forget_old(root, keep=folder)
    except OSError as error:
        log.warning("kernels are not cached: %s: %s", folder, error)
        return None
    return folder


def _check_private(folder: Path) -> None:
    """Refuse a folder that another user could write pickles into."""
    status = folder.stat()
    if status.st_uid != os.getuid():
        raise PermissionError(f"owned by user {status.st_uid}, expected {os.getuid()}")
    if status.st_mode & 0o077:
        folder.chmod(0o700)


def _forget_old(root: Path, keep: Path) -> None:
    folders = [p for p in root.glob("kernels-*") if p.is_dir()]
    folders.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for old in folders[KEEP_FOLDERS:]:
        if old != keep:
            shutil.rmtree(old, ignore_errors=True)


def kernel(
    function: Callable[..., Any] | None = None,
    *,
    signature: Any = None,
    allocates: bool = False,
    on_disk: bool = True,
    **options: Any,
) -> Any:
    """Compile a function with Numba, cached on disk as the module's docstring says.

    Kernels are inlined into their callers and compiled without Numba's runtime, so they cannot allocate
    (views of arrays are fine): counting references to the arrays of a program costs twenty times what the
    packet step itself does. With ``NUMBA_DISABLE_JIT=1`` the plain function comes back.

    Args:
        function: the function.
        signature: compile for this signature now, and for no other; without one, at the first call.
        allocates: compile with the runtime, for the rare kernel that must make arrays and is no part of a loop.
        on_disk: whether to cache.
        options: for :func:`numba.njit`.
    """
    if function is None:
        return lambda f: kernel(f, signature=signature, allocates=allocates, on_disk=on_disk, **options)
    if JIT_DISABLED:
        return function
    if not allocates:
        options = {"_nrt": False, "forceinline": True, **options}
    if signature is None and not allocates:
        return _Kernel(function, on_disk, options)
    dispatcher = numba.njit(function, pipeline_class=KernelCompiler, **options)
    if on_disk:
        _cache(dispatcher)
    if signature is not None:
        with _one_process_at_a_time(f"{function.__module__}.{function.__qualname__}", on_disk):
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        found = _Found(dispatcher.overloads[signature.args])
        dispatcher.get_compile_result = lambda _: found
    return dispatcher


def straight(compiled: Any) -> Any:
    """The machine code of a kernel with one signature: a call does not find out the types of its arguments again.

    That takes milliseconds where there are many arrays of records and pointers to functions among them. Arguments must
    be of the signature's types; only the size of an array's items is checked.
    """
    if JIT_DISABLED:
        return compiled
    (result,) = compiled.overloads.values()
    return result.entry_point


@contextmanager
def _one_process_at_a_time(name: str, on_disk: bool) -> Iterator[None]:
    """Let another process that compiles the same kernel finish, so that this one finds it on disk."""
    folder = cache_folder() if on_disk else None
    if folder is None:
        yield
        return
    with ExitStack() as held:
        try:
            lock = held.enter_context((folder / f"{name}.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass  # the folder is gone, or knows no locks: at worst two processes compile the same
        yield


def _index_from_the_front() -> None:
    """Leave out, in this package's kernels, what lets an index count from an array's end.

    Numba adds that to every access whose index it cannot tell to be positive, a quarter of the packet step's time. Other
    packages' functions and users' policies stay as they are. Where Numba has no such function any more, nothing changes.
    """
    wrapping = getattr(arrayobj, "fix_integer_index", None)
    if wrapping is None:
        return

    def fix_integer_index(context: Any, builder: Any, kind: Any, index: Any, size: Any) -> Any:
        if not builder.function.name.startswith(_OURS):
            return wrapping(context, builder, kind, index, size)
        return context.cast(builder, index, kind, types.intp if kind.signed else types.uintp)

    arrayobj.fix_integer_index = fix_integer_index


_PACKAGE = __name__.partition(".")[0]
_OURS = f"_ZN{len(_PACKAGE)}{_PACKAGE}"  # how Numba's names of what it compiles from this package begin
_index_from_the_front()


class _Found:
    """A compiled function whose addresses are looked up once.

    Where it is passed to a kernel as a pointer Numba looks them up at every call, which takes milliseconds where its
    types are large. It asks for a compile result and that one's library; this is both.
    """

    def __init__(self, result: Any) -> None:
        self._result = result
        self._addresses: dict[str, int] = {}

    @property
    def library(self) -> Any:
        return self

    def get_pointer_to_function(self, name: str) -> int:
        if name not in self._addresses:
            self._addresses[name] = self._result.library.get_pointer_to_function(name)
        return self._addresses[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)


def _cache(dispatcher: Any) -> None:
    """Keep a function's compiled code on disk, whatever the user's own setting of Numba's cache is."""
    folder = cache_folder()
    if folder is not None:
        before = getattr(numba.config, "CACHE_DIR", "")
        setattr(numba.config, "CACHE_DIR", str(folder))
        try:
            dispatcher.enable_caching()
        finally:
            setattr(numba.config, "CACHE_DIR", before)


def _widened(kind: Any) -> Any:
    return types.unliteral(kind) if isinstance(kind, types.IntegerLiteral) else kind


class _Kernel:
    """A kernel that other kernels call, and perhaps Python.

    Code that takes a tuple of many arrays from Python is most of what there is to compile in a small kernel. What
    other kernels call has none of it; a second version, with it, is compiled if Python ever calls.
    """

    def __init__(self, function: Callable[..., Any], on_disk: bool, options: dict[str, Any]) -> None:
        self.py_func = function
        self._on_disk = on_disk
        self._options = options
        self._from_python: Any = None
        bare: dict[str, Any] = {
            "no_cpython_wrapper": True,
            "no_cfunc_wrapper": True,
            "pipeline_class": LinkedCompiler,
        }
        self._bare = numba.njit(function, **options, **bare)  # of which its type holds a weak reference
        # Numba would compile it anew for each constant that it is called with.
        template = self._bare.get_call_template
        self._bare.get_call_template = lambda args, keywords: template(tuple(map(_widened, args)), keywords)
        # What Numba takes the kernel for where another one names it.
        self._numba_type_ = self._bare._numba_type_

    @property
    def dispatcher(self) -> Any:
        """Numba's dispatcher of the version that Python calls."""
        if self._from_python is None:
            self._from_python = numba.njit(self.py_func, pipeline_class=KernelCompiler, **self._options)
            if self._on_disk:
                _cache(self._from_python)
        return self._from_python

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)


def is_cached(name: str) -> bool:
    """Whether the kernel cache holds a kernel whose ``module.function`` contains ``name``."""
    folder = cache_folder()
    return folder is not None and any(folder.rglob(f"*{name}*.nbi"))


def tell_if_compiling(*names: str) -> None:
    """Say that the next seconds go into compilation, unless the cache holds all these kernels: see :func:`is_cached`."""
    if not all(is_cached(name) for name in names):
        log.info("compiling kernels… (once; later runs load them)")
