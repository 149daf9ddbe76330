"""Every built-in eviction policy once more, with lists and dictionaries: slow, short, and sharing no code with them.

A list of slots is ordered from the oldest to the newest. ``victim`` is given the candidates, [] for all.
"""

from __future__ import annotations

from collections import defaultdict

NEVER = 2**62


class Plain:
    """First in, first out."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.queue: list[int] = []

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.queue.append(slot)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        pass

    def observe(self, slot: int, r0: int) -> None:
        pass

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        return next(slot for slot in self.queue if not candidates or slot in candidates)

    def remove(self, slot: int, evicted: bool) -> None:
        self.queue.remove(slot)

    def release(self, now: int) -> int:
        return -1


class Lru(Plain):
    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.queue.remove(slot)
        self.queue.append(slot)


class Clock(Plain):
    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.hand, self.was_hit = 0, dict[int, bool]()

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.was_hit[slot] = False

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.was_hit[slot] = True

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        way = [(self.hand + i) % self.capacity for i in range(self.capacity)]
        way = [slot for slot in way if slot in (candidates or self.was_hit)]
        unhit = [slot for slot in way if not self.was_hit[slot]]
        passed = way if not unhit else [] if candidates else way[: way.index(unhit[0])]
        for slot in passed:
            self.was_hit[slot] = False
        chosen = (unhit or way)[0]
        if not candidates:
            self.hand = (chosen + 1) % self.capacity
        return chosen

    def remove(self, slot: int, evicted: bool) -> None:
        del self.was_hit[slot]


class Sieve(Plain):
    """The hand is the slot that it will look at next, None for the oldest."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.visited: set[int] = set()
        self.hand: int | None = None

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.visited.add(slot)

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        if candidates:
            order = [slot for slot in self.queue if slot in candidates]
            unvisited = [slot for slot in order if slot not in self.visited]
            if not unvisited:
                self.visited -= set(candidates)
            return (unvisited or order)[0]
        at = 0 if self.hand is None else self.queue.index(self.hand)
        while self.queue[at] in self.visited:
            self.visited.remove(self.queue[at])
            at = (at + 1) % len(self.queue)
        self.hand = self.queue[at]
        return self.queue[at]

    def remove(self, slot: int, evicted: bool) -> None:
        if self.hand == slot:
            behind = self.queue[self.queue.index(slot) + 1 :]
            self.hand = behind[0] if behind else None
        self.visited.discard(slot)
        super().remove(slot, evicted)


