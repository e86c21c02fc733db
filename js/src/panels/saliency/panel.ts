// What the answer rests on: bars on the running text, base above and tuned below.

import { type Key, keys, SIDES, type Side } from "../../contract/contract.ts";
import type { Tensor } from "../../contract/decode.ts";
import type { SaliencyOptions } from "../../core/options.ts";
import type { Store } from "../../core/store.ts";
import { button, h, picker } from "../../draw/dom.ts";
import { reachable, roving } from "../../draw/roving.ts";
import { tips } from "../../draw/tooltip.ts";
import { bySide, largest, type Numbers } from "../../maths/numbers.ts";
import type { MakePanel, View } from "../../shell/frame.ts";
import { saliencyBadge } from "./badge.ts";
import { type Bars, focusOf, loadBars, loadTracks, together, trackScale } from "./data.ts";
import type { Facts } from "./facts.ts";
import { marking } from "./marking.ts";
import { saliencyNotes } from "./notes.ts";
import { labelOf, tipOf, words } from "./sentences.ts";
import { settings } from "./settings.ts";
import { loadShares, sharesChart, stack } from "./shares.ts";
import { shownRun } from "./table.ts";
import { tokenRange } from "./token_range.ts";
import { type Strip, tokenStrip } from "./token_strip.ts";

/** Prompts with more tokens get lower bars, so that more lines fit. */
const LONG = 80;

export const saliencyPanel: MakePanel = ({ store, surface, tooltip, signal }) => {
  const strips = makeStrips(store);
  const buttons = () => [strips.prompt, ...strips.answers].flatMap((strip) => strip.buttons);
  const notes = saliencyNotes();
  const shares = sharesChart();
  const badge = saliencyBadge(store, surface, signal);
  const body = h("div", {
    class: store.promptLength > LONG ? "tl-tokens tl-long" : "tl-tokens",
  });
  const mark = marking(store, strips.prompt, body, signal);
  body.append(
    mark.bar,
    h(
      "div",
      { class: "tl-row tl-prompt", role: "group", "aria-label": "prompt tokens" },
      gutter({ up: "base", down: "tuned", difference: "tuned − base" }),
      strips.prompt.el,
    ),
    ...strips.answers.map((strip) => answerRow(store, strip)),
    notes.el,
    shares.el,
    badge.el,
  );
  let facts: Facts | null = null;
  let latest: View | null = null;

  const isAnswer = (element: HTMLElement) => Number(element.dataset.token) >= store.promptLength;
  const pick = (element: HTMLElement, toggle: boolean) => {
    if (mark.active && !isAnswer(element)) return;
    const token = Number(element.dataset.token);
    const again = store.selection.token === token && store.span === null;
    store.setOptions("saliency", { span: null });
    store.select({ token: toggle && again ? -1 : token });
  };
  body.addEventListener(
    "click",
    (event) => {
      const token = (event.target as HTMLElement).closest<HTMLElement>("[data-token]");
      if (token) pick(token, true);
    },
    { signal },
  );
  for (const strip of strips.answers) {
    const anchor = () => {
      const { token } = store.selection;
      return token >= store.promptLength ? token : undefined;
    };
    const extend = (from: number, to: number) => store.selectSpan(from, to);
    tokenRange(strip.el, { allows: () => true, anchor, extend }, signal);
  }
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
  const measure = picker<SaliencyOptions["answerMeasure"]>(
    "What the bars show",
    (value) =>
      store.setOptions(
        "saliency",
        together(focusOf(store))
          ? { answerMeasure: value }
          : { tokenMeasure: value === "density" ? "effect" : value },
      ),
    signal,
  );
  const whole = button("whole answer", () => store.select({ token: -1 }), signal);

  const paint = (view: View, loaded: Facts) => {
    facts = loaded;
    latest = view;
    drawStrips(view, strips, loaded);
    notes.draw(view, loaded);
    shares.draw(store, loaded.shares);
    badge.draw();
    mark.draw();
    const { token } = store.selection;
    const all = buttons();
    // A range by keyboard moves the focus away from the selected token: leave it there.
    const focused = all.find((one) => one === body.ownerDocument.activeElement);
    reachable(all, focused ?? all.find((one) => Number(one.dataset.token) === token));
    whole.disabled = token < 0;
    method.update(
      store.manifest.methods.map(({ name, title }) => ({ value: name, label: title })),
      store.method?.name ?? "",
    );
    const several = together(loaded.bars.focus);
    measure.update(
      [
        ...(several ? [{ value: "density" as const, label: "density" }] : []),
        { value: "effect", label: several ? "mean effect" : "effect" },
        { value: "levels", label: several ? "mean level" : "levels" },
      ],
      loaded.bars.measure,
    );
  };
  followRuns(store, signal, async () => {
    const view = latest;
    if (!view || view.signal.aborted) return;
    // What is known already comes at once; only the exact cells are new.
    const loaded = await loadFacts(view).catch(() => null);
    if (loaded && !view.signal.aborted && view === latest) paint(view, loaded);
  });

  return {
    label: "Saliency: what the answer rests on",
    controls: [whole, mark.toggle, measure.el, method.el, settings(store, signal)],
    body,
    async load(view) {
      latest = null;
      const loaded = await loadFacts(view);
      return { ...words(store, loaded), draw: () => paint(view, loaded) };
    },
  };
};

