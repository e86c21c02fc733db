// The update as singular directions: how few keep the shift, and what the leading ones do.

import {
  keys,
  type UpdateDial,
  type UpdateDirection,
  type UpdateTaken,
} from "../../contract/contract.ts";
import { directionName, MOSTLY, ofKeyHeads, partText } from "../../core/direction.ts";
import { type Got, type Need, optional, quiet, required } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { button, type Choice, clicks, fill, h, picker } from "../../draw/dom.ts";
import { number, percent, quote, signed, tokenText } from "../../draw/format.ts";
import { choosable, reachable } from "../../draw/roving.ts";
import type { MakePanel, Picture, Row } from "../../shell/frame.ts";
import { type Dial, dialChart, keptChart, nameOf } from "./curves.ts";

const TITLE = "What the update does";
/** Milliseconds after which the other panels follow the dial: a turn may go on. */
const SETTLED = 400;

export const updatePanel: MakePanel = ({ store, signal }) => {
  const curves = h("div", { class: "tl-update-curves" });
  const list = h("div", { class: "tl-update-list" });
  const card = h("div", { class: "tl-update-card" });
  const beside = h("div", {}, list, card);
  const body = h("div", { class: "tl-body tl-update-body" }, curves, beside);
  let drawn: UpdateTaken | null = null;
  let dialled: UpdateDial | null = null;
  let dial: Dial | null = null;

  let waiting: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener("abort", () => clearTimeout(waiting));
  const turn = (scale: number) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => store.setOptions("update", { scale }), SETTLED);
  };
  const turns = picker("what the dial turns", signal, (part) => {
    clearTimeout(waiting);
    const direction = drawn?.directions.find(({ index }) => part === `direction:${index}`);
    const partName = direction ? directionName(direction) : "";
    store.setOptions("update", { part, partName, scale: 1 });
  });
  const choice = h("label", { class: "tl-dial-part tl-quiet" }, "turns ", turns.el);
  const choose = (row: HTMLElement, toggle: boolean) => {
    const direction = drawn?.directions[Number(row.dataset.direction)];
    if (!direction) return;
    const again = toggle && store.options.update.chosen === direction.index;
    store.setOptions("update", { chosen: again ? -1 : direction.index });
    store.select(again ? { layer: -1, head: -1, unit: "" } : selectionOf(direction));
  };
  const buttons = choosable(list, "button[data-direction]", signal, choose);
  const selectToken = ({ dataset }: HTMLElement) => store.select({ token: Number(dataset.at) });
  clicks(card, "button[data-at]", signal, selectToken);
  const ask = button("take it apart", () => store.setOptions("update", { asked: true }), signal, {
    hidden: true,
  });

  return {
    label: "What the update does",
    controls: [ask],
    body,
    reads: ({ selection: { layer, head, unit } }) => [layer, head, unit],
    needs,
    picture(state, got) {
      const taken = got(keys.update()).value ?? null;
      const { layer, head, unit } = state.selection;
      const { chosen, scale } = state.options.update;
      const part = partOf(state);
      const curve = part ? got(keys.updateDial(part)) : null;
      const turned = curve ? (curve.value ?? null) : taken;
      const where = part && partText(state.options.update);
      const follows = curve?.reason || followText(state, where);
      const texts =
        taken?.directions.map((direction) => direction.tokens.map(([at]) => state.text(at))) ?? [];
      return {
        ...words(state, got, taken),
        table: () => directionsTable(taken),
        draw() {
          ask.hidden = !waits(state);
          // Only for other numbers: the dial stays where it was turned to.
          turns.update(parts(state, taken), part);
          choice.hidden = turns.el.hidden;
          if (drawn !== taken || dialled !== turned) {
            dial = turned && dialChart(turned, where, turn, follows, choice);
            const instead = [choice, h("p", { class: "tl-dial-follows tl-quiet" }, follows)];
            const shown = dial ? [dial.el] : instead;
            curves.replaceChildren(...(taken ? [keptChart(taken), ...shown] : []));
          }
          dial?.show(scale);
          drawn = taken;
          dialled = turned;
          const most = Math.max(1e-9, ...(taken?.directions.map((d) => Math.abs(d.effect)) ?? []));
          fill(
            list,
            ...(taken?.directions ?? []).map((direction, i) =>
              line(
                direction,
                i,
                most,
                direction.index === chosen,
                touches(direction, layer, head, unit),
              ),
            ),
          );
          const at = taken?.directions.findIndex((direction) => direction.index === chosen) ?? -1;
          card.replaceChildren(...(taken && at >= 0 ? about(taken, at, texts[at]!) : []));
          const rows = buttons();
          reachable(rows, rows[at]);
        },
      };
    },
  };
};

