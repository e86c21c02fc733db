"""What a study found, in sentences that carry their numbers, tests and doubts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twinlens.studies.analysis.comparisons import (
    DECIDING_TEST,
    SIGNIFICANCE,
    Comparison,
    Question,
    Verdict,
)
from twinlens.studies.analysis.profiles import ANSWER, POSITION, Profile
from twinlens.studies.analysis.statistics import Analysis
from twinlens.studies.analysis.variants import FORMULA_ALONE, VariantOutcome, shares
from twinlens.studies.analysis.weight_changes import shown_components
from twinlens.studies.data.change_tables import Changes, ChangeTable

_CLAIMS: dict[Question, str] = {
    "tuned against base": "The answers of tuned rest more on the instruction than those of base",
    "followed against unfollowed": "Answers of tuned that follow the instruction rest more on it",
}
#: What a verdict says about a claim.
SAYS: dict[Verdict, str] = {
    "holds": "this holds here",
    "turns": "here it is the other way round",
    "vanishes": "here no difference is shown",
    "unknown": "here it cannot be tested",
}


@dataclass(frozen=True)
class Finding:
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


def findings(
    analysis: Analysis, outcomes: Sequence[VariantOutcome], changes: Changes | None = None
) -> list[str]:
    """The texts of everything that `find` finds, in order."""
    return [text for one in find(analysis, outcomes, changes) for text in one.texts]


def find(
    analysis: Analysis, outcomes: Sequence[VariantOutcome], changes: Changes | None = None
) -> list[Finding]:
    """One finding per question, one about the profiles, and those about the weights."""
    found = []
    for question, claim in _CLAIMS.items():
        widest = _widest(analysis.comparisons, question)
        if widest is None:
            continue
        sentences = (_claim(widest) + " " + _length(widest), _robust(outcomes, widest))
        ids = (
            widest.second.ids if widest.higher is not None else widest.first.ids + widest.second.ids
        )
        found.append(Finding(claim, widest.verdict, tuple(filter(None, sentences)), ids))
    profiles = tuple(_u_shape(analysis.profiles) + _driven(analysis.profiles))
    if profiles:
        behind = dict.fromkeys(case for profile in analysis.profiles for case in profile.ids)
        found.append(Finding("Where in prompt and answer it lies", None, profiles, tuple(behind)))
    return found + _weights(changes or {})


def _widest(comparisons: Sequence[Comparison], question: Question) -> Comparison | None:
    mine = [item for item in comparisons if item.question == question]
    return next((item for item in mine if item.level == "all"), mine[0] if mine else None)


def _claim(item: Comparison) -> str:
    first, second = item.first, item.second
    p = item.test(DECIDING_TEST[item.question]).p
    n = f"{first.n} prompts" if item.higher is not None else f"{first.n} and {second.n} answers"
    effect = ""
    if math.isfinite(item.effect):
        effect = f"; {item.effect_name} {item.effect:.2f}"
    if math.isfinite(item.effect_low):
        effect += f" (95 % interval {item.effect_low:.2f} to {item.effect_high:.2f})"
    if math.isfinite(p):
        effect += f"; {DECIDING_TEST[item.question]}, p = {p:.2g}"
    return (
        f"Mean score {first.mean:.4f} ({first.label}) and "
        f"{second.mean:.4f} ({second.label}), {n}{effect}."
    )


def _length(item: Comparison) -> str:
    check = item.length
    lengths = (
        f"Mean answer length {item.first.answer_length:.0f} ({item.first.label}) and "
        f"{item.second.answer_length:.0f} tokens ({item.second.label})."
    )
    if not math.isfinite(check.p):
        return lengths
    at_equal = f"At equal length ({check.how}) the difference is {check.difference:+.4f}"
    at_equal += f", p = {check.p:.2g}"
    if check.explained:
        return f"{lengths} Answer length explains it: {at_equal[0].lower()}{at_equal[1:]}."
    if item.verdict in ("holds", "turns") and check.verdict == item.verdict:
        left = check.difference / item.difference
        if left < 0.5:
            return (
                f"{lengths} Answer length explains a part of it: {at_equal[0].lower()}"
                f"{at_equal[1:]}, {left:.0%} of what it is at full length."
            )
        return f"{lengths} It is not the answer length: {at_equal[0].lower()}{at_equal[1:]}."
    if item.verdict in ("holds", "turns"):
        return f"{lengths} {at_equal}: it can then not be told from chance any more."
    return f"{lengths} {at_equal}."


def _robust(outcomes: Sequence[VariantOutcome], item: Comparison) -> str:
    mine = [o for o in outcomes if (o.question, o.group) == (item.question, item.group)]
    if not mine or item.verdict == "unknown":
        return ""
    counted = shares(o for o in mine if o.method == mine[0].method)
    total = next(share for share in counted if share.setting == "any")
    text = (
        f"Of {total.combinations} combinations of settings the conclusion holds in {total.holds}, "
        f"vanishes in {total.vanishes} and turns in {total.turns}."
    )
    alone = next((o for o in mine if o.variant == FORMULA_ALONE), None)
    if alone is None or alone.verdict == "unknown":
        return text
    how = (
        "the density as its formula alone gives it, not divided by the largest density of the "
        f"prompt, mean over the instruction: difference {alone.difference:+.4f}, p = {alone.p:.2g}"
    )
    if alone.difference * item.difference < 0 and alone.verdict in ("holds", "turns"):
        return (
            f"{text} Without the division the sign turns ({how}): the conclusion {alone.verdict}."
        )
    return f"{text} Without the division ({how}): the conclusion {alone.verdict}."


def _u_shape(profiles: Sequence[Profile]) -> list[str]:
    found = []
    for profile in profiles:
        if profile.name == POSITION:
            curve = profile.values.mean(axis=0)
            ends, middle = (curve[0] + curve[-1]) / 2, curve[2:8].mean()
            shape = "a U shape" if ends > middle else "no U shape"
            said = f"{ends:.3f} at the ends, {middle:.3f} in the middle ({shape})"
            found.append(f"{profile.side} {said}")
    if not found:
        return []
    return [
        "Mean density along the prompt (first and last tenth against tenths 3 to 8): "
        + "; ".join(found)
        + "."
    ]


def _driven(profiles: Sequence[Profile]) -> list[str]:
    found = [
        f"{profile.values.mean():.1%} in {profile.side} ({len(profile.ids)} prompts)"
        for profile in profiles
        if profile.name == ANSWER
    ]
    if not found:
        return []
    return [
        "Share of answer tokens that the instruction drives (at least one instruction token above "
        f"the level threshold), mean over the answer: {', '.join(found)}."
    ]


def _weights(changes: Changes) -> list[Finding]:
    found = []
    if "heads" in changes:
        found.append(_heads(changes["heads"]))
    for kind, words in (("task", "user tasks"), ("level", "linguistic levels")):
        if kind in changes:
            found.append(_labels(changes[kind], words))
    if "rotation" in changes:
        found.append(_rotation(changes["rotation"]))
    return found


def _heads(table: ChangeTable) -> Finding:
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
    return Finding(claim, verdict, tuple(sentences) or ("No head's word pairs changed.",))


def _two_sided(row: Mapping[str, float | None], first: Mapping[str, float | None]) -> Verdict:
    second, before, p = row["share"], first["share"], row["p"]
    if second is None or before is None or p is None:
        return "unknown"
    return "vanishes" if p >= SIGNIFICANCE else "holds" if second > before else "turns"


def _labels(table: ChangeTable, words: str) -> Finding:
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
    return Finding(f"How the concepts spread over {words}", None, (f"{text}{'; '.join(said)}.",))


def _rotation(table: ChangeTable) -> Finding:
    k = shown_components(table)
    rows = [row for row in table.rows if row["k"] == k]
    most = max(rows, key=lambda row: row["mean"])
    mean = sum(row["mean"] for row in rows) / len(rows)
    text = (
        f"The {k} leading concepts of a layer are turned by {mean:.1f} degrees on average over the "
        f"layers, most in layer {most['layer']} ({most['mean']:.1f}); a random rotation turns them "
        f"by {rows[0]['null_mean']:.1f}."
    )
    return Finding("How far the feed-forward concepts are turned", None, (text,))
