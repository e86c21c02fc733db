// Words that need an explanation, and texts in which they carry it: a caption is one plain sentence, and
// how what is shown was computed.

import { h } from "./dom.ts";
import { popover } from "./layer.ts";
import type { Tip } from "./tooltip.ts";

/** What a term means, by all its spellings: the first is its name. */
const GLOSSARY: Readonly<Record<string, string>> = {
  "nats, nat":
    "Differences of natural log-probabilities: 0.7 nats is a factor of two, 2.3 a factor of ten, 4.6 a hundred.",
  "log-probability, log-probabilities":
    "Natural logarithm of the probability that a model gives a token: 0 is certain.",
  KL: "Kullback–Leibler divergence: how much worse one model’s prediction is as a guess of the other’s, in nats; 0 where they agree.",
  "Jensen–Shannon, JS":
    "Jensen–Shannon divergence: how far two distributions differ, the same both ways; 0 where they agree, at most 1 bit.",
  "bit, bits": "Information counted in factors of two; one bit is 0.69 nats.",
  "ρ, rho":
    "Spearman’s rank correlation: 1 where two lists have the same order, 0 where their orders have nothing in common.",
  "cos, cosine":
    "Cosine of the angle between two directions: 1 the same, 0 unrelated, −1 opposite.",
  "density, importance density, Importance density":
    "Importance density of Wu et al. (2310.00492, section 3.1): for each answer token the effects are cut into levels; what a prompt token collects over the answer, shorter by a norm.",
  "logit lens, lens":
    "Reading the residual stream after a layer as if it were the last: what the model would predict if it stopped there.",
  "residual stream, residual":
    "What every layer reads and adds to; the last state of it becomes the prediction.",
  "occlusion, Occlusion": "Hiding a token from the model and measuring how the prediction changes.",
  "gradient, first-order":
    "Slope of the prediction as it is: an estimate of what a larger change would do, and often a bad one.",
  "principal direction, Principal directions, principal angle":
    "One of the perpendicular directions, sorted by how much of a layer’s value vectors lies along them.",
  "entropy, Entropy": "How spread out a distribution is: 0 where all of it is on one token.",
  attribution:
    "Saying what a prediction depends on. Where a head attends does not tell that: what it reads there may be of no use.",
  "estimate, estimated, estimates":
    "Computed without an intervention: it may miss what a measured effect would show.",
};

const TERMS = Object.entries(GLOSSARY).map(([names, means]) => ({
  spelt: names.split(", "),
  means,
}));
const NAMED = new Map(TERMS.flatMap((entry) => entry.spelt.map((spelt) => [spelt, entry])));
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
    ...TERMS.flatMap(({ spelt: [name = ""], means }) => [h("dt", {}, name), h("dd", {}, means)]),
  );
}

export interface Said {
  /** One plain sentence or two. */
  caption: string;
  /** The measure, its formula, and what it does not say. */
  how?: string;
}

/** `extra` stands under what is said, such as the buttons that save. */
export function captionLine(signal: AbortSignal, ...extra: HTMLElement[]) {
  const plain = h("p", { class: "tl-plain" });
  const text = h("div", { class: "tl-how-text" });
  const label = extra.length ? "how computed · save" : "how computed";
  const more = popover(label, "how it was computed", [text, ...extra], signal, {
    class: "tl-link tl-how",
  });
  const el = h("div", { class: "tl-caption" }, plain, more.el);
  let shown = "";
  return {
    el,
    draw({ caption, how = "" }: Said) {
      const now = JSON.stringify([caption, how]);
      if (now === shown) return;
      shown = now;
      plain.replaceChildren(...explained(caption));
      text.replaceChildren(h("p", {}, ...explained(caption)), h("p", {}, ...explained(how)));
      more.el.hidden = how === "";
      el.hidden = caption === "" && how === "";
    },
  };
}
