"""Running a model: its greedy answer, and one hooked pass that keeps what the panels show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from twinlens.compute import passes
from twinlens.compute.models import architectures
from twinlens.compute.passes import Conditions
from twinlens.compute.patterns import Patterns
from twinlens.contract.words import Side
from twinlens.errors import NotFiniteError
from twinlens.support.progress import Report

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAME = "twinlens"
_patterns: ContextVar[Callable[[Tensor], None] | None] = ContextVar("patterns", default=None)


@dataclass(frozen=True)
class Capture:
    """What one model did with one text of T tokens, M of them its answer; tensors on the CPU.

    Attributes
    ----------
    attention : Patterns
        Of every layer and head, the causal half in half precision.
    heads : float32 [layers, T, heads * head_dim]
        Output of every head, before the output weights.
    attention_out, feed_forward_out : float32 [layers, T, hidden]
        Output of the two blocks' last linear maps (before a norm, in families that have one there).
    residual : float32 [layers + 1, T, hidden]
        Residual stream: the embedding, then after each layer; the final norm is not applied.
    neurons : float32 [layers, T, intermediate]
        Activation of every feed-forward neuron, after its gate.
    logprobs : float32 [M, vocabulary]
        Log-probabilities in nats where the answer tokens are predicted.
    """

    attention: Patterns
    heads: Tensor
    attention_out: Tensor
    feed_forward_out: Tensor
    residual: Tensor
    neurons: Tensor
    logprobs: Tensor


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    # The family's own eager function knows its soft caps, groups and scales: nothing to imitate.
    eager = sys.modules[type(module).__module__].eager_attention_forward
    conditions = passes.current()
    if conditions.prefix is not None:
        key, value = conditions.prefix.before(module, key, value)
    if conditions.stored is not None:
        conditions.stored[module] = key, value
    output, weights = eager(module, query, key, value, mask, **kwargs)
    if conditions.patterns is not None:
        conditions.patterns.append(weights)
    keep = _patterns.get()
    if keep is not None:
        keep(weights.detach())
    return output, weights


def _mask(*, q_length: int, kv_length: int, **kwargs: Any) -> Tensor:
    conditions = passes.current()
    start = conditions.start
    if start:
        kv_length, kwargs["q_offset"] = start + q_length, start
    mask: Tensor = eager_mask(q_length=q_length, kv_length=kv_length, **kwargs)
    if conditions.hidden is not None:
        mask = mask.masked_fill(conditions.hidden[:, None, None], torch.finfo(mask.dtype).min)
    # A token that occlusion hides is hidden from later tokens, never from itself: no row is empty.
    mask.diagonal(offset=start, dim1=-2, dim2=-1).zero_()
    return mask


AttentionInterface.register(_NAME, _attention)
# Without a mask function of the same name transformers passes no mask at all, silently.
AttentionMaskInterface.register(_NAME, _mask)


@contextmanager
def observed(model: PreTrainedModel, conditions: Conditions | None = None) -> Iterator[None]:
    """Run the model's attention through twinlens, under conditions; never with a cache."""
    before = model.config._attn_implementation
    model.set_attn_implementation(_NAME)
    try:
        with passes.under(conditions or Conditions()):
            yield
    finally:
        model.set_attn_implementation(before)


def answer_greedily(
    model: PreTrainedModel,
    prompt: Sequence[int],
    *,
    stop: Collection[int],
    limit: int,
    vocabulary: int,
    side: Side,
    report: Report | None = None,
) -> list[int]:
    """Continue a prompt with the likeliest token each time.

    Parameters
    ----------
    stop : collection of int
        Tokens that end the answer; the one met is kept as its last token.
    limit : int
        Most tokens to add.
    vocabulary : int
        Ids from here on are padding of the weights and never chosen.

    Raises
    ------
    NotFiniteError
        If a logit is NaN or infinite.
    Interrupted
        If `report` asked to stop.
    """
    answer: list[int] = []
    past = None
    ids = torch.tensor([list(prompt)], device=model.device)
    with torch.no_grad():
        while len(answer) < limit:
            output = model(ids, past_key_values=past, use_cache=True, logits_to_keep=1)
            scores = output.logits[0, -1, :vocabulary]
            if not torch.isfinite(scores).all():
                raise NotFiniteError(_not_finite(side, "its output"))
            answer.append(int(scores.argmax()))
            if report:
                report(len(answer), limit, f"answer of {side}")
            if answer[-1] in stop:
                break
            past, ids = output.past_key_values, ids.new_tensor([[answer[-1]]])
    return answer


