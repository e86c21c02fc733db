"""A whole trace as plain text: for readers who cannot see the panels, and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from twinlens.contract import blocks
from twinlens.contract.forms import AnswerStep, Finding
from twinlens.contract.words import SELECTION_DEFAULTS, SIDES
from twinlens.errors import UnknownBlockError
from twinlens.measures.findings import findings, update_finding
from twinlens.measures.findings_text import Findings
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace


def plain_text(trace: Trace, report: Report | None = None) -> str:
    """Models, prompt, answer, findings, and both models token by token."""
    sentences = str(findings_of(trace, report))
    try:
        steps = cast("list[AnswerStep]", trace.block(blocks.answer_steps(), report))
    except UnknownBlockError:
        steps = None
    return "\n".join([*_read(trace), "", _FOUND, sentences, *_steps(trace, steps)])


def known_text(trace: Trace, selection: Mapping[str, int | str]) -> str:
    """What `plain_text` says as far as nothing has to be computed for it, and what is selected."""
    known = cast("list[Finding] | None", trace.known(blocks.findings()))
    steps = cast("list[AnswerStep] | None", trace.known(blocks.answer_steps()))
    said = "Not computed yet: findings() says it." if known is None else str(Findings(known))
    selected = ", ".join(
        f"{name} {selection[name]}{_token(trace, selection[name]) if name == 'token' else ''}"
        for name, default in SELECTION_DEFAULTS.items()
        if selection[name] != default
    )
    return "\n".join(
        [
            *_read(trace),
            "",
            _FOUND,
            said,
            *_steps(trace, steps),
            "",
            f"Selected: {selected or 'nothing'}",
        ]
    )


_FOUND = "What tuning changed here:"


def _read(trace: Trace) -> list[str]:
    m = trace.manifest
    lines = [f"{side}: {getattr(m.pair, side).name}" for side in SIDES]
    lines += ["", "Prompt:", m.prompt, ""]
    if m.shared:
        return [*lines, f"Both models read this answer ({m.response}): {m.answers['tuned'].text}"]
    return lines + [f"{side} answers: {m.answers[side].text}" for side in SIDES]


def _token(trace: Trace, position: int | str) -> str:
    m = trace.manifest
    tokens = [*m.prompt_tokens, *m.answers["tuned"].tokens]
    at = int(position)
    return f" {tokens[at].text!r}" if at < len(tokens) else ""


def _steps(trace: Trace, steps: list[AnswerStep] | None) -> list[str]:
    if steps is None:
        return []
    lines = ["", "Answer token by token (probability in base and tuned, KL in nats, shift):"]
    for token, step in zip(trace.manifest.answers["tuned"].tokens, steps, strict=True):
        base, tuned = (math.exp(step[side]["logprob"]) for side in SIDES)
        expected, p = step["base"]["expects"][0]
        lines.append(
            f"{token.text!r}: {base:.1%} and {tuned:.1%}, {step['kl']:.2f}, {step['shift']}; "
            f"base expects {expected!r} {p:.1%}"
        )
    return lines


def findings_of(trace: Trace, report: Report | None = None) -> Findings:
    """Findings of any trace: its own block, or worked out where a recording is older than that."""
    try:
        sentences = cast("list[Finding]", trace.block(blocks.findings(), report))
    except UnknownBlockError:
        sentences = findings(trace, report)
    # Taking it apart takes long: only where it was asked for.
    if trace.known(blocks.update()) is not None:
        sentences = [*sentences, *update_finding(trace, report)]
    return Findings(sentences)
