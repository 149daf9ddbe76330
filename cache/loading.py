"""Finding, checking and compiling policies: a built-in one by its name, a user's by its path."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numba
import numpy as np

from oppcache._jit import kernel
from oppcache._memory import zeros
from oppcache.opp.errors import InputError, Mark, Problem, Problems, near_miss
from oppcache.opp.random_streams import stream

from .contract import (
    ADMISSION_OPTIONS,
    ADMISSION_SIGNATURES,
    EVICTION_OPTIONS,
    EVICTION_SIGNATURES,
    PARAMETERS,
)

_ROOM = Path(__file__).parent
_USERS = "oppcache_policy_"  # how the module of a user's file is named
_BUILT_IN = ("oppcache.cache.eviction.", "oppcache.cache.admission.")
MAX_STATE_WORDS = 2**36
SHARE_UNITS = 1 << 31  # of a share that an admission policy is configured with


@dataclass(frozen=True)
class Eviction:
    """A compiled eviction policy; the functions are as :mod:`.contract` says, None for what it does not define."""

    name: str
    state_size: Callable[[int, int], int]
    init: Callable[..., None]
    hit: Callable[..., None]
    victim: Callable[..., int]
    insert: Callable[..., None]
    remove: Callable[..., None]
    needs_next_use: bool
    built_in: bool = False
    observe: Callable[..., None] | None = None
    release: Callable[..., int] | None = None
    seed: Callable[..., None] | None = None

    @property
    def needs_keys(self) -> bool:
        """Whether the state's size depends on the number of distinct keys."""
        return self.state_size(1024, 1) != self.state_size(1024, 1 << 20)


@dataclass(frozen=True)
class Admission:
    """A compiled admission policy; ``value`` is what ``configure`` is given, or None; as is what it does not define."""

    name: str
    state_size: Callable[[int, int], int]
    init: Callable[..., None]
    admit: Callable[..., int]
    configure: Callable[..., None] | None
    value: int | None
    control: Callable[..., None] | None = None
    seed: Callable[..., None] | None = None
    note: Callable[..., None] | None = None
    prefer: Callable[..., int] | None = None

    @property
    def needs_keys(self) -> bool:
        """Whether the state's size depends on the number of distinct keys."""
        return self.state_size(1024, 1) != self.state_size(1024, 1 << 20)


def eviction_names() -> list[str]:
    """Names of the built-in eviction policies."""
    return _names("eviction")


def admission_names() -> list[str]:
    """Names of the built-in admission policies."""
    return _names("admission")


def _names(kind: str) -> list[str]:
    return sorted(p.stem.replace("_", "-") for p in (_ROOM / kind).glob("*.py") if not p.stem.startswith("_"))


def load_policy(source: str | Path, mark: Mark | None = None) -> Eviction:
    """Load an eviction policy.

    Args:
        source: a built-in name, or the path of a policy file (anything that ends in ``.py``).
        mark: where the name stands, for messages.

    Raises:
        InputError: there is no such policy, or its file does not keep the contract; all problems at once.
    """
    module, name = _module("eviction", source, mark)
    functions = _compile(module, EVICTION_SIGNATURES, EVICTION_OPTIONS, Mark(str(source)))
    policy = Eviction(
        name=name,
        needs_next_use=bool(getattr(module, "NEEDS_NEXT_USE", False)),
        built_in=not module.__name__.startswith(_USERS),
        **functions,
    )
    _rehearse_eviction(policy, Mark(str(source)))
    return policy


def load_admission(source: str | Path | Mapping[str, Any], mark: Mark | None = None) -> Admission:
    """Load an admission policy.

    Args:
        source: a built-in name, the path of a file, or ``{NAME: value}`` for a policy that takes a number.
        mark: where it stands, for messages.

    Raises:
        InputError: there is no such policy, its file does not keep the contract, or the value does not suit.
    """
    value: Any = None
    if isinstance(source, Mapping):
        if len(source) != 1:
            raise InputError(
                f"got admission {dict(source)!r}, expected one policy, as in {{packet: 8}}",
                mark or Mark("admission"),
            )
        ((source, value),) = source.items()
    module, name = _module("admission", source, mark)
    functions = _compile(module, ADMISSION_SIGNATURES, ADMISSION_OPTIONS, Mark(str(source)))
    number = _number(module, name, value, "configure" in functions, mark or Mark(str(source)))
    policy = Admission(name=name, value=number, **{"configure": None, **functions})
    _size(policy, 8, 8, Mark(str(source)))
    return policy


