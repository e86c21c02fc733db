"""Gradient times input, by forward or reverse mode, whichever needs fewer passes.

With the head folded (`folding`) what remains is the derivative of the hidden states: by forward
mode a directional derivative per *prompt* token gives its whole row, by reverse mode a backward
pass per *answer* token gives its column. On processors the latter is written out for models of
Llama's kind (`written_out`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from twinlens.compute.models import architectures
from twinlens.compute.models.derivatives import has_forward_mode
from twinlens.compute.passes.by_layer import read_by_layer
from twinlens.compute.passes.conditions import Conditions, Prefix, hookable
from twinlens.compute.passes.cut import states_at_cut
from twinlens.compute.passes.folding import (
    Folded,
    Texts,
    backward,
    embed,
    fold_together,
    seeds_of,
    segments,
)
from twinlens.compute.passes.footprint import fits
from twinlens.compute.passes.reading import (
    Reading,
    Target,
    contrast,
    log_probability,
    logit,
    precise,
    probability,
)
from twinlens.compute.passes.written_out import can_be_written_out, written_out
from twinlens.compute.saliency.products import Products, keeping, reusing
from twinlens.compute.saliency.registry import Piece, SaliencyMethod, Wanted, saliency_method
from twinlens.contract.manifest import Method
from twinlens.contract.wire import Array
from twinlens.errors import NotFiniteError

#: As `Piece`, of several texts: values [B, rows, columns] in the places that `Texts` has.
TextsPiece: TypeAlias = tuple[list[int] | slice, list[int] | slice, Tensor]

#: Directional derivatives, and backward passes, computed together; of these twice as many where
#: they are written out: one text after the other, each step of which then does more.
ROWS_AT_ONCE = 6
COLUMNS_AT_ONCE = 12
#: In reverse mode the answer is read in segments, see `segments`: of so many tokens at least, and
#: so many of them at most, because each keeps all keys and values in front of it.
SEGMENT, SEGMENTS = 8, 6
#: Bounds them where texts are long or models wide: numbers one layer keeps for them. Backward
#: passes took 1 to 12 % longer with half as many, and up to 8 % with twice as many.
_NUMBERS_OF_ROWS, _NUMBERS_OF_COLUMNS = 2**23, 2**22
#: CPU time of one directional derivative over one backward pass, both per position. Measured
#: with the shape of a 135M model: 1.1 to 1.4, median 1.2, from 32 x 32 to 100 x 100 tokens.
FORWARD_OVER_REVERSE = 1.2
#: CPU time of a backward pass that is written out over that of another, on the embedded pair.
WRITTEN_OUT = 0.7


def slopes(reading: Reading, wanted: Wanted, target: Target) -> Iterator[Piece]:
    """Directional derivative of every target along every prompt token's own embedding."""
    texts = Texts([reading], embed(reading))
    for rows, columns, values in text_slopes(texts, wanted, target, texts.prompts):
        yield rows, columns, _finite(values[0], reading, target).cpu().numpy()


@torch.inference_mode(False)
def slopes_together(readings: Sequence[Reading], target: Target) -> list[Array]:
    """Tables of `slopes`, float32 [N, M] each, of texts that are read together.

    Raises
    ------
    NotFiniteError
        If a value of any of them is NaN or infinite.
    """
    texts = Texts.together(readings)
    return tables_of(
        texts, target, lambda wanted: text_slopes(texts, wanted, target, texts.prompts)
    )


@torch.inference_mode(False)
def columns_together(
    readings: Sequence[Reading], target: Target, reduce: Callable[[Tensor], Tensor]
) -> list[Array]:
    """Tables of `gradient_columns`, as `slopes_together`."""
    texts = Texts.together(readings)
    return tables_of(texts, target, lambda wanted: _columns(texts, wanted, target, reduce))


@torch.inference_mode(False)
def tables_of(
    texts: Texts, target: Target, compute: Callable[[Wanted], Iterator[TextsPiece]]
) -> list[Array]:
    """One table [N, M] of each text, from pieces of all of them."""
    n, m = texts.prompt_length, max(reading.answer_length for reading in texts.readings)
    padded = np.zeros((len(texts.readings), n, m), dtype=np.float32)
    missing = np.ones((n, m), dtype=bool)
    for rows, columns, values in compute(partial(np.asarray, missing)):
        padded[:, rows, columns] = values.cpu().numpy()
        missing[rows, columns] = False
    tables = []
    for table, reading in zip(padded, texts.readings, strict=True):
        cropped = table[n - reading.prompt_length :, : reading.answer_length]
        _finite(torch.from_numpy(cropped), reading, target)
        tables.append(cropped)
    return tables


def text_slopes(
    texts: Texts, wanted: Wanted, target: Target, directions: Tensor
) -> Iterator[TextsPiece]:
    """`slopes` of texts that are read together, along `directions` [B, N, hidden]."""
    if rows_are_cheaper(texts, wanted()):
        yield from _rows(texts, wanted, target, directions)
    else:
        along = precise(directions)
        yield from _columns(texts, wanted, target, lambda g: (g * along).sum(dim=-1), directions)


