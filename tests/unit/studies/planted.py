"""Cases with a known answer: an effect, none, or one that only the answer length makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from twinlens.contract.manifest import Answer, Manifest, Method, ModelInfo, PairInfo, Token
from twinlens.contract.wire import Value
from twinlens.contract.words import SIDES
from twinlens.errors import PromptError
from twinlens.studies.data.cases import Case, CaseTrace
from twinlens.studies.data.rows import Problem, StudyRow
from twinlens.studies.data.store import as_table
from twinlens.studies.run.study import here
from twinlens.studies.run.work import CaseResult, Say, Work, case_of
from twinlens.support.progress import Report
from twinlens.traces.trace import Trace

PAIR = PairInfo(
    base=ModelInfo("planted-base", "sha256:0000000000000000", "float32", 1),
    tuned=ModelInfo("planted-tuned", "sha256:1111111111111111", "float32", 1),
    architecture="llama",
    layers=1,
    heads=1,
    kv_heads=1,
    hidden=1,
    intermediate=1,
    vocabulary=100,
)
METHOD = Method("gradient_x_input", "Planted", "Made up, no unit.", "a test", False, "nothing")
PROMPT_TOKENS, INSTRUCTION = 16, (2, 3, 4, 5, 6)


def tokens(texts: list[str]) -> tuple[Token, ...]:
    ends = np.cumsum([len(text) for text in texts]).tolist()
    return tuple(
        Token(i, text, end - len(text), end)
        for i, (text, end) in enumerate(zip(texts, ends, strict=True))
    )


class Planted:
    """Random effects; what tuned gains on the instruction is `effect`.

    `lengths` are the mean answer lengths of base and tuned. `longer_when_followed` gives
    followed answers that many more tokens; `followed_effect` a stronger instruction. `flatter`
    below 1 brings all tokens of tuned nearer to one another. `instruction` are its tokens. `needs`
    is what hiding the instruction costs tuned beyond base on its own answer, base beyond tuned on
    base's, and tuned beyond base where the rest is hidden; without it nothing was hidden.
    """

    pair = PAIR

    def __init__(
        self,
        prompts: int = 40,
        *,
        effect: float = 0.0,
        lengths: tuple[int, int] = (30, 30),
        followed_effect: float = 0.0,
        longer_when_followed: int = 0,
        flatter: float = 1.0,
        instruction: tuple[int, ...] = INSTRUCTION,
        groups: tuple[str, ...] = ("one", "two"),
        needs: tuple[float, float, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.prompts, self.effect, self.lengths = prompts, effect, lengths
        self.followed_effect, self.longer = followed_effect, longer_when_followed
        self.groups, self.seed = groups, seed
        self.flatter, self.instruction = flatter, instruction
        self.needs = needs

    def __iter__(self) -> Iterator[Case]:
        for index in range(self.prompts):
            yield from self.both(index)

    def both(self, index: int) -> list[Case]:
        rng = np.random.default_rng([self.seed, index])
        followed = index % 3 != 0
        result = []
        for side, length in zip(("base", "tuned"), self.lengths, strict=True):
            answer = length + int(rng.integers(-3, 4))
            boost = 0.0
            if side == "tuned":
                boost = self.effect + self.followed_effect * followed
                answer += self.longer * followed
            values = rng.exponential(size=(PROMPT_TOKENS, answer))
            values[list(self.instruction)] *= 1 + boost
            if side == "tuned":
                values **= self.flatter
            result.append(
                Case(
                    id=f"p{index}",
                    group=self.groups[index % len(self.groups)],
                    category="",
                    side=side,
                    prompt=" word" * PROMPT_TOKENS,
                    answer=" yes" * answer,
                    prompt_tokens=tokens([" word"] * PROMPT_TOKENS),
                    answer_tokens=tokens([" yes"] * answer),
                    values=values.astype(np.float32),
                    kind="effects",
                    scored=tuple(range(1, PROMPT_TOKENS)),
                    instruction=self.instruction,
                    fragments=self.instruction[:3],
                    rating=(4 if followed else 1) if side == "tuned" else None,
                    followed=followed if side == "tuned" else None,
                    method="gradient_x_input",
                )
            )
        return result if self.needs is None else [self._hidden(case, result) for case in result]

    def _hidden(self, case: Case, both: list[Case]) -> Case:
        rng = np.random.default_rng([self.seed, int(case.id[1:]), case.side == "tuned", 1])
        on_tuned, on_base, rest = self.needs
        more = {
            ("instruction", "tuned"): on_tuned * (case.side == "tuned"),
            ("instruction", "base"): on_base * (case.side == "base"),
            ("rest", "tuned"): rest * (case.side == "tuned"),
            ("rest", "base"): 0.0,
        }
        lengths = {one.side: one.answer_length for one in both}
        hidden = {
            (segment, answer): tuple(rng.normal(1 + extra, 0.5, lengths[answer]).tolist())
            for (segment, answer), extra in more.items()
        }
        return dataclasses.replace(case, hidden=hidden)

    @property
    def changes(self) -> dict:
        return {}

    @property
    def others(self) -> list[Planted]:
        return []

    def trace(self, case_id: str) -> CaseTrace:
        return CaseTrace(*self.both(int(case_id.removeprefix("p"))), PAIR, METHOD)


class PlantedTrace(Trace):
    """A trace whose saliency depends on the row's number only."""

    #: Answer lengths, instead of short ones that differ from row to row.
    lengths: dict[str, int] | None = None

    def __init__(self, row: StudyRow) -> None:
        words = [row.prompt[i : i + 4] for i in range(0, len(row.prompt), 4)]
        self._rng_seed = row.number
        answers = {
            side: Answer(tokens([" a"] * length), " a" * length, " a" * length, True)
            for side, length in (self.lengths or {"base": 12, "tuned": 9 + row.number % 3}).items()
        }
        special = dataclasses.replace(tokens([""])[0], segment="special")
        self.manifest = Manifest(
            PAIR, row.prompt, (special, *tokens(words)), answers, "own", False, ()
        )

    def keys(self) -> list[str]:
        return []

    def block(self, key: str, report: Report | None = None) -> Value:
        _, side, _ = key.split("/")
        rng = np.random.default_rng([self._rng_seed, side == "tuned"])
        shape = (self.manifest.prompt_length, self.manifest.answer_length(side))
        return rng.normal(size=shape).astype(np.float32)


def traced(tracer: Callable[[StudyRow], Trace], methods: Sequence[str]) -> Work:
    """Work that makes a trace of one prompt after another and keeps its saliency."""

    def cases(row: StudyRow) -> Iterator[Case]:
        trace = tracer(row)
        read = trace.manifest
        for side in SIDES:
            for method in methods:
                values = trace.saliency(side, method).values
                yield case_of(
                    row,
                    read.prompt,
                    read.prompt_tokens,
                    side,
                    read.answers[side],
                    values,
                    method=method,
                )

    def work(rows: Sequence[StudyRow], _: Say) -> Iterator[CaseResult]:
        for row in rows:
            try:
                yield as_table({row.number: list(cases(row))})
            except PromptError as error:
                yield Problem(row.number, str(error))

    return work


def prompts(count: int) -> list[StudyRow]:
    """Rows ``p0``, ``p1``, ..."""
    return [StudyRow(i + 1, f"p{i}", f"prompt {i}", ((0, 6),), ((0, 6),)) for i in range(count)]


def open_planted() -> Work:
    """Work that makes planted traces."""
    return traced(PlantedTrace, [METHOD.name])


#: An engine that makes planted traces.
planted = here(open_planted())
