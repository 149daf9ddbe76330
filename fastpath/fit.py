"""``fit(program, profile)``: which stages of a program run on a NIC, and every reason why others do not.

A stage that does not fit runs on the CPU. An entry that does not fit in a stage that does is left out of the
NIC: a packet that needs it is punted there, with its context. Where only packets of one IP version ask too
much (a wider key, more or wider ternary entries, a header that the parser does not read), the stage fits and
those are punted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oppcache.opp.dataflow import entries_of
from oppcache.opp.program import Program

from . import demand
from .fit_entries import entry_reasons
from .fit_stage import StageCheck, capacity
from .profiles import Profile
from .reasons import Reason


@dataclass(frozen=True)
class StageFit:
    """How one stage fits.

    Attributes:
        reasons: why the stage cannot run on the NIC at all.
        entry_reasons: why packets that need one of its entries are punted.
        punted: why packets of one IP version are punted, by version.
        used: what it takes of each numbered limit, by the profile's key; of IPv4 packets where it depends.
        contexts: how many contexts of its table the NIC can hold, None if stateless or without limit.
    """

    name: str
    stateful: bool
    reasons: tuple[Reason, ...]
    entry_reasons: tuple[Reason, ...]
    punted: dict[int, tuple[Reason, ...]]
    used: dict[str, int]
    contexts: int | None

    @property
    def fits(self) -> bool:
        """Whether the stage runs on the NIC, if perhaps without some entries or one IP version."""
        return not self.reasons

    @property
    def fits_wholly(self) -> bool:
        """Whether it runs there for every packet and every entry."""
        return not self.reasons and not self.entry_reasons and not self.punted

    @property
    def punting_entries(self) -> tuple[str, ...]:
        """Names of the entries that the NIC cannot run."""
        return tuple(dict.fromkeys(reason.entry for reason in self.entry_reasons))


@dataclass(frozen=True)
class Fit:
    """How a program fits a profile; ``reasons`` are those of the program as a whole."""

    program: Program
    profile: Profile
    stages: tuple[StageFit, ...]
    reasons: tuple[Reason, ...]

    @property
    def fits(self) -> bool:
        """Whether every stage runs on the NIC, if perhaps not for every packet."""
        return not self.reasons and all(stage.fits for stage in self.stages)

    @property
    def fits_wholly(self) -> bool:
        """Whether every stage runs there for every packet and every entry."""
        return not self.reasons and all(stage.fits_wholly for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values for JSON."""
        return {
            "profile": self.profile.name,
            "fits": self.fits,
            "fits_wholly": self.fits_wholly,
            "reasons": [reason.as_dict() for reason in self.reasons],
            "stages": [self._stage_dict(stage) for stage in self.stages],
        }

    def _stage_dict(self, stage: StageFit) -> dict[str, Any]:
        limits = {key: self.profile.number(key) for key in stage.used}
        return {
            "name": stage.name,
            "fits": stage.fits,
            "fits_wholly": stage.fits_wholly,
            "reasons": [reason.as_dict() for reason in (*stage.reasons, *stage.entry_reasons)],
            "punted": {f"ipv{v}": [r.as_dict() for r in found] for v, found in stage.punted.items()},
            "used": {key: {"got": got, "limit": limits[key]} for key, got in stage.used.items()},
            "contexts": stage.contexts,
        }


def fit(program: Program, profile: Profile) -> Fit:
    """Say what of a checked program fits a NIC."""
    stages = []
    for stage in program.pipeline():
        check = StageCheck(program, profile, stage)
        by_entry = tuple(
            reason for entry in entries_of(stage) for reason in entry_reasons(program, profile, stage, entry)
        )
        punted = {version: tuple(found) for version, found in check.by_version.items() if found}
        stages.append(
            StageFit(
                name=stage.name,
                stateful=stage.table is not None,
                reasons=tuple(check.reasons),
                entry_reasons=by_entry,
                punted=punted,
                used=check.used,
                contexts=capacity(program, profile, stage),
            )
        )
    return Fit(program, profile, tuple(stages), tuple(_whole(program, profile)))


def _whole(program: Program, profile: Profile) -> Iterator[Reason]:
    count, most = len(program.stages), profile.number("pipeline.stages")
    if most is not None and count > most:
        first = program.pipeline()[most]
        text = f"{count} stages, the NIC has {most}: those from {first.name!r} on run on the CPU"
        yield Reason("pipeline.stages", text, "", count, most, first.mark)
    bits = demand.metadata_bits(program)
    wide, most = sum(bits.values()), profile.number("pipeline.metadata_bits")
    if most is not None and wide > most:
        words = ", ".join(f"{name} {width}" for name, width in bits.items())
        text = f"{wide} bit of metadata ({words}), the NIC moves {most} from stage to stage"
        yield Reason("pipeline.metadata_bits", text, "", wide, most, program.mark)
