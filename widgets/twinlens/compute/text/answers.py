"""Which answer each model reads: its own greedy one, the other's, or a given text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from transformers import PreTrainedTokenizerFast

from twinlens.compute.models.models import Models
from twinlens.compute.passes.decoding import greedy_answers
from twinlens.compute.passes.steps_written_out import ReadPrompt
from twinlens.compute.passes.subject import Subject
from twinlens.compute.text.arguments import generated_sides, read_response
from twinlens.compute.text.cutting import label, pieces
from twinlens.compute.text.prompt import Prompt
from twinlens.contract.manifest import Answer, Token
from twinlens.contract.words import SIDES, Given, Side
from twinlens.errors import AnswerError
from twinlens.support.progress import Report

#: Put before a text to cut it as it would be cut inside one: they rarely merge with what follows.
_ANCHORS = ("\n", *".,:-", *"xqzaeiou0")
#: Tokens that one character may be cut into.
_BYTES = 8


def read_answers(
    pair: Models, prompt: Prompt, response: str, max_new_tokens: int, report: Report | None = None
) -> tuple[str, dict[Side, Answer]]:
    """Let the models answer whose answer is read, and choose what each of them reads.

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
    chosen = read_response(response)
    if isinstance(chosen, Given):
        return choose_answers(pair, prompt, chosen, {}, {})
    generated: dict[Side, list[int]] = {}
    stopped: dict[Side, bool] = {}
    for side in generated_sides(chosen):
        generated[side], stopped[side] = own_answer(pair, side, prompt.ids, max_new_tokens, report)
    return choose_answers(pair, prompt, chosen, generated, stopped)


def own_answer(
    pair: Models, side: Side, ids: Sequence[int], limit: int, report: Report | None = None
) -> tuple[list[int], bool]:
    """What a model answers by itself to a prompt, and whether it came to an end."""
    (answer,) = own_answers(pair, side, [ids], limit, report)
    return answer


def own_answer_of(
    subject: Subject, side: Side, report: Report | None = None
) -> tuple[list[int], bool]:
    """What one of the models of a trace answers by itself, generated once if it is not read.

    No token where prompt and answer would not fit.
    """
    m = subject.manifest
    if m.response in ("own", side):
        return subject.answer_ids(side), bool(m.answers[side].stopped)
    if side not in subject.own_answers:
        prompt = [token.id for token in m.prompt_tokens]
        room = (subject.models.positions or len(prompt) + 2**30) - len(prompt)
        limit = min(int(m.parameters["max_new_tokens"]), room)
        answer = (
            ([], False) if limit < 1 else own_answer(subject.models, side, prompt, limit, report)
        )
        subject.own_answers[side] = answer
    return subject.own_answers[side]


def own_answers(
    pair: Models,
    side: Side,
    prompts: Sequence[Sequence[int]],
    limit: int,
    report: Report | None = None,
    read: list[ReadPrompt] | None = None,
) -> list[tuple[list[int], bool]]:
    """`own_answer` to several prompts, worked on together; `read` as `greedy_answers` has it."""
    with pair.model(side) as model:
        stop = stop_tokens(pair, side, model.generation_config)
        answers = greedy_answers(
            model,
            [pair.readable(side, ids) for ids in prompts],
            stop=stop,
            limit=limit,
            vocabulary=pair.known_ids(side),
            side=side,
            report=report,
            read=read,
        )
    return [(answer, answer[-1] in stop) for answer in answers]


def choose_answers(
    pair: Models,
    prompt: Prompt,
    response: str,
    generated: Mapping[Side, list[int]],
    stopped: Mapping[Side, bool],
) -> tuple[str, dict[Side, Answer]]:
    """Choose what each model reads from the answers that were generated; see `read_answers`."""
    response = read_response(response)
    kind = "given" if isinstance(response, Given) else str(response)
    for side, answer in generated.items():
        if kind in ("own", side) and stopped[side] and len(answer) == 1:
            raise AnswerError(_stopped_at_once(side))
    before = context(pair.tokenizers["tuned"], prompt.ids)
    cuts = {
        side: answer_tokens(pair.tokenizers[side], answer, before)
        for side, answer in generated.items()
    }
    own = {side: cuts[side][1] if side in cuts else None for side in SIDES}
    ended = {side: stopped.get(side) for side in SIDES}
    if kind == "own":
        return kind, {side: Answer(*cuts[side], own[side], ended[side]) for side in SIDES}
    if kind == "given":
        shared, whose = encode_answer(pair, prompt, response), SIDES[1]
    else:
        whose = cast(Side, kind)
        shared = generated[whose]
        if stopped[whose] and shared[-1] >= min(map(pair.rows, SIDES)):
            # Only one model knows how this answer ends: what comes before, both can read.
            shared = shared[:-1]
    _check_shared(pair, prompt, shared)
    read = answer_tokens(pair.tokenizers[whose], shared, before)
    return kind, {side: Answer(*read, own[side], ended[side]) for side in SIDES}


