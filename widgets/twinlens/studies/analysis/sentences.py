"""What a study found, in sentences that carry their numbers, tests and doubts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from twinlens.studies.analysis.analysis import Analysis
from twinlens.studies.analysis.comparisons import (
    DECIDING_TEST,
    MINIMUM_RATED_ANSWER,
    SIGNIFICANCE,
    Comparison,
    Question,
    Verdict,
    difference_verdict,
)
from twinlens.studies.analysis.controls import Controls
from twinlens.studies.analysis.inference import (
    SMALLEST_PAIRED,
    SMALLEST_SAMPLE,
    Estimate,
    paired_estimate,
)
from twinlens.studies.analysis.profiles import ANSWER, POSITION, Profile
from twinlens.studies.analysis.study_finding import StudyFinding, exact_findings, weight_findings
from twinlens.studies.analysis.variants import FORMULA_ALONE, ONE_LENGTH, VariantOutcome, shares
from twinlens.studies.data.change_tables import Changes

_CLAIMS: dict[Question, str] = {
    "tuned against base": "The answers of tuned rest more on the instruction than those of base",
    "followed against unfollowed": "Answers of tuned that follow the instruction rest more on it",
}
#: The same where no part of any prompt is marked: the score is one of the whole prompt.
_WHOLE_CLAIMS: dict[Question, str] = {
    "tuned against base": "Densities are more even over the prompt in tuned than in base",
    "followed against unfollowed": "Densities are more even over the prompt in answers of tuned "
    "that were judged good",
}
#: What the ends of a profile against its middle make it, by the signed-rank test at 0.05.
_SHAPES: dict[Verdict, str] = {
    "holds": "a U shape",
    "turns": "higher in the middle",
    "no difference shown": "no difference shown",
    "too few": "too few prompts",
}


def findings(
    analysis: Analysis, outcomes: Sequence[VariantOutcome], changes: Changes | None = None
) -> list[str]:
    """The texts of everything that `find` finds, in order."""
    return [text for finding in find(analysis, outcomes, changes) for text in finding.texts]


def find(
    analysis: Analysis, outcomes: Sequence[VariantOutcome], changes: Changes | None = None
) -> list[StudyFinding]:
    """One finding per question, one about the profiles, and those about the weights."""
    study_findings: list[StudyFinding] = []
    for question, claim in (_CLAIMS if analysis.has_parts else _WHOLE_CLAIMS).items():
        widest = widest_of(analysis.comparisons, question)
        if widest is None:
            continue
        sentences = (
            _claim(widest),
            _length(widest),
            _specific(widest) if analysis.has_parts else "",
            _robust(outcomes, widest),
        )
        study_findings.append(
            StudyFinding(claim, widest.verdict, tuple(filter(None, sentences)), widest.ids)
        )
    score = widest_of(analysis.comparisons, "tuned against base")
    study_findings += exact_findings(
        analysis.exact, score.verdict if score else None, analysis.has_parts
    )
    if analysis.scores:
        study_findings.append(
            StudyFinding("What is compared, and what is missing", None, _missing(analysis))
        )
    profiles = tuple(_u_shape(analysis.profiles) + _driven(analysis.profiles))
    if profiles:
        behind = dict.fromkeys(case for profile in analysis.profiles for case in profile.ids)
        study_findings.append(
            StudyFinding("Where in prompt and answer it lies", None, profiles, tuple(behind))
        )
    return study_findings + weight_findings(changes or {})


def in_short(item: Comparison) -> str:
    """What a comparison shows, in one short sentence for the first screen."""
    first, second, estimate = item.first, item.second, item.length.estimate
    text = f"{first.label} {first.mean:.2f} ({first.n}), {second.label} {second.mean:.2f} "
    text += f"({second.n})"
    if math.isfinite(estimate.p):
        text += f"; at equal length {estimate.difference:+.2f} ({estimate.low:+.2f} to "
        text += f"{estimate.high:+.2f})"
        if math.isfinite(estimate.p_holm):
            text += f", p = {estimate.p_holm:.2g} by Holm"
    return f"{text}; {item.why}." if item.why else f"{text}."


def counted(count: int, noun: str) -> str:
    """A number and what it counts: 1 prompt, 2 prompts."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def widest_of(comparisons: Sequence[Comparison], question: Question) -> Comparison | None:
    """The comparison of all prompts, or of the only group there is."""
    mine = [item for item in comparisons if item.question == question]
    return next((item for item in mine if item.level == "all"), mine[0] if mine else None)


