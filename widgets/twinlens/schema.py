"""The contract between computation, files and front end: words, manifest, block keys.

Standard library only; `js/src/protocol.ts` mirrors it and a test compares the two.

Positions count the tokens a model reads: prompt tokens ``0 .. N-1``, answer tokens
``N .. N+M-1``. The prompt is the same for both models; with a shared answer the answer
tokens are too. Whatever happens *inside* the models for a selected answer token is read at
the position that predicts it, see `reading_position`.

Block keys (``S`` is ``base`` or ``tuned``; ``T = N + M`` positions of that side, ``C`` the
positions both sides share: ``T`` with a shared answer, else ``N``; ``L`` layers, ``H`` heads,
``K`` components and ``I`` neurons per layer; ``m`` is an answer token ``0 .. M-1``, or ``answer``
for the sum over the answer; effects are log-probability as it is less that without the thing):

==================================  ===========  ==============================================
key                                 value        meaning
==================================  ===========  ==============================================
``saliency/S/METHOD``               f32 [N, M]   effect of prompt token n on answer token m
``saliency/S/METHOD/m``             f32 [N]      one column of it
``saliency/S/METHOD/so_far``        f32 [N, M]   NaN where not computed yet; live traces only
``faithfulness/S/METHOD``           JSON         agreement with occlusion, on what is exact so far
``deletion/S/METHOD``               JSON         loss of the answer as prompt tokens are hidden
``groups/UNIT``                     JSON         prompt positions of each word, sentence, segment
``logprob/S``                       f32 [M]      log-probability of each answer token, nats
``alternatives/S``                  JSON         per answer token its five likeliest rivals
``disagreement``                    f32 [M]      KL(tuned || base) at each answer token, nats
``attention/S/l/h``                 f16 [T, T]   attention pattern, rows are queries, causal
``heads/change``                    f16 [C,L,H]  Jensen-Shannon divergence of the rows, bits
``heads/instruction/S``             f16 [T,L,H]  attention from a position to the instruction
``heads/sink/S``                    f16 [T,L,H]  attention from a position to the first token
``heads/received/S``                f16 [N,L,H]  mean attention of the answer to a prompt token
``heads/write/S/l/UNIT``            f16 [T,L,H]  head output along the unit's direction
``heads/entropy/S``                 f16 [T,L,H]  entropy of the attention row, bits
``heads/previous/S``                f16 [T,L,H]  attention to the token before; 0 at position 0
``heads/effect/S/m``                f32 [L,H]    first-order effect (gradient through a gate), nats
``heads/ablation/S/KIND/m``         f32 [L,H]    exact effect of the `TOP_HEADS` heads of largest
                                                 estimate, nats; NaN elsewhere
``heads/ablation/S/KIND/m/so_far``  f32 [L,H]    all exact effects that are there; live only
``heads/ablation/S/KIND/m/l/h``     f32 [1]      exact effect of one head
``heads/circuits``                  f32 [L,H,4]  relative difference and cosine of the query-key
                                                 circuit, then of the value-output circuit
``word_pairs/info``                 JSON         how word pairs were found, and how much changed
``word_pairs/counts``               f32 [L,H,3]  pairs of a head that tuned gained, both have,
                                                 and it lost
``word_pairs/l/h``                  JSON         word pairs of one head
``word_pairs/find/WORD``            JSON         heads in which a word is in any pair
``shift/attention``                 f32 [C, L]   relative difference of attention outputs
``shift/feed_forward``              f32 [C, L]   relative difference of feed-forward outputs
``shift/residual``                  f32 [C,L+1]  relative difference of the residual stream
``lens/S/t``                        JSON         logit lens where token t is predicted
``components/change``               f32 [L]      mean of 1 - cosine over the matched components
``components/l``                    JSON         K matched components of layer l with words
``activations/S/l/components``      f16 [T, K]   feed-forward output along each component
``components/l/ends``               JSON         words of either end of each component
``activations/tuned/l/base_components``  f16 [T, K]  tuned's output along *base's* components
``concepts/find/WORD``              JSON         components in which a word stands out
``rotation``                        JSON         how far each layer's components are turned
``neurons/l/t``                     JSON         most active and most changed neurons at token t
``neurons/effect/S/m``              f32 [L, I]   what each neuron adds, first order, nats
``neuron/ablation/S/l/n/m``         f32 [1]      the same of one neuron, exactly
``neuron/change/l/n/t``             JSON         whether the vector moved or it is used more
``neuron/l/n``                      JSON         one neuron of both models with words
``activations/S/l/neuron/n``        f16 [T]      activation of one neuron along the tokens
==================================  ===========  ==============================================

In ``heads/effect`` and ``heads/ablation`` the effect is on the log-probability of answer token
``m`` (0 .. M-1), or with ``m`` = ``answer`` on that of the whole answer (the sum over its tokens):
positive where the head raises it. ``KIND`` is one of `ABLATIONS`: the head's output is replaced
at every position by zero, by its mean over the positions of the text, or by what the other model
gives there (shared answers only).

JSON forms::

    faithfulness/S/METHOD   the fields of `twinlens.faithfulness.Faithfulness`
    deletion/S/METHOD  the fields of `twinlens.faithfulness.DeletionCurve`
    groups/UNIT      [[position, ...], ...]   UNIT is word, sentence or segment
    alternatives/S   [[[text, probability], ...five], ... M]
    lens/S/t         {"target": text, "layers": [{"logprob": nats, "rank": 1-based,
                      "top": [[text, probability], ...five]}, ... L + 1]}   (0 is the embedding)
    components/l     [{"base": {"explained": share, "words": [[word, cosine], ...]},
                       "tuned": {"index": k, "explained": share, "words": [...]},
                       "cosine": c, "angle": degrees}, ... K]
                     entry k is component k of base and its match in tuned, signs aligned
                     and, where components are labelled, "name": text or null, "labels": [...]
    components/l/ends  [{"base": {"positive": [[word, cosine], ...], "negative": [...]},
                       "tuned": {...}}, ... K]   in the order and with the signs of components/l
    concepts/find/WORD  {"word": text, "base": [[layer, component, cosine, rank], ...],
                       "tuned": [...]}   best first, at most 20 each; components are numbered as
                     in their own model, rank 1 is the first word of a component
    rotation         [{"layer": l, "k": count, "angle": mean principal angle of the k leading
                       components in degrees, "null": the same for random rotations, "null_low":
                       x, "null_high": x, "inside": share of base's variance that tuned's k
                       leading components hold, "own": that base's own hold, "null_inside": x,
                       "weights": relative norm of the weight difference, "null_weights": x,
                       "added": [[word, cosine], ...] of the difference's first direction}, ... L]
    neurons/l/t      [{"layer": l, "neuron": n, "base": activation, "tuned": activation}, ...];
                     l may be "all", t may be "answer" (mean magnitude where it is predicted)
    neuron/l/n       {"base": {"norm": x, "words": [[word, score], ...], "normed": the words after
                      the weight of the final norm}, "tuned": {...},
                      "cosine": of the two value vectors}
    word_pairs/info  {"parameters": {...}, "words": count, "missing": words without a vector,
                      "heads_changed": heads whose pairs differ between the models}
    word_pairs/l/h   {"rows": [[word, partner, neurons_base, neurons_tuned], ...],
                      "left_out": pairs not listed}   most neurons first; a pair counts that is in
                     more than one neuron, else its number is 0
    word_pairs/find/WORD   [[layer, head, pairs_base, pairs_tuned], ...]   most gained first
    neuron/change/l/n/t  {"moved": relative norm of the difference of the value vectors, "cosine":
                      of the two, "base": activation, "tuned": activation, "used": change of the
                      activation's magnitude, "write": {"base": activation times norm, "tuned": x}}
    words            sorted by absolute score, largest first; the sign is kept
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from twinlens.errors import RecordingError

SCHEMA_VERSION = 1

Side: TypeAlias = Literal["base", "tuned"]
SIDES: tuple[Side, Side] = ("base", "tuned")

Segment: TypeAlias = Literal["special", "template", "instruction", "context", "other"]
SEGMENTS: tuple[Segment, ...] = ("special", "template", "instruction", "context", "other")

PanelKind: TypeAlias = Literal["dashboard", "saliency", "heads", "concepts", "overview"]
PANELS: tuple[PanelKind, ...] = ("dashboard", "saliency", "heads", "concepts", "overview")

#: What a head's output is replaced by to measure its exact effect.
ABLATIONS: tuple[str, str, str] = ("zero", "mean", "other")
#: Heads of largest estimated effect that a table of exact effects holds.
TOP_HEADS = 20

#: Traits of the explorer that make up the selection; -1 and "" mean nothing is selected.
SELECTION_DEFAULTS: dict[str, int | str] = {"token": -1, "layer": -1, "head": -1, "unit": ""}


@dataclass(frozen=True)
class Token:
    """One token as the model read it.

    Attributes
    ----------
    id : int
        Index into the vocabulary.
    text : str
        Its own piece of the text, for display; bytes that are no whole character are ``\\xNN``.
    start, end : int
        Code points ``[start, end)`` of the text it belongs to (the rendered prompt or the answer).
    segment : Segment
        Which part of the prompt it is; answer tokens are ``"other"`` or ``"special"``.
    """

    id: int
    text: str
    start: int
    end: int
    segment: Segment = "other"


@dataclass(frozen=True)
class ModelInfo:
    """Which model made a result.

    Attributes
    ----------
    name : str
        What the user called it: hub id, folder or file name (never an absolute path).
    revision : str
        Hub commit where known, else a hash of the weights, ``sha256:`` and 16 hexadecimal digits.
    dtype : str
        Floating-point type it ran in, such as ``float32``.
    parameters : int
        Number of parameters.
    """

    name: str
    revision: str
    dtype: str
    parameters: int


@dataclass(frozen=True)
class PairInfo:
    """The two models and the shape they share; `note` is shown wherever the pair appears."""

    base: ModelInfo
    tuned: ModelInfo
    architecture: str
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    intermediate: int
    vocabulary: int
    note: str = ""


@dataclass(frozen=True)
class Method:
    """A saliency method, as the front end offers it.

    Attributes
    ----------
    name : str
        Its place in block keys, such as ``gradient_x_input``.
    title : str
        Its name for people.
    measures : str
        What one number is, with its unit, in one sentence.
    source : str
        Paper section or formula.
    exact : bool
        True for an intervention, False for an estimate.
    cost : str
        Model passes for N prompt and M answer tokens.
    unit : str
        What is taken away together: ``token``, ``word``, ``sentence`` or ``segment`` (see
        `twinlens.grouping`); the effect of a group stands at each of its tokens.
    """

    name: str
    title: str
    measures: str
    source: str
    exact: bool
    cost: str
    unit: str = "token"


@dataclass(frozen=True)
class Answer:
    """The answer one model was traced on, and the one it gives by itself.

    Attributes
    ----------
    tokens : tuple of Token
        The answer the model was run on, an end-of-text token included when it was generated.
    text : str
        The same as text.
    own_text : str
        The model's own greedy answer, equal to `text` unless the answer is shared.
    stopped : bool
        Whether the model's own answer ended by itself, before the token limit.
    """

    tokens: tuple[Token, ...]
    text: str
    own_text: str
    stopped: bool


@dataclass(frozen=True)
class Manifest:
    """Everything about a trace but its blocks.

    Attributes
    ----------
    pair : PairInfo
    prompt : str
        The text both models read, template included.
    prompt_tokens : tuple of Token
        N tokens, the same for both models.
    answers : dict of Side to Answer
    response : str
        ``own``, ``base``, ``tuned`` or ``given``: whose answer was traced.
    shared : bool
        Whether both models were run on the same answer tokens.
    methods : tuple of Method
        Saliency methods this trace can show.
    parameters : dict
        Every setting that influences a number, plain JSON values.
    """

    pair: PairInfo
    prompt: str
    prompt_tokens: tuple[Token, ...]
    answers: dict[Side, Answer]
    response: str
    shared: bool
    methods: tuple[Method, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    @property
    def prompt_length(self) -> int:
        """N, the number of prompt tokens."""
        return len(self.prompt_tokens)

    def answer_length(self, side: Side) -> int:
        """M of one side."""
        return len(self.answers[side].tokens)

    def length(self, side: Side) -> int:
        """T = N + M of one side."""
        return self.prompt_length + self.answer_length(side)

    @property
    def common_length(self) -> int:
        """C, the positions that hold the same token in both models."""
        return self.length("base") if self.shared else self.prompt_length

    def segment_positions(self, *segments: Segment) -> list[int]:
        """Positions of the prompt tokens that belong to any of the segments."""
        return [i for i, token in enumerate(self.prompt_tokens) if token.segment in segments]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `manifest_from_json` is the inverse."""
        return dataclasses.asdict(self)


