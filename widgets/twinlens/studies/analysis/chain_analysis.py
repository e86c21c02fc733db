"""Every measure over a chain of checkpoints, and each stage against the first and the one before.

Curves are over the prompts that all pairs have. The tests are those of a pair; they are corrected
over the table of all stages.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twinlens.studies.analysis.analysis import Analysis, flat, frame_named
from twinlens.studies.analysis.comparisons import Comparison, Verdict, decided
from twinlens.studies.analysis.exact import OWN, SEGMENTS, ExactComparison, corrected
from twinlens.studies.analysis.inference import Estimate, paired_estimate
from twinlens.studies.analysis.scoring import Score, Settings
from twinlens.studies.analysis.sentences import widest_of
from twinlens.studies.analysis.statistics import analyse
from twinlens.studies.analysis.study_finding import widest
from twinlens.studies.run.chain import Chain
from twinlens.traces.frames import DataFrame

#: Measures of a model by itself, made of its scores.
_OF_SCORES: dict[str, Callable[[Score], float]] = {
    "score of the instruction": lambda score: score.score,
    "score of the rest": lambda score: score.rest,
    "share of the density on the instruction": lambda score: score.share,
    "answer tokens": lambda score: float(score.answer_length),
}


@dataclass(frozen=True)
class CurvePoint:
    """A measure of one model of a chain over n prompts: mean; typical value, 95 % interval."""

    measure: str
    stage: int
    model: str
    n: int
    mean: float
    typical: float
    low: float
    high: float


@dataclass(frozen=True)
class Step:
    """One model against another.

    Attributes
    ----------
    before, after : int
        Places in the chain; `before` is 0, or the one before `after`.
    comparison : Comparison
        Of the paper's score, over all prompts; verdict by Holm over the steps of the chain.
    exact : tuple of ExactComparison
        What hiding segments costs; verdicts by Holm over all these rows of the chain.
    """

    before: int
    after: int
    comparison: Comparison
    exact: tuple[ExactComparison, ...]


@dataclass(frozen=True, repr=False)
class ChainAnalysis:
    """What a chain shows.

    Attributes
    ----------
    names : tuple of str
    analyses : dict of (int, int) to Analysis
        Of each pair, by places in the chain.
    curves : tuple of CurvePoint
    steps : tuple of Step
    """

    names: tuple[str, ...]
    analyses: dict[tuple[int, int], Analysis] = field(repr=False)
    curves: tuple[CurvePoint, ...] = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)

    def __repr__(self) -> str:
        return f"<ChainAnalysis of {' | '.join(self.names)}>"

    def step_name(self, step: Step) -> str:
        """Which model against which."""
        return f"{self.names[step.after]} against {self.names[step.before]}"

    @property
    def found(self) -> list[str]:
        """A sentence for each step."""
        return [self._sentence(step) for step in self.steps]

    def _sentence(self, step: Step) -> str:
        item = step.comparison
        text = (
            f"{self.step_name(step)}. Score of the instruction, "
            f"{_verdict(item.verdict, item.why)}: {item.first.mean:.4f} and "
            f"{item.second.mean:.4f}, at equal length {_said(item.length.estimate)}."
        )
        for row in step.exact:
            if row.segment == "instruction" and (row.answer == OWN or len(step.exact) == 1):
                text += (
                    f" Cost of hiding the instruction, {_verdict(row.verdict, row.why)}: "
                    f"{row.base:.3f} and {row.tuned:.3f} nats per answer token, at equal length "
                    f"{_said(row.equal_length)}."
                )
        return text

    def _repr_html_(self) -> str:
        texts = "".join(f"<p>{html.escape(text)}</p>" for text in self.found)
        tables = ", ".join(self.records())
        return f"<div>{texts}<p>Tables: <code>frame(name)</code> of {tables}.</p></div>"

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Tidy tables: curves, comparisons of the score, and of what hiding segments costs."""

        def of(step: Step) -> dict[str, Any]:
            return {"model": self.names[step.after], "against": self.names[step.before]}

        return {
            "curves": [dataclasses.asdict(point) for point in self.curves],
            "comparisons": [{**of(step), **flat(step.comparison)} for step in self.steps],
            "exact": [{**of(step), **row.record()} for step in self.steps for row in step.exact],
        }

    def frame(self, table: str = "curves") -> DataFrame:
        """One of the tables of `records` as a frame.

        Raises
        ------
        StudyError
            If there is no such table.
        """
        return frame_named(self.records(), table)


