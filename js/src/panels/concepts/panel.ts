// Feed-forward units of both models as words; beside them ways to find a unit, one tab each.

import { keys, SIDES } from "../../contract/contract.ts";
import { parseUnit } from "../../contract/units.ts";
import { type Got, type Need, quiet, required } from "../../core/load.ts";
import type { CloudShape, ConceptsOptions, UnitTab } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { button, h, picker } from "../../draw/dom.ts";
import { count, number, percent, quote } from "../../draw/format.ts";
import { captionLine } from "../../draw/glossary.ts";
import { type Tab, tabs } from "../../draw/tabs.ts";
import type { MakePanel, PanelSetting, Row } from "../../shell/frame.ts";
import { componentTable } from "./component_table.ts";
import {
  type Concepts,
  conceptsNeeds,
  conceptsOf,
  layerOf,
  matteredOf,
  type Sheet,
} from "./data.ts";
import { nameEditor } from "./name_editor.ts";
import { neuronCard } from "./neuron_card.ts";
import { neuronList } from "./neuron_list.ts";
import { rotationView } from "./rotation.ts";
import { unitList } from "./unit_list.ts";
import { wordCloud } from "./word_cloud.ts";
import { wordSearch } from "./word_search.ts";

const SHAPES: { value: CloudShape; label: string }[] = [
  { value: "zones", label: "in three zones" },
  { value: "clouds", label: "a cloud per model" },
];
const ENDS: { value: ConceptsOptions["ends"]; label: string }[] = [
  { value: "together", label: "both ends" },
  { value: "apart", label: "ends apart" },
];

const PLAIN =
  "Larger: the direction stands more for that word. Blue: only in base, grey: in both, orange: only in tuned.";

/** A component that turned by fewer degrees is much the same. */
const EASILY = 30;

export const conceptsPanel: MakePanel = (setting) => {
  const { store, signal } = setting;
  const find = (word: string) => store.setOptions("concepts", { tab: "find", word: word.trim() });
  const cloud = wordCloud(setting, find);
  const card = neuronCard(setting);
  const name = nameEditor(store, signal);
  const mattered = matteredOf(setting);
  const sheets = unitSheets(setting);
  const shapes = picker<CloudShape>("How the words are laid out", signal, (shape) =>
    store.setOptions("concepts", { shape }),
  );
  const sides = picker<ConceptsOptions["ends"]>("Ends of the direction", signal, (ends) =>
    store.setOptions("concepts", { ends }),
  );
  return {
    label: "Concepts: feed-forward units as words",
    controls: [shapes.el, sides.el],
    body: h(
      "div",
      { class: "tl-body" },
      h("div", { class: "tl-word-block" }, cloud.el, name.el, card.el),
      sheets.el,
    ),
    reads: ({ selection: { token, layer, unit }, labels, options }) => [
      ...[token, layer, unit, labels],
      options.update.chosen,
    ],
    needs(state, got) {
      const change = state.selection.layer < 0 ? required(keys.componentChange()) : [];
      const layer = layerOf(state, got);
      if (layer === undefined) return change;
      return [
        ...change,
        ...conceptsNeeds(state, layer),
        // Said where it costs nothing.
        ...(state.has(keys.rotation()) ? quiet(keys.rotation()) : []),
        ...card.needs(state),
        ...sheets.needs(state, got, layer),
      ];
    },
    picture(state, got) {
      const { shape, ends } = state.options.concepts;
      const concepts = conceptsOf(state, got, mattered(state, got, layerOf(state, got)!));
      const drawCard = card.picture(state, got);
      const drawSheet = sheets.picture(state, got, concepts);
      return {
        title: titleOf(concepts),
        note: noteOf(concepts),
        caption: PLAIN,
        how: captionOf(state, concepts) + turnedOf(concepts, got),
        table: () => wordTable(concepts),
        draw() {
          shapes.update(SHAPES, shape);
          sides.update(ENDS, ends);
          const sheet = drawSheet();
          cloud.draw(concepts, shape);
          name.draw(concepts);
          drawCard();
          return sheet;
        },
      };
    },
  };
};

/** Word by word, for a file. */
function wordTable({ unit, layer, words, ends }: Concepts): Row[] {
  const all = ends ? [...ends.positive, ...ends.negative] : words;
  const rows = all.map(({ text, zone, scores }) => [
    ...[layer, unit, text, zone, scores.base ?? Number.NaN, scores.tuned ?? Number.NaN],
  ]);
  return [["layer", "unit", "word", "in", "base", "tuned"], ...rows];
}

function titleOf({ unit, layer }: Concepts): string {
  const { kind, index } = parseUnit(unit)!;
  return kind === "neuron"
    ? `Neuron ${index} of layer ${layer}, in base and in tuned`
    : `Concept ${index} of layer ${layer} and its match in tuned`;
}

