"""What a trace says about itself: models, prompt, answers, methods."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from twinlens.contract.form_check import check
from twinlens.contract.words import EXACT, PUBLISHED, SIDES, Segment, Side
from twinlens.errors import RecordingError

SCHEMA_VERSION = 1
#: Larger models than there are.
_MOST = {"layers": 10_000, "heads": 10_000, "intermediate": 10_000_000, "hidden": 10_000_000}


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
        `twinlens.traces.marks`); the effect of a group stands at each of its tokens.
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
    own_text : str or None
        The model's own greedy answer, equal to `text` unless the answer is shared; None where it
        was not needed: block ``answer/own/SIDE`` has it.
    stopped : bool or None
        Whether the model's own answer ended by itself, before the token limit; None likewise.
    """

    tokens: tuple[Token, ...]
    text: str
    own_text: str | None
    stopped: bool | None


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        pair = self.pair
        return (
            f"<Manifest of {pair.base.name} | {pair.tuned.name}: {self.prompt_length} prompt "
            f"tokens, response {self.response!r}, {len(self.methods)} methods>"
        )

    @property
    def first_method(self) -> str:
        """Saliency method shown first: the exact one where it is there; "" where there is none."""
        names = [method.name for method in self.methods]
        return EXACT if EXACT in names else next(iter(names), "")

    @property
    def score_method(self) -> str:
        """Method behind densities and scores: that of Wu et al. where it is there."""
        names = [method.name for method in self.methods]
        return PUBLISHED if PUBLISHED in names else next(iter(names), "")

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

    @property
    def components(self) -> int:
        """K, components per layer."""
        return int(self.parameters.get("components", 0))

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
    schema = data.get("schema") if isinstance(data, dict) else None
    if type(schema) is int and schema > SCHEMA_VERSION:
        raise RecordingError(
            f"this recording uses format {schema}, but this version of twinlens reads "
            f"up to format {SCHEMA_VERSION}: upgrade with `pip install -U twinlens`"
        )
    try:
        check(data, Manifest, "manifest")
        manifest = _manifest(data)
        _check_sizes(manifest)
    except ValueError as error:
        raise RecordingError(f"the manifest of this recording is damaged ({error})") from error
    return manifest


def _manifest(data: dict[str, Any]) -> Manifest:
    pair = data["pair"]
    models = {side: ModelInfo(**pair[side]) for side in SIDES}
    answers = {
        side: Answer(**{**data["answers"][side], "tokens": _tokens(data["answers"][side])})
        for side in SIDES
    }
    return Manifest(
        **{
            **data,
            "pair": PairInfo(**{**pair, **models}),
            "prompt_tokens": tuple(Token(**token) for token in data["prompt_tokens"]),
            "answers": answers,
            "methods": tuple(Method(**method) for method in data["methods"]),
        }
    )


def _check_sizes(manifest: Manifest) -> None:
    """Refuse what no model has: everything that is drawn is as long as these say."""
    pair = manifest.pair
    for name, most in _MOST.items():
        if not 0 < getattr(pair, name) <= most:
            raise ValueError(f"{getattr(pair, name)} {name} are impossible")
    components = manifest.parameters.get("components", 0)
    if type(components) is not int or not 0 <= components <= pair.hidden:
        raise ValueError("its number of components is impossible")
    if not manifest.prompt_tokens:
        raise ValueError("it has no prompt tokens")
    if manifest.shared and manifest.answer_length("base") != manifest.answer_length("tuned"):
        raise ValueError("one answer has two lengths")
    answers = [(answer.tokens, answer.text) for answer in manifest.answers.values()]
    for tokens, text in [(manifest.prompt_tokens, manifest.prompt), *answers]:
        for token in tokens:
            if not 0 <= token.start <= token.end <= len(text):
                raise ValueError(f"token {token.text!r} does not lie in its text")


def _tokens(answer: dict[str, Any]) -> tuple[Token, ...]:
    return tuple(Token(**token) for token in answer["tokens"])
