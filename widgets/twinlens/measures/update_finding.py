"""How few directions of the update keep what it did, in a sentence; silent below its null."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from twinlens.contract import blocks
from twinlens.contract.forms import AnswerStep, Finding, Null
from twinlens.contract.update_forms import UpdateTaken
from twinlens.errors import MemoryNeededError, UnknownBlockError
from twinlens.measures import phrases as say
from twinlens.measures.chance import beyond, distinguishable
from twinlens.measures.findings_text import SENTENCE_LEVEL, finding, noise_floor
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

#: More directions than this share of all are not few.
_FEW = 0.5


def update_finding(trace: Trace, report: Report | None = None) -> list[Finding]:
    """One sentence or none, of an update that was taken apart.

    Nothing is said of a pair that is not told from one that learned nothing, of a shift that
    updates of equal size in random directions make, too, or of a set that keeps no more than random
    ones of as many directions. That a set found on a prompt keeps much there says nothing by
    itself: one is found in any update.
    """
    try:
        steps = cast("Sequence[AnswerStep]", trace.block(blocks.answer_steps(), report))
        null = cast(Null, trace.block(blocks.null(), report))
    except (UnknownBlockError, MemoryNeededError):
        return []
    if not distinguishable(steps, null):
        return []
    taken = cast(UpdateTaken, trace.block(blocks.update(), report))
    few = 0 < taken["needed"] <= _FEW * taken["count"] and taken["kept"] >= taken["goal"]
    p = max(beyond(taken["shift"], taken["random"]), beyond(taken["kept"], taken["drawn"]))
    above = abs(taken["shift"]) > noise_floor(null) and taken["kept"] > max(
        *taken["drawn"], taken["size"]
    )
    if not (few and above and p <= SENTENCE_LEVEL):
        return []
    needed, count = taken["needed"], taken["count"]
    drawn = sum(taken["drawn"]) / len(taken["drawn"])
    part = needed / count
    part_said = say.share(part) if part >= 0.1 else f"{100 * part:.2g} %"
    moved = say.joined([say.plus(nats) for nats in taken["random"]])
    return [
        finding(
            "update",
            f"{say.number(needed).capitalize()} of {count:,} directions keep{'s' * (needed == 1)} "
            "it.",
            say.of_models(
                f"{part_said} of the update’s directions, alone, keep "
                f"{say.share(taken['kept'])} of {say.nats(taken['shift'])}; "
                f"as many by size keep {say.share(taken['size'])}, "
                f"random ones {say.share(drawn)}, at most {say.share(max(taken['drawn']))}."
            ),
            f"measured as a set; p {say.chance(p)}: {say.number(len(taken['drawn']))} random sets, "
            f"and random updates of equal size, which shift it by {moved} nats",
            "update",
        )
    ]