def rows_are_cheaper(texts: Texts, wanted: Array) -> bool:
    """Whether forward mode needs less time than reverse mode for the cells that are wanted."""
    reading = texts.readings[0]
    # Which experts a token goes to depends on data: forward mode has no rule for that.
    experts = architectures.architecture_of(reading.model.config).experts
    if experts or not (hookable(reading.model) and has_forward_mode(reading.model)):
        return False
    length = texts.embedded.shape[1]
    rows = np.flatnonzero(wanted.any(axis=1))
    columns = np.flatnonzero(wanted.any(axis=0))
    # A batch is cut where the first of its tokens stands, and behind the last of its columns.
    size = _at_once(texts, ROWS_AT_ONCE, _NUMBERS_OF_ROWS)
    forward = sum((length - rows[i]) * len(rows[i : i + size]) for i in range(0, len(rows), size))
    size = _segment(texts, columns)
    parts = [columns[i : i + size] for i in range(0, len(columns), size)]
    backward = sum((texts.prompt_length + part[-1]) * len(part) for part in parts)
    if can_be_written_out(reading.model):
        backward *= WRITTEN_OUT
    return bool(FORWARD_OVER_REVERSE * forward < backward)


def only_reads(readings: Sequence[Reading]) -> bool:
    """Whether tables of these texts are all had from backward passes that are written out."""
    texts, model = Texts.together(readings), readings[0].model
    m = max(reading.answer_length for reading in readings)
    whole = np.ones((texts.prompt_length, m), dtype=bool)
    return (
        can_be_written_out(model)
        and not rows_are_cheaper(texts, whole)
        and fits(model, len(readings), texts.prompt_length + m - 1)
    )


def _rows(texts: Texts, wanted: Wanted, target: Target, directions: Tensor) -> Iterator[TextsPiece]:
    """Forward mode: a row for every directional derivative, all columns at once."""
    model = texts.readings[0].model
    point = texts.embedded
    length = point.shape[1]
    columns = range(wanted().shape[1])
    products = Products((len(point), length))
    with keeping(products):
        folded = fold_together(
            texts, target, columns, point, Conditions(hidden=texts.padding, stored={}), cut=True
        )
    weights = precise(folded.weights)
    size = _at_once(texts, ROWS_AT_ONCE, _NUMBERS_OF_ROWS)
    while rows := np.flatnonzero(wanted().any(axis=1))[:size].tolist():
        # Nothing before a token changes with it: those positions are read from the pass above.
        start = rows[0]
        first = texts.prompt_length - 1 - start
        placed = texts.placed(start, length)
        tail = point[:, start:]
        tangents = tail.new_zeros(len(rows), *tail.shape)
        for place, row in enumerate(rows):
            tangents[place, :, row - start] = directions[:, row]

        def states(
            embedded: Tensor, placed: dict[str, Tensor] = placed, first: int = first
        ) -> Tensor:
            return states_at_cut(model, embedded, **placed)[:, first:]

        def derivative(tangent: Tensor, tail: Tensor = tail) -> Tensor:
            return cast(Tensor, torch.func.jvp(states, (tail,), (tangent,))[1])

        conditions = Conditions(
            prefix=Prefix(folded.stored, start) if start else None, hidden=texts.padding
        )
        with (
            torch.no_grad(),
            texts.around(conditions),
            reusing(products, start),
        ):
            changes = torch.func.vmap(derivative)(tangents)
        yield rows, slice(None), torch.einsum("rbmd,bmd->brm", precise(changes), weights)


def gradient_columns(
    reading: Reading, wanted: Wanted, target: Target, reduce: Callable[[Tensor], Tensor]
) -> Iterator[Piece]:
    """Reverse mode: a column for every backward pass.

    Parameters
    ----------
    reduce : callable
        From gradients [..., N, hidden] to values [..., N].
    """
    texts = Texts([reading], embed(reading))
    for rows, columns, values in _columns(texts, wanted, target, reduce):
        yield rows, columns, _finite(values[0], reading, target).cpu().numpy()


