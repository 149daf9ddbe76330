"""How kernels become machine code.

Numba optimises each compiled function together with all that it calls, and makes machine code of it, so that what stands
ten calls deep is done ten times over. What only kernels call is linked into the code of its callers, and no more: the
function that Python calls contains it all.

That one's loops stay as they are. Most kernels' loops run a few times (over stages, cells, words of a key, choices of a
bucket), and LLVM, which cannot know that, turns them into vector operations that gather what lies apart: simulations
in time took a tenth longer.
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


class _Scalar:
    """A code generator that makes no vector operations of loops."""

    _loopvect = False

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def _module_pass_manager(self, **options: Any) -> Any:
        return self._codegen._module_pass_manager(**{**options, "loop_vectorize": False})

    def _function_pass_manager(self, **options: Any) -> Any:
        return self._codegen._function_pass_manager(**{**options, "loop_vectorize": False})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)


class KernelCompiler(Compiler):
    """Numba's compiler, for functions that Python calls."""

    def __init__(self, typing: Any, target: Any, library: Any, *rest: Any) -> None:
        if library is None:
            library = JITCodeLibrary(_Scalar(target.codegen()), "kernel")
            library.enable_object_caching()  # so that it can be written to disk
        super().__init__(typing, target, library, *rest)


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
        super().__init__(
            typing, target, library or _LinkedLibrary(_Scalar(target.codegen()), "linked"), *rest
        )
