"""Which answer each model reads: its own greedy one, the other's, or a given text."""

from __future__ import annotations

from typing import Any, cast

from twinlens.compute.models.models import Models
from twinlens.compute.passes.decoding import greedy_answers
from twinlens.compute.text.prompt import Prompt, answer_tokens, encode_answer
from twinlens.contract.manifest import Answer
from twinlens.contract.words import SIDES, Side
from twinlens.errors import AnswerError
from twinlens.support.progress import Report

#: What a user may call an answer, and whose it is; any other text is given.
_KINDS = {"own": "own", "shared": "tuned", "tuned": "tuned", "base": "base"}


def read_answers(
    pair: Models, prompt: Prompt, response: str, max_new_tokens: int, report: Report | None = None
) -> tuple[str, dict[Side, Answer]]:
    """Let both models answer, and choose what each of them reads.

    Parameters
    ----------
    response : str
        ``own``, ``shared`` (tuned's), ``base``, ``tuned``, or the text both read.

    Returns
    -------
    kind : str
        ``own``, ``base``, ``tuned`` or ``given``.
    answers : dict of Side to Answer

    Raises
    ------
    AnswerError
        If the answer to read is empty, too long, or not readable for both.
    """
    generated: dict[Side, list[int]] = {}
    stopped: dict[Side, bool] = {}
    for side in SIDES:
        with pair.model(side) as model:
            stop = stop_tokens(pair, side, model.generation_config)
            (generated[side],) = greedy_answers(
                model,
                [prompt.ids],
                stop=stop,
                limit=max_new_tokens,
                vocabulary=len(pair.tokenizers[side]),
                side=side,
                report=report,
            )
            stopped[side] = generated[side][-1] in stop
    return choose_answers(pair, prompt, response, generated, stopped)


def choose_answers(
    pair: Models,
    prompt: Prompt,
    response: str,
    generated: dict[Side, list[int]],
    stopped: dict[Side, bool],
) -> tuple[str, dict[Side, Answer]]:
    """Choose what each model reads from both models' own answers; see `read_answers`."""
    kind = _KINDS.get(response, "given")
    for side in SIDES:
        if kind in ("own", side) and stopped[side] and len(generated[side]) == 1:
            raise AnswerError(
                f"the {side} model stopped at once, so there is no answer to explain: give a "
                "response= text, or set template=True if it expects a chat template"
            )
    read = generated
    if kind != "own":
        shared = (
            encode_answer(pair, prompt, response)
            if kind == "given"
            else generated[cast(Side, kind)]
        )
        _check_shared(pair, prompt, shared)
        read = dict.fromkeys(SIDES, shared)
    answers: dict[Side, Answer] = {}
    for side in SIDES:
        tokenizer, before = pair.tokenizers[side], prompt.ids[-1]
        tokens, text = answer_tokens(tokenizer, read[side], before)
        own_text = answer_tokens(tokenizer, generated[side], before)[1]
        answers[side] = Answer(tokens, text, own_text, stopped[side])
    return kind, answers


def stop_tokens(pair: Models, side: Side, generation: Any) -> set[int]:
    """Tokens that end an answer: of the generation settings and of the tokenizer."""
    listed = getattr(generation, "eos_token_id", None)
    stop = set(listed if isinstance(listed, list) else [listed])
    stop.add(pair.tokenizers[side].eos_token_id)
    return {int(identifier) for identifier in stop if identifier is not None}


def _check_shared(pair: Models, prompt: Prompt, ids: list[int]) -> None:
    """Make sure that both models can read one answer."""
    if max(ids) >= pair.vocabulary:
        raise AnswerError(
            "the answer contains a token that only one of the two models knows: use response='own'"
        )
    length, limit = len(prompt.tokens) + len(ids), pair.positions
    if limit is not None and length > limit:
        raise AnswerError(
            f"prompt and response have {length} tokens, but the models read at most {limit}: "
            f"shorten the response to {max(limit - len(prompt.tokens), 0)} tokens"
        )
