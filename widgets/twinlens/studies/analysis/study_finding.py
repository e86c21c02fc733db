"""One thing that a study asks, and what came out, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from twinlens.studies.analysis.comparisons import Verdict

#: What a verdict says about a claim.
SAYS: dict[Verdict, str] = {
    "holds": "this holds here",
    "turns": "here it is the other way round",
    "no difference shown": "here no difference is shown",
    "too few": "here are too few to say",
    "confounded": "here it cannot be told",
}


@dataclass(frozen=True)
class StudyFinding:
    """One thing that was asked, and what came out.

    Attributes
    ----------
    claim : str
        What the paper says, or what was looked at.
    verdict : Verdict or None
        None where nothing was tested.
    sentences : tuple of str
        Each complete in itself, the most important first.
    ids : tuple of str
        Cases behind it; none for the weights.
    """

    claim: str
    verdict: Verdict | None
    sentences: tuple[str, ...]
    ids: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The sentences, the first led in by the claim and what became of it."""
        if self.verdict is None:
            return list(self.sentences)
        return [f"{self.claim}: {SAYS[self.verdict]}. {self.sentences[0]}", *self.sentences[1:]]
