"""The update of a pair as users have it: `Pair.update`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from twinlens.compute.models.models import Models
from twinlens.compute.models.running import methods_plainly
from twinlens.compute.text.answers import read_answers
from twinlens.compute.text.arguments import read_length, read_response
from twinlens.compute.text.chat import Message
from twinlens.compute.text.prompt import check_length, read_prompt
from twinlens.compute.update import sets
from twinlens.compute.update.direction_effects import NOISE
from twinlens.compute.update.directions import MatrixUpdate, Rest, both_models, updates
from twinlens.compute.update.on_prompt import PromptUpdate
from twinlens.compute.update.taken import Taken
from twinlens.contract.words import Given
from twinlens.errors import ArgumentError
from twinlens.support.calls import methods_called_rightly
from twinlens.support.progress import Report, progress


@methods_plainly
@methods_called_rightly
class Update(Taken):
    """What tuning changed in the weights of a pair; made by `Pair.update`."""

    @classmethod
    def of(cls, pair: Models, report: Report | None = None) -> Update:
        """Take the update of a pair apart, matrix by matrix."""
        changes = list(updates(pair, report))
        return cls(
            pair,
            [change for change in changes if isinstance(change, MatrixUpdate)],
            [change for change in changes if isinstance(change, Rest)],
        )

    def on(
        self,
        prompt: str | Sequence[Message],
        *,
        response: str = "shared",
        answer: str | None = None,
        template: bool | str | None = None,
        max_new_tokens: int = 64,
        report: Report | None = None,
    ) -> PromptUpdate:
        """The same update on a prompt: what its directions do to the answer.

        Parameters
        ----------
        prompt, template, max_new_tokens
            As `explore` has them.
        response : {"shared", "tuned", "base"} or str
            Which answer both read.
        answer : str, optional
            The text both read as the answer.

        Raises
        ------
        ArgumentError
            If nothing differs between the models, or each would read its own answer.
        PromptError, AnswerError
            If there is nothing to read or to explain.
        """
        if not self.matrices and not self.rest:
            raise ArgumentError(
                "tuned has the weights of base (rank 0), so that there is no update to take apart: "
                "check that the adapter is trained, with twinlens.diff"
            )
        if response == "own":
            raise ArgumentError(
                'an update is explained on one answer that both read: give response="shared", '
                '"base", or answer='
            )
        pair = self.pair
        both_models(pair)
        chosen = read_response(response, answer)
        read = read_prompt(pair, prompt, template=template)
        given = isinstance(chosen, Given)
        limit = read_length(max_new_tokens) if given else check_length(pair, read, max_new_tokens)
        _, answers = read_answers(pair, read, chosen, limit, report)
        tokens = answers["tuned"].tokens
        ids = pair.readable("tuned", [*read.ids, *(token.id for token in tokens)])
        texts = [token.text for token in (*read.tokens, *tokens)]
        return PromptUpdate(self, ids, len(read.ids), texts)

    def over(
        self,
        prompts: Sequence[str],
        *,
        goal: float = sets.GOAL,
        report: Report | None = None,
        **reading: Any,
    ) -> list[dict[str, Any]]:
        """Whether a set of directions found on some prompts holds on others.

        Directions are ranked by their mean share of the shift on every other prompt (those of even
        number); the fewest that keep the goal there, on average, are measured on all.

        Returns
        -------
        list of dict
            By prompt ``found_on_it``, ``directions`` (how many), ``kept`` (share of its shift), and
            ``kept_random``: that of as many random directions.
        """
        if isinstance(prompts, str) or not isinstance(prompts, Sequence) or len(prompts) < 2:
            raise ArgumentError("give at least two prompts: one to find directions on, one to test")
        read = [self.on(prompt, **reading) for prompt in prompts]
        read = [on for on in read if abs(on.shift.nats) > NOISE]
        finders = read[::2]
        effects = [on.effects().directions / on.shift.nats for on in finders]
        order = torch.argsort(-torch.stack(effects).mean(dim=0), stable=True).tolist()

        def share_of(count: int) -> float:
            return float(np.mean([on.keep(order[:count]) for on in finders]))

        counts = sorted({round(share * self.count) for share in sets.SHARES})
        means = []
        for count in counts:  # no further than needed
            means.append(share_of(count))
            if means[-1] >= goal:
                break
        needed = sets.fewest(share_of, counts, means, goal)
        random = np.random.default_rng(0).permutation(self.count)[:needed].tolist()
        return [
            {
                "prompt": "".join(on.texts[: on.prompt_length]),
                "found_on_it": place % 2 == 0,
                "directions": needed,
                "kept": on.keep(order[:needed]),
                "kept_random": on.keep(random),
            }
            for place, on in enumerate(read)
        ]


def update_of(pair: Models, report: Report | None = None) -> Update:
    """The update of a pair, with a bar where it takes long."""
    if report is not None:
        return Update.of(pair, report)
    with progress("taking the update apart") as shown:
        return Update.of(pair, shown)
