"""Shares of labels among the named components of two models, with the test (paper, table 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from twinlens.contract.words import LEVELS, TASKS
from twinlens.errors import AnnotationError
from twinlens.labels.annotate import NONE
from twinlens.labels.questions import Annotation
from twinlens.traces.frames import DataFrame, frame_of

ShareRow: TypeAlias = dict[str, Any]

#: Layers per group in the paper's figure 3.
GROUP = 4


@dataclass(frozen=True)
class LabelShares:
    """How often labels are given, by model, round and group of layers.

    Attributes
    ----------
    rows : tuple of dict
        ``model``, ``round``, ``layers`` (the last group is all layers), ``label``, ``share`` (of
        the labelled components; None where there is none), ``labelled``, ``cannot_tell`` (without
        a label, nonsense included) and ``nonsense``.
    summary : tuple of dict
        Per group and label: ``mean_A``, ``sd_A`` (n - 1) and ``rounds_A`` of each model A, and
        ``t``, ``df``, ``p`` of the test between them. Numbers that do not exist are None.
    hypothesis : str
        What `p` tests, and what it leaves out.
    """

    rows: tuple[ShareRow, ...] = field(repr=False)
    summary: tuple[ShareRow, ...] = field(repr=False)
    hypothesis: str

    def to_frame(self) -> DataFrame:
        """The summary as a table; the hypothesis is in its ``attrs``."""
        frame = frame_of(list(self.summary))
        frame.attrs["hypothesis"] = self.hypothesis
        return frame


def label_shares(
    annotations: Sequence[Annotation], kind: Literal["task", "level"], *, group: int = GROUP
) -> LabelShares:
    """Share of each label, per model, round and group of layers.

    Components without a name or without a label of this kind are left out of the share and
    counted apart, as in the paper. Tasks may be several, so that their shares add up to more than
    1; a component with none of them counts as "none".

    Parameters
    ----------
    annotations : sequence of Annotation
        Of one model or two; the first is called the first one met.
    kind : "task" or "level"
    group : int
        Layers per group; the last group may be smaller.

    Raises
    ------
    AnnotationError
        If there are no annotations, or those of more than two models.
    ValueError
        If `group` is less than 1.
    """
    models = list(dict.fromkeys(annotation.component.model for annotation in annotations))
    if not 1 <= len(models) <= 2:
        raise AnnotationError(
            f"shares are compared between two models, and these annotations are of {len(models)}"
        )
    if group < 1:
        raise ValueError("a group has at least one layer")
    labels = (*TASKS, NONE) if kind == "task" else LEVELS
    last_layer = max(annotation.component.layer for annotation in annotations)
    bounds = [
        (start, min(start + group - 1, last_layer)) for start in range(0, last_layer + 1, group)
    ]
    bounds = bounds if len(bounds) == 1 else [*bounds, (0, last_layer)]
    seeds = list(dict.fromkeys(annotation.round for annotation in annotations))
    rows: list[ShareRow] = []
    summary: list[ShareRow] = []
    for low, high in bounds:
        layers = f"{low}-{high}" if low < high else str(low)
        in_group = [
            annotation for annotation in annotations if low <= annotation.component.layer <= high
        ]
        counted = {
            (model, seed): _count(
                [
                    annotation
                    for annotation in in_group
                    if (annotation.component.model, annotation.round) == (model, seed)
                ],
                kind,
                labels,
            )
            for model in models
            for seed in seeds
        }
        for label in labels:
            for (model, seed), (shares, counts) in counted.items():
                row_key = {"model": model, "round": seed, "layers": layers}
                rows.append({**row_key, "label": label, "share": shares.get(label), **counts})
            by_model = [
                [counted[model, s][0][label] for s in seeds if counted[model, s][0]]
                for model in models
            ]
            line: ShareRow = {"layers": layers, "label": label}
            for model, shares_of in zip(models, by_model, strict=True):
                line |= _moments(model, shares_of)
            summary.append(line | _student(by_model))
    hypothesis = (
        f"the mean share of the label is the same in {models[0]!r} and {models[1]!r} (two-sided "
        "Student t with equal variances over the rounds of annotation; the components are the "
        "same in all rounds, so that only the annotator's noise is tested, and nothing is "
        "corrected for the number of labels)"
        if len(models) == 2
        else "nothing is tested: there is one model"
    )
    return LabelShares(tuple(rows), tuple(summary), hypothesis)


def _count(
    annotations: Sequence[Annotation], kind: Literal["task", "level"], labels: Sequence[str]
) -> tuple[dict[str, float], dict[str, int]]:
    """Share per label, nothing where no component is labelled, and what was counted."""
    label_sets = [
        labels_of
        for annotation in annotations
        if (labels_of := _labels(annotation, kind)) is not None
    ]
    counts = {
        "labelled": len(label_sets),
        "cannot_tell": len(annotations) - len(label_sets),
        "nonsense": sum(
            "nonsense" in (annotation.outcomes.get("name"), annotation.outcomes.get(kind))
            for annotation in annotations
        ),
    }
    shares = {
        label: sum(label in labels_of for labels_of in label_sets) / len(label_sets)
        for label in labels
        if label_sets
    }
    return shares, counts


def _labels(annotation: Annotation, kind: Literal["task", "level"]) -> tuple[str, ...] | None:
    if kind == "task":
        return annotation.tasks if annotation.tasks is None else annotation.tasks or (NONE,)
    return None if annotation.level is None else (annotation.level,)


def _moments(model: str, shares: Sequence[float]) -> ShareRow:
    return {
        f"mean_{model}": float(np.mean(shares)) if shares else None,
        f"sd_{model}": float(np.std(shares, ddof=1)) if len(shares) > 1 else None,
        f"rounds_{model}": len(shares),
    }


def _student(shares: Sequence[Sequence[float]]) -> ShareRow:
    """Student's t; nothing where a model has fewer than two rounds or no share ever varies."""
    from scipy.stats import ttest_ind

    if (
        len(shares) < 2
        or min(map(len, shares)) < 2
        or not any(np.ptp(of_one_model) for of_one_model in shares)
    ):
        return {"t": None, "df": None, "p": None}
    test = ttest_ind(*shares, equal_var=True)
    return {"t": float(test.statistic), "df": float(test.df), "p": float(test.pvalue)}
