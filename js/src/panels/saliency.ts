// What the answer rests on: bars on the running text, base above and tuned below.

import { bySide, largest, type Numbers } from "../core/numbers.ts";
import type { Options, Store } from "../core/store.ts";
import { h, picker } from "../draw/dom.ts";
import { count, number, quote } from "../draw/format.ts";
import { diverging } from "../draw/theme.ts";
import { type Tip, tips } from "../draw/tooltip.ts";
import {
  type Alternatives,
  type BySide,
  type Faithfulness,
  SIDES,
  type Side,
  type Tensor,
} from "../protocol.ts";
import type { MakePanel, Panel, Picture, View } from "./panel.ts";
import { reachable, roving } from "./roving.ts";
import {
  type Bars,
  focusOf,
  loadBars,
  loadTracks,
  type Track,
  trackScale,
} from "./saliency_data.ts";
import { saliencyNotes } from "./saliency_notes.ts";
import { settings } from "./saliency_settings.ts";
import { pairText, type Strip, tokenStrip } from "./token_strip.ts";

export interface Facts {
  bars: Bars;
  tracks: Track[];
  disagreement: Numbers | null;
  logprob: BySide<Numbers> | null;
  alternatives: BySide<Alternatives> | null;
  /** How far the estimate agrees with exact effects, as far as these are known. */
  agreement: BySide<Faithfulness> | null;
}

/** Prompts with more tokens get lower bars, so that more lines fit. */
const LONG = 80;

export const saliencyPanel: MakePanel = ({ store, tooltip, signal }) => {
  const strips = makeStrips(store);
  const buttons = () => [strips.prompt, ...strips.answers].flatMap((strip) => strip.buttons);
  const notes = saliencyNotes();
  const body = h(
    "div",
    { class: store.promptLength > LONG ? "tl-tokens tl-long" : "tl-tokens" },
    h("div", { class: "tl-row", role: "group", "aria-label": "prompt tokens" }, strips.prompt.el),
    ...strips.answers.map((strip) => answerRow(store, strip)),
    notes.el,
  );
  let facts: Facts | null = null;

  const pick = (element: HTMLElement, toggle: boolean) => {
    const token = Number(element.dataset.token);
    store.select({ token: toggle && store.selection.token === token ? -1 : token });
  };
  body.addEventListener(
    "click",
    (event) => {
      const token = (event.target as HTMLElement).closest<HTMLElement>("[data-token]");
      if (token) pick(token, true);
    },
    { signal },
  );
  roving(body, buttons, (button) => pick(button, false), signal);
  tips(
    body,
    tooltip,
    (target) => {
      const token = target.closest<HTMLElement>("[data-token]");
      return token && facts ? tipOf(store, facts, token) : null;
    },
    signal,
  );

  const method = picker<string>("Saliency method", (name) => store.setMethod(name), signal);
  const measure = picker<Options["answerMeasure"]>(
    "What the bars show",
    (value) =>
      store.setOptions(
        focusOf(store) === "answer"
          ? { answerMeasure: value }
          : { tokenMeasure: value === "density" ? "effect" : value },
      ),
    signal,
  );

  return {
    label: "Saliency: what the answer rests on",
    controls: [measure.el, method.el, settings(store, signal)],
    body,
    async load(view) {
      const loaded = await loadFacts(view);
      return {
        ...words(store, loaded),
        draw() {
          facts = loaded;
          drawStrips(view, strips, loaded);
          notes.draw(view, loaded);
          const { token } = store.selection;
          const all = buttons();
          reachable(
            all,
            all.find((one) => Number(one.dataset.token) === token),
          );
          method.update(
            store.manifest.methods.map(({ name, title }) => ({ value: name, label: title })),
            store.method?.name ?? "",
          );
          measure.update(
            [
              ...(loaded.bars.focus === "answer"
                ? [{ value: "density" as const, label: "density" }]
                : []),
              { value: "effect", label: loaded.bars.focus === "answer" ? "mean effect" : "effect" },
              { value: "levels", label: loaded.bars.focus === "answer" ? "mean level" : "levels" },
            ],
            loaded.bars.measure,
          );
        },
      };
    },
  } satisfies Panel;
};

interface Strips {
  prompt: Strip;
  /** One row where the answer is shared, else one per model. */
  answers: Strip[];
}

function makeStrips(store: Store): Strips {
  const n = store.promptLength;
  const sides: (Side | undefined)[] = store.manifest.shared ? [undefined] : [...SIDES];
  return {
    prompt: tokenStrip(store.manifest.prompt_tokens, 0),
    answers: sides.map((side) => tokenStrip(store.answer(side ?? "tuned").tokens, n, side)),
  };
}

function answerRow(store: Store, strip: Strip): HTMLElement {
  const side = strip.buttons[0]?.dataset.side as Side | undefined;
  const label = store.manifest.shared ? "answer tokens" : `answer tokens of ${side ?? "a model"}`;
  return h(
    "div",
    { class: "tl-row tl-answer", role: "group", "aria-label": label, "data-side": side },
    side && h("span", { class: "tl-side", "data-side": side }, side),
    strip.el,
  );
}

async function loadFacts(view: View): Promise<Facts> {
  const { store } = view;
  const array = async (key: string) => (await view.block<Tensor>(key)).data as Numbers;
  const method = store.method;
  // Facts beside the picture: a page may have left them out.
  const [bars, tracks, disagreement, logprob, alternatives, agreement] = await Promise.all([
    loadBars(view),
    view.optional(loadTracks(view)),
    store.manifest.shared ? view.optional(array("disagreement"), true) : null,
    view.optional(
      bySide((side) => array(`logprob/${side}`)),
      true,
    ),
    view.optional(
      bySide((side) => view.block<Alternatives>(`alternatives/${side}`)),
      true,
    ),
    method && !method.exact
      ? view.optional(
          bySide((side) => view.block<Faithfulness>(`faithfulness/${side}/${method.name}`)),
          true,
        )
      : null,
  ]);
  return { bars, tracks: tracks ?? [], disagreement, logprob, alternatives, agreement };
}

