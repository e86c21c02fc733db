"""Gradient times input, by forward or reverse mode, whichever needs fewer passes.

All targets depend on the final hidden state at one position only, so the unembedding and whatever
follows it (softmax, soft cap) are folded, once, into one vector per answer token. What remains is
the derivative of the hidden states: by forward mode a directional derivative per *prompt* token
gives its whole row, by reverse mode a backward pass per *answer* token gives its column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from twinlens.blocks import Array
from twinlens.compute import architectures, passes
from twinlens.compute.attributions.registry import Piece, Reading, Wanted, precise, saliency_method
from twinlens.compute.capture import observed
from twinlens.compute.passes import Conditions, Prefix
from twinlens.errors import NotFiniteError
from twinlens.schema import Method

#: Scores of some answer tokens, shape [m], from their logits [m, vocabulary].
Target: TypeAlias = Callable[[Tensor, Reading, list[int]], Tensor]

#: Directional derivatives, and backward passes, computed together.
ROWS_AT_ONCE = 16
COLUMNS_AT_ONCE = 4
#: Bounds both where texts are long or models wide: numbers one layer keeps for them.
_NUMBERS_AT_ONCE = 2**25
#: CPU time of one directional derivative over one backward pass, both per position. Measured
#: with the shape of a 135M model: 1.28 at 48 x 192 tokens, 1.5 at 64 x 32.
FORWARD_OVER_REVERSE = 1.35


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
    own = reading.targets[columns]
    rivals = logits.detach().scatter(-1, own[:, None], -torch.inf).argmax(dim=-1)
    if reading.rivals is not None:
        given = own.new_tensor(list(reading.rivals))[columns]
        rivals = torch.where(given == own, rivals, given)
    return _pick(logits, own) - _pick(logits, rivals)


def _pick(scores: Tensor, tokens: Tensor) -> Tensor:
    return scores.gather(-1, tokens[:, None])[:, 0]


@dataclass(frozen=True)
class Folded:
    """One pass over the text, with everything after the final hidden state folded.

    Attributes
    ----------
    columns : list of int
        Answer tokens it is about, m of them.
    values : tensor [m]
        The target at each.
    hidden, weights : tensors [m, hidden]
        Hidden state where each is predicted, in its gradient graph, and the target's gradient.
    stored : dict
        Keys and values of every attention module, where it was asked for.
    """

    columns: list[int]
    values: Tensor
    hidden: Tensor
    weights: Tensor
    stored: dict[nn.Module, tuple[Tensor, Tensor]]


def embed(reading: Reading) -> Tensor:
    """Input embeddings [1, T - 1, hidden], through the module: Gemma scales them there."""
    with torch.no_grad():
        return cast(Tensor, reading.model.get_input_embeddings()(reading.read))


def fold(
    reading: Reading,
    target: Target,
    columns: Sequence[int],
    embedded: Tensor,
    conditions: Conditions | None = None,
) -> Folded:
    """Run the model on embeddings [1, T - 1, hidden] and fold the head.

    Parameters
    ----------
    conditions : Conditions, optional
        Run through the observed attention; otherwise the model's own is used.
    """
    model, chosen = reading.model, list(columns)
    states: list[Tensor] = []

    def cut(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states.extend((arguments[0], arguments[0].detach().requires_grad_()))
        return (states[1], *arguments[1:])

    around: AbstractContextManager[None] = (
        observed(model, conditions) if conditions else nullcontext()
    )
    handle = architectures.output_embeddings(model).register_forward_pre_hook(cut)
    try:
        with torch.enable_grad(), around:
            output = model(
                inputs_embeds=embedded, use_cache=False, logits_to_keep=reading.positions[chosen]
            )
            values = target(precise(output.logits[0]), reading, chosen)
            (weights,) = torch.autograd.grad(values.sum(), states[1])
    finally:
        handle.remove()
    stored = conditions.stored if conditions else None
    return Folded(chosen, values.detach(), states[0][0], weights[0], stored or {})


def slopes(
    reading: Reading,
    wanted: Wanted,
    target: Target,
    *,
    at: Tensor | None = None,
    along: Tensor | None = None,
) -> Iterator[Piece]:
    """Directional derivative of every target along every prompt token's embedding.

    Parameters
    ----------
    at : tensor [1, T - 1, hidden], optional
        Embeddings at which to differentiate, the text's own by default.
    along : tensor [N, hidden], optional
        Direction for each prompt token, its own embedding by default.
    """
    point = embed(reading) if at is None else at
    directions = point[0, : reading.prompt_length] if along is None else along
    if rows_are_cheaper(reading, wanted()):
        yield from _rows(reading, wanted, target, point, directions)
    else:

        def project(gradients: Tensor) -> Tensor:
            return (gradients * precise(directions)).sum(dim=-1)

        yield from gradient_columns(reading, wanted, target, project, at=point)


def rows_are_cheaper(reading: Reading, wanted: Array) -> bool:
    """Whether forward mode needs less time than reverse mode for the cells that are wanted."""
    if not passes.hookable(reading.model):
        return False
    length = len(reading.ids) - 1
    rows = np.flatnonzero(wanted.any(axis=1))
    # A batch is cut where the first of its tokens stands.
    size = _at_once(reading, ROWS_AT_ONCE)
    forward = sum((length - rows[i]) * len(rows[i : i + size]) for i in range(0, len(rows), size))
    return bool(FORWARD_OVER_REVERSE * forward < length * wanted.any(axis=0).sum())


def _rows(
    reading: Reading, wanted: Wanted, target: Target, point: Tensor, directions: Tensor
) -> Iterator[Piece]:
    """Forward mode: a row for every directional derivative, all columns at once."""
    model = reading.model
    backbone = model.base_model
    length = point.shape[1]
    folded = fold(reading, target, range(reading.answer_length), point, Conditions(stored={}))
    weights = precise(folded.weights)
    size = _at_once(reading, ROWS_AT_ONCE)
    while rows := np.flatnonzero(wanted().any(axis=1))[:size].tolist():
        # Nothing before a token changes with it: those positions are read from the pass above.
        start = rows[0]
        places = reading.positions - start
        numbers = torch.arange(start, length, device=point.device)[None]
        tail = point[:, start:]
        tangents = tail.new_zeros(len(rows), *tail.shape)
        for place, row in enumerate(rows):
            tangents[place, 0, row - start] = directions[row]

        def states(embedded: Tensor, numbers: Tensor = numbers, places: Tensor = places) -> Tensor:
            output = backbone(inputs_embeds=embedded, position_ids=numbers, use_cache=False)
            return cast(Tensor, output.last_hidden_state[0, places])

        def derivative(tangent: Tensor, tail: Tensor = tail) -> Tensor:
            return cast(Tensor, torch.func.jvp(states, (tail,), (tangent,))[1])

        conditions = Conditions(prefix=Prefix(folded.stored, start) if start else None)
        with torch.no_grad(), observed(model, conditions):
            changes = torch.func.vmap(derivative)(tangents)
        piece = torch.einsum("rmd,md->rm", precise(changes), weights)
        yield rows, slice(None), _finite(piece, reading, target).cpu().numpy()


def gradient_columns(
    reading: Reading,
    wanted: Wanted,
    target: Target,
    reduce: Callable[[Tensor], Tensor],
    *,
    at: Tensor | None = None,
) -> Iterator[Piece]:
    """Reverse mode: a column for every backward pass.

    Parameters
    ----------
    reduce : callable
        From gradients [columns, N, hidden] to values [columns, N].
    """
    columns = np.flatnonzero(wanted().any(axis=0)).tolist()
    point = (embed(reading) if at is None else at).detach().requires_grad_()
    # Only eager attention has a batched backward pass on every device.
    own = point.device.type == "cpu" or not passes.hookable(reading.model)
    folded = fold(reading, target, columns, point, None if own else Conditions())
    size = _at_once(reading, COLUMNS_AT_ONCE)
    while left := [i for i, column in enumerate(columns) if wanted()[:, column].any()][:size]:
        seeds = torch.zeros_like(folded.hidden).repeat(len(left), 1, 1)
        seeds[range(len(left)), left] = folded.weights[left]
        gradients = _backward(folded.hidden, point, seeds)[:, 0, : reading.prompt_length]
        piece = reduce(precise(gradients)).T
        chosen = [columns[i] for i in left]
        yield slice(None), chosen, _finite(piece, reading, target).cpu().numpy()


def _backward(hidden: Tensor, point: Tensor, seeds: Tensor) -> Tensor:
    """Gradients [seeds, 1, T - 1, hidden] by one batched backward pass."""
    if len(seeds) == 1:
        return torch.autograd.grad(hidden, point, seeds[0], retain_graph=True)[0][None]
    return torch.autograd.grad(hidden, point, seeds, retain_graph=True, is_grads_batched=True)[0]


@torch.inference_mode(False)
def summed_gradient(reading: Reading, target: Target = log_probability) -> Array:
    """Gradient times input of the target summed over the answer: one backward pass, shape [N]."""
    point = embed(reading).detach().requires_grad_()
    folded = fold(reading, target, range(reading.answer_length), point)
    (gradient,) = torch.autograd.grad(folded.hidden, point, folded.weights)
    effect = (precise(gradient) * precise(point.detach()))[0, : reading.prompt_length].sum(dim=-1)
    return _finite(effect, reading, target).cpu().numpy()


def _at_once(reading: Reading, most: int) -> int:
    sizes = architectures.sizes(reading.model.config)
    length = len(reading.ids)
    numbers = length * (sizes.intermediate + sizes.heads * length)
    return max(1, min(most, _NUMBERS_AT_ONCE // numbers))


def _finite(values: Tensor, reading: Reading, target: Target) -> Tensor:
    """The values, or an error that names the layer where the gradient stops being finite."""
    if bool(torch.isfinite(values).all()):
        return values
    layer = _first_bad_layer(reading, target)
    where = "in its embeddings" if layer is None else f"in layer {layer}"
    raise NotFiniteError(
        f"becomes NaN or infinite {where} although the forward pass is finite: "
        "load the pair with dtype=torch.float32"
    )


def _first_bad_layer(reading: Reading, target: Target) -> int | None:
    """The last layer whose input has no finite gradient: backward passes start at the end."""
    bad: list[int] = []
    point = embed(reading).detach().requires_grad_()
    handles = []
    for layer, module in enumerate(architectures.layers(reading.model)):

        def watch(_: nn.Module, arguments: tuple[Tensor, ...], layer: int = layer) -> None:
            arguments[0].register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: None if torch.isfinite(gradient).all() else bad.append(layer)
            )

        handles.append(module.register_forward_pre_hook(watch))
    try:
        folded = fold(reading, target, range(reading.answer_length), point)
        torch.autograd.grad(folded.hidden, point, folded.weights)
    finally:
        for handle in handles:
            handle.remove()
    return max(bad, default=None)


def _register(name: str, title: str, measures: str, source: str, target: Target) -> None:
    @saliency_method(
        Method(
            name=name,
            title=title,
            measures=measures,
            source=source,
            exact=False,
            cost="1 forward pass, and N forward derivatives or M backward passes",
        )
    )
    def compute(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
        return slopes(reading, wanted, target)


_PAPER = (
    "Wu et al. 2024, section 3.1: gradient of the token's softmax probability times the input "
    "embedding, summed over dimensions"
)
_ALONG = "along the embedding of the prompt token."

_register(
    "gradient_x_input",
    "Gradient × input",
    f"First-order change of the answer token's probability {_ALONG}",
    _PAPER,
    probability,
)
_register(
    "gradient_x_input_logprob",
    "Gradient × input, log-probability",
    f"First-order change of the answer token's log-probability, in nats, {_ALONG}",
    "As gradient × input, of the logarithm: ranks the prompt tokens of one answer token alike",
    log_probability,
)
_register(
    "gradient_x_input_logit",
    "Gradient × input, logit",
    f"First-order change of the answer token's logit {_ALONG}",
    "As gradient × input, before the softmax",
    logit,
)
_register(
    "gradient_x_input_contrast",
    "Gradient × input, contrast",
    "First-order change of the answer token's logit less that of the token the other model would "
    f"have said (or this model's runner-up), {_ALONG}",
    "Yin and Neubig 2022: contrastive explanations",
    contrast,
)
