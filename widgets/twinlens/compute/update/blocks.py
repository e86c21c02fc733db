"""The block about the update, taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TypeAlias, cast

import torch

from twinlens.compute.passes.subject import Subject
from twinlens.compute.provide import provides, records
from twinlens.compute.update import sets
from twinlens.compute.update.direction_effects import NOISE, Checked, agreement
from twinlens.compute.update.on_prompt import PromptUpdate
from twinlens.compute.update.update import Update
from twinlens.contract import blocks
from twinlens.contract.block import Block
from twinlens.contract.update_forms import KeptCurve, UpdateDial, UpdateDirection, UpdateTaken
from twinlens.contract.words import TurnedPart
from twinlens.errors import ArgumentError
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

TakeApart: TypeAlias = Callable[[Report | None], Update]

#: Directions shown, tokens of each, and digits that are kept.
_SHOWN, _TOKENS, _DIGITS = 20, 6, 6


class UpdateBlocks:
    """The room of the update."""

    def __init__(self, subject: Subject, take_apart: TakeApart) -> None:
        self._subject, self._take_apart = subject, take_apart
        self._known = False
        self._on: PromptUpdate | None = None

    @provides(blocks.update)
    def update(self, report: Report | None) -> UpdateTaken:
        """The update as singular directions, and what they do to the answer."""
        on = self._on_answer(report)
        update = on.update
        if abs(on.shift.nats) <= NOISE:
            raise ArgumentError(
                "both models find this answer equally likely: there is no shift to take apart"
            )
        minimal = on.minimal(report=report)
        effects = on.effects()
        by_size = sets.by_size(on.mixed)
        checked = []
        for done, check in enumerate(on.check("made the change")):
            checked.append(check)
            if report:
                report(done, 24, "checking directions by intervention")
        order = torch.argsort(-effects.directions.abs(), stable=True)[:_SHOWN].tolist()
        dial = on.dial(answers=True)
        self._known = True
        return UpdateTaken(
            shift=on.shift.nats,
            total=effects.total,
            count=update.count,
            goal=minimal.goal,
            needed=len(minimal.directions),
            kept=minimal.kept,
            size=on.keep(by_size[: len(minimal.directions)]),
            drawn=on.random_sets(len(minimal.directions)),
            rest=minimal.rest,
            answer=minimal.answer,
            random=on.null(),
            agreement=agreement(checked),
            curves=[cast(KeptCurve, vars(curve)) for curve in minimal.curves],
            directions=[_direction(on, place, checked) for place in order],
            dial=[(row["scale"], row["nats"]) for row in dial],
            dial_answers=[row["answer"] for row in dial],
        )

    @provides(blocks.update_dial)
    def dial(self, part: str, report: Report | None) -> UpdateDial:
        """The answer while a part of the update is turned up and down."""
        dial = self._on_answer(report).dial(
            answers=True, report=report, **asdict(TurnedPart.of(part))
        )
        return UpdateDial(
            dial=[(row["scale"], row["nats"]) for row in dial],
            dial_answers=[row["answer"] for row in dial],
        )

    def _on_answer(self, report: Report | None) -> PromptUpdate:
        if self._on is None:
            update = self._take_apart(report)
            if update.count == 0:
                raise ArgumentError(
                    "tuning changed no matrix of the layers, so that there are no directions to "
                    "show"
                )
            m = self._subject.manifest
            texts = [token.text for token in (*m.prompt_tokens, *m.answers["tuned"].tokens)]
            self._on = PromptUpdate(update, self._subject.ids["tuned"], m.prompt_length, texts)
        return self._on

    @records(blocks.update, blocks.update_finding)
    def recorded(self, trace: Trace, block: Block[[]]) -> Iterator[str]:
        """Where it was asked for."""
        if self._known:
            yield block()


def _direction(on: PromptUpdate, place: int, checked: list[Checked]) -> UpdateDirection:
    matrix, k = on.update.place(place)
    about = on.update.describe(place)
    effects = on.effects()
    by_token = effects.by_token[:, place]
    top = torch.argsort(-by_token.abs(), stable=True)[:_TOKENS].tolist()
    measured = {check.direction: check.measured for check in checked}
    return UpdateDirection(
        index=place,
        layer=matrix.layer,
        kind=matrix.kind,
        direction=k,
        size=float(matrix.sizes[k]),
        effect=float(effects.directions[place]),
        lost=float(on.losses.directions[place]),
        measured=measured.get(place),
        novelty=matrix.novelty(k),
        reads=about["reads"],
        writes=about["writes"],
        heads=about["heads"],
        neurons=about["neurons"],
        tokens=[(token, round(float(by_token[token]), _DIGITS)) for token in top],
    )
