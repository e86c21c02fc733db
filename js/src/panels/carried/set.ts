// The smallest set of parts of tuned that carries the difference, measured as a set.

import { type Carried, type Key, keys, type PartOfSet } from "../../contract/contract.ts";
import { type Got, type Need, quiet, required } from "../../core/load.ts";
import type { State } from "../../core/state.ts";
import { NOT_SAVED } from "../../core/state.ts";
import { fill, h } from "../../draw/dom.ts";
import { count, number, percent, quote } from "../../draw/format.ts";
import { choosable, isPressed, reachable } from "../../draw/roving.ts";
import { tips } from "../../draw/tooltip.ts";
import type { Picture, Setting } from "../../shell/frame.ts";
import { asking, bar, missing, targetOf, type View, waits } from "./view.ts";

const TITLE = "What carries it";

export function setView({ store, tooltip, signal }: Setting): View {
  const body = h("div", { class: "tl-carried-list" });
  let drawn: Carried | null = null;

  const choose = (row: HTMLElement, toggle: boolean) => {
    const part = drawn?.parts[Number(row.dataset.part)];
    if (!part) return;
    const { layer, head } = store.selection;
    const again = toggle && layer === part.layer && head === part.head;
    store.select(again ? { layer: -1, head: -1 } : { layer: part.layer, head: part.head });
  };
  const buttons = choosable(body, "button[data-part]", signal, choose);
  tips(body, tooltip, signal, (target) => {
    const row = target.closest<HTMLElement>("[data-part]");
    const part = drawn?.parts[Number(row?.dataset.part)];
    return part && drawn ? { title: nameOf(part), lines: linesOf(part, drawn) } : null;
  });

  const measure = asking(store, signal);

  return {
    name: "set",
    label: "the smallest set",
    table: () => [
      ["part", "nats_with_those_above", "share_with_those_above", "nats_alone", "share_alone"],
      ...(drawn?.parts ?? []).map((part) => [
        ...[nameOf(part), part.together, part.together_share, part.nats, part.share],
      ]),
    ],
    controls: [measure],
    el: body,
    needs,
    picture(state, got) {
      const carried = carriedOf(state, got);
      const { layer, head, token } = state.selection;
      const onRequest = waits(state, keyOf(state));
      const text = quote(state.text(token), 14);
      return {
        ...words(state, got, carried),
        draw() {
          drawn = carried;
          measure.hidden = !onRequest;
          measure.textContent = `measure for ${text} alone`;
          draw(body, carried, { layer, head });
          const rows = buttons();
          reachable(rows, rows.find(isPressed));
        },
      };
    },
  };
}

/** Of the selected answer token, else of the whole answer; there is none of a prompt token. */
function keyOf(state: State): Key<Carried> | null {
  return missing(state) ? null : keys.carried(targetOf(state));
}

function needs(state: State): Need[] {
  const key = keyOf(state);
  if (!key) return [];
  if (state.lacks(key)) return quiet(key);
  if (waits(state, key)) return required(keys.carried("answer"));
  if (state.live || state.has(key)) return required(key);
  // A recording may hold it for the whole answer only.
  return quiet(key, keys.carried("answer"));
}

function carriedOf(state: State, got: Got): Carried | null {
  const key = keyOf(state);
  return (key && (got(key).value ?? got(keys.carried("answer")).value)) ?? null;
}

function words(state: State, got: Got, carried: Carried | null): Omit<Picture, "draw"> {
  const key = keyOf(state);
  if (!key) return { title: TITLE, caption: missing(state) };
  if (!carried) return { title: TITLE, caption: state.lacks(key) || NOT_SAVED };
  const whole = got(key).value === undefined || key === keys.carried("answer");
  const { token } = state.selection;
  const whose = whole ? "the answer" : quote(state.text(token));
  const title = whole ? TITLE : `What carries ${whose}`;
  const apart = `of ${number(carried.shift)} nats`;
  if (carried.parts.length === 0) {
    const caption = `Nothing to carry: the models hardly differ on ${whose} (${number(carried.shift)} nats, KL ${number(carried.kl)}).`;
    return { title, caption };
  }
  const last = carried.parts.at(-1)!;
  const reached = reach(last, carried) >= carried.goal;
  const caption = [
    reached
      ? `${count(carried.parts.length, "part")} of ${carried.count} carry ${percent(reach(last, carried))} of the difference, one more in each row.`
      : `${percent(carried.goal)} is not reached: these carry ${percent(reach(last, carried))}.`,
    whole && token >= state.promptLength && !state.live
      ? "Not recorded for the selected token alone."
      : "",
  ];
  const how = `Parts of tuned are replaced by what base computes there, one more in each row; a bar says what ${whose} loses ${apart}. The grey bar: as many parts drawn at random.`;
  return { title, note: "measured as a set", caption: caption.filter(Boolean).join(" "), how };
}

