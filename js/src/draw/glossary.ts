// Words that need an explanation, and texts in which they carry it.

import { h } from "./dom.ts";
import type { Tip } from "./tooltip.ts";

interface Term {
  /** How it stands in a text, by its own name first. */
  spelt: readonly [name: string, ...others: string[]];
  means: string;
}

const GLOSSARY: readonly Term[] = [
  {
    spelt: ["nats", "nat"],
    means:
      "Differences of natural log-probabilities: 0.7 nats is a factor of two, 2.3 a factor of ten, 4.6 a hundred.",
  },
  {
    spelt: ["log-probability", "log-probabilities"],
    means: "Natural logarithm of the probability that a model gives a token: 0 is certain.",
  },
  {
    spelt: ["KL"],
    means:
      "Kullback–Leibler divergence: how much worse one model’s prediction is as a guess of the other’s, in nats; 0 where they agree.",
  },
  {
    spelt: ["Jensen–Shannon", "JS"],
    means:
      "Jensen–Shannon divergence: how far two distributions differ, the same both ways; 0 where they agree, at most 1 bit.",
  },
  {
    spelt: ["bit", "bits"],
    means: "Information counted in factors of two; one bit is 0.69 nats.",
  },
  {
    spelt: ["ρ", "rho"],
    means:
      "Spearman’s rank correlation: 1 where two lists have the same order, 0 where their orders have nothing in common.",
  },
  {
    spelt: ["cos", "cosine"],
    means: "Cosine of the angle between two directions: 1 the same, 0 unrelated, −1 opposite.",
  },
  {
    spelt: ["density", "importance density", "Importance density"],
    means:
      "Importance density of Wu et al. (2310.00492, section 3.1): for each answer token the effects are cut into levels; what a prompt token collects over the answer, shorter by a norm.",
  },
  {
    spelt: ["logit lens", "lens"],
    means:
      "Reading the residual stream after a layer as if it were the last: what the model would predict if it stopped there.",
  },
  {
    spelt: ["residual stream", "residual"],
    means: "What every layer reads and adds to; the last state of it becomes the prediction.",
  },
  {
    spelt: ["occlusion", "Occlusion"],
    means: "Hiding a token from the model and measuring how the prediction changes.",
  },
  {
    spelt: ["gradient", "first-order"],
    means:
      "Slope of the prediction as it is: an estimate of what a larger change would do, and often a bad one.",
  },
  {
    spelt: ["principal direction", "Principal directions", "principal angle"],
    means:
      "One of the perpendicular directions, sorted by how much of a layer’s value vectors lies along them.",
  },
  {
    spelt: ["entropy", "Entropy"],
    means: "How spread out a distribution is: 0 where all of it is on one token.",
  },
  {
    spelt: ["attribution"],
    means:
      "Saying what a prediction depends on. Where a head attends does not tell that: what it reads there may be of no use.",
  },
  {
    spelt: ["estimate", "estimated", "estimates"],
    means: "Computed without an intervention: it may miss what a measured effect would show.",
  },
];

const NAMED = new Map(GLOSSARY.flatMap((entry) => entry.spelt.map((spelt) => [spelt, entry])));
const WORDS = new RegExp(
  `(?<![\\p{L}-])(${[...NAMED.keys()].sort((a, b) => b.length - a.length).join("|")})(?![\\p{L}-])`,
  "u",
);

/** A text with its technical words marked: hovered or focused they are explained. */
export function explained(text: string): (HTMLElement | string)[] {
  const seen = new Set<string>();
  return text.split(WORDS).map((part) => {
    const [name] = NAMED.get(part)?.spelt ?? [];
    if (!name || seen.has(name)) return part;
    seen.add(name);
    return h("dfn", { class: "tl-term", tabindex: 0, "data-term": name }, part);
  });
}

/** What a marked word means. */
export function termTip(target: HTMLElement): Tip | null {
  const name = target.closest<HTMLElement>("[data-term]")?.dataset.term ?? "";
  const entry = NAMED.get(name);
  return entry ? { title: name, lines: [entry.means] } : null;
}

/** All of them, for the help. */
export function glossary(): HTMLElement {
  return h(
    "dl",
    { class: "tl-glossary" },
    ...GLOSSARY.flatMap(({ spelt: [name], means }) => [h("dt", {}, name), h("dd", {}, means)]),
  );
}