function noteOf({ cosine, angle, explained }: Concepts): string {
  const note = [`cos ${number(cosine)}`, `turned ${angle.toFixed(0)}°`];
  if (explained) note.push(`variance ${SIDES.map((side) => percent(explained[side])).join(" → ")}`);
  return note.join(" · ");
}

/** One component that turned is no space that turned. */
function turnedOf({ unit, layer, angle }: Concepts, got: Got): string {
  const space = got(keys.rotation()).value?.[layer];
  if (parseUnit(unit)!.kind === "neuron" || angle < EASILY) return "";
  const turned = space
    ? `the space of the layer’s ${space.k} leading ones turned ${space.angle.toFixed(0)}° (at random ${space.null.toFixed(0)}°)`
    : "Rotation says how far the space of the leading ones turned";
  return ` One component turns easily among others of nearly equal variance: ${turned}.`;
}

function captionOf(state: State, { unit, chosen, more, ends, measured }: Concepts): string {
  const { token, layer } = state.selection;
  const neuron = parseUnit(unit)!.kind === "neuron";
  const what = neuron
    ? "Words its value vector points to"
    : "Words nearest to one principal direction of the layer's values";
  const why = chosen
    ? ""
    : token >= 0
      ? ` The ${measured === null ? "most active" : measured ? "one that mattered most, measured," : "one that should have mattered most, an estimate,"} at ${quote(state.text(token))}.`
      : layer >= 0
        ? " The leading one that turned most."
        : " The leading one that turned most, in the upper layer whose concepts turned most.";
  const rest = more ? ` ${count(more, "weaker word")} not drawn.` : "";
  const parted = ends ? "" : ", a minus marks the negative end";
  return `${what}, read from the weights: size is the score, from the weakest word drawn to the strongest${parted}.${why}${rest}`;
}

const TABS = [
  { value: "units", label: "Units" },
  { value: "components", label: "Components" },
  { value: "neurons", label: "Neurons" },
  { value: "find", label: "Find" },
  { value: "rotation", label: "Rotation" },
] as const satisfies readonly Tab<UnitTab>[];

export function unitSheets(setting: PanelSetting) {
  const { store, signal } = setting;
  const sheets: Record<UnitTab, Sheet> = {
    units: unitList(store, signal),
    components: componentTable(store, signal),
    neurons: neuronList(setting),
    find: wordSearch(store, signal),
    rotation: rotationView(setting),
  };
  const sheetOf = (state: State) => sheets[state.options.concepts.tab] ?? sheets.units;
  const last = store.manifest.pair.layers - 1;
  let layer = 0; // as drawn
  const open = (tab: UnitTab) => store.setOptions("concepts", { tab });
  const row = tabs<UnitTab>("Ways to find a unit", TABS, signal, open);
  const title = h("h3", { class: "tl-title" });
  const caption = captionLine(signal);
  const step = (by: number, label: string, sign: string) => {
    const to = () => store.select({ layer: Math.min(Math.max(layer + by, 0), last) });
    return button(sign, to, signal, { "aria-label": label });
  };
  const previous = step(-1, "layer before", "‹");
  const next = step(1, "next layer", "›");
  const stepper = h("div", { class: "tl-stepper" }, previous, next);
  const el = h(
    "div",
    { class: "tl-unit-block" },
    h("div", { class: "tl-flow tl-head" }, h("div", { class: "tl-heading" }, title), stepper),
    row.bar,
    caption.el,
    row.sheet,
  );
  return {
    el,
    /** A sheet that has not got what it needs is not shown, and the rest of the panel is. */
    needs: (state: State, got: Got, shown: number): Need[] =>
      sheetOf(state)
        .needs(state, got, shown)
        .map((need) => (need.without === "fail" ? { ...need, without: "tell" } : need)),
    /** What the chosen tab shows; the result draws it. */
    picture(state: State, got: Got, concepts: Concepts) {
      const { tab } = state.options.concepts;
      const sheet = sheetOf(state);
      const failed = sheet
        .needs(state, got, concepts.layer)
        .some(({ key, without }) => without === "fail" && got(key).state === "failed");
      const picture = failed ? null : sheet.picture(state, got, concepts);
      return () => {
        layer = concepts.layer;
        row.show(tab);
        // In the page before it is filled: a chart measures where it stands.
        if (sheet.el.parentElement !== row.sheet) row.sheet.replaceChildren(sheet.el);
        stepper.hidden = !sheet.layered;
        previous.disabled = layer === 0;
        next.disabled = layer === last;
        title.textContent = picture?.title ?? "";
        caption.draw(picture ?? { caption: "" });
        sheet.el.hidden = picture === null;
        return picture?.draw();
      };
    },
  };
}
