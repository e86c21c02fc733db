"""What is done with a batch of prompts, whoever does it: this process or a worker of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import pyarrow as pa

from twinlens.contract.manifest import Answer, Token
from twinlens.contract.wire import Array
from twinlens.contract.words import SIDES, Given, Side
from twinlens.errors import StudyError, TwinlensError
from twinlens.measures.summary import SCORED_SEGMENTS
from twinlens.studies.data.cases import Case
from twinlens.studies.data.rows import Problem, StudyRow
from twinlens.studies.data.store import as_table
from twinlens.traces.marks import CharacterSpan, span_tokens

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair
    from twinlens.compute.saliency.batch import Known

#: ``own``: each model answers; ``base``, ``tuned``: both read that answer; ``given``: the data's.
Response: TypeAlias = Literal["own", "base", "tuned", "given"]
#: What becomes of prompts: the cases of one or more, whole, as a table of the study (`as_table`),
#: or why one has none.
CaseResult: TypeAlias = pa.Table | Problem
#: Told what is being done.
Say: TypeAlias = Callable[[str], None]
#: From a batch of prompts to their outcomes, in any order, each as soon as it is there.
Work: TypeAlias = Callable[[Sequence[StudyRow], Say], Iterator[CaseResult]]

#: From batches of prompts to their outcomes, in any order.
Engine: TypeAlias = Callable[[Iterator[list[StudyRow]], Say], Iterator[CaseResult]]


@dataclass(frozen=True)
class Job:
    """What a study asks of every prompt; see `twinlens.studies.run.study`."""

    methods: tuple[str, ...]
    response: Response
    max_new_tokens: int
    template: bool | str

    def work(self, pair: Pair, known: Callable[[str], Mapping[Side, Known]] | None = None) -> Work:
        """The work of this job with a pair.

        `known` says, by the id of a row, what need not be computed again. A prompt that cannot be
        worked on is set aside like a bad row; anything that is not an error of twinlens stops the
        study.
        """
        from twinlens.compute.saliency.batch import Attributed, attribute_prompts
        from twinlens.compute.text.prompt import Prompt, read_prompt

        def work(rows: Sequence[StudyRow], say: Say) -> Iterator[CaseResult]:
            readable: list[tuple[StudyRow, Prompt, str]] = []
            for row in rows:
                try:
                    prompt = read_prompt(
                        pair,
                        row.prompt,
                        instruction=list(row.instruction),
                        context=list(row.context),
                        template=self.template,
                    )
                    readable.append((row, prompt, self.reads(row)))
                except TwinlensError as error:
                    yield Problem(row.number, str(error))
            results = attribute_prompts(
                pair,
                [prompt for _, prompt, _ in readable],
                methods=self.methods,
                responses=[response for _, _, response in readable],
                max_new_tokens=self.max_new_tokens,
                known=[known(row.id) for row, *_ in readable] if known else None,
                report=lambda done, total, what: say(f"{what} {done}/{total}"),
            )
            by_number: dict[int, list[Case]] = {}
            for (row, prompt, _), result in zip(readable, results, strict=True):
                if not isinstance(result, Attributed):
                    yield Problem(row.number, str(result))
                    continue
                at = prompt.parts[0].places[0]
                as_case = partial(case_of, row, prompt.text, prompt.tokens, at=at)
                by_number[row.number] = [
                    as_case(
                        side,
                        result.answers[side],
                        result.values[side][method],
                        method=method,
                        hidden=result.hidden[side],
                    )
                    for side in SIDES
                    for method in self.methods
                ]
            if by_number:
                yield as_table(by_number)

        return work

    def reads(self, row: StudyRow) -> str:
        """What both models read after a prompt, see `read_answers`."""
        if self.response != "given":
            return self.response
        if row.answer is None:
            raise StudyError("it has no answer, but response='given' needs one")
        return Given(row.answer)


def case_of(
    row: StudyRow,
    prompt: str,
    tokens: tuple[Token, ...],
    side: Side,
    answer: Answer,
    values: Array,
    *,
    at: int = 0,
    method: str,
    hidden: Mapping[tuple[str, str], Array] | None = None,
) -> Case:
    """The case of one model: its saliency [N, M], and what it read: a row, at code point `at`."""
    scored = [i for i, token in enumerate(tokens) if token.segment in SCORED_SEGMENTS]

    def hit(spans: tuple[CharacterSpan, ...]) -> tuple[int, ...]:
        moved = [(start + at, end + at) for start, end in spans]
        return tuple(sorted(set(span_tokens(prompt, tokens, moved)) & set(scored)))

    judged = side == "tuned"
    return Case(
        id=row.id,
        group=row.group,
        category=row.category,
        side=side,
        prompt=prompt,
        answer=answer.text,
        prompt_tokens=tokens,
        answer_tokens=answer.tokens,
        values=values,
        kind="effects",
        scored=tuple(scored),
        instruction=hit(row.instruction),
        fragments=hit(row.fragments),
        rating=row.rating if judged else None,
        followed=row.followed if judged else None,
        method=method,
        hidden={key: tuple(costs.tolist()) for key, costs in (hidden or {}).items()},
    )
