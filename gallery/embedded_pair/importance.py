"""Base against tuned: how much of the answer rests on the instruction, by paired tests over prompts."""

from __future__ import annotations

import numpy as np
from scipy import stats
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from .answers import Answer
from .measure import densities, effect_share, gradient_importance, instruction_score, occlusion

LONGEST = 40
NORMALISATIONS = [(by_maximum, mean) for by_maximum in (True, False) for mean in (False, True)]


def spans(tokenizer: PreTrainedTokenizerFast, row: dict, template: bool) -> tuple[list[int], np.ndarray]:
    """Give the tokens of a prompt and which of them (begin mark left out) belong to the instruction."""
    text = row["prompt"]
    if template:
        text = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
    else:
        text = tokenizer.bos_token + text
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start = text.index(row["prompt"]) + row["prompt"].index(row["instruction"])
    end = start + len(row["instruction"])
    inside = [low < end and high > start for low, high in encoded["offset_mapping"]]
    return encoded["input_ids"], np.array(inside[1:])


def _numbers(model: LlamaForCausalLM, prompt: list[int], answer: list[int], instruction: np.ndarray) -> dict[str, float]:
    gradient = gradient_importance(model, prompt, answer)
    found = {"effect share": effect_share(occlusion(model, prompt, answer), instruction), "gradient share": effect_share(gradient, instruction)}
    for by_maximum, mean in NORMALISATIONS:
        name = f"density, {'divided by the maximum' if by_maximum else 'raw'}, {'mean' if mean else 'sum/log2(2+n)'}"
        found[name] = instruction_score(densities(gradient, by_maximum), instruction, mean)
    return found


def compare(
    models: dict[str, LlamaForCausalLM],
    tokenizer: PreTrainedTokenizerFast,
    rows: list[dict],
    answers: dict[str, list[Answer]],
    template: bool,
) -> list[dict]:
    """Compare the models on tuned's answer, on own answers, and on own answers of one length."""
    lists: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for i, row in enumerate(rows):
        prompt, instruction = spans(tokenizer, row, template)
        own = {name: answers[name][i].ids[:LONGEST] for name in ("base", "tuned")}
        if min(map(len, own.values())) < 2:
            continue
        shortest = min(map(len, own.values()))
        tuned_own = _numbers(models["tuned"], prompt, own["tuned"], instruction)
        cases = {
            "same answer (tuned's)": (_numbers(models["base"], prompt, own["tuned"], instruction), tuned_own),
            "own answers": (_numbers(models["base"], prompt, own["base"], instruction), tuned_own),
            "own answers, one length": tuple(_numbers(models[n], prompt, own[n][:shortest], instruction) for n in ("base", "tuned")),
        }
        for case, (base, tuned) in cases.items():
            for measure in base:
                lists.setdefault((case, measure), []).append((base[measure], tuned[measure]))
    return [_paired(case, measure, np.array(values)) for (case, measure), values in lists.items()]


def _paired(case: str, measure: str, values: np.ndarray) -> dict:
    base, tuned = values.T
    test = stats.ttest_rel(tuned, base)
    return {
        "case": case,
        "measure": measure,
        "base": float(base.mean()),
        "tuned": float(tuned.mean()),
        "t": float(test.statistic),
        "p": float(test.pvalue),
        "tuned higher": int((tuned > base).sum()),
        "n": len(values),
    }