/** How far the set gets with a part: the smaller share of KL and of the shift, as of the random ones. */
function reach(part: PartOfSet, { shift }: Carried): number {
  return shift === 0 ? part.together_share : Math.min(part.together_share, part.together / shift);
}

function draw(
  body: HTMLElement,
  carried: Carried | null,
  selected: { layer: number; head: number },
): void {
  if (!carried || carried.parts.length === 0) {
    fill(body);
    return;
  }
  const { parts, random, goal } = carried;
  const reaches = parts.map((part) => reach(part, carried));
  const most = Math.max(1, ...reaches);
  const share = (value: number) => Math.min(Math.max(value / most, 0), 1);
  const rows = parts.map((part, i) => {
    return line(part, i, share(i ? reaches[i - 1]! : 0), share(reaches[i]!), selected);
  });
  const mean = random.reduce((sum, value) => sum + value, 0) / (random.length || 1);
  if (random.length) rows.push(randomLine(carried, mean, share));
  const at = `${(share(goal) * 100).toFixed(2)}%`;
  const mark = { class: "tl-carried-mark tl-aside", style: `left: ${at}` };
  fill(
    body,
    h(
      "div",
      { class: "tl-carried-goal", "aria-hidden": "true" },
      h("span", {}),
      h("span", { class: "tl-carried-track" }, h("span", mark, percent(goal))),
      h("span", {}),
    ),
    ...rows,
  );
  body.style.setProperty("--tl-goal", at);
}

function line(
  part: PartOfSet,
  index: number,
  from: number,
  to: number,
  selected: { layer: number; head: number },
): HTMLElement {
  const name = `${index ? "+ " : ""}${nameOf(part)}`;
  const nats = number(part.together);
  const pieces = [
    h("span", { class: "tl-carried-name" }, name),
    h("span", { class: "tl-carried-track" }, bar(0, from, "before"), bar(from, to, "adds")),
    h("span", { class: "tl-carried-value", "data-value": part.together }, nats),
  ];
  const props = { class: "tl-carried-row", "data-part": index };
  if (part.layer < 0) return h("div", props, ...pieces);
  const on = part.head >= 0 && part.layer === selected.layer && part.head === selected.head;
  const label = `${name} ${nats}: nats of the answer, with the parts above`;
  const chosen = { type: "button", "aria-pressed": String(on), "aria-label": label };
  return h("button", { ...props, ...chosen }, ...pieces);
}

/** As many parts drawn at random: what any set of that size would carry. */
function randomLine(
  { parts, random, shift, kl }: Carried,
  mean: number,
  share: (value: number) => number,
): HTMLElement {
  const most = Math.max(...random);
  const title = `${count(random.length, "draw")}: on average ${percent(mean)}, at most ${percent(most)} of KL (${number(kl)} nats) or shift (${number(shift)} nats)`;
  return h(
    "div",
    { class: "tl-carried-row", "data-random": mean, title },
    h("span", { class: "tl-carried-name" }, `${count(parts.length, "random part")}`),
    h("span", { class: "tl-carried-track" }, bar(0, share(mean), "random")),
    h("span", { class: "tl-carried-value" }, percent(mean)),
  );
}

export function nameOf({ kind, layer, head }: PartOfSet): string {
  const word = kind.replaceAll("_", "-");
  if (head >= 0) return `${word} ${layer}.${head}`;
  return layer >= 0 ? `${word} ${layer}` : word;
}

function linesOf(part: PartOfSet, { shift, kl }: Carried): string[] {
  return [
    `with the parts above: ${number(part.together)} of ${number(shift)} nats, ${percent(part.together_share)} of the KL of ${number(kl)} nats`,
    `alone: ${number(part.nats)} nats, ${percent(part.share)} of the KL`,
  ];
}