def _claim(item: Comparison) -> str:
    first, second = item.first, item.second
    n = counted(first.n, "prompt")
    if item.higher is None:
        n = f"{first.n} and {counted(second.n, 'answer')}"
    text = (
        f"Mean score {first.mean:.4f} ({first.label}) and {second.mean:.4f} ({second.label}), {n}"
    )
    if item.ties:
        text += f" ({item.ties} with equal scores)"
    if not item.enough:
        fewest = (
            counted(SMALLEST_PAIRED, "prompt")
            if item.higher is not None
            else f"{SMALLEST_SAMPLE} answers of each kind"
        )
        return f"{text}; nothing is concluded from fewer than {fewest}."
    text += f"; {_estimate(item.estimate, DECIDING_TEST[item.question])}"
    if math.isfinite(item.effect):
        text += f"; {item.effect_name} {item.effect:.2f}"
    return f"{text}."


def _estimate(estimate: Estimate, test: str = "") -> str:
    text = f"typical difference {estimate.difference:+.4f}"
    if math.isfinite(estimate.p):
        text += f" (95 % interval {estimate.low:+.4f} to {estimate.high:+.4f})"
        text += f"; {test}, p = {estimate.p:.2g}" if test else f", p = {estimate.p:.2g}"
    if math.isfinite(estimate.p_holm) and estimate.p_holm > estimate.p:
        text += f" ({estimate.p_holm:.2g} by Holm over the table)"
    return text


def _length(item: Comparison) -> str:
    check = item.length
    text = (
        f"Mean answer length {item.first.answer_length:.0f} ({item.first.label}) and "
        f"{item.second.answer_length:.0f} tokens ({item.second.label})."
    )
    if not item.enough:
        return text
    if check.missing:
        lacking = f"{text} No number at equal length: {check.missing}."
        return lacking + (_power(item.estimate) if item.plain == "no difference shown" else "")
    at_equal = f"At equal length ({check.how}): {_estimate(check.estimate)}."
    if math.isfinite(check.spread):
        at_equal += f" The curve leaves a residual sd of {check.spread:.2f}"
        at_equal += (
            f"; {counted(check.left_out, 'answer')} beyond the lengths of the other kind left out."
            if check.left_out
            else "."
        )
    if check.verdict == "no difference shown":
        at_equal += _power(check.estimate)
    said = ""
    differ = item.plain in ("holds", "turns")
    if check.verdict in ("holds", "turns"):
        if not differ:
            said = "At full length no difference is shown. "
            if item.estimate.leaves_out(check.estimate):
                said = f"Answer length masks it: {said[0].lower()}{said[1:]}"
        elif item.plain != check.verdict:
            said = "Answer length turns it: at full length it is the other way round. "
        else:
            full = item.difference if item.higher is None else item.estimate.difference
            left = check.estimate.difference / full
            said = "It is not the answer length. "
            if left < 0.5:
                said = f"Answer length explains a part of it ({left:.0%} are left). "
    elif differ:
        said = "It is not shown at equal length, nor that answer length explains it. "
        if check.estimate.leaves_out(item.estimate):
            said = "Answer length explains the difference. "
    return f"{text} {said}{at_equal}"


def _power(estimate: Estimate) -> str:
    if not math.isfinite(estimate.smallest):
        return ""
    return (
        f" With so many a true difference of {estimate.smallest:.3f} would be found in four of "
        "five such studies (at 0.05, before the correction); a smaller one may be there."
    )


def _specific(item: Comparison) -> str:
    """Whether it is the instruction, rather than all of the prompt."""
    if not item.enough:
        return ""
    full, cut = item.controls, item.length.controls
    if full is None:
        return (
            "In each of these the whole prompt is the instruction: whether it is the instruction "
            "or all that was read cannot be told."
        )
    n = counted(full.beyond_rest.n, "prompt" if item.higher is not None else "answer")
    text = (
        f"Where the instruction is a part of the prompt ({n}): instruction "
        f"{_both(full.instruction)}, rest of the prompt {_both(full.rest)}, spans as long as the "
        f"instruction, mean over all their places, {_both(full.span)}. Difference in differences, "
        f"instruction less rest: {_estimate(full.beyond_rest)}; less spans of equal length: "
        f"{_estimate(full.beyond_span)}; share of the density on the instruction: "
        f"{_estimate(full.share)}."
    )
    if cut is not None and math.isfinite(cut.beyond_rest.p):
        text += f" At equal answer length, instruction less rest: {_estimate(cut.beyond_rest)}."
    if item.length.verdict not in ("holds", "turns"):
        return text
    if item.verdict == item.length.verdict:
        return f"It is the instruction more than the rest of the prompt. {text}"
    if cut is None or cut.beyond_rest.n < SMALLEST_PAIRED or not math.isfinite(cut.beyond_rest.p):
        return f"Too few prompts have more than an instruction to tell it from the rest. {text}"
    return f"It is not told from the rest of the prompt{_blind(cut)}. {text}"


def _blind(controls: Controls) -> str:
    """Which of the three controls fail to show it."""
    names = {
        "the rest": controls.beyond_rest,
        "spans of equal length": controls.beyond_span,
        "the share of the density": controls.share,
    }
    failed = [name for name, control in names.items() if not control.p < SIGNIFICANCE]
    return f": {' and '.join(failed)} do not differ" if failed else ""


