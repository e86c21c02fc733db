"""Greedy answers, of one text or of many together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from twinlens.compute.passes.answer_scores import logprobs_of
from twinlens.compute.passes.guessing import FIRST, guessed, next_count, right
from twinlens.compute.passes.rotary import forget_texts, rotary_by_length
from twinlens.compute.passes.row import can_be_read_as_row
from twinlens.compute.passes.steps_written_out import Continued, ReadPrompt
from twinlens.contract.words import Side
from twinlens.errors import NotFiniteError
from twinlens.support.progress import Report


def greedy_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    stop: Collection[int],
    limit: int,
    vocabulary: int,
    side: Side,
    report: Report | None = None,
    read: list[ReadPrompt] | None = None,
) -> list[list[int]]:
    """Continue prompts with the likeliest token each time.

    Answers are those of ``model.generate(do_sample=False)``, with whatever the model's own
    generation settings ask for beside that, such as a repetition penalty or suppressed tokens.
    They differ in three things: ids that no token stands for are never chosen, a beam search is
    not made, and stop strings and time limits are not followed.

    Parameters
    ----------
    stop : collection of int
        Tokens that end an answer; the one met is kept as its last token.
    limit : int
        Most tokens to add to each.
    vocabulary : int
        Ids from here on are padding of the weights and never chosen.
    report : callable, optional
        Told the tokens of each; may raise `Interrupted`.
    read : list, optional
        Filled with what is known of each prompt then, where it comes of itself and is not too much.

    Raises
    ------
    NotFiniteError
        If a logit is NaN or infinite.
    Interrupted
        If `report` asked to stop.
    """
    if not settings_are_plain(model) or rotary_by_length(model):
        return [_alone(model, prompt, stop, limit, vocabulary, side, report) for prompt in prompts]
    texts: Continued | _Padded
    with torch.no_grad():
        if can_be_read_as_row(model):
            texts = Continued(model, prompts)
        else:
            texts = _Padded(model, prompts, limit)
    if len(prompts) == 1 and read is None and isinstance(texts, Continued):
        return [_guessing(texts, prompts[0], stop, limit, vocabulary, side, report)]
    return _together(texts, len(prompts), stop, limit, vocabulary, side, report, read)


#: Generation settings that leave a greedy answer as it is, or are set here.
_WITHOUT_EFFECT = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
    *("transformers_version", "_from_model_config"),
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff", "max_length", "max_new_tokens", "max_time", "stop_strings"),
    *("num_beams", "num_beam_groups", "num_return_sequences", "early_stopping", "length_penalty"),
    *("use_cache", "cache_implementation", "cache_config", "return_dict_in_generate"),
    *("output_attentions", "output_hidden_states", "output_scores", "output_logits"),
}


def settings_are_plain(model: PreTrainedModel) -> bool:
    """Whether the model's own settings ask for nothing but the likeliest token."""
    settings = model.generation_config
    return settings is None or set(settings.to_diff_dict()) <= _WITHOUT_EFFECT


class _Watch(LogitsProcessor):
    """What is done with the scores of every step beside what the model's settings ask for."""

    def __init__(self, vocabulary: int, side: Side, report: Callable[[], None]) -> None:
        self._vocabulary, self._side, self._report = vocabulary, side, report

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if scores.isnan().any() or scores.isposinf().any():
            raise NotFiniteError(not_finite(self._side, "its output"))
        self._report()
        places = torch.arange(scores.shape[-1], device=scores.device)
        return scores.masked_fill(places >= self._vocabulary, -torch.inf)


def _alone(
    model: PreTrainedModel,
    prompt: Sequence[int],
    stop: Collection[int],
    limit: int,
    vocabulary: int,
    side: Side,
    report: Report | None,
) -> list[int]:
    """One answer by transformers' own loop: some settings count tokens, and know no padding."""
    steps = iter(range(1, limit + 1))

    def step() -> None:
        if report:
            report(next(steps), limit, f"answer of {side}")

    settings: Any = copy.deepcopy(model.generation_config)
    settings.update(
        do_sample=False,
        **dict.fromkeys(("temperature", "top_k", "top_p", "min_p", "typical_p", "top_h")),
        **dict.fromkeys(("max_length", "max_time", "stop_strings", "cache_implementation")),
        num_beams=1,
        num_return_sequences=1,
        max_new_tokens=limit,
        eos_token_id=sorted(stop) or None,
        pad_token_id=prompt[0],  # of finished answers beside others: there are none
        return_dict_in_generate=False,
        use_cache=True,
    )
    ids = torch.tensor([list(prompt)], device=model.device)
    forget_texts(model)
    with torch.no_grad():
        output = cast(Any, model).generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=settings,
            logits_processor=LogitsProcessorList([_Watch(vocabulary, side, step)]),
        )
    return cast("list[int]", output[0, len(prompt) :].tolist())