def manifest_from_json(data: Any) -> Manifest:
    """Rebuild a manifest from plain JSON values.

    Raises
    ------
    RecordingError
        If a field is missing or of the wrong form, or the schema is newer than this version.
    """
    try:
        if data["schema"] > SCHEMA_VERSION:
            raise RecordingError(
                f"this recording uses format {data['schema']}, but this version of twinlens reads "
                f"up to format {SCHEMA_VERSION}: upgrade with `pip install -U twinlens`"
            )
        pair = dict(data["pair"])
        answers = {
            side: Answer(**{**data["answers"][side], "tokens": _tokens(data["answers"][side])})
            for side in SIDES
        }
        return Manifest(
            **{
                **data,
                "pair": PairInfo(
                    **{
                        **pair,
                        "base": ModelInfo(**pair["base"]),
                        "tuned": ModelInfo(**pair["tuned"]),
                    }
                ),
                "prompt_tokens": tuple(Token(**token) for token in data["prompt_tokens"]),
                "answers": answers,
                "methods": tuple(Method(**method) for method in data["methods"]),
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordingError(f"the manifest of this recording is damaged ({error})") from error


def _tokens(answer: dict[str, Any]) -> tuple[Token, ...]:
    return tuple(Token(**token) for token in answer["tokens"])


def with_methods(manifest: Manifest, keys: Collection[str]) -> Manifest:
    """The manifest with only the saliency methods whose blocks are among the keys."""
    kept = (m for m in manifest.methods if any(f"saliency/{s}/{m.name}" in keys for s in SIDES))
    return dataclasses.replace(manifest, methods=tuple(kept))


def reading_position(token: int, prompt_length: int) -> int:
    """Position at which the inside of the models is read for a selected token.

    An answer token is read where it is predicted, one position earlier; a prompt token where
    it stands.
    """
    return token - 1 if token >= prompt_length else token


def grows(key: str) -> bool:
    """Whether a block says how far a computation has come, so that it is no answer for good."""
    return key.startswith("faithfulness/") or key.endswith("/so_far")


_UNIT = re.compile(r"(component|neuron):(\d+)")


def parse_unit(unit: str) -> tuple[str, int]:
    """Split a unit such as ``component:2`` or ``neuron:117`` into kind and index.

    Raises
    ------
    ValueError
        If it has another form.
    """
    match = _UNIT.fullmatch(unit)
    if match is None:
        raise ValueError(f"unit {unit!r} is neither 'component:K' nor 'neuron:N'")
    return match[1], int(match[2])