def _both(means: tuple[float, float]) -> str:
    return f"{means[0]:.3f} → {means[1]:.3f}"


def _robust(outcomes: Sequence[VariantOutcome], item: Comparison) -> str:
    mine = [o for o in outcomes if (o.question, o.group) == (item.question, item.group)]
    if not mine or not item.enough:
        return ""
    reached = shares(o for o in mine if o.method == mine[0].method)
    total = next(share for share in reached if share.setting == "any")
    text = (
        f"Of {total.combinations} combinations of settings the score of {item.second.label} is "
        f"higher in {total.holds}, lower in {total.turns}, and no difference is shown in "
        f"{total.no_difference}."
    )
    alone = next((o for o in mine if o.variant == FORMULA_ALONE), None)
    one_length = next((o for o in mine if o.variant == ONE_LENGTH), None)
    if alone is None or alone.verdict == "too few":
        return text
    text += (
        " With the density as its formula alone gives it, not divided by the largest density of "
        "the prompt and averaged over the tokens, the mean difference is "
        f"{alone.difference:+.4f}, p = {alone.p:.2g}"
    )
    if one_length is None or item.higher is None:
        return f"{text}."
    text += (
        f", at full length, and {one_length.difference:+.4f}, p = {one_length.p:.2g}, with both "
        "answers of a prompt at one length"
    )
    if alone.verdict == "turns" and one_length.verdict == "holds":
        text += ": length turns it, not the missing division"
    elif alone.verdict in ("holds", "turns") and one_length.verdict == "no difference shown":
        text += ": length makes it"
    return f"{text}."


def _missing(analysis: Analysis) -> tuple[str, ...]:
    counts = analysis.counts
    total = counts["prompts"]
    part, whole = counts["instruction is a part"], counts["whole prompt is the instruction"]
    text = f"{counted(total, 'prompt')}, each with an answer of base and one of tuned. "
    if part:
        text += f"In {part} of {total} the instruction is a part of the prompt"
        text += (
            f"; in {whole} the whole prompt is the instruction, or nothing is marked, so that "
            "there is no rest to compare with."
            if whole
            else "."
        )
    else:
        text += (
            "No part of any prompt is marked: scores are of the whole prompt, and nothing is said "
            "about one part of it."
        )
    rest = []
    if counts["of one model only"]:
        rest.append(f"{counted(counts['of one model only'], 'prompt')} with one model's case only")
    if counts["repeat another"]:
        what = counted(counts["repeat another"], "prompt")
        rest.append(f"{what} that repeat another one with the same answers")
    unmarked = counts["without an instruction token"]
    if unmarked:
        lacks = "an instruction" if unmarked < total else "a token to score"
        rest.append(f"{counted(unmarked, 'prompt')} without {lacks}")
    if counts["judged, answer too short"]:
        rest.append(
            f"{counted(counts['judged, answer too short'], 'judged answer')} of fewer than "
            f"{MINIMUM_RATED_ANSWER} tokens, from the comparison of judged ones"
        )
    said = [text]
    if rest:
        said.append(f"Left out: {'; '.join(rest)}.")
    if counts["empty answer"]:
        said.append(
            f"In {counted(counts['empty answer'], 'prompt')} one answer is empty: its score is 0, "
            "and so are both at equal length."
        )
    said.append(
        f"{counted(counts['judged'], 'answer')} of tuned {'is' if counts['judged'] == 1 else 'are'}"
        " judged."
        if counts["judged"]
        else "No answer is judged, so that followed and unfollowed are not compared."
        if analysis.has_parts
        else "No answer is judged."
    )
    return tuple(said)


def _u_shape(profiles: Sequence[Profile]) -> list[str]:
    sentences = []
    for profile in profiles:
        if profile.name == POSITION:
            ends = (profile.values[:, 0] + profile.values[:, -1]) / 2
            middle = profile.values[:, 2:8].mean(axis=1)
            bend = paired_estimate(middle, ends)
            enough = len(profile.ids) >= SMALLEST_PAIRED
            shape = difference_verdict(bend.difference, bend.p, enough=enough)
            sentences.append(
                f"{profile.side} {ends.mean():.3f} at the ends, {middle.mean():.3f} in the middle "
                f"({_SHAPES[shape]})"
            )
    if not sentences:
        return []
    return [
        "Mean density along the prompt (first and last tenth against tenths 3 to 8): "
        + "; ".join(sentences)
        + "."
    ]


def _driven(profiles: Sequence[Profile]) -> list[str]:
    sentences = [
        f"{profile.values.mean():.1%} in {profile.side} ({counted(len(profile.ids), 'prompt')})"
        for profile in profiles
        if profile.name == ANSWER
    ]
    if not sentences:
        return []
    return [
        "Share of answer tokens that the instruction drives (at least one instruction token above "
        f"the level threshold), mean over the answer: {', '.join(sentences)}."
    ]