/** What else shows the place of the dial. */
function followText(state: State, where: string): string {
  if (!state.live)
    return "Recorded: the answer at each place of the dial. The other panels stay with tuned; they follow where both models are loaded.";
  const tuned = where
    ? `tuned has so much of its update ${where}, and all of it elsewhere`
    : "tuned is base + so much of the update there";
  return `The other panels follow: ${tuned}, and reads the same answer. This panel stays with the whole update; back to × 1 for tuned as it is.`;
}

/** What of the update the dial turns; without models all of it. */
function partOf(state: State): string {
  return state.live ? state.options.update.part : "";
}

/** What of the update it may turn: all, and what is selected. */
function parts(state: State, taken: UpdateTaken | null): Choice<string>[] {
  if (!state.live || !taken) return [];
  const { chosen, part, partName } = state.options.update;
  const direction = taken.directions.find(({ index }) => index === chosen);
  const layer = state.selection.layer >= 0 ? state.selection.layer : direction?.layer;
  const all: Choice<string>[] = [
    { value: "", label: "the whole update" },
    layer === undefined
      ? { value: "layer", label: "a layer: select one", disabled: true }
      : { value: `layer:${layer}`, label: `layer ${layer}` },
    direction
      ? { value: `kind:${direction.kind}`, label: `every ${direction.kind}` }
      : { value: "kind", label: "a kind of matrix: choose a direction", disabled: true },
    direction
      ? { value: `direction:${direction.index}`, label: `direction ${directionName(direction)}` }
      : { value: "direction", label: "one direction: choose it", disabled: true },
  ];
  if (all.some(({ value }) => value === part)) return all;
  const label = partText({ part, partName })
    .replace(/^in /, "")
    .replace(/^along (direction )?/, "direction ");
  return [...all, { value: part, label }];
}

/** Direction by direction, for a file. */
function directionsTable(taken: UpdateTaken | null): Row[] {
  const words = (list: UpdateDirection["reads"]) => list.map(([word]) => word).join(" ");
  const rows = (taken?.directions ?? []).map((direction) => [
    ...[
      direction.layer,
      direction.kind,
      direction.direction,
      direction.effect,
      direction.measured ?? Number.NaN,
      direction.lost,
    ],
    ...[words(direction.reads), words(direction.writes), direction.novelty],
  ]);
  const numbers = ["effect_nats", "measured_nats", "lost_nats"];
  return [["layer", "kind", "direction", ...numbers, "reads", "writes", "is"], ...rows];
}

/** Whether nobody has asked for it: it takes seconds, and of large models minutes. */
function waits(state: State): boolean {
  return possible(state) && state.live && !state.has(keys.update()) && !state.options.update.asked;
}

function possible(state: State): boolean {
  const { shared } = state.manifest;
  return shared && state.answer("tuned").tokens.length > 0 && !state.lacks(keys.update());
}

function needs(state: State): Need[] {
  if (!possible(state) || waits(state)) return [];
  if (!state.live) return quiet(keys.update());
  const part = partOf(state);
  return [...required(keys.update()), ...(part ? optional(keys.updateDial(part)) : [])];
}

function words(state: State, _: Got, taken: UpdateTaken | null): Omit<Picture, "draw"> {
  if (taken) {
    const others = taken.curves.filter(({ order }) => order !== "effect");
    const beside = others.map((curve) => `${curve.needed.toLocaleString("en")} ${nameOf(curve)}`);
    return {
      title: TITLE,
      note: "measured as sets",
      caption: `${taken.needed.toLocaleString("en")} of ${taken.count.toLocaleString("en")} directions keep ${percent(taken.kept)} of the ${number(taken.shift)} nats; it takes ${beside.join(", ")}.`,
      how: `All other directions are taken out; embeddings, norms and biases stay tuned’s and keep ${percent(taken.rest)} alone. With the set base answers ${quote(taken.answer, 60)}. Effects are estimated on the way from base to tuned and add up to ${number(taken.total)} of ${number(taken.shift)} nats; their rank correlation with interventions is ${number(taken.agreement)}. Updates of equal size in random directions shift the answer by ${taken.random.map(signed).join(", ")} nats.`,
    };
  }
  if (!state.manifest.shared) {
    return { title: TITLE, caption: "Each model reads its own answer: both have to read one." };
  }
  const without = state.lacks(keys.update());
  if (without) return { title: TITLE, caption: without };
  const caption = state.live
    ? "The difference of the weights as singular directions, and what each does to this answer."
    : "This recording does not hold it. With the models at hand, press “take it apart” before recording.";
  return { title: TITLE, caption };
}