def stop_tokens(pair: Models, side: Side, generation: Any) -> set[int]:
    """Tokens that end an answer: of the generation settings and of the tokenizer."""
    listed = getattr(generation, "eos_token_id", None)
    stop = set(listed if isinstance(listed, list) else [listed])
    stop.add(pair.tokenizers[side].eos_token_id)
    return {int(identifier) for identifier in stop if identifier is not None}


def encode_answer(pair: Models, prompt: Prompt, text: str) -> list[int]:
    """Token ids of a given answer that spell it right after the prompt, without any other blank.

    They are those that the whole text has there, if the prompt's last token stays as it is.

    Raises
    ------
    AnswerError
        If the tokenizer cannot begin a text in this place.
    """
    tokenizer = pair.tokenizers["tuned"]

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    def behind(first: list[int], whole: list[int]) -> list[list[int]]:
        return [whole[len(first) :]] if whole[: len(first)] == first else []

    before, whole = context(tokenizer, prompt.ids), ids(prompt.text + text)
    ways = [
        *behind(prompt.ids[prompt.front :], whole),
        ids(text),
        *(way for anchor in _ANCHORS for way in behind(ids(anchor), ids(anchor + text))),
    ]
    start = len(_spelled(tokenizer, before))
    for way in ways:
        if way and _spelled(tokenizer, [*before, *way])[start:] == text:
            return way
    # Tokenizers that lose something of every text, such as its capitals.
    wanted = _spelled(tokenizer, whole)
    for way in ways:
        if way and _spelled(tokenizer, [*prompt.ids[prompt.front :], *way]) == wanted:
            return way
    raise AnswerError(
        f"the tokenizer cannot go on with {text[:20]!r} right after this prompt: begin the answer "
        "with a whole word, or end the prompt before the word"
    )


def context(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[int]:
    """The last tokens of a prompt, as many as make whole characters.

    Some tokenizers drop a blank at the start of a text, so that an answer is spelled behind them.
    """
    for count in range(1, _BYTES + 1):
        if "\ufffd" not in _spelled(tokenizer, ids[-count:]):
            return list(ids[-count:])
    return list(ids[-1:])


def answer_tokens(
    tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], before: Sequence[int]
) -> tuple[tuple[Token, ...], str]:
    """Tokens of an answer and its text, which leaves special tokens out.

    Each character belongs to the token that completes it.

    Parameters
    ----------
    before : sequence of int
        What it is spelled behind, see `context`.
    """
    special = set(tokenizer.all_special_ids)
    display = pieces(tokenizer)
    lead = len(_spelled(tokenizer, before))
    plain = [identifier for identifier in ids if identifier not in special]
    text = _spelled(tokenizer, [*before, *plain])[lead:]
    tokens = list[Token]()
    read, start = 0, 0
    for identifier in ids:
        if identifier in special:
            tokens.append(Token(identifier, display(identifier), start, start, "special"))
            continue
        read += 1
        so_far = _spelled(tokenizer, [*before, *plain[:read]])[lead:]
        end = start
        while end < min(len(text), len(so_far)) and text[end] == so_far[end]:
            end += 1
        if read == len(plain):
            end = len(text)
        tokens.append(Token(identifier, label(display(identifier), text[start:end]), start, end))
        start = end
    return tuple(tokens), text


def _spelled(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def _stopped_at_once(side: Side) -> str:
    return (
        f"the {side} model stopped at once, so there is no answer to explain: give a "
        "response= text, or set template=True if it expects a chat template"
    )


def _check_shared(pair: Models, prompt: Prompt, ids: list[int]) -> None:
    """Make sure that both models can read one answer."""
    for side in SIDES:
        unknown = [identifier for identifier in ids if identifier >= pair.rows(side)]
        if unknown:
            name = pieces(pair.tokenizers[SIDES[1 - SIDES.index(side)]])(unknown[0])
            raise AnswerError(
                f"the answer contains {name}, which {side} does not know: use response='own', or "
                "give the answer without it"
            )
    length, limit = len(prompt.tokens) + len(ids), pair.positions
    if limit is not None and length > limit:
        room = limit - len(prompt.tokens)
        what = (
            f"response to {room}" if room > 0 else f"prompt to {max(limit - len(ids), limit // 2)}"
        )
        raise AnswerError(
            f"prompt and response have {length} tokens, but the models read at most {limit}: "
            f"shorten the {what} tokens"
        )
