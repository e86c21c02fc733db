"""A case: one prompt and what the answer of one model rests on; two make a trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from twinlens.contract import blocks, lookup
from twinlens.contract.manifest import Answer, Manifest, Method, PairInfo, Token
from twinlens.contract.wire import Array, Value
from twinlens.contract.words import Side
from twinlens.errors import LevelsError, UnknownBlockError
from twinlens.measures import density
from twinlens.studies.data.change_tables import Changes
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

if TYPE_CHECKING:
    from twinlens.view.panel import Panel

#: Levels of the published files.
PUBLISHED_LEVELS = 10


@dataclass(frozen=True)
class Case:
    """One prompt, one model, one answer.

    Attributes
    ----------
    id, group, category : str
        As in the data; both models' cases of one prompt share the id.
    side : Side
    prompt, answer : str
    prompt_tokens, answer_tokens : tuple of Token
        N and M of them.
    values : array, shape [N, M]
        Effects of prompt tokens on answer tokens, or importance levels 0 .. 10.
    kind : {"effects", "levels"}
    scored : tuple of int
        Prompt tokens that set the maxima: all but special and template tokens.
    instruction, fragments : tuple of int
        Tokens of the instruction: widened to sentences, and as marked.
    rating : int or None
    followed : bool or None
    method : str
        Name of the saliency method.
    hidden : mapping of (str, str) to tuple of float
        By segment (``instruction``, ``context``, ``template``, or ``rest``: of what a person
        wrote, all but the instruction) and answer (``base``, ``tuned``, ``given``): what hiding
        the segment costs this model on each token of that answer, in nats; exact. Empty where that
        was not measured.
    """

    id: str
    group: str
    category: str
    side: Side
    prompt: str
    answer: str
    prompt_tokens: tuple[Token, ...] = field(repr=False)
    answer_tokens: tuple[Token, ...] = field(repr=False)
    values: Array = field(repr=False)
    kind: Literal["effects", "levels"]
    scored: tuple[int, ...] = field(repr=False)
    instruction: tuple[int, ...] = field(repr=False)
    fragments: tuple[int, ...] = field(repr=False)
    rating: int | None
    followed: bool | None
    method: str
    hidden: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict, repr=False)

    @property
    def answer_length(self) -> int:
        """M."""
        return int(self.values.shape[1])

    def levels(self, count: int = PUBLISHED_LEVELS) -> npt.NDArray[np.int64]:
        """Importance levels 0 .. count, shape [N, M].

        Raises
        ------
        LevelsError
            If only finished levels were stored and another number of them is wanted.
        """
        if self.kind == "effects":
            return density.levels(self.values, count, scored=list(self.scored))
        if count != PUBLISHED_LEVELS:
            raise LevelsError(
                f"case {self.id} holds {PUBLISHED_LEVELS} finished levels, not raw effects: "
                f"leave the number of levels at {PUBLISHED_LEVELS}"
            )
        return self.values.astype(np.int64)

    @cached_property
    def has_part_instruction(self) -> bool:
        """Whether the instruction is a proper part of the scored prompt tokens."""
        return 0 < len(set(self.instruction) & set(self.scored)) < len(self.scored)


class Cases(Protocol):
    """Cases of a study, read again at every iteration; base comes before tuned."""

    pair: PairInfo

    @property
    def others(self) -> Sequence[Cases]:
        """The same prompts with the attributions of other methods."""
        ...

    @property
    def changes(self) -> Changes:
        """Tables about the weights of the pair, if there are any."""
        ...

    def __iter__(self) -> Iterator[Case]: ...

    def trace(self, case_id: str) -> CaseTrace:
        """Both cases of a prompt as a trace, for the saliency panel."""
        ...


Pairing: TypeAlias = tuple[Case, Case]


def paired(cases: Iterable[Case]) -> Iterator[Pairing]:
    """Base and tuned case of every prompt, in order; prompts that lack a side are left out."""
    waiting: Case | None = None
    for case in cases:
        if waiting is not None and waiting.id == case.id and waiting.side != case.side:
            yield (waiting, case) if case.side == "tuned" else (case, waiting)
            waiting = None
        else:
            waiting = case


class CaseTrace(Trace):
    """The saliency of both cases of one prompt as a trace, for the saliency panel."""

    def __init__(self, base: Case, tuned: Case, pair: PairInfo, method: Method) -> None:
        self._values: dict[Side, Array] = {
            "base": base.values.astype(np.float32),
            "tuned": tuned.values.astype(np.float32),
        }
        instruction = set(tuned.instruction)
        shared = base.answer_tokens == tuned.answer_tokens
        self.manifest = Manifest(
            pair=pair,
            prompt=tuned.prompt,
            prompt_tokens=tuple(
                dataclasses.replace(token, segment="instruction") if i in instruction else token
                for i, token in enumerate(tuned.prompt_tokens)
            ),
            answers={
                case.side: Answer(
                    tokens=case.answer_tokens,
                    text=case.answer,
                    # Whose answer both read was not stored.
                    own_text=None if shared else case.answer,
                    stopped=None if shared else False,
                )
                for case in (base, tuned)
            },
            response="given" if shared else "own",
            shared=shared,
            methods=(method,),
            parameters={"case": tuned.id, "group": tuned.group, "rating": tuned.rating},
        )

    def explore(self, **traits: Any) -> Panel:
        """The saliency panel of this prompt, for a notebook; nothing but saliency was stored.

        Parameters
        ----------
        **traits
            Initial selection and ``theme`` of its explorer, which is ``explore().explorer``.
        """
        from twinlens.view.explorer import Explorer

        return Explorer(self, **traits).saliency()

    def keys(self) -> Iterable[str]:
        """The saliency of both models."""
        return list(blocks.saliency.every(self.manifest))

    def block(self, key: str, report: Report | None = None) -> Value:
        asked = lookup.read(key, self.manifest)
        if asked.block is blocks.saliency:
            return self._values[asked.values["side"]]
        if asked.block is blocks.saliency_column:
            return self._values[asked.values["side"]][:, asked.values["answer_token"]]
        raise UnknownBlockError(f"{key} is not in this trace: it holds the stored saliency only")