/** What the panels beside show of a direction: its layer, and the head or neuron it goes through. */
function selectionOf(direction: UpdateDirection): { layer: number; head?: number; unit?: string } {
  const [head, neuron] = [direction.heads[0], direction.neurons[0]];
  if (head && head[1] >= MOSTLY && !ofKeyHeads(direction))
    return { layer: direction.layer, head: head[0] };
  if (neuron && neuron[1] >= MOSTLY) return { layer: direction.layer, unit: `neuron:${neuron[0]}` };
  return { layer: direction.layer };
}

/** Whether a direction belongs to what is selected elsewhere. */
function touches(direction: UpdateDirection, layer: number, head: number, unit: string): boolean {
  if (direction.layer !== layer) return false;
  if (head >= 0) return direction.heads.some(([h, share]) => h === head && share >= MOSTLY / 2);
  if (unit.startsWith("neuron:")) return direction.neurons.some(([n]) => unit === `neuron:${n}`);
  return true;
}

function line(
  direction: UpdateDirection,
  place: number,
  most: number,
  chosen: boolean,
  touched: boolean,
): HTMLElement {
  const style = `width: ${((Math.abs(direction.effect) / most) * 100).toFixed(2)}%`;
  const bar = h("i", {
    class: "tl-direction-bar",
    "data-look": direction.effect < 0 && "hollow",
    style,
  });
  const said = [...direction.writes, ...direction.reads].slice(0, 3).map(([word]) => word);
  return h(
    "button",
    {
      type: "button",
      class: "tl-direction",
      "data-direction": place,
      "data-touched": touched,
      "aria-pressed": String(chosen),
      "aria-label": `${directionName(direction)}, ${signed(direction.effect)} nats, ${said.join(", ")}`,
    },
    h("span", { class: "tl-direction-name tl-cut" }, directionName(direction)),
    h("span", { class: "tl-direction-track" }, bar),
    h(
      "span",
      { class: "tl-direction-value", "data-value": direction.effect },
      signed(direction.effect),
    ),
    h(
      "span",
      { class: "tl-direction-words tl-cut" },
      said.map((word) => tokenText(word).word).join(" "),
    ),
  );
}

/** Everything about one direction, in words. */
function about(taken: UpdateTaken, place: number, texts: readonly string[]): Element[] {
  const direction = taken.directions[place]!;
  const ends = (words: readonly (readonly [string, number])[]) =>
    words.map(([word, cosine]) => `${tokenText(word).word} ${signed(cosine)}`).join(", ");
  const shares = (list: readonly (readonly [number, number])[], what: string) =>
    list.slice(0, 3).map(([n, share]) => `${what}${n} (${percent(share)})`);
  const measured = direction.measured === null ? "" : `, measured ${signed(direction.measured)}`;
  const facts: [string, string][] = [
    ["did", `${signed(direction.effect)} nats of ${number(taken.shift)}${measured}`],
    ["would cost now", `${signed(direction.lost)} nats if it were taken out`],
    ["reads", ends(direction.reads)],
    ["writes", ends(direction.writes)],
    ["heads", shares(direction.heads, `${direction.layer}.`).join(", ")],
    ["neurons", shares(direction.neurons, "").join(", ")],
    ["is", NOVELTY[direction.novelty] ?? ""],
  ];
  const tokens = direction.tokens.map(([at, nats], i) =>
    h(
      "button",
      { type: "button", class: "tl-button", "data-at": at },
      `${quote(texts[i]!, 16)} ${signed(nats)}`,
    ),
  );
  return [
    h("h3", {}, directionName(direction)),
    h(
      "dl",
      {},
      ...facts
        .filter(([, text]) => text)
        .flatMap(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]),
      h("dt", {}, "acts at"),
      h("dd", { class: "tl-flow tl-update-tokens" }, ...tokens),
    ),
  ];
}

const NOVELTY: Record<string, string> = {
  reuse: "along base’s own leading directions, more than a random one would be",
  intruder: "outside base’s leading directions, and larger than the last of them",
  new: "no more along base’s leading directions than a random one",
};
