"""Ratings that come after the answers, as people give them: `rate` puts them onto a study."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from twinlens.contract.manifest import PairInfo
from twinlens.errors import DataError
from twinlens.studies.data.cases import Case, Cases, CaseTrace
from twinlens.studies.data.change_tables import Changes
from twinlens.studies.data.rows import judgement, raw_records

#: 1 (not followed) to 4, as in the paper; or whether the instruction is followed.
Rating: TypeAlias = int | bool
#: The same as two values, of which the first may lack.
Judgement: TypeAlias = tuple[int | None, bool | None]


class Rated:
    """Cases of a study with judgements of tuned's answers; see `rate`."""

    def __init__(self, cases: Cases, ratings: Mapping[str, Judgement]) -> None:
        self._cases, self._ratings = cases, ratings
        self.pair: PairInfo = cases.pair

    @property
    def others(self) -> Sequence[Cases]:
        """The same prompts and judgements, the attributions of other methods."""
        return [Rated(other, self._ratings) for other in self._cases.others]

    @property
    def changes(self) -> Changes:
        """See `Cases.changes`."""
        return self._cases.changes

    def __iter__(self) -> Iterator[Case]:
        for case in self._cases:
            judged = self._ratings.get(case.id) if case.side == "tuned" else None
            if judged:
                rating, followed = judged
                case = dataclasses.replace(case, rating=rating, followed=followed)
            yield case

    def trace(self, case_id: str) -> CaseTrace:
        """See `Cases.trace`."""
        return self._cases.trace(case_id)


def rate(cases: Cases, ratings: Mapping[str, Rating] | str | os.PathLike[str]) -> Rated:
    """Add judgements of tuned's answers to a study whose answers are known by now.

    Parameters
    ----------
    cases : Cases
    ratings : mapping or path
        From the id of a prompt to 1 (not followed) .. 4, or to True or False; or a ``.csv``,
        ``.tsv``, ``.jsonl`` or ``.parquet`` file with the columns ``id`` and ``rating`` or
        ``followed``. Prompts that are not named keep what they have.

    Returns
    -------
    Rated
        The same cases with their judgements, for `analyse` and `write_report`; the study itself
        stays as it is.

    Raises
    ------
    DataError
        If a judgement is none of these, or names a prompt that the study does not have.

    Examples
    --------
    >>> import twinlens as tl
    >>> prompts = [{"prompt": "Make this sentence negative: The cat swims."}]
    >>> store = tl.study(tl.demo_pair(), prompts, "opposites", template=True, max_new_tokens=12)
    >>> from twinlens.studies import rate
    >>> [(case.side, case.rating) for case in rate(store, {"1": 4})]
    [('base', None), ('tuned', 4)]
    """
    if not isinstance(ratings, Mapping | str | os.PathLike):
        raise DataError(
            f"ratings of type {type(ratings).__name__} are none: give a mapping from ids, or a file"
        )
    if isinstance(ratings, Mapping):
        given = [
            (case_id, judgement(None, value) if isinstance(value, bool) else judgement(value, None))
            for case_id, value in ratings.items()
        ]
    else:
        given = list(_of_file(ratings))
    judgements = {case_id: judged for case_id, judged in given if judged != (None, None)}
    unknown = set(judgements) - {case.id for case in cases}
    if unknown:
        raise DataError(
            f"there is a rating of {min(unknown)!r}, but no such prompt in this study: give the "
            "ids of the study"
        )
    return Rated(cases, judgements)


def _of_file(path: str | os.PathLike[str]) -> Iterator[tuple[str, Judgement]]:
    for number, record in enumerate(raw_records(Path(path)), start=1):
        if not isinstance(record, Mapping) or record.get("id") is None:
            raise DataError(f"row {number} of {Path(path).name} has no id: name its prompt there")
        yield str(record["id"]), judgement(record.get("rating"), record.get("followed"))
