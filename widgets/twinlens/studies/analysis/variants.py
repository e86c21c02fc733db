"""How each conclusion moves with the settings of the analysis.

Every combination of the settings in a `Grid` is computed ("multiverse"), and among them the
named one-step changes of the published settings, which make the chart. All b and p of a case
come from one small histogram of its levels, so that the whole grid costs little more than one
analysis.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinlens.measures.density import (
    Aggregation,
    DensityParameters,
    FloatArray,
    Normalisation,
    instruction_score,
    relative_density,
)
from twinlens.studies.analysis import inference
from twinlens.studies.analysis.comparisons import (
    MINIMUM_RATED_ANSWER,
    Level,
    Question,
    Verdict,
    difference_verdict,
    parts,
)
from twinlens.studies.analysis.scoring import (
    AnswerCut,
    InstructionSpans,
    Score,
    Settings,
    Spans,
    as_score,
)
from twinlens.studies.data.cases import PUBLISHED_LEVELS, Case, Cases, Pairing, paired
from twinlens.traces.frames import DataFrame, frame_of

#: Name of the unchanged settings among the named variants.
PUBLISHED = "as published"
#: Name of the variant that the paper's formula describes, without what its code adds.
FORMULA_ALONE = "not divided, mean over tokens (the formula alone)"
#: The same with both answers of a prompt cut to the shorter one.
ONE_LENGTH = "not divided, mean, answers of one length"
_EPS = 1e-9


@dataclass(frozen=True)
class Grid:
    """The settings that are varied; thresholds are given for ten levels and scaled for others."""

    levels: tuple[int, ...] = (10, 5, 20)
    thresholds: tuple[int, ...] = (7, 0, 5, 9)
    norms: tuple[float, ...] = (4.0, 2.0, 10.0)
    normalisations: tuple[Normalisation, ...] = ("prompt maximum", "raw")
    aggregations: tuple[Aggregation, ...] = ("sum / log2", "mean")
    cuts: tuple[AnswerCut, ...] = ("full", "shorter")
    spans: tuple[InstructionSpans, ...] = ("widened", "marked")

    def settings(self) -> list[Settings]:
        """Every combination, those that share a histogram of levels after one another."""
        return [
            Settings(DensityParameters(count, b * count // 10, p, scale, how), spans, cut)
            for count, cut, b, p, scale, how, spans in itertools.product(
                self.levels,
                self.cuts,
                self.thresholds,
                self.norms,
                self.normalisations,
                self.aggregations,
                self.spans,
            )
        ]


@dataclass(frozen=True)
class VariantOutcome:
    """One conclusion under one combination of settings.

    Attributes
    ----------
    question, group, level
        As in `Comparison`.
    variant : str
        What was changed against the published settings; ``combination`` for unnamed ones.
    settings : Settings
    method : str
        Saliency method of the cases.
    difference, effect, p : float
        Second minus first mean; paired d or Cohen's d; two-sided p of the deciding test.
    typical, low, high : float
        Typical difference with its 95 % interval, in units of the standard deviation (of the
        differences of pairs, or of two samples about their means); for named variants.
    higher : bool
        Whether the deciding test sees the second above the first.
    p_holm : float
        p corrected over the groups under the same settings (Holm).
    verdict : Verdict
        Of the difference of the scores, from `p_holm`, whatever else may have made it.
    """

    question: Question
    group: str
    level: Level
    variant: str
    settings: Settings
    method: str
    difference: float
    effect: float
    typical: float
    low: float
    high: float
    p: float
    higher: bool
    enough: bool
    p_holm: float = math.nan
    verdict: Verdict = "too few"

    def record(self) -> dict[str, Any]:
        """Flat, plain values."""
        own = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("settings", "enough", "higher")
        }
        return own | self.settings.record()


@dataclass(frozen=True)
class Share:
    """Of the combinations with one setting at one value: how many end in each verdict."""

    question: Question
    group: str
    method: str
    setting: str
    value: str
    combinations: int
    holds: int
    no_difference: int
    turns: int
    too_few: int


class Outcomes(list[VariantOutcome]):
    """Conclusions under combinations of settings."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} conclusions>"

    def to_frame(self) -> DataFrame:
        """One row per conclusion and combination of settings."""
        return frame_of([outcome.record() for outcome in self])


