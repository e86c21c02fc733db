"""A whole trace as plain text: for readers who cannot see the panels, and for programs."""

from __future__ import annotations

import math
from typing import cast

from twinlens.contract import blocks
from twinlens.contract.forms import AnswerStep
from twinlens.contract.words import SIDES
from twinlens.errors import UnknownBlockError
from twinlens.measures.findings import Findings, findings
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace


def plain_text(trace: Trace, report: Report | None = None) -> str:
    """Models, prompt, answer, findings, and both models token by token.

    Raises
    ------
    Interrupted
        If `report` asked to stop.
    """
    m = trace.manifest
    lines = [f"{side}: {getattr(m.pair, side).name}" for side in SIDES]
    lines += ["", "Prompt:", m.prompt, ""]
    if m.shared:
        lines += [f"Both models read this answer ({m.response}): {m.answers['tuned'].text}"]
    else:
        lines += [f"{side} answers: {m.answers[side].text}" for side in SIDES]
    lines += ["", "What tuning changed here:", str(findings_of(trace, report))]
    try:
        steps = cast("list[AnswerStep]", trace.block(blocks.answer_steps(), report))
    except UnknownBlockError:
        return "\n".join(lines)
    lines += ["", "Answer token by token (probability in base and tuned, KL in nats, shift):"]
    for token, step in zip(m.answers["tuned"].tokens, steps, strict=True):
        base, tuned = (math.exp(step[side]["logprob"]) for side in SIDES)
        expected, p = step["base"]["expects"][0]
        lines.append(
            f"{token.text!r}: {base:.1%} and {tuned:.1%}, {step['kl']:.2f}, {step['shift']}; "
            f"base expects {expected!r} {p:.1%}"
        )
    return "\n".join(lines)


def findings_of(trace: Trace, report: Report | None = None) -> Findings:
    """Findings of any trace: its own block, or worked out where a recording is older than that."""
    try:
        return Findings(cast(list, trace.block(blocks.findings(), report)))  # type: ignore[type-arg]
    except UnknownBlockError:
        return Findings(findings(trace, report))
