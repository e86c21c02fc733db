// Feed-forward units of both models as words.

import { keys, SIDES } from "../../contract/contract.ts";
import { parseUnit } from "../../contract/units.ts";
import { type Got, quiet, required } from "../../core/load.ts";
import type { CloudShape, ConceptsOptions } from "../../core/options.ts";
import type { State } from "../../core/state.ts";
import { h, picker } from "../../draw/dom.ts";
import { count, number, percent, quote } from "../../draw/format.ts";
import type { MakePanel, Row } from "../../shell/frame.ts";
import { type Concepts, conceptsNeeds, conceptsOf, layerOf } from "./data.ts";
import { matteredOf } from "./mattered.ts";
import { nameEditor } from "./name_editor.ts";
import { neuronCard } from "./neuron_card.ts";
import { unitSheets } from "./unit_sheets.ts";
import { wordCloud } from "./word_cloud.ts";

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