def _columns(
    texts: Texts,
    wanted: Wanted,
    target: Target,
    reduce: Callable[[Tensor], Tensor],
    directions: Tensor | None = None,
) -> Iterator[TextsPiece]:
    """Columns of what `reduce` makes of gradients: slopes along `directions` if given."""
    columns = np.flatnonzero(wanted().any(axis=0)).tolist()
    model, size = texts.readings[0].model, _columns_at_once(texts)
    if columns and not fits(model, len(texts.embedded), texts.prompt_length + columns[-1]):
        yield from _columns_by_layer(texts, wanted, target, columns, reduce)
        return
    if columns and can_be_written_out(model):
        whole = written_out(texts, target, columns)
        size = _at_once(texts, 2 * COLUMNS_AT_ONCE, _NUMBERS_OF_COLUMNS, together=1)
        while batch := [i for i, column in enumerate(columns) if wanted()[:, column].any()][:size]:
            values = (
                reduce(whole.backward(batch))
                if directions is None
                else whole.slopes(batch, directions)
            )
            yield slice(None), [columns[i] for i in batch], values.permute(1, 2, 0)
        return
    prompts = texts.prompts.clone().requires_grad_()
    for folded in _pieces(texts, target, columns, prompts):
        now = folded.columns
        while batch := [i for i, column in enumerate(now) if wanted()[:, column].any()][:size]:
            values = reduce(precise(backward(folded, prompts, batch)))
            yield slice(None), [now[i] for i in batch], values.permute(1, 2, 0)


def _columns_by_layer(
    texts: Texts,
    wanted: Wanted,
    target: Target,
    columns: list[int],
    reduce: Callable[[Tensor], Tensor],
) -> Iterator[TextsPiece]:
    """Where no graph of all layers fits."""
    text = read_by_layer(texts, target, columns)
    while batch := [i for i, column in enumerate(columns) if wanted()[:, column].any()]:
        batch = batch[: text.most_seeds]
        for _, gradients in text.backward(seeds_of(text.weights, batch), _columns_at_once(texts)):
            # Others get through between two layers, and work can be stopped there.
            yield [], slice(None), gradients.new_zeros(len(texts.embedded), 0, wanted().shape[1])
        values = reduce(precise(gradients[:, :, : texts.prompt_length]))
        yield slice(None), [columns[i] for i in batch], values.permute(1, 2, 0)


def _pieces(texts: Texts, target: Target, columns: list[int], prompts: Tensor) -> Iterator[Folded]:
    """The texts in segments, or whole where attention cannot be observed."""
    if hookable(texts.readings[0].model):
        yield from segments(texts, target, columns, prompts, _segment(texts, columns))
    elif columns:
        yield fold_together(texts, target, columns, torch.cat([prompts, texts.answers], dim=1))


def _columns_at_once(texts: Texts) -> int:
    return _at_once(texts, COLUMNS_AT_ONCE, _NUMBERS_OF_COLUMNS)


def _segment(texts: Texts, columns: Sequence[int] | Array) -> int:
    return max(SEGMENT, _columns_at_once(texts), -(-len(columns) // SEGMENTS))


def _at_once(texts: Texts, most: int, limit: int, together: int | None = None) -> int:
    """How many passes, of all texts or of so many together."""
    sizes = architectures.sizes(texts.readings[0].model.config)
    count, length = texts.embedded.shape[:2]
    numbers = (together or count) * length * (sizes.intermediate + sizes.heads * length)
    return max(1, min(most, limit // numbers))


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
    text = read_by_layer(Texts([reading], embed(reading)), target, range(reading.answer_length))
    for layer, gradients in text.backward(text.weights[None], 1):
        if not torch.isfinite(gradients).all():
            return layer if layer >= 0 else None
    return None


def gradient_method(
    name: str, title: str, measures: str, source: str, target: Target
) -> SaliencyMethod:
    """Gradient times input of a target, as a method."""

    @saliency_method(
        Method(
            name=name,
            title=title,
            measures=measures,
            source=source,
            exact=False,
            cost="1 forward pass, and N forward derivatives or M backward passes",
        ),
        partial(slopes_together, target=target),
        only_reads,
    )
    def compute(reading: Reading, wanted: Wanted) -> Iterator[Piece]:
        return slopes(reading, wanted, target)

    return compute


_PAPER = (
    "Wu et al. 2024, section 3.1: gradient of the token's softmax probability times the input "
    "embedding, summed over dimensions"
)
_ALONG = "along the embedding of the prompt token."

GRADIENT_X_INPUT = gradient_method(
    "gradient_x_input",
    "Gradient × input",
    f"First-order change of the answer token's probability {_ALONG}",
    _PAPER,
    probability,
)
GRADIENT_X_INPUT_LOGPROB = gradient_method(
    "gradient_x_input_logprob",
    "Gradient × input, log-probability",
    f"First-order change of the answer token's log-probability, in nats, {_ALONG}",
    "As gradient × input, of the logarithm: ranks the prompt tokens of one answer token alike",
    log_probability,
)
GRADIENT_X_INPUT_LOGIT = gradient_method(
    "gradient_x_input_logit",
    "Gradient × input, logit",
    f"First-order change of the answer token's logit {_ALONG}",
    "As gradient × input, before the softmax",
    logit,
)
GRADIENT_X_INPUT_CONTRAST = gradient_method(
    "gradient_x_input_contrast",
    "Gradient × input, contrast",
    "First-order change of the answer token's logit less that of the token the other model would "
    f"have said (or this model's runner-up), {_ALONG}",
    "Yin and Neubig 2022: contrastive explanations",
    contrast,
)