class Ranked(Plain):
    """Evicts the lowest rank; of equals the one ranked longest ago."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.ranks: dict[int, tuple[int, int]] = {}
        self.clock = 0

    def rank(self, slot: int, rank: int) -> None:
        self.clock += 1
        self.ranks[slot] = (rank, self.clock)

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        return min(candidates or self.ranks, key=lambda slot: self.ranks[slot])

    def remove(self, slot: int, evicted: bool) -> None:
        del self.ranks[slot]


class Belady(Ranked):
    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.rank(slot, -(NEVER if next_use < 0 else next_use))

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.insert(slot, 0, now, next_use)


class Lfu(Ranked):
    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.rank(slot, 1)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.rank(slot, self.ranks[slot][0] + 1)


class LfuAged(Ranked):
    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.age, self.uses = 0, dict[int, int]()

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.uses[slot] = 0
        self.hit(slot, now, next_use)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.uses[slot] += 1
        self.rank(slot, self.age + self.uses[slot])

    def remove(self, slot: int, evicted: bool) -> None:
        if evicted:
            self.age = max(self.age, self.ranks[slot][0])
        super().remove(slot, evicted)


class LowestR0(Ranked):
    sign = 1

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.rank(slot, 0)

    def observe(self, slot: int, r0: int) -> None:
        self.rank(slot, self.sign * r0)


class HighestR0(LowestR0):
    sign = -1


class Random(Plain):
    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.drawn = 0

    def seed(self, number: int) -> None:
        self.drawn = number

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        self.drawn = self.drawn * 48271 % (2**31 - 1)
        among = candidates or self.queue
        return among[self.drawn * len(among) // (2**31 - 1)]

    def remove(self, slot: int, evicted: bool) -> None:
        at = self.queue.index(slot)
        self.queue[at] = self.queue[-1]
        self.queue.pop()


class Queues(Plain):
    """Several queues of slots, and ghosts: keys, oldest first."""

    count = 2

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.queues: list[list[int]] = [[] for _ in range(self.count)]
        self.clock, self.since = 0, dict[int, int]()
        self.keys: dict[int, int] = {}
        self.promised: dict[int, int] = {}

    def where(self, slot: int) -> int:
        return next(q for q, queue in enumerate(self.queues) if slot in queue)

    def put(self, q: int, slot: int) -> None:
        for queue in self.queues:
            if slot in queue:
                queue.remove(slot)
        self.queues[q].append(slot)

    def oldest(self, q: int, candidates: list[int]) -> int:
        return next((slot for slot in self.queues[q] if not candidates or slot in candidates), -1)

    def remove(self, slot: int, evicted: bool) -> None:
        self.queues[self.where(slot)].remove(slot)


class Slru(Queues):
    count = 4

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.queues = self.queues[: min(4, capacity)]
        self.limit = capacity // len(self.queues)
        self.overfull = False

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.put(next((q for q, queue in enumerate(self.queues) if len(queue) < self.limit), 0), slot)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        q = min(self.where(slot) + 1, len(self.queues) - 1)
        self.put(q, slot)
        if len(self.queues[q]) > self.limit and q > 0:
            self.put(q - 1, self.queues[q][0])
            self.overfull = q == 1 and len(self.queues[0]) > self.limit

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        return next(s for q in range(len(self.queues)) if (s := self.oldest(q, candidates)) >= 0)

    def release(self, now: int) -> int:
        if self.overfull and len(self.queues[0]) > self.limit:
            return self.queues[0][0]
        self.overfull = False
        return -1


class WithGhosts(Queues):
    """One queue of ghosts; a ghost that comes again goes into queue 1."""

    remembered = 1

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.ghosts: list[int] = []

    def recall(self, slot: int, key: int) -> None:
        self.promised[slot] = -1
        if key in self.ghosts:
            self.ghosts.remove(key)
            self.promised[slot] = key

    def returns(self, slot: int, key: int) -> bool:
        returns = self.promised.pop(slot, -1) == key or key in self.ghosts
        if key in self.ghosts:
            self.ghosts.remove(key)
        self.keys[slot] = key
        return returns

    def remove(self, slot: int, evicted: bool) -> None:
        if evicted and self.where(slot) == 0:
            self.ghosts = [*self.ghosts, self.keys[slot]][-self.remembered :]
        super().remove(slot, evicted)


class TwoQ(WithGhosts):
    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.remembered = max(capacity // 2, 1)

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.put(int(self.returns(slot, key)), slot)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        if self.where(slot) == 1:
            self.put(1, slot)

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        first, second = self.oldest(0, candidates), self.oldest(1, candidates)
        over = len(self.queues[0]) > max(self.capacity // 4, 1)
        slot = first if second < 0 or (first >= 0 and over) else second
        self.recall(slot, key)
        return slot


class S3Fifo(WithGhosts):
    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.small = max(int(capacity * 0.1), 1)
        self.remembered = max(int(capacity * 0.9), 1)
        self.hits: dict[int, int] = {}
        self.has_evicted = False

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.hits[slot] = 0
        early = not self.has_evicted and len(self.queues[0]) >= self.small
        self.put(int(self.returns(slot, key) or early), slot)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.hits[slot] += 1

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        self.has_evicted = True
        slot = self.among(candidates) if candidates else self.of_all()
        self.recall(slot, key)
        return slot

    def main_is_due(self) -> bool:
        return len(self.queues[1]) > self.capacity - self.small or not self.queues[0]

    def of_all(self) -> int:
        while not self.main_is_due():
            while self.queues[0]:
                slot = self.queues[0][0]
                if self.hits[slot] < 2:
                    return slot
                self.put(1, slot)
                self.hits[slot] = 0
        while self.hits[slot := self.queues[1][0]]:
            self.put(1, slot)
            self.hits[slot] = min(self.hits[slot], 3) - 1
        return slot

    def among(self, candidates: list[int]) -> int:
        small = [slot for slot in self.queues[0] if slot in candidates]
        main = [slot for slot in self.queues[1] if slot in candidates]
        if small and not (main and self.main_is_due()):
            cold = [slot for slot in small if self.hits[slot] < 2]
            if cold:
                return cold[0]
            for slot in (s for s in candidates if s in small):
                self.put(1, slot)
                self.hits[slot] = 0
        main = [slot for slot in self.queues[1] if slot in candidates]
        while all(self.hits[slot] for slot in main):
            for slot in main:
                self.hits[slot] = min(self.hits[slot], 3) - 1
        return next(slot for slot in main if not self.hits[slot])


class Arc(Queues):
    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.ghosts: list[list[int]] = [[], []]
        self.p, self.forget = 0.0, -1

    def recall(self, key: int) -> int | None:
        """The queue of ghosts that the key comes back from, if one."""
        b1, b2 = self.ghosts
        if key in b1:
            self.p = min(self.p + max(len(b2) / len(b1), 1), self.capacity)
            b1.remove(key)
            return 0
        if key in b2:
            self.p = max(self.p - max(len(b1) / len(b2), 1), 0)
            b2.remove(key)
            return 1
        return None

    def replace(self, candidates: list[int], from_b2: bool) -> int:
        first, second, t1 = self.oldest(0, candidates), self.oldest(1, candidates), len(self.queues[0])
        if second < 0 or (first >= 0 and (t1 > self.p or (t1 == self.p and from_b2))):
            return first
        return second

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        self.forget = -1
        came_from = self.recall(key)
        if came_from is not None:
            slot = self.replace(candidates, came_from == 1)
            self.promised[slot] = key
            return slot
        (t1, t2), (b1, b2) = self.queues, self.ghosts
        alone = False
        if len(t1) + len(b1) >= self.capacity:
            alone = not b1
            del b1[:1]
        elif len(t1) + len(t2) + len(b1) + len(b2) >= 2 * self.capacity:
            del b2[:1]
        slot = self.replace(candidates, False)
        if alone:
            slot = slot if candidates else t1[0]
            self.forget = slot
        self.promised[slot] = -1
        return slot

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        again = self.promised.pop(slot, -1) == key
        again |= self.recall(key) is not None
        self.keys[slot] = key
        self.put(int(again), slot)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.put(1, slot)

    def remove(self, slot: int, evicted: bool) -> None:
        q = self.where(slot)
        super().remove(slot, evicted)
        if evicted and self.forget != slot:
            if len(self.ghosts[0]) + len(self.ghosts[1]) == self.capacity:
                del (self.ghosts[1] or self.ghosts[0])[:1]
            self.ghosts[q].append(self.keys[slot])


class Lirs(Plain):
    """The stack holds ("slot", slot) and ("ghost", key), oldest first."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.limit = capacity - max(capacity // 100, 1)
        self.stack: list[tuple[str, int]] = []
        self.lir: set[int] = set()
        self.resident: list[int] = []  # HIR, oldest first
        self.ghosts: list[int] = []  # by when they became ghosts
        self.keys: dict[int, int] = {}
        self.promised: dict[int, int] = {}

    def forget(self, key: int) -> None:
        self.stack.remove(("ghost", key))
        self.ghosts.remove(key)

    def prune(self) -> None:
        while self.stack and not (self.stack[0][0] == "slot" and self.stack[0][1] in self.lir):
            kind, number = self.stack[0]
            if kind == "ghost":
                self.forget(number)
            else:
                del self.stack[0]

    def demote(self) -> None:
        self.prune()
        while len(self.lir) > self.limit:
            slot = self.stack.pop(0)[1]
            self.lir.remove(slot)
            self.resident.append(slot)
            self.prune()

    def top(self, slot: int) -> None:
        if ("slot", slot) in self.stack:
            self.stack.remove(("slot", slot))
        self.stack.append(("slot", slot))

    def hit(self, slot: int, now: int, next_use: int) -> None:
        was_in_stack = ("slot", slot) in self.stack
        self.top(slot)
        if slot in self.lir:
            self.prune()
        elif was_in_stack:
            self.resident.remove(slot)
            self.lir.add(slot)
            self.demote()
        else:
            self.resident.remove(slot)
            self.resident.append(slot)

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        in_stack = [n for kind, n in self.stack if kind == "slot" and n in self.lir]
        order = [slot for slot in [*self.resident, *in_stack] if not candidates or slot in candidates]
        self.promised[order[0]] = key if key in self.ghosts else -1
        if key in self.ghosts:
            self.forget(key)
        return order[0]

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        returns = self.promised.pop(slot, -1) == key or key in self.ghosts
        if key in self.ghosts:
            self.forget(key)
        self.keys[slot] = key
        self.top(slot)
        if returns or len(self.lir) < self.limit:
            self.lir.add(slot)
            self.demote()
        else:
            self.resident.append(slot)

    def remove(self, slot: int, evicted: bool) -> None:
        if slot in self.lir:
            self.lir.remove(slot)
            self.stack.remove(("slot", slot))
            self.prune()
            return
        self.resident.remove(slot)
        if ("slot", slot) not in self.stack:
            return
        if evicted:
            if len(self.ghosts) == self.capacity:
                self.forget(self.ghosts[0])
            self.stack[self.stack.index(("slot", slot))] = ("ghost", self.keys[slot])
            self.ghosts.append(self.keys[slot])
        else:
            self.stack.remove(("slot", slot))