def _number(module: ModuleType, name: str, given: Any, takes_one: bool, mark: Mark) -> int | None:
    """The number that an admission policy is configured with."""
    share = bool(getattr(module, "SHARE", False))
    if given is None:
        given = getattr(module, "DEFAULT", None)
        if given is None and takes_one and not module.__name__.startswith(_USERS):
            raise InputError(f"admission {name} needs a number: {{{name}: N}}", mark)
        return None if given is None else int(given)
    if share:
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
            raise InputError(f"admission {name}: got {given!r}, expected a share from 0 to 1", mark)
        given = round(given * SHARE_UNITS)
    elif isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int) or (given < 1 and not share):
        raise InputError(f"admission {name}: got {given!r}, expected a whole number from 1", mark)
    if not takes_one:
        raise InputError(f"admission {name} takes no number", mark)
    return given


def _module(kind: str, source: str | Path, mark: Mark | None) -> tuple[ModuleType, str]:
    text = str(source)
    if text.endswith(".py"):
        return _user_module(Path(text)), Path(text).stem
    known = _names(kind)
    if text not in known:
        message = f"unknown {kind} policy {text!r}; known: {', '.join(known)}, or a file ending in .py"
        raise InputError(Problem(message, mark or Mark(text), near_miss(text, known)))
    return importlib.import_module(f"oppcache.cache.{kind}.{text.replace('-', '_')}"), text


def _user_module(path: Path) -> ModuleType:
    """Run a user's policy file and return it as a module."""
    if not path.is_file():
        what = "is a directory, expected a policy file" if path.is_dir() else "no such policy file"
        raise InputError(what, Mark(str(path)))
    name = _USERS + re.sub(r"\W", "_", str(path.resolve()))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(
            f"not valid Python: {error.msg}", Mark(str(path), error.lineno or 0, error.offset or 0)
        ) from None
    except Exception as error:
        raise InputError(f"cannot be loaded: {type(error).__name__}: {error}", Mark(str(path))) from None
    finally:
        sys.dont_write_bytecode = before
    return module


def _compile(
    module: ModuleType, required: Mapping[str, Any], optional: Mapping[str, Any], mark: Mark
) -> dict[str, Any]:
    """Compile a policy file's functions: helpers as they come, the contract's with their signatures."""
    signatures = {**required, **{k: v for k, v in optional.items() if k in vars(module)}}
    _check_parameters(module, signatures, mark)
    built_in = module.__name__.startswith(_BUILT_IN)
    compiled = dict(vars(module).get("_compiled", {}))
    if compiled:
        return compiled
    own = {name: getattr(module, name) for name in signatures}
    # A file may take functions over from a built-in policy's: their helpers are that file's.
    taken = {f.__module__ for f in own.values() if f.__module__.startswith(_BUILT_IN)}
    for home in {module.__name__} | taken:
        _compile_helpers(sys.modules[home], {*required, *optional})
    for name, signature in signatures.items():
        try:
            compiled[name] = kernel(own[name], signature=signature, on_disk=built_in)
        except (numba.core.errors.NumbaError, TypeError) as error:
            line = own[name].__code__.co_firstlineno
            reason = _short(str(error))
            raise InputError(
                f"{name} does not compile to {_shown(name, signature)}: {reason}", Mark(mark.file, line, 1)
            ) from None
    module.__dict__["_compiled"] = compiled
    return compiled


def _compile_helpers(module: ModuleType, contract: set[str]) -> None:
    """Compile a policy file's functions that are not the contract's, in place."""
    on_disk = module.__name__.startswith(_BUILT_IN)
    for name, function in list(vars(module).items()):
        mine = isinstance(function, FunctionType) and function.__module__ == module.__name__
        if mine and name not in contract:
            setattr(module, name, kernel(function, on_disk=on_disk))


