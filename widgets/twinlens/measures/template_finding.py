"""What the chat template is worth to the answer, in a sentence; silent below its null."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.forms import Finding, Null, OtherText, TemplateEffects
from twinlens.contract.words import SIDES, Side
from twinlens.errors import UnknownBlockError
from twinlens.measures import phrases as say
from twinlens.measures.chance import beyond
from twinlens.measures.stated import COST, SENTENCE_LEVEL, finding, noise_floor
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace


def template_finding(trace: Trace, null: Null, report: Report | None) -> Finding | None:
    """How much more the chat template is worth to one model, beside other text in its place.

    What it is worth to a single model says nothing: the answer was written in it, and is likelier
    there than anywhere else whether the model knows it or not.
    """
    try:
        effects = cast(TemplateEffects, trace.block(blocks.template(), report))
        others = cast("list[OtherText]", trace.block(blocks.other_texts(), report))
    except UnknownBlockError:
        return None
    inside = {"base": math.fsum(effects["base"]), "tuned": math.fsum(effects["tuned"])}
    plain = {"base": math.fsum(effects["base_plain"]), "tuned": math.fsum(effects["tuned_plain"])}
    added: dict[Side, float] = {side: inside[side] - plain[side] for side in SIDES}
    by_other: dict[Side, list[float]] = {
        "base": [other["base"] - plain["base"] for other in others],
        "tuned": [other["tuned"] - plain["tuned"] for other in others],
    }
    together = added["tuned"] - added["base"]
    by_chance = [
        tuned - base for base, tuned in zip(by_other["base"], by_other["tuned"], strict=True)
    ]
    weights, floor = inside["tuned"] - inside["base"], noise_floor(null)
    p, usual = beyond(together, by_chance), float(np.mean(by_chance))
    # Farther from nothing, not only from other text, and in the same direction.
    farther = abs(together) > floor and (together - usual) * together > 0
    told = p < SENTENCE_LEVEL
    if told and farther:
        title = _sides_part(added, floor)
    elif not told and max(map(abs, [added["tuned"], *by_other["tuned"]])) < floor <= weights:
        title = f"Without the template tuned moves this answer by less than {say.nats(floor)}."
    else:
        return None
    above = f"; said above {say.nats(floor)}, twice what bfloat16 moves" if floor > COST else ""
    return finding(
        "template",
        title,
        say.of_models(
            f"Weights {say.plus(weights)} nats (in the template), "
            f"template {say.plus(added['tuned'])} (in tuned), together {say.plus(together)}."
        ),
        f"measured; {say.number(len(others))} other texts of its length in its place: together "
        f"{say.plus(usual)}, p {say.chance(p)}{above}",
        "overview",
    )


def _sides_part(added: dict[Side, float], floor: float) -> str:
    """What sets the models apart where the template is taken out."""
    loser: Side = "tuned" if added["tuned"] > added["base"] else "base"
    other = SIDES[1 - SIDES.index(loser)]
    if added[other] <= -floor:
        return f"Without the template {other} gives this answer more often."
    return f"Without the template {loser} loses more of this answer than {other}."