class Sketch:
    """A dictionary of counters, addressed as the module ``sketch`` says."""

    def __init__(self, counters: int, sample: int) -> None:
        self.size, self.sample, self.ticks = -(-counters // 4) * 4, sample, 0
        self.counters: dict[int, int] = defaultdict(int)

    def cells(self, key: int) -> list[int]:
        def mix(number: int) -> int:
            number = (number + 1) * 0x7FEB352D % 2**32
            number = (number ^ number >> 15) * 0x2C1B3C6D % 2**32
            return number ^ number >> 13

        step = mix(mix(key)) | 1
        return [(mix(key) + row * step) % 2**32 * self.size >> 32 for row in range(8)]

    def count(self, key: int) -> int:
        return min(self.counters[cell] for cell in self.cells(key))

    def use(self, key: int, conservative: bool = False) -> None:
        most = self.count(key) if conservative else 2**15 - 1
        for cell in self.cells(key):
            if self.counters[cell] <= most:
                self.counters[cell] = min(self.counters[cell] + 1, 2**15 - 1)

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks >= self.sample:
            self.ticks = 0
            self.counters = defaultdict(int, {k: v // 2 for k, v in self.counters.items()})


class WTinyLfu(Queues):
    count = 3

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.window = max(capacity // 100, 1)
        main = capacity - self.window
        self.probation, self.protected = main // 5, main * 4 // 5
        self.winners: list[int] = []  # the same one, as often as it won in a row without a use
        self.sketch = Sketch(14 * max(main, 1), 32 * max(main, 1))

    def enter_main(self, slot: int) -> None:
        room = len(self.queues[1]) < self.probation
        self.put(1 if room or len(self.queues[2]) >= self.protected else 2, slot)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.winners = [winner for winner in self.winners if winner != slot]
        q = self.where(slot)
        self.put(2 if q else 0, slot)
        if q == 1 and len(self.queues[2]) > self.protected:
            self.put(1, self.queues[2][0])
        if q:
            self.sketch.use(self.keys[slot])
            self.sketch.tick()

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        newcomer, resident = self.oldest(0, candidates), self.oldest(1, candidates)
        if resident < 0:
            resident = self.oldest(2, candidates)
        if newcomer < 0 or resident < 0:
            return max(newcomer, resident)
        if len(self.queues[0]) < self.window:
            return resident
        wins = self.sketch.count(self.keys[newcomer]) > self.sketch.count(self.keys[resident])
        self.sketch.use(self.keys[newcomer])
        self.winners = [*self.winners, resident] if resident in self.winners[-1:] else [resident]
        if not wins and len(self.winners) <= 64:
            return newcomer
        self.winners = []
        self.put(1, newcomer)
        return resident

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.sketch.use(key)
        self.keys[slot] = key
        if len(self.queues[0]) >= self.window:
            self.enter_main(self.queues[0][0])
        self.put(0, slot)

    def remove(self, slot: int, evicted: bool) -> None:
        self.winners = [winner for winner in self.winners if winner != slot]
        super().remove(slot, evicted)


class LruIdle(Lru):
    timeout = 15_000_000_000

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.last = dict[int, int]()

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        super().insert(slot, key, now, next_use)
        self.last[slot] = now

    def hit(self, slot: int, now: int, next_use: int) -> None:
        super().hit(slot, now, next_use)
        self.last[slot] = now

    def release(self, now: int) -> int:
        slot = self.queue[0] if self.queue else -1
        return slot if slot >= 0 and now - self.last[slot] > self.timeout else -1


class Rebalance(Ranked):
    """Uses are kept as (last round's, this round's, its number)."""

    round_ns = 1_000_000_000

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.uses: dict[int, list[int]] = {}
        self.cells = 4
        while self.cells < 4 * capacity:
            self.cells *= 2
        self.waiting: dict[int, tuple[int, list[int]]] = {}
        self.round, self.replaced = -1, 0

    def use(self, uses: list[int], now: int) -> int:
        current = now // self.round_ns
        if uses[2] != current:
            uses[:] = [uses[1] if uses[2] == current - 1 else 0, 0, current]
        uses[1] += 1
        return uses[0] + uses[1]

    def insert(self, slot: int, key: int, now: int, next_use: int) -> None:
        self.uses[slot] = [0, 0, now // self.round_ns]
        self.hit(slot, now, next_use)

    def hit(self, slot: int, now: int, next_use: int) -> None:
        self.rank(slot, self.use(self.uses[slot], now))

    def victim(self, candidates: list[int], key: int, now: int) -> int:
        current = now // self.round_ns
        if self.round != current:
            self.round, self.replaced = current, 0
            for slot in sorted(self.uses):
                uses = self.uses[slot]
                if uses[2] < current:
                    uses[:] = [uses[1] if uses[2] == current - 1 else 0, 0, current]
                    self.rank(slot, uses[0])
        holder, uses = self.waiting.get(key % self.cells, (-1, []))
        if holder != key:
            uses = [0, 0, 0]
            self.waiting[key % self.cells] = (key, uses)
        rate = self.use(uses, now)
        slot = super().victim(candidates, key, now)
        if self.replaced >= max(self.capacity // 10, 1) or rate <= self.ranks[slot][0]:
            return -1
        self.replaced += 1
        return slot

    def remove(self, slot: int, evicted: bool) -> None:
        del self.uses[slot]
        super().remove(slot, evicted)


PLAIN: dict[str, type[Plain]] = {
    "arc": Arc,
    "belady": Belady,
    "clock": Clock,
    "fifo": Plain,
    "highest-r0": HighestR0,
    "lfu": Lfu,
    "lfu-aged": LfuAged,
    "lirs": Lirs,
    "lowest-r0": LowestR0,
    "lru": Lru,
    "lru-idle": LruIdle,
    "random": Random,
    "rebalance": Rebalance,
    "s3fifo": S3Fifo,
    "sieve": Sieve,
    "slru": Slru,
    "twoq": TwoQ,
    "wtinylfu": WTinyLfu,
}