function drawStrips(view: View, strips: Strips, facts: Facts): void {
  const { store, surface } = view;
  const { bars, tracks } = facts;
  const none = { base: null, tuned: null };
  const max = largest(bars.values.base, bars.values.tuned);
  const look = store.method?.exact ? "solid" : "hatched";
  const { base, tuned } = bars.values;
  const gaps = base && tuned ? base.map((value, i) => (tuned[i] ?? Number.NaN) - value) : null;
  const colour = diverging(surface.palette);
  const trackMax = tracks.map(trackScale);
  for (const strip of [strips.prompt, ...strips.answers]) {
    const mine = (strip === strips.prompt) === (bars.on === "prompt") ? bars.values : none;
    strip.bars(mine, max, look);
    strip.differences(mine, largest(gaps), colour);
    strip.tracks(tracks, trackMax);
    strip.select(store.selection.token, store.reading);
    strip.label((i) => labelOf(store, facts, strip, i));
  }
  strips.prompt.collapse(store.options.hideTemplate);
  for (const strip of strips.answers) {
    strip.underlines(facts.disagreement, largest(facts.disagreement));
  }
}

function labelOf(store: Store, facts: Facts, strip: Strip, i: number): string {
  const position = strip.offset + i;
  const kind = position < store.promptLength ? "prompt token" : "answer token";
  const lines = linesOf(store, facts, position, strip.buttons[i]?.dataset.side as Side | undefined);
  return [`${kind} ${position}, ${quote(strip.tokens[i]!.text)}`, ...lines].join("; ");
}

function tipOf(store: Store, facts: Facts, element: HTMLElement): Tip {
  const position = Number(element.dataset.token);
  const side = element.dataset.side as Side | undefined;
  const text = quote(store.text(position, side));
  const segment = element.dataset.segment;
  const name = segment && segment !== "other" ? ` · ${segment}` : "";
  return {
    title: `${text} position ${position}${name}`,
    lines: linesOf(store, facts, position, side),
  };
}

function linesOf(store: Store, facts: Facts, position: number, side: Side | undefined): string[] {
  const { bars } = facts;
  const n = store.promptLength;
  const index = position < n ? position : position - n;
  const here = bars.on === (position < n ? "prompt" : "answer");
  const of = (
    values: BySide<Numbers | null>,
    i: number,
  ): [number | undefined, number | undefined] => [
    side === "tuned" ? undefined : values.base?.[i],
    side === "base" ? undefined : values.tuned?.[i],
  ];
  const lines = here ? [pairText(bars.measure, ...of(bars.values, index))] : [];
  if (position >= n) {
    if (facts.disagreement)
      lines.push(`KL(tuned ‖ base): ${number(facts.disagreement[index]!)} nats`);
    if (facts.logprob) lines.push(pairText("log-probability", ...of(facts.logprob, index)));
    for (const one of SIDES.filter((s) => side === undefined || s === side)) {
      const rivals = facts.alternatives?.[one][index];
      if (rivals?.length) {
        const list = rivals.slice(0, 3).map(([text, p]) => `${quote(text, 12)} ${number(p)}`);
        lines.push(`${one} expects ${list.join(", ")}`);
      }
    }
  }
  for (const track of facts.tracks) {
    const [name] = track.name.split(/[,:;]/);
    lines.push(pairText(name!, ...of(track.values, position)));
  }
  return lines.filter(Boolean);
}

/** Title, note and caption, made from the selection. */
function words(store: Store, { bars }: Facts): Omit<Picture, "draw"> {
  const { token } = store.selection;
  const { method, manifest } = store;
  if (!method) {
    return { title: "Prompt and answer", caption: "This trace has no saliency method." };
  }
  const scale = "Base above, tuned below, one scale.";
  const doubt = method.exact ? "" : " An estimate, not the effect of taking the token away.";
  const note = `${method.exact ? "exact" : "estimate"} · ${method.title}`;
  const { levels, threshold, norm, relative } = store.options.density;
  const picture = store.options.pictureThreshold;
  const levelText = `Levels 0 to ${levels}: share of each answer token's largest effect, levels up to ${picture} left out.`;
  if (bars.focus === "answer") {
    const m = Math.max(...SIDES.map((side) => manifest.answers[side].tokens.length));
    const how = {
      density: `Importance density over ${count(m, "answer token")} (L = ${levels}, b = ${threshold}, p = ${norm}, ${relative ? "divided by the prompt's maximum" : "not divided"}).`,
      effect: `Mean over the answer. ${method.measures}`,
      levels: `Mean over the answer. ${levelText}`,
    }[bars.measure];
    return { title: "What the answer rests on", note, caption: `${how} ${scale}${doubt}` };
  }
  const how = bars.measure === "levels" ? levelText : method.measures;
  if (bars.focus === "prompt token") {
    const title = `Where the prompt token ${quote(store.text(token))} matters`;
    return { title, note, caption: `${how} Shown on the answer tokens. ${scale}${doubt}` };
  }
  return { title: answerTitle(store), note, caption: `${how} ${scale}${doubt}` };
}

function answerTitle(store: Store): string {
  const { token } = store.selection;
  if (store.manifest.shared) return `What the answer token ${quote(store.text(token))} rests on`;
  const names = SIDES.map((side) =>
    token < store.length(side) ? `${quote(store.text(token, side))} (${side})` : `none (${side})`,
  );
  return `What answer token ${token - store.promptLength} rests on: ${names.join(", ")}`;
}
