"""What the directions of an update do to one answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from twinlens.compute.models.running import methods_plainly
from twinlens.compute.passes.decoding import greedy_answers
from twinlens.compute.passes.reading import Reading
from twinlens.compute.text.answers import stop_tokens
from twinlens.compute.update import sets
from twinlens.compute.update.direction_effects import (
    CHECKED,
    NOISE,
    Checked,
    Effects,
    Question,
    check,
    first_order,
    path_effects,
)
from twinlens.compute.update.mixed import Mixed
from twinlens.compute.update.taken import Taken
from twinlens.contract.words import SIDES, TurnedPart
from twinlens.errors import ArgumentError
from twinlens.support.cached import cached_property
from twinlens.support.progress import Report, told
from twinlens.traces.frames import DataFrame, frame_of

#: Places of a dial.
SCALES = tuple(step / 4 for step in range(9))
#: Random updates of equal size that a shift is held against.
_RANDOM = 5
#: Random sets that a set is held against.
_SETS = 9


@dataclass(frozen=True)
class Minimal:
    """The smallest set of directions that keeps the goal, and sets of other orders beside it.

    Attributes
    ----------
    goal, kept : float
        Share of the shift wanted, and kept by the set; both measured with all others taken out.
    directions : list of int
        The one of largest effect first.
    count : int
        Directions of the update.
    rest : float
        Share kept without any direction, by embeddings, norms and biases.
    answer : str
        What base answers with the set and these.
    curves : list of Curve
    """

    goal: float
    kept: float
    directions: list[int]
    count: int
    rest: float
    answer: str
    curves: list[sets.Curve]

    def __repr__(self) -> str:
        needed = {curve.order: curve.needed for curve in self.curves}
        return (
            f"<Minimal update: {len(self.directions):,} of {self.count:,} directions keep "
            f"{self.kept:.0%} of the shift ({needed['size']:,} by size, {needed['first order']:,} "
            f"by first order, {needed['random']:,} at random)>"
        )

    def to_frame(self) -> DataFrame:
        """The curves: one row per order and number of directions."""
        return frame_of(
            [
                {"order": curve.order, "directions": count, "kept": share}
                for curve in self.curves
                for count, share in zip(curve.counts, curve.kept, strict=True)
            ]
        )


@methods_plainly
class PromptUpdate:
    """What the directions of an update do to one answer; made by `Update.on`.

    Attributes
    ----------
    update : Taken
    ids : list of int
        Prompt and answer.
    prompt_length : int
    texts : list of str
        Of the tokens.
    """

    def __init__(
        self, update: Taken, ids: Sequence[int], prompt_length: int, texts: Sequence[str]
    ) -> None:
        self.update, self.ids, self.prompt_length = update, list(ids), prompt_length
        self.texts = list(texts)
        self._effects: dict[int | None, Effects] = {}

    def __repr__(self) -> str:
        answer = "".join(self.texts[self.prompt_length :])
        return f"<PromptUpdate {self.shift.nats:+.2f} nats for the answer {answer!r}>"

    @cached_property
    def mixed(self) -> Mixed:
        """Base with the update in part, reading prompt and answer."""
        return self._mixed(self.update)

    def _mixed(self, update: Taken) -> Mixed:
        pair = update.pair
        with pair.pieces("base") as model:
            reading = Reading(model, self.ids, self.prompt_length)
        rows = min(pair.rows(side) for side in SIDES)
        return Mixed(reading, update.matrices, update.rest, pair.held("base"), rows)

    @cached_property
    def shift(self) -> sets.Shift:
        """Log-probability of the answer under base and tuned, measured."""
        mixed = self.mixed
        base = mixed.nats([torch.zeros(mixed.count, dtype=torch.float32)], 0.0)
        tuned = mixed.nats([torch.ones(mixed.count, dtype=torch.float32)], 1.0)
        return sets.Shift(float(base[0]), float(tuned[0]))

    def null(self, draws: int = _RANDOM) -> list[float]:
        """Shift of the answer by random updates of equal size, nats."""
        shifts = []
        for draw in range(draws):
            mixed = self._mixed(self.update.random(draw))
            (nats,) = mixed.nats([torch.ones(mixed.count, dtype=torch.float32)]).tolist()
            shifts.append(nats - self.shift.base)
        return shifts

    def effects(self, points: int | None = None, report: Report | None = None) -> Effects:
        """What made the change, see `path_effects`: it adds up to the shift within 1 %."""
        if points not in self._effects:
            self._effects[points] = path_effects(self.mixed, self.shift.nats, points, report)
        return self._effects[points]

    @cached_property
    def losses(self) -> Effects:
        """What would be lost now, see `first_order`."""
        return first_order(self.mixed)

    def rows(self) -> list[dict[str, Any]]:
        """One row per direction, the one of largest effect first."""
        effects, losses = self.effects().directions, self.losses.directions
        about = self.update.directions()
        order = torch.argsort(-effects.abs(), stable=True).tolist()
        return [
            {
                "index": place,
                **about[place],
                "effect": float(effects[place]),
                "would_be_lost": float(losses[place]),
            }
            for place in order
        ]

    def to_frame(self) -> DataFrame:
        """`rows` as a table: effects in nats."""
        return frame_of(self.rows())

    def tokens(self, direction: int) -> list[tuple[str, float]]:
        """Nats of a direction's effect by the token at which it acts."""
        self.update.place(direction)
        nats = self.effects().by_token[:, direction].tolist()
        return list(zip(self.texts[:-1], nats, strict=True))

    def check(
        self,
        question: Question = "made the change",
        count: int = CHECKED,
    ) -> Iterator[Checked]:
        """Measure the leading directions and as many matched random ones, one after the other."""
        if question not in ("made the change", "would be lost"):
            raise ArgumentError(
                f'the question is "made the change" or "would be lost", not {question!r}'
            )
        effects = self.effects() if question == "made the change" else self.losses
        return check(self.mixed, effects.directions, question, count)

    def keep(self, directions: Sequence[int]) -> float:
        """Share of the shift that some directions keep, with all others taken out."""
        (share,) = self.shift.kept(self.mixed.nats([sets.row_of(self.mixed, directions)]))
        return share

    def random_sets(self, count: int, draws: int = _SETS) -> list[float]:
        """Share of the shift that random sets of so many directions keep."""
        drawn = np.random.default_rng(1)
        rows = [
            sets.row_of(self.mixed, drawn.permutation(self.mixed.count)[:count].tolist())
            for _ in range(draws)
        ]
        return self.shift.kept(self.mixed.nats(rows))

    def minimal(self, goal: float = sets.GOAL, report: Report | None = None) -> Minimal:
        """The smallest set found that keeps a share of the shift, beside sets of other orders.

        Raises
        ------
        ArgumentError
            If the goal is no share, or there is no shift to keep.
        """
        if not (isinstance(goal, float) and 0 < goal < 1):
            raise ArgumentError(f"goal is a share of the shift between 0 and 1, not {goal!r}")
        if abs(self.shift.nats) <= NOISE:
            raise ArgumentError(
                "both models find this answer equally likely, so that there is no shift to keep: "
                "give another prompt or answer="
            )
        mixed = self.mixed
        order = sets.narrowed(mixed, self.effects(report=report).directions, report)
        by_name = sets.orders(mixed, self.losses.directions, order)
        curves = sets.curves(mixed, self.shift, by_name, goal, report)
        chosen = order[: curves[0].needed]
        return Minimal(
            goal=goal,
            kept=self.keep(chosen),
            directions=chosen,
            count=mixed.count,
            rest=self.keep([]),
            answer=self._answer(
                sets.row_of(mixed, chosen), torch.ones(len(mixed.rest), dtype=torch.float32)
            ),
            curves=curves,
        )

    def dial(
        self,
        scales: Sequence[float] = SCALES,
        *,
        layer: int | None = None,
        kind: str | None = None,
        direction: int | None = None,
        answers: bool = False,
        report: Report | None = None,
    ) -> list[dict[str, Any]]:
        """The answer's log-probability while the update, or a part of it, is turned up and down.

        Parameters
        ----------
        scales : sequence of float
            0 is base, 1 tuned.
        layer, kind, direction : optional
            What is turned: a layer, a kind of matrix such as ``q_proj``, one direction; everything
            by default. What is not turned stays tuned's.
        answers : bool
            Whether to say what is answered at each place, too.
        report : callable, optional
            Told the places done; may raise `Interrupted`.

        Returns
        -------
        list of dict
            ``scale``, ``nats`` of the answer, and ``answer``.
        """
        turned, others = self._turned(layer, kind, direction)
        table = []
        for scale in told(scales, "turning the dial", report):
            if not (isinstance(scale, int | float) and math.isfinite(scale)):
                raise ArgumentError(
                    f"a scale is a number, 0 for base and 1 for tuned, not {scale!r}"
                )
            gates = torch.where(turned, float(scale), 1.0)
            rest = torch.where(others, float(scale), 1.0)
            row = {"scale": float(scale), "nats": float(self.mixed.nats([gates], rest)[0])}
            table.append({**row, "answer": self._answer(gates, rest)} if answers else row)
        return table

    def _turned(
        self, layer: int | None, kind: str | None, direction: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gates of directions and of other tensors that a dial turns."""
        mixed, turned = self.mixed, torch.zeros(self.mixed.count, dtype=torch.bool)
        if direction is not None:
            self.update.place(direction)
            turned[direction] = True
            return turned, torch.zeros(len(mixed.rest), dtype=torch.bool)
        part = TurnedPart(layer, kind)
        for matrix, (first, last) in zip(mixed.matrices, pairwise(mixed.bounds), strict=True):
            turned[first:last] = part.holds(matrix.name)
        others = torch.tensor([part.holds(tensor.name) for tensor in mixed.rest], dtype=torch.bool)
        if not bool(turned.any() or others.any()):
            kinds = sorted({matrix.kind for matrix in mixed.matrices})
            raise ArgumentError(
                f"the update changes nothing in {part}: kinds of matrix are {', '.join(kinds)}"
            )
        return turned, others

    def _answer(self, gates: torch.Tensor, rest: torch.Tensor) -> str:
        """What base answers with the update in part."""
        mixed, pair = self.mixed, self.update.pair
        model = mixed.reading.model
        stop = stop_tokens(pair, "tuned", model.generation_config)
        with mixed.guard, mixed.mixed(gates[None], rest):
            (answer,) = greedy_answers(
                model,
                [self.ids[: self.prompt_length]],
                stop=stop,
                limit=len(self.ids) - self.prompt_length,
                vocabulary=pair.known_ids("tuned"),
                side="tuned",
            )
        return str(pair.tokenizers["tuned"].decode(answer, skip_special_tokens=True))
