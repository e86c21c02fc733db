"""What the analysis of a study holds: scores, comparisons, profiles, as tables and in sentences."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from twinlens.errors import StudyError
from twinlens.studies.analysis.comparisons import MINIMUM_RATED_ANSWER, Comparison, Question, Record
from twinlens.studies.analysis.controls import Controls
from twinlens.studies.analysis.exact import Effect, ExactComparison
from twinlens.studies.analysis.inference import Estimate
from twinlens.studies.analysis.profiles import Profile
from twinlens.studies.analysis.scoring import Score, Settings
from twinlens.traces.frames import DataFrame, frame_of


@dataclass(frozen=True, repr=False)
class Analysis:
    """Everything question 1 asks for, under one choice of settings.

    Attributes
    ----------
    settings : Settings
    scores : tuple of Score
        Base and tuned of each prompt after one another.
    comparisons : tuple of Comparison
    profiles : tuple of Profile
    effects : tuple of Effect
        What hiding each segment costs, by prompt and answer; empty where it was not measured.
    exact : tuple of ExactComparison
    unpaired : tuple of str
        Prompts of which only one model's case is there, left out.
    repeated : tuple of str
        Prompts that repeat another one, with the same answers: left out of what is compared.
    found : tuple of str
        What was found, in sentences.
    """

    settings: Settings
    scores: tuple[Score, ...] = field(repr=False)
    comparisons: tuple[Comparison, ...] = field(repr=False)
    profiles: tuple[Profile, ...] = field(repr=False)
    effects: tuple[Effect, ...] = field(default=(), repr=False)
    exact: tuple[ExactComparison, ...] = field(default=(), repr=False)
    unpaired: tuple[str, ...] = field(default=(), repr=False)
    repeated: tuple[str, ...] = field(default=(), repr=False)
    found: tuple[str, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        return f"<Analysis of {self.counts['prompts']} prompts>"

    def _repr_html_(self) -> str:
        """What was found, in a notebook, and where the numbers are."""
        texts = "".join(f"<p>{html.escape(text)}</p>" for text in self.found)
        tables = ", ".join(self.records())
        return f"<div>{texts}<p>Tables: <code>to_frame(name)</code> of {tables}.</p></div>"

    @property
    def has_parts(self) -> bool:
        """Whether the instruction is a proper part of any prompt."""
        return any(score.is_part for score in self.scores)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many prompts there are, and how many of them lack what a comparison needs."""
        tuned = [score for score in self.scores if score.side == "tuned"]
        base = [score for score in self.scores if score.side == "base"]
        judged = [score for score in tuned if score.followed is not None]
        return {
            "prompts": len(tuned),
            "of one model only": len(self.unpaired),
            "repeat another": len(self.repeated),
            "without an instruction token": sum(not s.instruction_length for s in tuned),
            "whole prompt is the instruction": sum(
                bool(s.instruction_length) and not s.is_part for s in tuned
            ),
            "instruction is a part": sum(s.is_part for s in tuned),
            "empty answer": sum(
                not min(a.answer_length, b.answer_length) for a, b in zip(base, tuned, strict=True)
            ),
            "judged": len(judged),
            "judged, answer too short": sum(s.answer_length < MINIMUM_RATED_ANSWER for s in judged),
        }

    def comparison(self, question: Question, group: str) -> Comparison:
        """The comparison of one group.

        Raises
        ------
        KeyError
            If the data has no such group, or no such judgement.
        """
        for item in self.comparisons:
            if (item.question, item.group) == (question, group):
                return item
        raise KeyError(f"there is no comparison {question!r} of group {group!r}")

    def records(self) -> dict[str, list[Record]]:
        """Tidy tables, see `to_frame`; settings in every row."""
        points = (point for profile in self.profiles for point in profile.points)
        tables: dict[str, list[Record]] = {
            "scores": list(map(dataclasses.asdict, self.scores)),
            "comparisons": list(map(flat, self.comparisons)),
            "tests": [
                {
                    **{name: getattr(comparison, name) for name in ("question", "group", "level")},
                    **dataclasses.asdict(test),
                }
                for comparison in self.comparisons
                for test in comparison.tests
            ],
            "profiles": list(map(dataclasses.asdict, points)),
            "effects": list(map(dataclasses.asdict, self.effects)),
            "exact": [row.record() for row in self.exact],
            "counts": [{"what": what, "prompts": n} for what, n in self.counts.items()],
        }
        settings = self.settings.record()
        return {name: [{**row, **settings} for row in rows] for name, rows in tables.items()}

    def to_frame(self, table: str = "scores") -> DataFrame:
        """One of the tables of `records`.

        Parameters
        ----------
        table : str
            ``scores``, ``comparisons``, ``tests``, ``profiles``, ``effects`` (of hiding segments,
            by prompt), ``exact`` (the comparisons of these) or ``counts``.

        Raises
        ------
        StudyError
            If there is no such table.
        """
        return frame_named(self.records(), table)


def frame_named(records: Mapping[str, list[Record]], table: str) -> DataFrame:
    """One of several tables as a frame."""
    if table not in records:
        raise StudyError(f"there is no table {table!r}: one of {', '.join(records)}")
    return frame_of(records[table])


def flat(comparison: Comparison) -> Record:
    """One row of the tidy table of groups: everything but the ids and the tests."""
    record: Record = {
        "question": comparison.question,
        "group": comparison.group,
        "level": comparison.level,
    }
    for name in ("first", "second"):
        sample = dataclasses.asdict(getattr(comparison, name))
        del sample["ids"]
        record |= {f"{name}_{key}": value for key, value in sample.items()}
    record |= dataclasses.asdict(comparison.estimate)
    names = ("effect_name", "effect", "cohen_d", "higher", "ties")
    record |= {name: getattr(comparison, name) for name in (*names, "plain", "verdict", "why")}
    record |= _flat_controls("", comparison.controls)
    length = comparison.length
    record |= {
        f"equal_length_{name}": getattr(length, name)
        for name in ("how", "verdict", "left_out", "spread", "missing")
    }
    record |= {
        f"equal_length_{key}": value for key, value in dataclasses.asdict(length.estimate).items()
    }
    return record | _flat_controls("equal_length_", length.controls)


def _flat_controls(lead: str, controls: Controls | None) -> Record:
    """Columns of the controls; they are there, empty, where there are none."""
    record: Record = {}
    for name in ("instruction", "rest", "span"):
        both = getattr(controls, name, (math.nan, math.nan))
        record |= {f"{lead}part_{name}_first": both[0], f"{lead}part_{name}_second": both[1]}
    nothing = Estimate(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    for name in ("beyond_rest", "beyond_span", "share"):
        estimate = dataclasses.asdict(getattr(controls, name, nothing))
        keys = ("n", "difference", "low", "high", "p")
        record |= {f"{lead}{name}_{key}": estimate[key] for key in keys}
    return record | {
        f"{lead}controls_p": getattr(controls, "p", math.nan),
        f"{lead}controls_p_holm": getattr(controls, "p_holm", math.nan),
    }
