"""What a model reads, where its answer is predicted, and what of the answer is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedModel

from twinlens.compute.passes.entry import entering
from twinlens.contract.wire import Array
from twinlens.contract.words import Unit


@dataclass(frozen=True)
class Reading:
    """A model, the tokens it reads, and what single methods need to know beside them.

    Attributes
    ----------
    ids : sequence of int
        Prompt and answer, T = N + M tokens.
    prompt_length : int
        N.
    rivals : sequence of int, optional
        A token for each answer token to contrast it with; by default the model's own runner-up.
    replacements : sequence of int, optional
        A token for each prompt token to replace it with.
    groups : callable, optional
        Prompt positions that are hidden together, as groups, of a ``word``, ``sentence`` or
        ``segment``.
    order : float array [N], optional
        How much each prompt token is expected to matter: the largest are computed first.
    """

    model: PreTrainedModel
    ids: Sequence[int]
    prompt_length: int
    rivals: Sequence[int] | None = None
    replacements: Sequence[int] | None = None
    groups: Callable[[Unit], Sequence[Sequence[int]]] | None = None
    order: Array | None = None

    @property
    def answer_length(self) -> int:
        """M."""
        return len(self.ids) - self.prompt_length

    @property
    def read(self) -> Tensor:
        """Ids that are read, shape [1, T - 1]: nothing is predicted after the last token."""
        return torch.tensor([list(self.ids[:-1])], device=self.model.device)

    @property
    def targets(self) -> Tensor:
        """Answer tokens, shape [M]."""
        return torch.tensor(list(self.ids[self.prompt_length :]), device=self.model.device)

    def hidden_together(self, unit: Unit) -> list[list[int]]:
        """Prompt positions that are hidden together, of a unit; tokens by themselves without."""
        if unit == "token" or self.groups is None:
            return [[place] for place in range(self.prompt_length)]
        return [list(group) for group in self.groups(unit)]

    def at_its_length(self) -> AbstractContextManager[None]:
        """Inside, rotary positions are those of this text, whatever was read before."""
        return entering(self.model, len(self.ids) - 1)

    def logits(self, texts: int = 1) -> Tensor:
        """What the model says where each answer token is predicted, no graph.

        Parameters
        ----------
        texts : int
            How often it reads them: for models that are another one in each of the texts of a pass.

        Returns
        -------
        tensor [texts, M, vocabulary]
        """
        ids = self.read.expand(texts, -1)
        with torch.no_grad(), self.at_its_length():
            output = self.model(ids, use_cache=False, logits_to_keep=self.positions)
        return precise(output.logits)

    @property
    def positions(self) -> Tensor:
        """Where each answer token is predicted, shape [M]."""
        return torch.arange(self.prompt_length - 1, len(self.ids) - 1, device=self.model.device)


#: Scores of some answer tokens, shape [m], from their logits [m, vocabulary].
Target: TypeAlias = Callable[[Tensor, Reading, list[int]], Tensor]


def precise(tensor: Tensor) -> Tensor:
    """At least float32, for what is summed or exponentiated."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def probability(logits: Tensor, reading: Reading, columns: list[int]) -> Tensor:
    """Softmax probability of the answer token: the paper's target."""
    return _pick(logits.softmax(dim=-1), reading.targets[columns])


def log_probability(logits: Tensor, reading: Reading, columns: list[int]) -> Tensor:
    """Logarithm of the answer token's probability, in nats."""
    return _pick(logits.log_softmax(dim=-1), reading.targets[columns])


def logit(logits: Tensor, reading: Reading, columns: list[int]) -> Tensor:
    """Logit of the answer token."""
    return _pick(logits, reading.targets[columns])


def contrast(logits: Tensor, reading: Reading, columns: list[int]) -> Tensor:
    """Logit of the answer token less that of its rival, or of the model's own runner-up."""
    targets = reading.targets[columns]
    rivals = logits.detach().scatter(-1, targets[:, None], -torch.inf).argmax(dim=-1)
    if reading.rivals is not None:
        given_rivals = targets.new_tensor(list(reading.rivals))[columns]
        rivals = torch.where(given_rivals == targets, rivals, given_rivals)
    return _pick(logits, targets) - _pick(logits, rivals)


def _pick(scores: Tensor, tokens: Tensor) -> Tensor:
    return scores.gather(-1, tokens[:, None])[:, 0]
