"""What hiding a whole segment of the prompt costs an answer, exactly: one pass each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinlens.compute.passes.reading import Reading
from twinlens.compute.passes.subject import Subject
from twinlens.compute.saliency.several_answers import Answered, hidden_in_answers
from twinlens.compute.saliency.together import hidden_together
from twinlens.compute.text.answers import own_answer_of
from twinlens.contract.forms import HiddenSegment, HiddenSpan
from twinlens.contract.manifest import Token
from twinlens.contract.words import SIDES, Segment, Side
from twinlens.measures.summary import SCORED_SEGMENTS
from twinlens.support.progress import Report, told

#: Segments that are hidden as a whole.
HIDDEN: tuple[Segment, ...] = ("instruction", "context", "template")

#: Spans elsewhere that the instruction is compared with.
SPANS = 8

#: What of the prompt is neither instruction nor template: what the instruction is compared with.
REST = "rest"


def segment_positions(tokens: Sequence[Token]) -> dict[str, list[int]]:
    """Positions of each segment that a study hides as a whole, and of the rest, if there are any.

    The rest is there where the instruction is a part of what a person wrote.
    """
    positions: dict[str, list[int]] = {
        segment: [i for i, token in enumerate(tokens) if token.segment == segment]
        for segment in HIDDEN
    }
    if positions["instruction"]:
        scored = (i for i, token in enumerate(tokens) if token.segment in SCORED_SEGMENTS)
        positions[REST] = sorted(set(scored) - set(positions["instruction"]))
    return {segment: places for segment, places in positions.items() if places}


def hidden_segments(
    subject: Subject, answers: Mapping[str, Sequence[int]], report: Report | None = None
) -> list[HiddenSegment]:
    """Effect of each segment that the prompt has on each token of some answers, in both models.

    Parameters
    ----------
    answers : mapping of str to token ids
        By whose they are: ``base``, ``tuned`` or ``given``. Both models read all of them.
    """
    m = subject.manifest
    groups = {segment: m.segment_positions(segment) for segment in HIDDEN}
    present = [segment for segment in HIDDEN if groups[segment]]
    if not (present and answers):
        return []
    costs: dict[tuple[str, str, str], list[float]] = {}
    prompt = [token.id for token in m.prompt_tokens]
    # Tuned first: with memory="sequential" it is the one still loaded.
    for side in told(SIDES[::-1], lambda side: f"hiding segments, {side}", report):
        with subject.models.model(side) as model:
            readings = [
                Reading(model, subject.models.readable(side, [*prompt, *ids]), len(prompt))
                for ids in answers.values()
            ]
            asked = Answered(readings, [groups[segment] for segment in present])
            (lost,) = hidden_in_answers([asked])
        for name, rows in zip(answers, lost, strict=True):
            for segment, row in zip(present, rows.tolist(), strict=True):
                costs[segment, name, side] = row
    return [
        HiddenSegment(
            segment=segment,
            answer=name,
            base=costs[segment, name, "base"],
            tuned=costs[segment, name, "tuned"],
        )
        for segment in present
        for name in answers
    ]


def hidden_elsewhere(
    subject: Subject, answer: Sequence[int], report: Report | None = None
) -> list[HiddenSpan]:
    """Effect of spans as long as the instruction on an answer, in both models.

    What hiding the instruction does beyond that is due to the instruction, and not to how much
    was hidden.
    """
    m = subject.manifest
    spans = spans_elsewhere(m.prompt_tokens)
    costs: dict[Side, list[float]] = {}
    prompt = [token.id for token in m.prompt_tokens]
    for side in told(
        SIDES[::-1] if spans else (), lambda side: f"hiding other spans, {side}", report
    ):
        with subject.models.model(side) as model:
            reading = Reading(model, subject.models.readable(side, [*prompt, *answer]), len(prompt))
            (lost,) = hidden_together([reading], [spans])
        costs[side] = lost.sum(axis=1).tolist()
    return [
        HiddenSpan(start=span[0], base=costs["base"][place], tuned=costs["tuned"][place])
        for place, span in enumerate(spans)
    ]


def spans_elsewhere(tokens: Sequence[Token]) -> list[list[int]]:
    """Spans of the prompt as long as the instruction, evenly spread, without its own tokens.

    None where there is no instruction, or less than that is left.
    """
    size = sum(token.segment == "instruction" for token in tokens)
    # Without the tokens that every text begins with: hiding these breaks a model.
    others = [i for i, t in enumerate(tokens) if t.segment not in ("instruction", "special")]
    if size == 0 or len(others) < size:
        return []
    room = len(others) - size
    starts = sorted({round(room * place / (SPANS - 1)) for place in range(SPANS)})
    return [others[start : start + size] for start in starts]


def answers_of(subject: Subject, report: Report | None = None) -> dict[str, list[int]]:
    """Token ids of each model's own answer, and of a given one; none that ends at once."""
    answers: dict[str, list[int]] = {}
    if subject.manifest.response == "given":
        answers["given"] = subject.answer_ids("tuned")
    for side in reversed(SIDES):
        own, stopped = own_answer_of(subject, side, report)
        if own and not (stopped and len(own) == 1) and max(own) < subject.models.vocabulary:
            answers[side] = own
    return answers
