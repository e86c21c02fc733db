"""What is done with a batch of prompts, whoever does it: this process or a worker of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa

from twinlens.compare import SCORED_SEGMENTS
from twinlens.errors import Interrupted, StudyError, TwinlensError
from twinlens.schema import SIDES
from twinlens.studies.annotation import Span, span_tokens
from twinlens.studies.cases import Case
from twinlens.studies.data import Problem, Row
from twinlens.studies.store import as_table
from twinlens.trace import Trace

if TYPE_CHECKING:
    from twinlens.compute.pair import Pair

#: ``own``: each model answers; ``base``, ``tuned``: both read that answer; ``given``: the data's.
Response: TypeAlias = Literal["own", "base", "tuned", "given"]
#: What becomes of a prompt: its cases as a table of the study (`as_table`), or why there are none.
Outcome: TypeAlias = pa.Table | Problem
#: From a batch of prompts to their outcomes, each as soon as it is there.
Work: TypeAlias = Callable[[Sequence[Row]], Iterator[Outcome]]


@dataclass(frozen=True)
class Job:
    """What a study asks of every prompt; see `twinlens.studies.run.study`."""

    methods: tuple[str, ...]
    response: Response
    max_new_tokens: int
    template: bool

    def work(self, pair: Pair) -> Work:
        """The work of this job with a pair."""

        def tracer(row: Row) -> Trace:
            from twinlens.compute.live import trace_pair

            if self.response == "given" and row.answer is None:
                raise StudyError("it has no answer, but response='given' needs one")
            return trace_pair(
                pair,
                row.prompt,
                instruction=list(row.instruction),
                context=list(row.context),
                response=str(row.answer) if self.response == "given" else self.response,
                max_new_tokens=self.max_new_tokens,
                template=self.template,
            )

        return one_by_one(tracer, self.methods)


def one_by_one(tracer: Callable[[Row], Trace], methods: Sequence[str]) -> Work:
    """Work that makes a trace of each prompt and keeps its saliency by some methods.

    A prompt that cannot be traced is set aside like a bad row; anything that is not an error of
    twinlens stops the study.
    """

    def work(rows: Sequence[Row]) -> Iterator[Outcome]:
        for row in rows:
            try:
                trace = tracer(row)
                cases = [make_case(row, trace, side, name) for name in methods for side in SIDES]
            except Interrupted:
                raise
            except TwinlensError as error:
                yield Problem(row.number, str(error))
            else:
                yield as_table(row.number, cases)

    return work


def make_case(row: Row, trace: Trace, side: Any, method: str) -> Case:
    """The case of one model from a trace of its prompt."""
    manifest = trace.manifest
    scored = manifest.segment_positions(*SCORED_SEGMENTS)
    # With a chat template the prompt stands somewhere inside the text that was read.
    stripped = row.prompt.strip()
    shift = manifest.prompt.find(stripped) - row.prompt.find(stripped)

    def hit(spans: tuple[Span, ...]) -> tuple[int, ...]:
        moved = [(start + shift, end + shift) for start, end in spans]
        return tuple(sorted(set(span_tokens(manifest.prompt_tokens, moved)) & set(scored)))

    judged = side == "tuned"
    return Case(
        id=row.id,
        group=row.group,
        category=row.category,
        side=side,
        prompt=manifest.prompt,
        answer=manifest.answers[side].text,
        prompt_tokens=manifest.prompt_tokens,
        answer_tokens=manifest.answers[side].tokens,
        values=trace.saliency(side, method).values,
        kind="effects",
        scored=tuple(scored),
        instruction=hit(row.instruction),
        fragments=hit(row.fragments),
        rating=row.rating if judged else None,
        followed=row.followed if judged else None,
        method=method,
    )