/** Draw the new cells of whatever exact run is behind the picture, and all anew when it is done. */
function followRuns(store: Store, signal: AbortSignal, redraw: () => Promise<void>): void {
  const followed = new Set<string>();
  let drawing = false;
  let again = false;
  const changed = async () => {
    if (shownRun(store)?.status === "done") return store.touch();
    if (drawing) {
      again = true;
      return;
    }
    drawing = true;
    do {
      again = false;
      await redraw();
    } while (again);
    drawing = false;
  };
  const follow = () => {
    const run = shownRun(store);
    if (!run || followed.has(run.method)) return;
    followed.add(run.method);
    run.subscribe(() => {
      if (shownRun(store) === run) void changed();
    }, signal);
  };
  follow();
  store.subscribe(follow, signal);
}

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
  const side = sideOf(strip);
  const label = store.manifest.shared ? "answer tokens" : `answer tokens of ${side ?? "a model"}`;
  return h(
    "div",
    { class: "tl-row tl-answer", role: "group", "aria-label": label, "data-side": side },
    gutter({ word: side ?? "answer", stack: "shares" }, side),
    strip.el,
  );
}

type Places = "up" | "word" | "down" | "difference" | "stack";

/** Names of the strips, beside their first line. */
function gutter(names: Partial<Record<Places, string>>, side?: Side): HTMLElement {
  const colours = { up: "base", word: side, down: "tuned", difference: null, stack: null };
  return h(
    "div",
    { class: "tl-gutter", "aria-hidden": "true" },
    ...(["up", "word", "down", "difference", "stack"] as const).map((place) =>
      h(
        "span",
        {
          class: `tl-${place}${colours[place] ? " tl-side" : ""}`,
          "data-side": colours[place],
        },
        h("span", {}, names[place] ?? ""),
      ),
    ),
  );
}

function sideOf(strip: Strip): Side | undefined {
  return strip.buttons[0]?.dataset.side as Side | undefined;
}

async function loadFacts(view: View): Promise<Facts> {
  const { store } = view;
  const array = async (key: Key<Tensor>) => (await view.block(key)).data as Numbers;
  // Facts beside the picture: a page may have left them out.
  const [bars, tracks, disagreement, logprob, alternatives] = await Promise.all([
    loadBars(view),
    view.optional(loadTracks(view)),
    store.manifest.shared ? view.optional(array(keys.disagreement()), true) : null,
    view.optional(
      bySide((side) => array(keys.logprob(side))),
      true,
    ),
    view.optional(
      bySide((side) => view.block(keys.alternatives(side))),
      true,
    ),
  ]);
  const shares = await loadShares(view, bars.tables);
  return { bars, tracks: tracks ?? [], shares, disagreement, logprob, alternatives };
}

function drawStrips(view: View, strips: Strips, facts: Facts): void {
  const { store } = view;
  const { bars, tracks } = facts;
  const none = { base: null, tuned: null };
  const max = largest(bars.values.base, bars.values.tuned);
  const look = (side: Side, i: number) => (bars.exact[side][i] ? "solid" : "hatched");
  const trackMax = tracks.map(trackScale);
  for (const strip of [strips.prompt, ...strips.answers]) {
    const row = strip.el.parentElement!;
    const mine = (strip === strips.prompt) === (bars.on === "prompt");
    strip.bars(mine ? bars.values : none, max, look);
    strip.differences(mine ? bars.differences : null, max, look);
    const { up, down } = mine ? room(bars, max) : { up: 0, down: 0 };
    row.toggleAttribute("data-gaps", mine && bars.differences !== null);
    row.style.setProperty("--tl-room-up", String(up));
    row.style.setProperty("--tl-room-down", String(down));
    strip.tracks(tracks, trackMax);
    strip.select(store.selection.token, store.reading, store.span);
    strip.label((i) => labelOf(store, facts, strip, i));
  }
  strips.prompt.segments(store.segments);
  strips.prompt.collapse(store.options.saliency.hideTemplate);
  const { shares } = facts;
  for (const strip of strips.answers) {
    strip.underlines(facts.disagreement, largest(facts.disagreement));
    const own = sideOf(strip);
    strip.el.parentElement!.dataset.shares = shares?.marked ? "shown" : "none";
    const shown = own ? [own] : SIDES;
    strip.stacks(
      shares?.marked
        ? (i) => stack({ base: shares.along.base[i]!, tuned: shares.along.tuned[i]! }, shown)
        : null,
    );
  }
}

/** How far the differences reach up and down, as shares of the scale. */
function room({ differences }: Bars, max: number): { up: number; down: number } {
  if (!differences || max === 0) return { up: 0, down: 0 };
  const known = [...differences].filter((value) => !Number.isNaN(value));
  return {
    up: Math.max(0, ...known) / max,
    down: -Math.min(0, ...known) / max,
  };
}