def _check_parameters(module: ModuleType, signatures: Mapping[str, Any], mark: Mark) -> None:
    """Every function must be there and take the contract's number of parameters."""
    problems = Problems()
    if "_compiled" in vars(module):
        return
    for name, signature in signatures.items():
        function = getattr(module, name, None)
        wanted = ", ".join(PARAMETERS[name])
        if not isinstance(function, FunctionType):
            known = [n for n, f in vars(module).items() if isinstance(f, FunctionType)]
            problems.add(f"{name}({wanted}) is missing", mark, near_miss(name, known))
            continue
        got = list(inspect.signature(function).parameters)
        if len(got) != len(signature.args):
            place = Mark(mark.file, function.__code__.co_firstlineno, 1)
            problems.add(f"got {name}({', '.join(got)}), expected {name}({wanted})", place)
    problems.raise_if_any()


def _shown(name: str, signature: Any) -> str:
    result = "int" if signature.return_type == numba.types.int64 else "nothing"
    return f"{name}({', '.join(PARAMETERS[name])}) -> {result}"


def _short(text: str) -> str:
    """The telling line of a Numba error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    skip = ("Failed in", "During:", "File ", "This error", "Use of", "[", "<")
    for line in lines:
        if not line.startswith(skip) and "def " not in line:
            return line[:200]
    return lines[0][:200] if lines else "unknown reason"


def _size(policy: Eviction | Admission, capacity: int, keys: int, mark: Mark) -> int:
    size = int(policy.state_size(capacity, keys))
    if not 0 <= size <= MAX_STATE_WORDS:
        raise InputError(f"state_size({capacity}, {keys}) is {size}, expected 0 to {MAX_STATE_WORDS}", mark)
    return size


def make_state(
    policy: Eviction | Admission,
    capacity: int,
    keys: int,
    mark: Mark | None = None,
    *,
    seed: int = 0,
    component: str = "cache",
    rtt_ns: int | None = None,
) -> np.ndarray:
    """Return a policy's ``int64`` state, initialised (seeded, configured); empty where there are no slots.

    Args:
        policy: the policy.
        capacity: slots of the table.
        keys: distinct keys at most, for a policy that asks.
        mark: where the policy is named, for messages.
        seed: the run's seed, which with ``component`` keys the policy's random stream.
        component: whose state this is, such as ``cache.eviction.0``.
        rtt_ns: the control channel's round trip, for an admission policy that weighs it.
    """
    if capacity == 0:
        return np.zeros(0, np.int64)  # never asked: its init need not cope with nothing
    mark = mark or Mark(policy.name)
    words = _size(policy, capacity, keys, mark)
    try:
        state = zeros(words, np.int64)
    except MemoryError:
        raise InputError(f"state_size({capacity}, {keys}) is {words}: too large for memory", mark) from None
    policy.init(state, capacity)
    if policy.seed is not None:
        policy.seed(state, int(stream(seed, component).integers(1, 2**31 - 1)))
    if isinstance(policy, Admission):
        if policy.configure is not None and policy.value is not None:
            policy.configure(state, policy.value)
        if policy.control is not None and rtt_ns is not None:
            policy.control(state, rtt_ns)
    return state


def _rehearse_eviction(policy: Eviction, mark: Mark) -> None:
    """Fill four slots, hit one, and see that the victim is one of them, chosen among candidates if so asked."""
    capacity = 4
    state = make_state(policy, capacity, 16, mark)
    candidates = np.zeros(capacity, np.int64)
    for slot in range(capacity):
        policy.insert(state, slot, slot, slot, -1)
    policy.hit(state, 2, 10, -1)
    slot = policy.victim(state, candidates, 0, 9, 11, -1)
    if not -1 <= slot < capacity:
        raise InputError(
            f"victim chose slot {slot} of a full cache of {capacity}, expected 0 to {capacity - 1}", mark
        )
    candidates[:2] = (1, 3)
    chosen = policy.victim(state, candidates, 2, 9, 11, -1)
    if chosen == -1:
        return  # it declines
    if chosen not in (1, 3):
        raise InputError(f"victim chose slot {chosen}, expected one of its candidates 1 and 3", mark)
    policy.remove(state, chosen, 1)
    policy.insert(state, chosen, 9, 12, -1)
