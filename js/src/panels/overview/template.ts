// Weights or template: the answer's log-probability in both models, with the chat template around
// the prompt and without it, and what follows from these four numbers.

import { keys, type TemplateEffects } from "../../contract/contract.ts";
import { required, take } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { lacksAnswer, NOT_SAVED } from "../../core/state.ts";
import { h } from "../../draw/dom.ts";
import { quote } from "../../draw/format.ts";
import { tips } from "../../draw/tooltip.ts";
import type { Setting } from "../../shell/frame.ts";
import type { View } from "./view.ts";

/** Numbers of the whole answer, or of one token of it. */
type Numbers = Record<Exclude<keyof TemplateEffects, "left_out">, number>;

export function templateView({ tooltip, signal }: Setting): View {
  const el = h("div", { class: "tl-template" });
  tips(el, tooltip, signal, (target) => {
    const cell = target.closest<HTMLElement>("[data-means]");
    return cell ? { title: cell.textContent ?? "", lines: [cell.dataset.means!] } : null;
  });
  return {
    name: "template",
    label: "Template",
    el,
    needs: (state) => (why(state) ? [] : required(keys.template())),
    picture(state, got) {
      const title = "Weights or template";
      const caption = why(state);
      if (caption) return { title, caption, draw: () => el.replaceChildren() };
      const effects = take(got(keys.template()));
      const { token } = state.selection;
      const at = token - state.promptLength;
      const numbers = numbersOf(effects, at);
      const whose = at >= 0 ? quote(state.text(token)) : "the answer";
      return {
        title,
        note: "measured",
        caption: "What the chat template does, and what the weights do.",
        how: `Log-probability of ${whose} in nats: the prompt in its chat template, and alone, the template’s ${effects.left_out.length} tokens taken out, so that the answer follows it at once. Hiding the template from attention, as the saliency panel does, keeps its tokens in their places, and usually costs far less.`,
        table: () => [Object.keys(numbers), Object.values(numbers)],
        draw: () => el.replaceChildren(table(numbers), sentence(numbers)),
      };
    },
  };
}

/** Why there is nothing to ask for; empty where there is. */
function why(state: State): string {
  const why = lacksAnswer(state, "they can be compared");
  if (why) return why;
  if (state.segment("template").length === 0) {
    return "This prompt has no chat template: trace it with template=True to see what the template does.";
  }
  return state.live || state.has(keys.template()) ? "" : NOT_SAVED;
}

function numbersOf(effects: TemplateEffects, at: number): Numbers {
  const total = (list: number[]) =>
    at >= 0 ? (list[at] ?? Number.NaN) : list.reduce((sum, value) => sum + value, 0);
  return {
    base: total(effects.base),
    tuned: total(effects.tuned),
    base_plain: total(effects.base_plain),
    tuned_plain: total(effects.tuned_plain),
    weights: total(effects.weights),
    template: total(effects.template),
    together: total(effects.together),
  };
}

function table(numbers: Numbers): HTMLElement {
  const { base, tuned, base_plain, tuned_plain, weights, template, together } = numbers;
  const plain = tuned_plain - base_plain;
  return h(
    "table",
    { class: "tl-two-by-two" },
    h("thead", {}, row("", named("alone"), named("in template"), named("template adds"))),
    h(
      "tbody",
      {},
      row(
        named("base", "base"),
        cell(base_plain, "base, the prompt alone"),
        cell(base, "base, the prompt in its template"),
        cell(base - base_plain, "what the template adds in base", "effect"),
      ),
      row(
        named("tuned", "tuned"),
        cell(tuned_plain, "tuned, the prompt alone"),
        cell(tuned, "tuned, the prompt in its template"),
        cell(template, "what the template adds in tuned", "effect"),
      ),
      row(
        named("weights add"),
        cell(plain, "tuned less base, both alone", "effect"),
        cell(weights, "tuned less base, both in the template", "effect"),
        cell(together, "how much more the template adds in tuned than in base", "effect"),
      ),
    ),
  );
}

function row(...cells: (HTMLElement | "")[]): HTMLElement {
  return h("tr", {}, ...cells.map((cell) => cell || h("td")));
}

function named(text: string, side?: "base" | "tuned"): HTMLElement {
  return h("th", { "data-side": side }, text);
}

function cell(value: number, means: string, kind?: "effect"): HTMLElement {
  const text = kind ? plus(value) : nats(value);
  return h("td", { "data-value": value, "data-means": means, "data-kind": kind }, text);
}

function sentence({ weights, template, together }: Numbers): HTMLElement {
  const text = `Weights ${plus(weights)} (tuned − base, in the template), template ${plus(template)} (in it − alone, tuned), together ${plus(together)} nats: ${meaning(together)}`;
  return h("p", { class: "tl-effects-in-words" }, text);
}

/** Nats below which two effects are said to add up. */
const NOTHING = 0.1;

function meaning(together: number): string {
  if (together > NOTHING) return "this much of both comes only where the two meet.";
  if (together < -NOTHING) return "this much either does without the other, too.";
  return "the two add up.";
}

/** To a tenth of a nat, small ones to a hundredth: less means nothing here. */
function nats(value: number): string {
  const text = value.toFixed(Math.abs(value) < 1 ? 2 : 1);
  return Number(text) === 0 ? "0" : text.replace("-", "−");
}

function plus(value: number): string {
  const text = nats(value);
  return value > 0 && text !== "0" ? `+${text}` : text;
}