def _said(estimate: Estimate) -> str:
    text = f"{estimate.difference:+.3f}"
    if np.isfinite(estimate.p_holm):
        text += f" (p = {estimate.p_holm:.2g} by Holm over the chain)"
    return text


def _verdict(verdict: Verdict, why: str) -> str:
    return f"{verdict} ({why})" if why else verdict


def analyse_chain(chain: Chain, settings: Settings | None = None) -> ChainAnalysis:
    """Analyse every pair of a chain, and all of it together.

    Parameters
    ----------
    chain : Chain
    settings : Settings, optional
        The paper's by default.

    Returns
    -------
    ChainAnalysis
        Its tests are corrected over the whole chain.

    Raises
    ------
    StudyError
        If a file of the chain is missing or damaged.

    Examples
    --------
    >>> import twinlens as tl
    >>> models = ["path/to/base", "path/to/tuned", "path/to/third"]
    >>> chain = tl.study(models, ["Name the opposite. hot"], "stages", max_new_tokens=4)
    >>> from twinlens.studies import analyse_chain
    >>> sorted(analyse_chain(chain).analyses)
    [(0, 1), (0, 2), (1, 2)]
    """
    analyses = {places: analyse(chain.store(*places), settings) for places in chain.pairs}
    shared = set.intersection(
        *({score.id for score in analysis.scores} for analysis in analyses.values())
    )
    points = [
        point
        for place, name in enumerate(chain.names)
        for point in _curve(analyses[0, place or 1], place, name, shared)
    ]
    by_measure = dict.fromkeys(point.measure for point in points)
    return ChainAnalysis(
        names=chain.names,
        analyses=analyses,
        curves=tuple(point for name in by_measure for point in points if point.measure == name),
        steps=tuple(_steps(analyses)),
    )


def _curve(analysis: Analysis, place: int, name: str, shared: set[str]) -> list[CurvePoint]:
    side = "tuned" if place else "base"
    scores = [score for score in analysis.scores if score.side == side and score.id in shared]
    series = {
        measure: [number(score) for score in scores if score.instruction_length]
        for measure, number in _OF_SCORES.items()
    }
    for segment in SEGMENTS:
        series[f"cost of hiding the {segment}, nats per token of its own answer"] = [
            getattr(effect, side)
            for effect in analysis.effects
            if (effect.segment, effect.answer) == (segment, OWN) and effect.id in shared
        ]
    points = []
    for measure, numbers in series.items():
        values = np.array([value for value in numbers if np.isfinite(value)])
        if values.size:
            estimate = paired_estimate(np.zeros_like(values), values)
            typical = estimate.difference, estimate.low, estimate.high
            points.append(
                CurvePoint(measure, place, name, values.size, float(values.mean()), *typical)
            )
    return points


def _steps(analyses: dict[tuple[int, int], Analysis]) -> list[Step]:
    places = sorted(analyses, key=lambda pair: (pair[1], pair[0]))
    compared = [
        (pair, widest_of(analyses[pair].comparisons, "tuned against base")) for pair in places
    ]
    steps = [(pair, comparison) for pair, comparison in compared if comparison is not None]
    has_parts = any(analysis.has_parts for analysis in analyses.values())
    comparisons = decided([comparison for _, comparison in steps], has_parts)
    rows = [widest(analyses[pair].exact) for pair, _ in steps]
    exact = iter(corrected([row for mine in rows for row in mine]))
    return [
        Step(*pair, comparison, tuple(next(exact) for _ in mine))
        for (pair, _), comparison, mine in zip(steps, comparisons, rows, strict=True)
    ]
