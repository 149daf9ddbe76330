"""Kernels that only other kernels call: their code is linked into that of their callers, and no more.

Numba optimises each compiled function together with all that it calls, and makes machine code of it, so that what stands
ten calls deep is done ten times over. This compiler leaves that to the function that Python calls, which contains them.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class _NoEnvironments:
    """A code generator that sets no environments: what is not loaded has no place for any."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)


class _LinkedLibrary(JITCodeLibrary):
    """Code that is never loaded."""

    @property
    def codegen(self) -> Any:
        return _NoEnvironments(self._codegen)

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0


class LinkedCompiler(Compiler):
    """Numba's compiler, for functions that are called from compiled code only."""

    def __init__(self, typing: Any, target: Any, library: Any, *rest: Any) -> None:
        super().__init__(typing, target, library or _LinkedLibrary(target.codegen(), "linked"), *rest)