def robustness(cases: Iterable[Case], grid: Grid | None = None) -> Outcomes:
    """Every conclusion under every combination of settings, named variants first.

    Parameters
    ----------
    cases : iterable of Case
        Base and tuned of each prompt after one another; read once, scores are kept (8 bytes each).
    grid : Grid, optional
        Where only finished levels are stored, other numbers of levels are left out.

    Returns
    -------
    Outcomes

    Raises
    ------
    StudyError
        If a file of a stored study is damaged.

    Examples
    --------
    >>> import twinlens as tl
    >>> prompts = [{"prompt": "Make this sentence negative: The cat swims."}]
    >>> store = tl.study(tl.demo_pair(), prompts, "opposites", template=True, max_new_tokens=12)
    >>> from twinlens.studies import robustness
    >>> table = robustness(store).to_frame()
    """
    variants: list[Settings] = []
    columns: list[list[FloatArray]] = []
    known: list[Score] = []  # of tuned; only what is known of the case counts
    method = ""
    for pairing in paired(cases):
        if not pairing[1].instruction:
            continue
        if not variants:
            method = pairing[1].method
            variants = _possible(grid or Grid(), pairing)
        columns.append(score_variants(pairing, variants))
        known.append(as_score(pairing[1], Spans(0.0), Settings()))
    if not known:
        return Outcomes()
    values = np.array(columns)  # [prompts, sides, variants]
    outcomes: list[VariantOutcome] = []
    named = _names(variants)
    order = sorted(range(len(variants)), key=lambda i: named.get(i, (len(variants), ""))[0])
    for level, group, chosen in parts(known):
        if level == "category":
            continue
        base, tuned = values[chosen, 0], values[chosen, 1]
        judged = [known[i] for i in chosen]
        enough = np.array([score.answer_length >= MINIMUM_RATED_ANSWER for score in judged])
        yes = np.array([score.followed is True for score in judged]) & enough
        no = np.array([score.followed is False for score in judged]) & enough
        for i in order:
            samples: list[tuple[Question, FloatArray, FloatArray]] = [
                ("tuned against base", base[:, i], tuned[:, i])
            ]
            if yes.any() and no.any():
                samples.append(("followed against unfollowed", tuned[no, i], tuned[yes, i]))
            outcomes += [
                _outcome(
                    question,
                    group,
                    level,
                    named[i][1] if i in named else "combination",
                    variants[i],
                    method,
                    first,
                    second,
                )
                for question, first, second in samples
            ]
    return Outcomes(_corrected(outcomes))


def _corrected(outcomes: list[VariantOutcome]) -> list[VariantOutcome]:
    """Fill in corrected p-values and verdicts: one family per question and settings."""
    families: dict[tuple[Question, Settings], list[int]] = {}
    for place, outcome in enumerate(outcomes):
        families.setdefault((outcome.question, outcome.settings), []).append(place)
    for places in families.values():
        p_values = inference.adjust(
            [outcomes[place].p if outcomes[place].enough else math.nan for place in places], "holm"
        )
        for place, p in zip(places, p_values, strict=True):
            outcome = outcomes[place]
            sign = math.copysign(float(outcome.difference != 0), outcome.higher - 0.5)
            verdict = difference_verdict(sign, p, enough=outcome.enough)
            outcomes[place] = dataclasses.replace(outcome, p_holm=p, verdict=verdict)
    return outcomes


def other_methods(cases: Cases) -> list[VariantOutcome]:
    """Every conclusion under the published settings, with each other saliency method."""
    grid = Grid((10,), (7,), (4.0,), ("prompt maximum",), ("sum / log2",), ("full",), ("widened",))
    return [
        dataclasses.replace(outcome, variant=f"method: {outcome.method}")
        for other in cases.others
        for outcome in robustness(other, grid)
    ]


@dataclass(frozen=True)
class VariantScores:
    """Scores of all prompts, in order, under one named variant."""

    variant: str
    base: FloatArray
    tuned: FloatArray


def variant_scores(cases: Cases, outcomes: Iterable[VariantOutcome]) -> list[VariantScores]:
    """The scores behind every named variant among the outcomes, in their order."""
    by_method: dict[str, dict[str, Settings]] = {}
    for outcome in outcomes:
        if outcome.variant != "combination":
            by_method.setdefault(outcome.method, {})[outcome.variant] = outcome.settings
    sources = {next(iter(source)).method: source for source in (cases, *cases.others)}
    scores = []
    for method, named in by_method.items():
        settings = list(named.values())
        pairings = paired(sources[method])
        values = np.array([score_variants(pairing, settings) for pairing in pairings])
        scores += [
            VariantScores(name, values[:, 0, place], values[:, 1, place])
            for place, name in enumerate(named)
        ]
    return scores


def _possible(grid: Grid, pairing: Pairing) -> list[Settings]:
    if all(case.kind == "effects" for case in pairing):
        return grid.settings()
    return dataclasses.replace(grid, levels=(PUBLISHED_LEVELS,)).settings()


