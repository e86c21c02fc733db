"""A still picture of a trace: what a notebook shows that is opened without a kernel.

Plain HTML with one picture inside, without scripts and styles of its own, so that hosts that clean
the outputs of notebooks leave it as it is.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Mapping, Sequence
from html import unescape
from typing import cast

import numpy as np

from twinlens.contract import blocks
from twinlens.contract.palette import PALETTES
from twinlens.contract.wire import Array
from twinlens.contract.words import EXACT, SIDES, ChartTheme, Side
from twinlens.figures.vector import xml
from twinlens.measures.findings_text import Findings
from twinlens.traces.trace import Trace

#: Blocks it is drawn from; it shows those that are there.
SHOWN = frozenset({blocks.findings(), *(blocks.saliency(side, EXACT) for side in SIDES)})

HOW_TO_LIVE = "Run the cells from the top to bring it to life."

#: Side of a cell, height of letters, between two names and around everything, in pixels.
_CELL, _LETTERS, _GAP = 16, 11, 8
#: Longest side of a matrix, in pixels: cells of longer ones are smaller.
_LONGEST = 960
#: Share of the largest effect from which a mark can be seen.
_VISIBLE = 0.01
_LONGEST_NAME = 14


def known_by(trace: Trace, key: str) -> set[str]:
    """Which of `SHOWN` are there, now that this block is: a matrix when its last cell is."""
    for side in SIDES:
        if key == blocks.saliency_so_far(side, EXACT) and np.isfinite(trace.array(key)).all():
            return {blocks.saliency(side, EXACT)}
    return {key} & SHOWN


def still(trace: Trace, known: Collection[str]) -> str:
    """HTML of the models, the prompt, the answers, the findings and the exact matrix.

    Parameters
    ----------
    known : collection of str
        Keys of blocks that are there already: nothing is computed for a still picture.
    """
    manifest = trace.manifest
    lines = [f"<b>{_shown(side)}: {xml(getattr(manifest.pair, side).name)}</b>" for side in SIDES]
    lines = [" &nbsp; ".join(lines), f"Prompt: {xml(manifest.prompt)}"]
    if manifest.shared:
        lines.append(f"Both models read: {xml(manifest.answers['tuned'].text)}")
    else:
        lines += [f"{_shown(side)} answers: {xml(manifest.answers[side].text)}" for side in SIDES]
    if blocks.findings() in known:
        sentences = Findings(cast(list, trace.block(blocks.findings())))  # type: ignore[type-arg]
        items = "".join(f"<li>{xml(line)}</li>" for line in str(sentences).splitlines())
        lines.append(f"What tuning changed here:<ol>{items}</ol>")
    matrices = {
        side: trace.array(blocks.saliency(side, EXACT))
        for side in SIDES
        if blocks.saliency(side, EXACT) in known
    }
    if matrices:
        picture = base64.b64encode(matrix_svg(trace, matrices).encode()).decode()
        text = "What hiding each prompt token costs each answer token, in both models"
        lines += [
            f'<img alt="{text}" src="data:image/svg+xml;base64,{picture}">',
            "Filled: hiding the prompt token makes the answer token less likely. Ring: likelier. "
            "Area: how much, in nats, on one scale.",
        ]
    lines.append(f"<i>A still picture. {HOW_TO_LIVE}</i>")
    return "".join(f"<div>{line}</div>" for line in lines)


def matrix_svg(trace: Trace, matrices: Mapping[Side, Array]) -> str:
    """Matrices side by side: prompt tokens down, answer tokens across, one scale.

    A filled mark: hiding the prompt token makes the answer token less likely; a ring: likelier.
    Its area is the effect's share of the largest.
    """
    manifest = trace.manifest
    prompt = [_name(token.text) for token in manifest.prompt_tokens]
    answers = {s: [_name(token.text) for token in manifest.answers[s].tokens] for s in matrices}
    cell = min(_CELL, _LONGEST / max(map(len, (prompt, *answers.values()))))
    scale = max(float(np.nanmax(np.abs(m), initial=0.0)) for m in matrices.values())
    every = math.ceil((_LETTERS + 2) / cell)
    left = _GAP + _width(prompt)
    top = 2 * _LETTERS + _GAP + max(map(_width, answers.values()))
    parts = [
        f'<text text-anchor="end" x="{left - 4:g}" y="{top + (i + 0.75) * cell:g}">{name}</text>'
        for i, name in list(enumerate(prompt))[::every]
    ]
    x = left
    for side, matrix in matrices.items():
        parts.append(f'<text class="{side}" x="{x:g}" y="{_LETTERS + 4}">{_shown(side)}</text>')
        parts += [
            f'<text transform="translate({x + (j + 0.75) * cell:g} {top - 4:g}) rotate(-90)">'
            f"{name}</text>"
            for j, name in list(enumerate(answers[side]))[::every]
        ]
        for i, j in np.argwhere(np.abs(np.nan_to_num(matrix)) > _VISIBLE * scale).tolist():
            share = float(matrix[i, j]) / scale
            radius = math.sqrt(abs(share)) * (cell / 2 - 0.5)
            ring = "" if share > 0 else " ring"
            parts.append(
                f'<circle class="{side}{ring}" cx="{x + (j + 0.5) * cell:g}" '
                f'cy="{top + (i + 0.5) * cell:g}" r="{radius:.2f}"/>'
            )
        x += len(answers[side]) * cell + 2 * _GAP
    height = top + len(prompt) * cell + _GAP
    styles = _styles("light") + f"@media (prefers-color-scheme: dark){{{_styles('dark')}}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x:g} {height:g}" '
        f'width="{x:g}" height="{height:g}"><style>text{{font:{_LETTERS}px sans-serif}}'
        f'{styles}</style><rect width="{x:g}" height="{height:g}"/>{"".join(parts)}</svg>'
    )


def _styles(theme: ChartTheme) -> str:
    palette = PALETTES[theme]
    rules = [f"rect{{fill:{palette.background}}}text{{fill:{palette.ink}}}"]
    for side in SIDES:
        colour = getattr(palette, side)
        rules.append(f".{side}{{fill:{colour}}}.{side}.ring{{fill:none;stroke:{colour}}}")
    return "".join(rules)


def _width(names: Sequence[str]) -> float:
    """Room for names as they are drawn, on the safe side."""
    return 0.62 * _LETTERS * max(len(unescape(name)) for name in names) + 4


def _name(text: str) -> str:
    """A token as it is drawn."""
    visible = text.replace("\n", "\\n").replace("\t", "\\t").strip(" ") or "␣"
    cut = visible if len(visible) <= _LONGEST_NAME else visible[: _LONGEST_NAME - 1] + "…"
    return xml(cut)


def _shown(side: Side) -> str:
    return side.title()
