"""Shares of labels among the named components of two models, with the test (paper, table 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from twinlens.contract.words import LEVELS, TASKS
from twinlens.errors import AnnotationError
from twinlens.labels.annotate import NONE
from twinlens.labels.questions import Annotation

if TYPE_CHECKING:
    import pandas as pd

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

    rows: tuple[ShareRow, ...]
    summary: tuple[ShareRow, ...]
    hypothesis: str

    def to_frame(self) -> pd.DataFrame:
        """The summary as a table; the hypothesis is in its ``attrs``."""
        import pandas as pd

        frame = pd.DataFrame(list(self.summary))
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
    models = list(dict.fromkeys(one.component.model for one in annotations))
    if not 1 <= len(models) <= 2:
        raise AnnotationError(
            f"shares are compared between two models, and these annotations are of {len(models)}"
        )
    if group < 1:
        raise ValueError("a group has at least one layer")
    labels = (*TASKS, NONE) if kind == "task" else LEVELS
    last = max(one.component.layer for one in annotations)
    bounds = [(start, min(start + group - 1, last)) for start in range(0, last + 1, group)]
    bounds = bounds if len(bounds) == 1 else [*bounds, (0, last)]
    seeds = list(dict.fromkeys(one.round for one in annotations))
    rows: list[ShareRow] = []
    summary: list[ShareRow] = []
    for low, high in bounds:
        layers = f"{low}-{high}" if low < high else str(low)
        inside = [one for one in annotations if low <= one.component.layer <= high]
        found = {
            (model, seed): _count(
                [one for one in inside if (one.component.model, one.round) == (model, seed)],
                kind,
                labels,
            )
            for model in models
            for seed in seeds
        }
        for label in labels:
            for (model, seed), (shares, counts) in found.items():
                place = {"model": model, "round": seed, "layers": layers}
                rows.append({**place, "label": label, "share": shares.get(label), **counts})
            by_model = [
                [found[model, s][0][label] for s in seeds if found[model, s][0]] for model in models
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
    given = [labels_of for one in annotations if (labels_of := _labels(one, kind)) is not None]
    counts = {
        "labelled": len(given),
        "cannot_tell": len(annotations) - len(given),
        "nonsense": sum(
            "nonsense" in (one.outcomes.get("name"), one.outcomes.get(kind)) for one in annotations
        ),
    }
    shares = {label: sum(label in one for one in given) / len(given) for label in labels if given}
    return shares, counts


def _labels(one: Annotation, kind: Literal["task", "level"]) -> tuple[str, ...] | None:
    if kind == "task":
        return one.tasks if one.tasks is None else one.tasks or (NONE,)
    return None if one.level is None else (one.level,)


def _moments(model: str, shares: Sequence[float]) -> ShareRow:
    return {
        f"mean_{model}": float(np.mean(shares)) if shares else None,
        f"sd_{model}": float(np.std(shares, ddof=1)) if len(shares) > 1 else None,
        f"rounds_{model}": len(shares),
    }


def _student(shares: Sequence[Sequence[float]]) -> ShareRow:
    """Student's t; nothing where a model has fewer than two rounds or no share ever varies."""
    from scipy.stats import ttest_ind

    if len(shares) < 2 or min(map(len, shares)) < 2 or not any(np.ptp(one) for one in shares):
        return {"t": None, "df": None, "p": None}
    result = ttest_ind(*shares, equal_var=True)
    return {"t": float(result.statistic), "df": float(result.df), "p": float(result.pvalue)}