def _outcome(
    question: Question,
    group: str,
    level: Level,
    variant: str,
    settings: Settings,
    method: str,
    first: FloatArray,
    second: FloatArray,
) -> VariantOutcome:
    if question == "tuned against base":
        estimated = inference.paired_estimate
        effect = inference.paired_d(first, second)
        spread = float((second - first).std(ddof=1)) if first.size > 1 else math.nan
        p, higher = inference.signed_rank(first, second)
        enough = first.size >= inference.SMALLEST_PAIRED
    else:
        estimated = inference.two_sample_estimate
        effect = inference.cohen_d(first, second)
        spread = inference.pooled_sd(first, second)
        p, higher = inference.brunner_munzel(first, second)
        enough = min(first.size, second.size) >= inference.SMALLEST_SAMPLE
    typical = low = high = math.nan
    if variant != "combination" and spread > 0:
        estimate = estimated(first, second)
        typical, low, high = (
            x / spread for x in (estimate.difference, estimate.low, estimate.high)
        )
    return VariantOutcome(
        question=question,
        group=group,
        level=level,
        variant=variant,
        settings=settings,
        method=method,
        difference=float(second.mean() - first.mean()),
        effect=effect,
        typical=typical,
        low=low,
        high=high,
        p=p,
        higher=higher,
        enough=enough,
    )


def level_histogram(levels: npt.NDArray[np.int64], count: int) -> FloatArray:
    """How often each level 0 .. count occurs in each row of levels [N, M], shape [N, count+1]."""
    rows = np.arange(levels.shape[0])[:, None] * (count + 1)
    size = levels.shape[0] * (count + 1)
    flat = np.bincount((rows + levels).ravel(), minlength=size)
    return np.asarray(flat.reshape(levels.shape[0], count + 1), dtype=np.float64)


def histogram_density(histogram: FloatArray, threshold: int, norm: float) -> FloatArray:
    """`twinlens.measures.density.raw_density` from a histogram of levels, shape [N]."""
    level = np.arange(histogram.shape[1], dtype=np.float64)
    above = np.where(level > threshold, level, 0.0)
    return np.asarray((histogram @ above) / ((histogram @ above**norm) ** (1 / norm) + _EPS))


def score_variants(pairing: Pairing, variants: list[Settings]) -> list[FloatArray]:
    """Scores of the base and the tuned case under every combination, two arrays [variants]."""
    result = []
    shorter = min(case.answer_length for case in pairing)
    for case in pairing:
        scored = list(case.scored)
        cached: dict[tuple[Any, ...], FloatArray] = {}
        scores = np.zeros(len(variants))
        for i, settings in enumerate(variants):
            chosen = settings.parameters
            place = (chosen.levels, settings.cut)
            if place not in cached:
                levels = case.levels(chosen.levels)
                length = shorter if settings.cut == "shorter" else case.answer_length
                cached[place] = level_histogram(levels[:, :length], chosen.levels)
            key = (*place, chosen.threshold, chosen.norm)
            if key not in cached:
                cached[key] = histogram_density(cached[place], chosen.threshold, chosen.norm)
                cached[*key, "raw"] = cached[key]
                cached[*key, "prompt maximum"] = relative_density(cached[key], scored)
            density = cached[*key, chosen.normalisation]
            scores[i] = instruction_score(
                density, list(settings.instruction(case)), chosen.aggregation
            )
        result.append(scores)
    return result


def _names(variants: list[Settings]) -> dict[int, tuple[int, str]]:
    """Index of each named variant: its place in the chart, and its name."""
    plain = DensityParameters()

    def changed(**fields: Any) -> Settings:
        return Settings(dataclasses.replace(plain, **fields))

    named: list[tuple[str, Settings]] = [
        (PUBLISHED, Settings()),
        ("not divided by the prompt's maximum", changed(normalisation="raw")),
        (FORMULA_ALONE, changed(normalisation="raw", aggregation="mean")),
        (
            ONE_LENGTH,
            dataclasses.replace(changed(normalisation="raw", aggregation="mean"), cut="shorter"),
        ),
        ("answers of one length", Settings(cut="shorter")),
        ("mean over tokens", changed(aggregation="mean")),
        ("instruction as marked, not widened", Settings(spans="marked")),
        *((f"b = {b}", changed(threshold=b)) for b in (0, 5, 9)),
        *((f"p = {p:g}", changed(norm=p)) for p in (2.0, 10.0)),
        *(
            (
                f"L = {count}, b = {7 * count // 10}",
                changed(levels=count, threshold=7 * count // 10),
            )
            for count in (5, 20)
        ),
    ]
    place = {settings: (position, name) for position, (name, settings) in enumerate(named)}
    return {i: place[settings] for i, settings in enumerate(variants) if settings in place}


def shares(outcomes: Iterable[VariantOutcome]) -> list[Share]:
    """For each setting and value: how many combinations end in each verdict.

    Returns
    -------
    list of Share
        The setting ``any`` counts all combinations.
    """
    counts: dict[tuple[Question, str, str, str, str], Counter[str]] = {}
    for outcome in outcomes:
        for setting, value in {**outcome.settings.record(), "any": ""}.items():
            key = (outcome.question, outcome.group, outcome.method, setting, str(value))
            counts.setdefault(key, Counter())[outcome.verdict] += 1
    return [
        Share(
            *key,
            count.total(),
            count["holds"],
            count["no difference shown"],
            count["turns"],
            count["too few"],
        )
        for key, count in counts.items()
    ]
