"""One thing that a study asks, and what came out, in sentences.

Those about hiding segments of the prompt, with the choice that decides, and about heads and
concepts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinlens.studies.analysis.comparisons import SIGNIFICANCE, Verdict
from twinlens.studies.analysis.exact import ANSWERS, OWN, READ, ExactComparison
from twinlens.studies.analysis.inference import SMALLEST_PAIRED, Estimate
from twinlens.studies.analysis.weight_changes import shown_components
from twinlens.studies.data.change_tables import Changes, ChangeTable

#: What a verdict says about a claim.
SAYS: dict[Verdict, str] = {
    "holds": "this holds here",
    "turns": "here it is the other way round",
    "no difference shown": "here no difference is shown",
    "too few": "here are too few to say",
    "confounded": "here it cannot be told",
}
_SHOWS: dict[Verdict, str] = {
    "holds": "tuned needs it more",
    "turns": "base needs it more",
    "no difference shown": "no difference is shown",
    "too few": "too few to say",
    "confounded": "it cannot be told from the rest of the prompt",
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


def weight_findings(changes: Changes) -> list[StudyFinding]:
    """One finding per table about the weights."""
    findings = []
    if "heads" in changes:
        findings.append(_heads(changes["heads"]))
    for kind, words in (("task", "user tasks"), ("level", "linguistic levels")):
        if kind in changes:
            findings.append(_labels(changes[kind], words))
    if "rotation" in changes:
        findings.append(_rotation(changes["rotation"]))
    return findings


def _heads(table: ChangeTable) -> StudyFinding:
    """All layers together are the last group of the table."""
    everywhere = [row for row in table.rows if row["layers"] == table.rows[-1]["layers"]]
    first, *others = everywhere
    sentences = []
    for row in others:
        if row["share"] is None or first["share"] is None:
            continue
        text = (
            f"Words of the list {row['list']!r} rise in {row['share']:.1%} of the heads where "
            f"their number of pairs changed, those of {first['list']!r} in {first['share']:.1%} "
            f"(layers {row['layers']}; {row['words']} and {first['words']} words"
        )
        p = "" if row["p"] is None else f"; Welch t over words, two-sided, p = {row['p']:.2g}"
        sentences.append(f"{text}{p}).")
    verdict = _two_sided(others[0], first) if others else None
    claim = "Attention heads gain word pairs with instruction verbs"
    return StudyFinding(claim, verdict, tuple(sentences) or ("No head's word pairs changed.",))


def _two_sided(row: Mapping[str, float | None], first: Mapping[str, float | None]) -> Verdict:
    second, before, p = row["share"], first["share"], row["p"]
    if second is None or before is None or p is None:
        return "too few"
    if p >= SIGNIFICANCE:
        return "no difference shown"
    return "holds" if second > before else "turns"


def _labels(table: ChangeTable, words: str) -> StudyFinding:
    base, *rest = table.parameters["models"]
    everywhere = [row for row in table.rows if row["layers"] == table.rows[-1]["layers"]]
    said = []
    for row in everywhere:
        before = row[f"mean_{base}"]
        if not rest or before is None or row[f"mean_{rest[0]}"] is None:
            continue
        p = "" if row["p"] is None else f" (p = {row['p']:.2g})"
        said.append(f"{row['label']} {before:.1%} and {row[f'mean_{rest[0]}']:.1%}{p}")
    text = f"Share of named concepts per label, {base} and {rest[0] if rest else '-'}: "
    return StudyFinding(
        f"How the concepts spread over {words}", None, (f"{text}{'; '.join(said)}.",)
    )


def _rotation(table: ChangeTable) -> StudyFinding:
    k = shown_components(table)
    rows = [row for row in table.rows if row["k"] == k]
    most = max(rows, key=lambda row: row["mean"])
    mean = sum(row["mean"] for row in rows) / len(rows)
    text = (
        f"The {k} leading concepts of a layer are turned by {mean:.1f} degrees on average over the "
        f"layers, most in layer {most['layer']} ({most['mean']:.1f}); a random rotation turns them "
        f"by {rows[0]['null_mean']:.1f}."
    )
    return StudyFinding("How far the feed-forward concepts are turned", None, (text,))


def exact_findings(
    rows: Sequence[ExactComparison], score: Verdict | None, has_parts: bool
) -> list[StudyFinding]:
    """One finding about the instruction, with those about context and template in its sentences.

    Parameters
    ----------
    score : Verdict or None
        Of the paper's score of the same prompts.
    has_parts : bool
        Whether the instruction is a part of any prompt.
    """
    by_answer = {row.answer: row for row in widest(rows) if row.segment == "instruction"}
    if not by_answer:
        return []
    first = next(by_answer[answer] for answer in ANSWERS if answer in by_answer)
    what = "instruction" if has_parts else "prompt"
    sentences = [_cost(by_answer[answer], what) for answer in ANSWERS if answer in by_answer]
    sentences.append(_deciding(by_answer))
    if score is not None:
        sentences.append(_beside_score(first, score))
    for segment in ("context", "template"):
        sentences += [_cost(row, segment) for row in widest(rows) if row.segment == segment]
    claim = f"Hiding the {what} costs the answers of tuned more than those of base"
    return [StudyFinding(claim, first.verdict, tuple(filter(None, sentences)), first.ids)]


def in_short(rows: Sequence[ExactComparison]) -> str:
    """What hiding the instruction shows, in one short sentence for the first screen."""
    mine = [row for row in widest(rows) if row.segment == "instruction"]
    said = [
        f"{READ[row.answer]}: base {row.base:.2f}, tuned {row.tuned:.2f}, {_SHOWS[row.verdict]}"
        for row in mine
    ]
    return f"Nats per answer token in {mine[0].n} prompts; {'; '.join(said)}."


def widest(rows: Sequence[ExactComparison]) -> list[ExactComparison]:
    """Of each segment and answer the row of all prompts."""
    rows_by_key: dict[tuple[str, str], ExactComparison] = {}
    for row in rows:
        key = (row.segment, row.answer)
        if key not in rows_by_key or row.level == "all":
            rows_by_key[key] = row
    return list(rows_by_key.values())


def _cost(row: ExactComparison, what: str) -> str:
    n = f"{row.n} prompt{'' if row.n == 1 else 's'}"
    text = (
        f"Hiding the {what}, {READ[row.answer]}: {row.base:.3f} nats per answer token in base and "
        f"{row.tuned:.3f} in tuned, more in tuned in {row.higher} of {n}"
    )
    if row.n < SMALLEST_PAIRED:
        return f"{text}; nothing is concluded from fewer than {SMALLEST_PAIRED} prompts."
    text += f"; {_estimate(row.estimate)}"
    if row.answer == OWN:
        text += f"; at equal length {_estimate(row.equal_length)}"
    if math.isfinite(row.beyond_rest.p):
        text += (
            f". Hiding the rest of the prompt instead: {row.rest[0]:.3f} and {row.rest[1]:.3f}; "
            f"difference in differences {_estimate(row.beyond_rest)}"
        )
    return f"{text}."


def _estimate(estimate: Estimate) -> str:
    text = f"typical difference {estimate.difference:+.3f}"
    if math.isfinite(estimate.p):
        text += f" ({estimate.low:+.3f} to {estimate.high:+.3f}), p = {estimate.p:.2g}"
    if math.isfinite(estimate.p_holm) and estimate.p_holm > estimate.p:
        text += f" ({estimate.p_holm:.2g} by Holm over the table)"
    return text


def _deciding(rows: dict[str, ExactComparison]) -> str:
    """Which choice decides what."""
    if "tuned" in rows and "base" in rows:
        on = {side: rows[side].verdict for side in ("tuned", "base")}
        if on["tuned"] == on["base"]:
            return f"Whichever of the two answers both read, {_SHOWS[on['tuned']]}."
        return (
            "Which answer both read decides: on tuned's answers "
            f"{_SHOWS[on['tuned']]}, on base's {_SHOWS[on['base']]}. An answer favours the model "
            "that gave it."
        )
    (only,) = rows
    if only == "given":
        return "Both models read a given answer, which neither of them chose."
    return (
        f"Both models read {only}'s answer, which favours {only}: a study with response='own' "
        "also shows each on its own answer, and both on the other's."
    )


def _beside_score(row: ExactComparison, score: Verdict) -> str:
    if row.verdict == score:
        return f"The score of the paper, from gradients, ends in the same verdict: {score}."
    return (
        f"The score of the paper, from gradients, ends in another verdict ({score}): it weighs "
        "tokens by first-order estimates, while this is the text read again without them."
    )
