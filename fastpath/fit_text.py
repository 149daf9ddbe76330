"""A :class:`~.fit.Fit` as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator

from oppcache.opp.analysis_text import labelled

from .fit import Fit, StageFit
from .profiles import Profile

_SHOWN = {
    "efsm.entries": "ternary entries",
    "efsm.width_bits": "bit of an entry",
    "contexts.key_bits": "bit of a key",
    "contexts.registers": "registers",
    "efsm.conditions": "conditions",
    "updates.globals": "globals",
}


def as_text(fit: Fit) -> str:
    """Return how a program fits, a block a stage, every reason on its own line."""
    return "\n".join(_lines(fit)) + "\n"


def _lines(fit: Fit) -> Iterator[str]:
    if fit.fits_wholly:
        verdict = "fits"
    elif fit.fits:
        verdict = "fits, but some packets are punted"
    else:
        verdict = "does not fit; what does not runs on the CPU"
    yield f"NIC {fit.profile.name}: {verdict}"
    for reason in fit.reasons:
        yield from labelled("but", f"{reason.text}.")
    for stage in fit.stages:
        yield from _stage(stage, fit.profile)


def _stage(stage: StageFit, profile: Profile) -> Iterator[str]:
    if stage.fits:
        verdict = "fits" if stage.fits_wholly else "fits, but"
    else:
        verdict = "does not fit, runs on the CPU"
    yield from labelled(f"stage {stage.name}:", verdict)
    for reason in stage.reasons:
        yield from labelled("no", reason.text, 4)
    label = "punts" if stage.fits else "nor"
    for version, reasons in stage.punted.items():
        yield from labelled(label, f"IPv{version} packets: {'; '.join(r.text for r in reasons)}", 4)
    for name in stage.punting_entries:
        texts = [r.text for r in stage.entry_reasons if r.entry == name]
        yield from labelled(label, f"what needs {name!r}: {'; '.join(texts)}", 4)
    used = [
        f"{got} of {profile.number(key)} {_SHOWN[key]}"
        for key, got in stage.used.items()
        if key in _SHOWN and got and profile.number(key) is not None
    ]
    if used:
        yield from labelled("takes", ", ".join(used), 4)
    if stage.fits and stage.contexts is not None:
        yield from labelled("holds", f"{stage.contexts:,} contexts", 4)