def answers_greedily(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    stop: Collection[int],
    limit: int,
    vocabulary: int,
    side: Side,
    report: Report | None = None,
) -> list[list[int]]:
    """Continue several prompts together, see `answer_greedily`; report counts the tokens of each.

    Shorter prompts are padded in front and the padding is masked, with positions counted from
    the first token: distances, which sliding windows go by, stay as they are.
    """
    longest = max(map(len, prompts))
    fronts = [longest - len(prompt) for prompt in prompts]
    device = model.device
    rows = [
        [prompt[0]] * front + list(prompt) for prompt, front in zip(prompts, fronts, strict=True)
    ]
    ids = torch.tensor(rows, device=device)
    places = torch.arange(longest + limit, device=device)
    there = (places >= torch.tensor(fronts, device=device)[:, None]).long()
    numbers = (there.cumsum(dim=1) - 1).clamp_min(0)
    answers: list[list[int]] = [[] for _ in prompts]
    running = list(range(len(prompts)))
    past, read = None, 0
    with torch.no_grad():
        for step in range(limit):
            length = longest + step
            output = model(
                ids,
                attention_mask=there[:, :length],
                position_ids=numbers[:, read:length],
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
            scores = output.logits[:, -1, :vocabulary]
            if not torch.isfinite(scores).all():
                raise NotFiniteError(_not_finite(side, "its output"))
            chosen = scores.argmax(dim=-1)
            for place, token in zip(running, chosen.tolist(), strict=True):
                answers[place].append(token)
            if report:
                report(step + 1, limit, f"answers of {side}")
            past, read, ids = output.past_key_values, length, chosen[:, None]
            going = [i for i, place in enumerate(running) if answers[place][-1] not in stop]
            if len(going) < len(running):
                if not going:
                    break
                kept = torch.tensor(going, device=device)
                past.batch_select_indices(kept)
                ids, there, numbers = ids[kept], there[kept], numbers[kept]
                running = [running[i] for i in going]
    return answers


def capture(
    model: PreTrainedModel,
    ids: Sequence[int],
    prompt_length: int,
    *,
    side: Side,
    attention_dtype: torch.dtype = torch.float16,
) -> Capture:
    """One pass over prompt and answer, keeping what happens inside.

    Raises
    ------
    NotFiniteError
        If the residual stream becomes NaN or infinite; names the layer.
    """
    depth = range(len(architectures.layers(model)))
    heads = architectures.sizes(model.config).heads
    patterns = Patterns(len(depth), heads, len(ids), attention_dtype)
    reached = iter(depth)
    kept: dict[str, list[Tensor]] = {
        name: [] for name in ("heads", "attention_out", "feed_forward_out", "residual", "neurons")
    }

    def keep(name: str, tensor: Tensor) -> None:
        kept[name].append(tensor.detach()[0].to("cpu", torch.float32))

    def keep_both(inside: str, outside: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, arguments: Any, output: Tensor) -> None:
            keep(inside, arguments[0])
            keep(outside, output)

        return hook

    def keep_residual(_: nn.Module, arguments: Any) -> None:
        keep("residual", arguments[0])

    positions = torch.arange(prompt_length - 1, len(ids) - 1, device=model.device)
    with ExitStack() as stack:
        for layer in depth:
            for module, hook in (
                (architectures.attention_out(model, layer), keep_both("heads", "attention_out")),
                (
                    architectures.feed_forward_out(model, layer),
                    keep_both("neurons", "feed_forward_out"),
                ),
            ):
                stack.callback(module.register_forward_hook(hook).remove)
        for module in (*architectures.layers(model), architectures.final_norm(model)):
            stack.callback(module.register_forward_pre_hook(keep_residual).remove)
        stack.enter_context(observed(model))
        token = _patterns.set(lambda weights: patterns.put(next(reached), weights[0]))
        stack.callback(_patterns.reset, token)
        # Not inference_mode: a rotary buffer refreshed there could not enter a gradient later.
        with torch.no_grad():
            output = model(
                torch.tensor([list(ids)], device=model.device),
                use_cache=False,
                logits_to_keep=positions,
            )
    for layer, residual in enumerate(kept["residual"]):
        if not torch.isfinite(residual).all():
            where = f"layer {layer - 1}" if layer else "its embeddings"
            raise NotFiniteError(_not_finite(side, where))
    return Capture(
        attention=patterns,
        logprobs=output.logits[0].float().log_softmax(dim=-1).cpu(),
        **{name: torch.stack(tensors) for name, tensors in kept.items()},
    )


def _not_finite(side: Side, where: str) -> str:
    return (
        f"the {side} model computes NaN or infinity in {where}: load the pair with "
        "dtype=torch.float32, or check its weights"
    )