class _Padded:
    """Some texts, and what comes next in each, as `Continued`, of any family.

    Shorter prompts are padded in front and the padding is masked, with positions counted from
    the first token: distances, which sliding windows go by, stay as they are.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], limit: int
    ) -> None:
        longest = max(map(len, prompts))
        fronts = [longest - len(prompt) for prompt in prompts]
        rows = [
            [prompt[0]] * front + list(prompt)
            for prompt, front in zip(prompts, fronts, strict=True)
        ]
        places = torch.arange(longest + limit, device=model.device)
        self._model, self._padded = model, any(fronts)
        self._ids = torch.tensor(rows, device=model.device)
        self._mask = (places >= torch.tensor(fronts, device=model.device)[:, None]).long()
        self._numbers = (self._mask.cumsum(dim=1) - 1).clamp_min(0)
        # Renamed in transformers 5.24; code that comes with a model may keep the older name.
        known = signature(model.forward).parameters
        self._named = "cache" if "cache" in known else "past_key_values"
        self._past: Any = None
        self._read = 0

    def scores(self) -> Tensor:
        """Logits of what comes next in each text, [texts, vocabulary]."""
        length = self._read + self._ids.shape[1]
        # Where nothing is padded these are the model's own, and not every family takes them.
        placed = {
            "attention_mask": self._mask[:, :length],
            "position_ids": self._numbers[:, self._read : length],
        }
        output = self._model(
            self._ids,
            **(placed if self._padded else {}),
            **{self._named: self._past},
            use_cache=True,
            logits_to_keep=1,
        )
        self._past, self._read = output[self._named], length
        return cast(Tensor, output.logits[:, -1])

    def go_on(self, tokens: Tensor, texts: list[int]) -> None:
        """Add tokens [texts] to some of the texts, and leave the others."""
        self._ids = tokens[:, None]
        if len(texts) < len(tokens):
            rows = torch.tensor(texts, device=tokens.device)
            self._past.batch_select_indices(rows)
            self._ids, self._mask = self._ids[rows], self._mask[rows]
            self._numbers = self._numbers[rows]


@torch.no_grad()
def _guessing(
    texts: Continued,
    prompt: Sequence[int],
    stop: Collection[int],
    limit: int,
    vocabulary: int,
    side: Side,
    report: Report | None,
) -> list[int]:
    """The answer to one prompt, several tokens at a time where they can be guessed."""
    text, guess, count = list(prompt), list[int](), FIRST
    most = len(prompt) + limit
    while len(text) < most:
        scores = texts.scores(guess)[:, :vocabulary]
        if not torch.isfinite(scores).all():
            raise NotFiniteError(not_finite(side, "its output"))
        chosen = scores.argmax(dim=-1)
        correct = right(guess, chosen.tolist())
        for token in chosen[: correct + 1].tolist():
            text.append(token)
            if report:
                report(len(text) - len(prompt), limit, f"answer of {side}")
            if token in stop:
                return text[len(prompt) :]
        texts.go_on(chosen[: correct + 1], [0])
        count = next_count(count, guess, correct)
        guess = guessed(text, min(count, most - len(text) - 1))
    return text[len(prompt) :]


def _together(
    texts: Continued | _Padded,
    count: int,
    stop: Collection[int],
    limit: int,
    vocabulary: int,
    side: Side,
    report: Report | None,
    read: list[ReadPrompt] | None,
) -> list[list[int]]:
    """Answers to `count` prompts at once."""
    answers: list[list[int]] = [[] for _ in range(count)]
    logprobs: list[list[Tensor]] = [[] for _ in range(count)]
    running = list(range(count))
    continued = texts if read is not None and isinstance(texts, Continued) else None
    with torch.no_grad():
        for step in range(limit):
            logits = texts.scores()
            scores = logits[:, :vocabulary]
            if not torch.isfinite(scores).all():
                raise NotFiniteError(not_finite(side, "its output"))
            chosen = scores.argmax(dim=-1)
            for place, token in zip(running, chosen.tolist(), strict=True):
                answers[place].append(token)
            if continued:
                for place, logprob in zip(running, logprobs_of(logits, chosen), strict=True):
                    logprobs[place].append(logprob)
            if report:
                report(step + 1, limit, f"answer of {side}")
            going = [i for i, place in enumerate(running) if answers[place][-1] not in stop]
            if not going:
                break
            texts.go_on(chosen, going)
            running = [running[i] for i in going]
    if read is not None and continued and continued.prompt(0):
        read += [
            ReadPrompt(continued.prompt(i), torch.stack(own)) for i, own in enumerate(logprobs)
        ]
    return answers


def not_finite(side: Side, where: str) -> str:
    """What is wrong with a model that computes NaN or infinity."""
    return (
        f"the {side} model computes NaN or infinity in {where}: load the pair with "
        "dtype=torch.float32, or check its weights"
    )
