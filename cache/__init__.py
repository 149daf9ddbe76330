"""What is worth a NIC slot: eviction and admission policies, built in or a user's own file.

A policy is a file of plain functions with fixed signatures (:mod:`.contract`); the built-in ones in
``eviction/`` and ``admission/`` are such files too, found by their names. What several of them are made of:
:mod:`.lists`, :mod:`.ageing`, :mod:`.queues`, :mod:`.heap`, :mod:`.keymap`, :mod:`.ghosts`, :mod:`.remembering`,
:mod:`.sketch`. :mod:`.replay` is the trace simulator: misses of a policy on a trace of ids. :mod:`.hooks` is what engines
call of a policy besides.
"""

if __name__ != "oppcache.cache":
    raise ImportError(f"import oppcache.cache, not {__name__}: a second copy would not share its classes")

from .loading import (
    Admission,
    Eviction,
    admission_names,
    eviction_names,
    load_admission,
    load_policy,
)

__all__ = ["Admission", "Eviction", "admission_names", "eviction_names", "load_admission", "load_policy"]
