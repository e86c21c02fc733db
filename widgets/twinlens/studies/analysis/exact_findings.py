"""What hiding segments of the prompt shows, in sentences, and which choice decides it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from twinlens.studies.analysis.comparisons import Verdict
from twinlens.studies.analysis.exact import ANSWERS, OWN, READ, ExactComparison
from twinlens.studies.analysis.inference import SMALLEST_PAIRED, Estimate
from twinlens.studies.analysis.study_finding import StudyFinding

_SHOWS: dict[Verdict, str] = {
    "holds": "tuned needs it more",
    "turns": "base needs it more",
    "no difference shown": "no difference is shown",
    "too few": "too few to say",
    "confounded": "it cannot be told from the rest of the prompt",
}


def exact_findings(
    rows: Sequence[ExactComparison], score: Verdict | None, has_parts: bool
) -> list[StudyFinding]:
    """One finding about the instruction, with those about context and template in its sentences.

    Parameters
    ----------
    score : Verdict or None
        Of the paper's score of the same prompts.
    has_parts : bool
        Whether the instruction is a part of any prompt.
    """
    by_answer = {row.answer: row for row in widest(rows) if row.segment == "instruction"}
    if not by_answer:
        return []
    first = next(by_answer[answer] for answer in ANSWERS if answer in by_answer)
    what = "instruction" if has_parts else "prompt"
    sentences = [_cost(by_answer[answer], what) for answer in ANSWERS if answer in by_answer]
    sentences.append(_deciding(by_answer))
    if score is not None:
        sentences.append(_beside_score(first, score))
    for segment in ("context", "template"):
        sentences += [_cost(row, segment) for row in widest(rows) if row.segment == segment]
    claim = f"Hiding the {what} costs the answers of tuned more than those of base"
    return [StudyFinding(claim, first.verdict, tuple(filter(None, sentences)), first.ids)]


def in_short(rows: Sequence[ExactComparison]) -> str:
    """What hiding the instruction shows, in one short sentence for the first screen."""
    mine = [row for row in widest(rows) if row.segment == "instruction"]
    said = [
        f"{READ[row.answer]}: base {row.base:.2f}, tuned {row.tuned:.2f}, {_SHOWS[row.verdict]}"
        for row in mine
    ]
    return f"Nats per answer token in {mine[0].n} prompts; {'; '.join(said)}."


def widest(rows: Sequence[ExactComparison]) -> list[ExactComparison]:
    """Of each segment and answer the row of all prompts."""
    rows_by_key: dict[tuple[str, str], ExactComparison] = {}
    for row in rows:
        key = (row.segment, row.answer)
        if key not in rows_by_key or row.level == "all":
            rows_by_key[key] = row
    return list(rows_by_key.values())


def _cost(row: ExactComparison, what: str) -> str:
    n = f"{row.n} prompt{'' if row.n == 1 else 's'}"
    text = (
        f"Hiding the {what}, {READ[row.answer]}: {row.base:.3f} nats per answer token in base and "
        f"{row.tuned:.3f} in tuned, more in tuned in {row.higher} of {n}"
    )
    if row.n < SMALLEST_PAIRED:
        return f"{text}; nothing is concluded from fewer than {SMALLEST_PAIRED} prompts."
    text += f"; {_estimate(row.estimate)}"
    if row.answer == OWN:
        text += f"; at equal length {_estimate(row.equal_length)}"
    if math.isfinite(row.beyond_rest.p):
        text += (
            f". Hiding the rest of the prompt instead: {row.rest[0]:.3f} and {row.rest[1]:.3f}; "
            f"difference in differences {_estimate(row.beyond_rest)}"
        )
    return f"{text}."


def _estimate(estimate: Estimate) -> str:
    text = f"typical difference {estimate.difference:+.3f}"
    if math.isfinite(estimate.p):
        text += f" ({estimate.low:+.3f} to {estimate.high:+.3f}), p = {estimate.p:.2g}"
    if math.isfinite(estimate.p_holm) and estimate.p_holm > estimate.p:
        text += f" ({estimate.p_holm:.2g} by Holm over the table)"
    return text


def _deciding(rows: dict[str, ExactComparison]) -> str:
    """Which choice decides what."""
    if "tuned" in rows and "base" in rows:
        on = {side: rows[side].verdict for side in ("tuned", "base")}
        if on["tuned"] == on["base"]:
            return f"Whichever of the two answers both read, {_SHOWS[on['tuned']]}."
        return (
            "Which answer both read decides: on tuned's answers "
            f"{_SHOWS[on['tuned']]}, on base's {_SHOWS[on['base']]}. An answer favours the model "
            "that gave it."
        )
    (only,) = rows
    if only == "given":
        return "Both models read a given answer, which neither of them chose."
    return (
        f"Both models read {only}'s answer, which favours {only}: a study with response='own' "
        "also shows each on its own answer, and both on the other's."
    )


def _beside_score(row: ExactComparison, score: Verdict) -> str:
    if row.verdict == score:
        return f"The score of the paper, from gradients, ends in the same verdict: {score}."
    return (
        f"The score of the paper, from gradients, ends in another verdict ({score}): it weighs "
        "tokens by first-order estimates, while this is the text read again without them."
    )
