"""What tuning changed for a prompt, in plain sentences; none that its null does not allow.

Nothing is said of a pair that is not told from one that learned nothing (`distinguishable`); each
sentence then has a test of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.forms import (
    AnswerStep,
    Carried,
    Finding,
    HiddenSegment,
    HiddenSpan,
    Null,
    OtherText,
    Part,
    RotationOfLayer,
    TemplateEffects,
)
from twinlens.contract.update_forms import UpdateTaken
from twinlens.contract.words import EXACT, SIDES, Side
from twinlens.errors import MemoryNeededError, UnknownBlockError, UnsupportedArchitectureError
from twinlens.measures import phrases as say
from twinlens.measures.chance import (
    beyond,
    binomial_tail,
    changed_places,
    distinguishable,
    p_value,
    same,
    times_as_far,
)
from twinlens.measures.findings_text import COST, SENTENCE_LEVEL, finding, noise_floor
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

#: Sentences that are said at most; blocks that are named as the only ones changed.
_MOST, _PLACES = 5, 4
#: More directions than this share of all are not few.
_FEW = 0.5


def findings(trace: Trace, report: Report | None = None) -> list[Finding]:
    """At most five sentences, the most telling first."""
    if not trace.manifest.shared:
        return [
            _nothing(
                "Each model reads its own answer.",
                "Token by token they can be compared where both read one: choose a shared answer.",
                "",
            )
        ]
    steps = cast("list[AnswerStep]", trace.block(blocks.answer_steps(), report))
    if same(steps):
        return [
            _nothing(
                "Nothing here is distinguishable from no tuning.",
                "Both models predict the same.",
                "",
            )
        ]
    try:
        null = cast(Null, trace.block(blocks.null(), report))
    except (UnknownBlockError, MemoryNeededError) as error:
        return [_nothing("No finding is stated: there is no null to compare with.", str(error), "")]
    if not distinguishable(steps, null):
        return [_not_distinguishable(steps, null)]
    asked: list[Callable[[], Finding | None]] = [
        lambda: _copies(trace, report),
        lambda: _parts(trace, steps, null),
        lambda: _place(null),
        lambda: _segments(trace, null, report),
        lambda: _carries(trace, report),
        lambda: _kept(trace, report),
        lambda: template_finding(trace, null, report),
    ]
    said: list[Finding] = []
    for ask in asked:
        # What would not be said is not measured.
        if len(said) < _MOST and (sentence := ask()) is not None:
            said.append(sentence)
    return said


def _not_distinguishable(steps: Sequence[AnswerStep], null: Null) -> Finding:
    kl = sum(step["kl"] for step in steps)
    return _nothing(
        "Nothing here is distinguishable from no tuning.",
        f"The predictions differ by {say.nats(kl)}. {_beside_chance(null)}.",
        _drawn(null),
    )


def _beside_chance(null: Null) -> str:
    return (
        f"{say.of_update(null['fraction'])} moves predictions {times_as_far(null):.1f} times as "
        "far as the same with its signs drawn anew"
    )


def _drawn(null: Null) -> str:
    p = p_value(null["update"], null["scrambled"])
    return f"p {say.chance(p)}, {len(null['scrambled'])} draws of its signs"


def _copies(trace: Trace, report: Report | None) -> Finding | None:
    """Which answer tokens rest most on the same word of the prompt."""
    m = trace.manifest
    prompt = [say.letters(token.text) for token in m.prompt_tokens]
    answer = [say.letters(token.text) for token in m.answers["tuned"].tokens]
    able = [i for i, word in enumerate(answer) if word and word in prompt]
    if not able:
        return None
    effects = {side: trace.array(blocks.saliency(side, EXACT), report) for side in SIDES}

    def on_itself(nats: np.ndarray) -> list[int]:
        best = nats.argmax(axis=0)
        return [i for i in able if nats[best[i], i] > COST and prompt[best[i]] == answer[i]]

    base, tuned = (on_itself(effects[side]) for side in SIDES)
    gained = on_itself(effects["tuned"] - effects["base"])
    # By chance any word of the prompt would be the one that matters, or that gained, most.
    chance = float(np.mean([prompt.count(answer[i]) / len(prompt) for i in able]))
    p, paired = (binomial_tail(len(copying), len(able), chance) for copying in (tuned, gained))
    if max(p, paired) > SENTENCE_LEVEL or len(tuned) <= len(base):
        return None
    words = say.runs_of([m.answers["tuned"].tokens[i].text.strip() for i in tuned], "token")
    return finding(
        "copies",
        "Tuned copies.",
        [
            *words,
            *say.of_models(
                f" rest{'s' * (len(tuned) == 1)} most on the same word of the prompt: "
                f"{say.number(len(tuned))} of {say.number(len(able))} in tuned, "
                f"{say.number(len(base))} in base."
            ),
        ],
        f"exact; by chance p {say.chance(p)}; in {say.number(len(gained))} that word also gained "
        f"most from base to tuned, p {say.chance(paired)}",
        "saliency",
        token=m.prompt_length + max(tuned, key=lambda i: _gain(trace, i)),
    )


def _gain(trace: Trace, answer_token: int) -> float:
    """By how much more the strongest token of the prompt matters in tuned."""
    base, tuned = (trace.array(blocks.saliency(side, EXACT))[:, answer_token] for side in SIDES)
    place = int(tuned.argmax())
    return float(tuned[place] - max(base[place], 0))


def _parts(trace: Trace, steps: Sequence[AnswerStep], null: Null) -> Finding:
    """Where the answers part, and how far that is from chance."""
    m = trace.manifest
    kl = np.array([step["kl"] for step in steps])
    far = np.flatnonzero(kl > COST)
    first = int(far[0] if len(far) else kl.argmax())
    largest = sorted(np.argsort(-kl, kind="stable")[:4].tolist())
    largest = [i for i in largest if kl[i] > 0.1 * kl.max()]
    tokens = m.answers["tuned"].tokens
    where = say.ordinal(first)
    return finding(
        "parts",
        f"The answers part at the {where} token."
        if len(far)
        else f"The answers part by less than {say.nats(COST)}, most at the {where} token.",
        [
            ("token", say.shown(tokens[first].text)),
            *say.of_models(
                f": base {say.percent(steps[first]['base']['logprob'])}, "
                f"tuned {say.percent(steps[first]['tuned']['logprob'])}. "
                f"In all {say.nats(float(kl.sum()))}, most at "
            ),
            *say.runs_of([say.shown(tokens[i].text) for i in largest], "token"),
            ("", "."),
        ],
        f"measured: KL(tuned ‖ base); {_beside_chance(null)}, {_drawn(null)}",
        "saliency",
        token=m.prompt_length + first,
    )


def _place(null: Null) -> Finding | None:
    """Where the weights were changed, if not all over."""
    places = changed_places(null)
    if not 0 < len(places) <= _PLACES:
        return None
    names = say.joined([_name(place["kind"], place["layer"]) for place in places])
    they = "They hold" if len(places) > 1 else "It holds"
    share = say.share(sum(place["weights"] for place in places))
    lengths = say.joined([say.share(place["length"]) for place in places])
    return finding(
        "place",
        f"Only {names} {'were' if len(places) > 1 else 'was'} changed.",
        say.of_models(
            f"{they} {share} of the weights and moved by {lengths} of their length; "
            "all others are the same in base and tuned."
        ),
        "exact, from weights",
        "carried",
    )


def _segments(trace: Trace, null: Null, report: Report | None) -> Finding | None:
    """What hiding the instruction costs each answer, beside other spans of as many tokens."""
    try:
        rows = cast("list[HiddenSegment]", trace.block(blocks.hidden_segments(), report))
    except UnknownBlockError:
        return None
    instruction = {row["answer"]: row for row in rows if row["segment"] == "instruction"}
    if "tuned" not in instruction:
        return None
    cost = {
        answer: {side: math.fsum(cast("dict[str, Any]", row)[side]) for side in SIDES}
        for answer, row in instruction.items()
    }
    floor = noise_floor(null)
    if max(abs(value) for sides in cost.values() for value in sides.values()) < floor:
        return None
    spans = cast("list[HiddenSpan]", trace.block(blocks.hidden_elsewhere(), report))
    elsewhere = [span["tuned"] - span["base"] for span in spans]
    more = [sides["tuned"] - sides["base"] for sides in cost.values()]
    apart = cost["tuned"]["tuned"] - cost["tuned"]["base"]
    p = beyond(apart, elsewhere)
    if max(map(abs, more)) <= floor:
        title = "Both need the instruction alike."
    elif p > SENTENCE_LEVEL:
        # Hiding as much of anything else does it, too: nothing is said of the instruction.
        title = "The instruction is not shown to stand out."
    elif min(more) > -floor and apart > floor:
        title = "Tuned needs the instruction more."
    elif max(more) < -floor:
        title = "Base needs the instruction more."
    else:
        title = "What the instruction is worth depends on the answer."
    own = cost["tuned"]
    text = (
        f"Hiding it costs tuned’s answer {say.signed(own['base'])} in base and "
        f"{say.nats(own['tuned'])} in tuned"
    )
    if "base" in cost:
        own = cost["base"]
        text += f"; base’s own answer {say.signed(own['base'])} and {say.nats(own['tuned'])}"
    checked = "measured"
    if len(spans) > 1:
        base, tuned = (float(np.mean([span[side] for span in spans])) for side in SIDES)
        count = say.number(len(spans))
        checked += (
            f"; {count} spans as long elsewhere: {say.signed(base)} and {say.signed(tuned)}, "
        )
        checked += f"p {say.chance(p)}"
    return finding("segments", title, say.of_models(f"{text}."), checked, "saliency")


def _carries(trace: Trace, report: Report | None) -> Finding | None:
    """The smallest set of parts that carries the difference."""
    try:
        carried = cast(Carried, trace.block(blocks.carried(None), report))
    except (UnknownBlockError, UnsupportedArchitectureError):
        return None
    parts = carried["parts"]
    if not parts or len(parts) > carried["count"] / 2:
        return None
    reached = min(parts[-1]["together_share"], parts[-1]["together"] / (carried["shift"] or 1))
    if reached < carried["goal"] or reached <= max(carried["random"]):
        return None
    heads = [part for part in parts if part["kind"] == "head"]
    first = next(iter(heads), parts[0])
    count = say.number(len(parts))
    also = ""
    if carried["weights"] and carried["weights"][0]["share"] >= carried["goal"]:
        alone = carried["weights"][0]
        name, share = _name(alone["kind"], alone["layer"]), say.share(alone["share"])
        also = f" The weights of {name} alone make {share} of it."
    return finding(
        "carries",
        f"{count.capitalize()} part{'s' * (len(parts) > 1)} of {carried['count']} "
        f"carr{'y' if len(parts) > 1 else 'ies'} it.",
        say.of_models(
            f"{_together(parts, trace.manifest.pair.layers)}: {say.reached(carried)}; "
            f"{count} random part{'s' * (len(parts) > 1)}: "
            f"{say.share(float(np.mean(carried['random'])))}, at most "
            f"{say.share(max(0.0, *carried['random']))}.{also}"
        ),
        "log-probability, measured as a set",
        "carried",
        layer=first["layer"] if first["kind"] == "head" else -1,
        head=first["head"] if first["kind"] == "head" else -1,
    )


def _together(parts: Sequence[Part], layers: int) -> str:
    """Names of parts, those of a kind together."""
    blocks_at = sorted(part["layer"] for part in parts if part["kind"] == "feed_forward")
    heads = [f"{part['layer']}.{part['head']}" for part in parts if part["kind"] == "head"]
    names = [part["kind"] for part in parts if part["kind"] in ("embedding", "unembedding")]
    if len(blocks_at) == layers:
        names.insert(0, f"all {say.number(layers)} feed-forward blocks")
    elif blocks_at:
        listed = say.joined([str(layer) for layer in blocks_at])
        names.insert(0, f"feed-forward {listed}")
    if heads:
        names.append(f"head{'s' * (len(heads) > 1)} {say.joined(heads)}")
    text = say.joined(names)
    return text[0].upper() + text[1:]


def _name(kind: str, layer: int) -> str:
    kind = kind.replace("_", "-")
    return f"the {kind} of layer {layer}" if layer >= 0 else f"the {kind}"


def _kept(trace: Trace, report: Report | None) -> Finding | None:
    """Whether the space of concepts of the layers was kept."""
    try:
        rows = cast("list[RotationOfLayer]", trace.block(blocks.rotation(), report))
    except (UnknownBlockError, UnsupportedArchitectureError):
        return None
    angles = [row["angle"] for row in rows]
    null = float(np.mean([row["null"] for row in rows]))
    if not rows or max(row["angle"] - row["null_low"] for row in rows) >= 0:
        return None
    low, high = (f"{value:.0f}" for value in (min(angles), max(angles)))
    span = f"{low}°" if low == high else f"{low} to {high}°"
    return finding(
        "kept",
        "Concepts were kept.",
        [("", f"Each layer’s space of concepts turned {span}; random would be {null:.0f}°.")],
        "from weights",
        "concepts",
    )


def _nothing(title: str, text: str, checked: str) -> Finding:
    return finding("nothing", title, [("", text)], checked, "overview")


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
