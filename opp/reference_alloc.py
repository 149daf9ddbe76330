"""Allocation in the plain reference: the search, and the check of a choice that some machine recorded."""

from __future__ import annotations

from collections.abc import Callable

from .errors import OppCacheError

Free = Callable[[int], bool]


class ChoiceError(OppCacheError):
    """A recorded choice that no machine could have made: out of range, taken, or none where one was free."""


def first_free(low: int, high: int, start: int, tries: int, free: Free) -> int | None:
    """The first free value from ``start`` on, around the range, among so many; None if there is none."""
    if low > high:
        return None
    size = high - low + 1
    first = start if low <= start <= high else low + start % size
    for i in range(min(tries, size)):
        value = low + (first - low + i) % size
        if free(value):
            return value
    return None


def check_choice(choice: int | None, low: int, high: int, tries: int, free: Free) -> int | None:
    """Take over a recorded choice if a machine may have made it.

    Whether a search that was cut short by its ``tries`` could have missed every free value is told by counting:
    it has missed them only if at least ``tries`` values are taken.

    Raises:
        ChoiceError: the value was not free or not in the range, or there was one although none was recorded.
    """
    size = max(high - low + 1, 0)
    if choice is not None:
        if not low <= choice <= high:
            raise ChoiceError(f"recorded choice {choice}, expected one from {low} to {high}")
        if not free(choice):
            raise ChoiceError(f"recorded choice {choice}, which was not free")
        return choice
    taken = 0
    for value in range(low, high + 1):
        if taken >= min(tries, size):
            return None
        if free(value):
            if tries >= size:
                raise ChoiceError(f"recorded no choice, but {value} was free")
        else:
            taken += 1
    if taken < min(tries, size):
        raise ChoiceError(f"recorded no choice, but only {taken} values were taken")
    return None
