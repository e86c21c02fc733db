"""What a study found, in sentences that carry their numbers, tests and doubts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from twinlens.studies.comparisons import DECIDING_TEST, Comparison, Question
from twinlens.studies.profiles import ProfilePoint, Profiles
from twinlens.studies.robustness import Outcome, shares
from twinlens.studies.statistics import Analysis

_CLAIMS: dict[Question, str] = {
    "tuned against base": "The answers of tuned rest more on the instruction than those of base",
    "followed against unfollowed": "Answers of tuned that follow the instruction rest more on it",
}


def findings(analysis: Analysis, outcomes: Sequence[Outcome]) -> list[str]:
    """One paragraph per question, one about robustness, one about the profiles."""
    found = []
    for question in _CLAIMS:
        widest = _widest(analysis.comparisons, question)
        if widest is None:
            continue
        found.append(_claim(widest) + " " + _length(widest))
        doubt = _robust(outcomes, widest)
        if doubt:
            found.append(doubt)
    found += _u_shape(analysis.profiles)
    return found


def _widest(comparisons: Sequence[Comparison], question: Question) -> Comparison | None:
    mine = [item for item in comparisons if item.question == question]
    return next((item for item in mine if item.level == "all"), mine[0] if mine else None)


def _claim(item: Comparison) -> str:
    first, second = item.first, item.second
    p = item.test(DECIDING_TEST[item.question]).p
    says = {
        "holds": "this holds here",
        "turns": "here it is the other way round",
        "vanishes": "here no difference is shown",
        "unknown": "here it cannot be tested",
    }[item.verdict]
    n = f"{first.n} prompts" if item.higher is not None else f"{first.n} and {second.n} answers"
    effect = ""
    if math.isfinite(item.effect):
        effect = f"; {item.effect_name} {item.effect:.2f}"
    if math.isfinite(item.effect_low):
        effect += f" (95 % interval {item.effect_low:.2f} to {item.effect_high:.2f})"
    if math.isfinite(p):
        effect += f"; {DECIDING_TEST[item.question]}, p = {p:.2g}"
    return (
        f"{_CLAIMS[item.question]}: {says}. Mean score {first.mean:.4f} ({first.label}) and "
        f"{second.mean:.4f} ({second.label}), {n}{effect}."
    )


def _length(item: Comparison) -> str:
    check = item.length
    lengths = (
        f"Mean answer length {item.first.answer_length:.0f} ({item.first.label}) and "
        f"{item.second.answer_length:.0f} tokens ({item.second.label})."
    )
    if not math.isfinite(check.p):
        return lengths
    at_equal = f"At equal length ({check.how}) the difference is {check.difference:+.4f}"
    at_equal += f", p = {check.p:.2g}"
    if check.explained:
        return f"{lengths} Answer length explains it: {at_equal[0].lower()}{at_equal[1:]}."
    if item.verdict in ("holds", "turns") and check.verdict == item.verdict:
        return f"{lengths} It is not the answer length: {at_equal[0].lower()}{at_equal[1:]}."
    if item.verdict in ("holds", "turns"):
        return f"{lengths} {at_equal}: it can then not be told from chance any more."
    return f"{lengths} {at_equal}."


def _robust(outcomes: Sequence[Outcome], item: Comparison) -> str:
    mine = [o for o in outcomes if (o.question, o.group) == (item.question, item.group)]
    if not mine or item.verdict == "unknown":
        return ""
    counted = shares(o for o in mine if o.method == mine[0].method)
    total = next(share for share in counted if share.setting == "any")
    text = (
        f"Of {total.combinations} combinations of settings the conclusion holds in {total.holds}, "
        f"vanishes in {total.vanishes} and turns in {total.turns}."
    )
    raw = [o for o in mine if "formula alone" in o.variant]
    if raw and raw[0].verdict != "unknown":
        alone = raw[0]
        text += (
            " With the density as its formula alone gives it (not divided by the largest density "
            f"of the prompt, mean over the instruction) the difference is {alone.difference:+.4f}, "
            f"p = {alone.p:.2g}: the conclusion {alone.verdict}."
        )
    return text


def _u_shape(points: Sequence[ProfilePoint]) -> list[str]:
    found = []
    for side in ("base", "tuned"):
        curve = [p.mean for p in points if p.profile == Profiles.POSITION and p.side == side]
        if len(curve) == 10:
            ends, middle = (curve[0] + curve[-1]) / 2, sum(curve[2:8]) / 6
            found.append(f"{side} {ends:.3f} at the ends, {middle:.3f} in the middle")
    if not found:
        return []
    return [
        "Mean density along the prompt (first and last tenth against tenths 3 to 8): "
        + "; ".join(found)
        + ". A U shape means that the middle of the prompt counts less."
    ]
