// What tuning changed for a prompt, in plain sentences: those that `measures/findings.py` says of
// the same blocks, wherever these come from.

import {
  type AnswerStep,
  type BySide,
  type Carried,
  EXACT,
  type Finding,
  type HiddenSegment,
  type HiddenSpan,
  type Key,
  keys,
  type Manifest,
  type Null,
  type OtherText,
  type Part,
  type RotationOfLayer,
  SIDES,
  type Side,
  type TemplateEffects,
} from "../contract/contract.ts";
import type { Tensor } from "../contract/decode.ts";
import { SELECTION_DEFAULTS } from "../core/selection.ts";
import { stripped } from "../live/tokenizer.ts";
import {
  beyond,
  binomialTail,
  changedPlaces,
  distinguishable,
  pValue,
  same,
  timesAsFar,
} from "../maths/chance.ts";
import type { Progress, Source } from "../sources/source.ts";
import * as say from "./phrases.ts";

/** Chance that a sentence may have, shared by all kinds of findings. */
const LEVEL = 0.05 / 8;
/** Nats from which something is said to cost. */
const COST = 1;
/** How many times as far as rounding an effect has to go. */
const ROUNDINGS = 2;
/** Sentences that are said at most; blocks that are named as the only ones changed. */
const [MOST, PLACES] = [5, 4];

/** Findings are made of other blocks, each of which comes from its worker. */
export function withFindings(source: Source, manifest: Manifest): Source {
  return {
    ...source,
    async get(key, signal, progress) {
      if (key !== keys.findings() || source.has(key)) return source.get(key, signal, progress);
      const get = <T>(wanted: Key<T>, report?: Report) =>
        source.get(wanted, signal, report) as Promise<T>;
      return findings(manifest, get, progress);
    },
  };
}

type Report = ((said: Progress) => void) | undefined;

/** At most five sentences, the most telling first. */
async function findings(
  manifest: Manifest,
  get: <T>(key: Key<T>, report?: Report) => Promise<T>,
  report: Report,
): Promise<Finding[]> {
  if (!manifest.shared) {
    const why = "Token by token they can be compared where both read one: choose a shared answer.";
    return [nothing("Each model reads its own answer.", why, "")];
  }
  const steps = await get(keys.answerSteps());
  const none = "Nothing here is distinguishable from no tuning.";
  if (same(steps)) return [nothing(none, "Both models predict the same.", "")];
  // All at once: two workers compute them.
  const [chance, base, tuned, hidden] = await Promise.all([
    get(keys.null(), report),
    get(keys.saliency("base", EXACT)),
    get(keys.saliency("tuned", EXACT)),
    get(keys.hiddenSegments()),
  ]);
  if (!distinguishable(steps, chance)) {
    const text = `The predictions differ by ${say.nats(sum(steps.map(({ kl }) => kl)))}. ${besideChance(chance)}.`;
    return [nothing(none, text, drawn(chance))];
  }
  const [elsewhere, carried, rotation] = await Promise.all([
    get(keys.hiddenElsewhere()),
    get(keys.carried("answer"), report),
    get(keys.rotation()).catch(() => []),
  ]);
  const said = [
    copies(manifest, { base, tuned }),
    parts(manifest, steps, chance),
    place(chance),
    segments(hidden, elsewhere, chance),
    carries(manifest, carried),
    spacesKept(rotation),
  ].filter((sentence) => sentence !== null);
  // What would not be said is not measured.
  if (said.length < MOST && manifest.prompt_tokens.some(({ segment }) => segment === "template")) {
    const [effects, others] = await Promise.all([get(keys.template()), get(keys.otherTexts())]);
    said.push(...[ofTemplate(effects, others, chance)].filter((sentence) => sentence !== null));
  }
  return said.slice(0, MOST);
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]) => sum(values) / values.length;

function besideChance(chance: Null): string {
  const times = say.fixed(timesAsFar(chance), 1);
  return `${say.ofUpdate(chance.fraction)} moves predictions ${times} times as far as the same with its signs drawn anew`;
}

function drawn({ update, scrambled }: Null): string {
  return `p ${say.chance(pValue(update, scrambled))}, ${scrambled.length} draws of its signs`;
}

/** Which answer tokens rest most on the same word of the prompt. */
function copies(manifest: Manifest, effects: BySide<Tensor>): Finding | null {
  const { tokens } = manifest.answers.tuned;
  const prompt = manifest.prompt_tokens.map(({ text }) => say.letters(text));
  const answer = tokens.map(({ text }) => say.letters(text));
  const able = answer.flatMap((word, i) => (word && prompt.includes(word) ? [i] : []));
  if (!able.length) return null;
  const m = tokens.length;
  const at = ({ data }: Tensor, n: number, i: number) => data[n * m + i]!;
  const strongest = (effect: (n: number) => number) => {
    let best = 0;
    for (let n = 1; n < prompt.length; n++) if (effect(n) > effect(best)) best = n;
    return best;
  };
  const onItself = (effect: (n: number, i: number) => number) =>
    able.filter((i) => {
      const best = strongest((n) => effect(n, i));
      return effect(best, i) > COST && prompt[best] === answer[i];
    });
  const [base, tuned] = SIDES.map((side) => onItself((n, i) => at(effects[side], n, i))) as [
    number[],
    number[],
  ];
  const gained = onItself((n, i) => Math.fround(at(effects.tuned, n, i) - at(effects.base, n, i)));
  const matching = (i: number) => prompt.filter((word) => word === answer[i]).length;
  const chance = mean(able.map((i) => matching(i) / prompt.length));
  const [p, paired] = [tuned, gained].map((copying) =>
    binomialTail(copying.length, able.length, chance),
  ) as [number, number];
  if (Math.max(p, paired) > LEVEL || tuned.length <= base.length) return null;
  const gain = (i: number) => {
    const best = strongest((n) => at(effects.tuned, n, i));
    return at(effects.tuned, best, i) - Math.max(at(effects.base, best, i), 0);
  };
  const most = tuned.reduce((best, i) => (gain(i) > gain(best) ? i : best));
  const rests = tuned.length > 1 ? "rest" : "rests";
  return finding(
    "copies",
    "Tuned copies.",
    [
      ...say.runsOf(
        tuned.map((i) => stripped(tokens[i]!.text)),
        "token",
      ),
      ...say.ofModels(
        ` ${rests} most on the same word of the prompt: ${say.inWords(tuned.length)} of ${say.inWords(able.length)} in tuned, ${say.inWords(base.length)} in base.`,
      ),
    ],
    `exact; by chance p ${say.chance(p)}; in ${say.inWords(gained.length)} that word also gained most from base to tuned, p ${say.chance(paired)}`,
    "saliency",
    { token: manifest.prompt_tokens.length + most },
  );
}

/** Where the answers part, and how far that is from chance. */
function parts(manifest: Manifest, steps: readonly AnswerStep[], chance: Null): Finding {
  const kl = steps.map((step) => step.kl);
  const most = Math.max(...kl);
  const over = kl.findIndex((value) => value > COST);
  const first = over < 0 ? kl.indexOf(most) : over;
  const largest = kl
    .map((_, i) => i)
    .sort((a, b) => kl[b]! - kl[a]! || a - b)
    .slice(0, 4)
    .sort((a, b) => a - b)
    .filter((i) => kl[i]! > 0.1 * most);
  const { tokens } = manifest.answers.tuned;
  return finding(
    "parts",
    `The answers part at the ${say.ordinal(first)} token.`,
    [
      ["token", say.shown(tokens[first]!.text)],
      ...say.ofModels(
        `: base ${say.percent(steps[first]!.base.logprob)}, tuned ${say.percent(steps[first]!.tuned.logprob)}. In all ${say.nats(sum(kl))}, most at `,
      ),
      ...say.runsOf(
        largest.map((i) => say.shown(tokens[i]!.text)),
        "token",
      ),
      ["", "."],
    ],
    `measured: KL(tuned ‖ base); ${besideChance(chance)}, ${drawn(chance)}`,
    "saliency",
    { token: manifest.prompt_tokens.length + first },
  );
}

/** Where the weights were changed, if not all over. */
function place(chance: Null): Finding | null {
  const places = changedPlaces(chance);
  if (!places.length || places.length > PLACES) return null;
  const several = places.length > 1;
  const names = say.joined(places.map(({ kind, layer }) => nameOf(kind, layer)));
  const share = say.share(sum(places.map(({ weights }) => weights)));
  const lengths = say.joined(places.map(({ length }) => say.share(length)));
  return finding(
    "place",
    `Only ${names} ${several ? "were" : "was"} changed.`,
    say.ofModels(
      `${several ? "They hold" : "It holds"} ${share} of the weights and moved by ${lengths} of their length; all others are the same in base and tuned.`,
    ),
    "exact, from weights",
    "carried",
  );
}

/** What hiding the instruction costs each answer, beside other spans of as many tokens. */
function segments(
  rows: readonly HiddenSegment[],
  spans: readonly HiddenSpan[],
  chance: Null,
): Finding | null {
  const costs = rows.filter(({ segment }) => segment === "instruction");
  const costOf = (answer: string): BySide<number> | null => {
    const row = costs.find((cost) => cost.answer === answer);
    return row ? { base: sum(row.base), tuned: sum(row.tuned) } : null;
  };
  const ofTuned = costOf("tuned");
  if (!ofTuned) return null;
  const ofBase = costOf("base");
  const cost = costs.map(({ answer }) => costOf(answer)!);
  const floor = floorOf(chance);
  if (Math.max(...cost.flatMap(({ base, tuned }) => [base, tuned].map(Math.abs))) < floor) {
    return null;
  }
  const apart = ofTuned.tuned - ofTuned.base;
  const more = cost.map(({ base, tuned }) => tuned - base);
  const p = beyond(
    apart,
    spans.map(({ base, tuned }) => tuned - base),
  );
  let title = "What the instruction is worth depends on the answer.";
  if (Math.max(...more.map(Math.abs)) <= floor) title = "Both need the instruction alike.";
  else if (p > LEVEL) {
    title = "The instruction is not shown to stand out.";
  } else if (Math.min(...more) > -floor && apart > floor)
    title = "Tuned needs the instruction more.";
  else if (Math.max(...more) < -floor) title = "Base needs the instruction more.";
  let text = `Hiding it costs tuned’s answer ${say.signed(ofTuned.base)} in base and ${say.nats(ofTuned.tuned)} in tuned`;
  if (ofBase) {
    text += `; base’s own answer ${say.signed(ofBase.base)} and ${say.nats(ofBase.tuned)}`;
  }
  let checked = "measured";
  if (spans.length > 1) {
    const [base, tuned] = SIDES.map((side) =>
      say.signed(mean(spans.map((span) => span[side as Side]))),
    );
    checked += `; ${say.inWords(spans.length)} spans as long elsewhere: ${base} and ${tuned}, p ${say.chance(p)}`;
  }
  return finding("segments", title, say.ofModels(`${text}.`), checked, "saliency");
}

/** The smallest set of parts that carries the difference. */
function carries(manifest: Manifest, carried: Carried): Finding | null {
  const { parts, random, shift, goal, count, weights } = carried;
  if (!parts.length || parts.length > count / 2) return null;
  const { together, together_share } = parts.at(-1)!;
  const reached = Math.min(together_share, together / (shift || 1));
  if (reached < goal || reached <= Math.max(...random)) return null;
  const head = parts.find(({ kind }) => kind === "head");
  const several = parts.length > 1;
  const number = say.inWords(parts.length);
  let also = "";
  if (weights[0] && weights[0].share >= goal) {
    const name = nameOf(weights[0].kind, weights[0].layer);
    also = ` The weights of ${name} alone make ${say.share(weights[0].share)} of it.`;
  }
  return finding(
    "carries",
    `${capital(number)} part${several ? "s" : ""} of ${count} ${several ? "carry" : "carries"} it.`,
    say.ofModels(
      `${togetherOf(parts, manifest.pair.layers)}: ${say.signed(together)} of ${say.nats(shift)} ` +
        `(${say.share(reached)}); ${number} random part${several ? "s" : ""}: ` +
        `${say.share(mean(random))}, at most ${say.share(Math.max(0, ...random))}.${also}`,
    ),
    "log-probability, measured as a set",
    "carried",
    head ? { layer: head.layer, head: head.head } : {},
  );
}

/** Names of parts, those of a kind together. */
function togetherOf(parts: readonly Part[], layers: number): string {
  const ofKind = (kind: string) => parts.filter((part) => part.kind === kind);
  const blocks = ofKind("feed_forward")
    .map(({ layer }) => layer)
    .sort((a, b) => a - b);
  const heads = ofKind("head").map(({ layer, head }) => `${layer}.${head}`);
  const names: string[] = parts
    .map(({ kind }) => kind)
    .filter((kind) => kind === "embedding" || kind === "unembedding");
  if (blocks.length === layers) names.unshift(`all ${say.inWords(layers)} feed-forward blocks`);
  else if (blocks.length) names.unshift(`feed-forward ${say.joined(blocks.map(String))}`);
  if (heads.length) names.push(`head${heads.length > 1 ? "s" : ""} ${say.joined(heads)}`);
  return capital(say.joined(names));
}

const capital = (text: string) => text[0]!.toUpperCase() + text.slice(1);

function nameOf(kind: string, layer: number): string {
  const name = kind.replaceAll("_", "-");
  return layer >= 0 ? `the ${name} of layer ${layer}` : `the ${name}`;
}

/** Whether the space of concepts of the layers was kept. */
function spacesKept(rows: readonly RotationOfLayer[]): Finding | null {
  const angles = rows.map(({ angle }) => angle);
  if (!rows.length || Math.max(...rows.map((row) => row.angle - row.null_low)) >= 0) return null;
  const [low, high] = [Math.min(...angles), Math.max(...angles)].map((value) =>
    say.fixed(value, 0),
  );
  const span = low === high ? `${low}°` : `${low} to ${high}°`;
  const random = say.fixed(mean(rows.map((row) => row.null)), 0);
  return finding(
    "kept",
    "Concepts were kept.",
    [["", `Each layer’s space of concepts turned ${span}; random would be ${random}°.`]],
    "from weights",
    "concepts",
  );
}

/** Nats that have to be exceeded: several times what rounding tuned to bfloat16 moves. */
function floorOf({ rounding }: Null): number {
  return Math.max(COST, ROUNDINGS * sum(rounding.map((kl) => Math.sqrt(2 * Math.max(kl, 0)))));
}

/** How much more the chat template is worth to one model, beside other text in its place. */
function ofTemplate(
  effects: TemplateEffects,
  others: readonly OtherText[],
  chance: Null,
): Finding | null {
  const inside = { base: sum(effects.base), tuned: sum(effects.tuned) };
  const plain = { base: sum(effects.base_plain), tuned: sum(effects.tuned_plain) };
  const added = { base: inside.base - plain.base, tuned: inside.tuned - plain.tuned };
  const byOther = {
    base: others.map(({ base }) => base - plain.base),
    tuned: others.map(({ tuned }) => tuned - plain.tuned),
  };
  const together = added.tuned - added.base;
  const byChance = byOther.tuned.map((tuned, i) => tuned - byOther.base[i]!);
  const [weights, floor] = [inside.tuned - inside.base, floorOf(chance)];
  const [p, usual] = [beyond(together, byChance), mean(byChance)];
  // Farther from nothing, not only from other text, and in the same direction.
  const farther = Math.abs(together) > floor && (together - usual) * together > 0;
  const most = Math.max(...[added.tuned, ...byOther.tuned].map(Math.abs));
  let title = `Without the template tuned moves this answer by less than ${say.nats(floor)}.`;
  const told = p < LEVEL;
  if (told && farther) title = sidesPart(added, floor);
  else if (told || most >= floor || weights < floor) return null;
  const above = `; said above ${say.nats(floor)}, twice what bfloat16 moves`;
  return finding(
    "template",
    title,
    say.ofModels(
      `Weights ${say.plus(weights)} nats (in the template), template ${say.plus(added.tuned)} (in tuned), together ${say.plus(together)}.`,
    ),
    `measured; ${say.inWords(others.length)} other texts of its length in its place: together ` +
      `${say.plus(usual)}, p ${say.chance(p)}${floor > COST ? above : ""}`,
    "overview",
  );
}

/** What sets the models apart where the template is taken out. */
function sidesPart(added: BySide<number>, floor: number): string {
  const loser: Side = added.tuned > added.base ? "tuned" : "base";
  const other = SIDES[1 - SIDES.indexOf(loser)]!;
  return added[other] <= -floor
    ? `Without the template ${other} gives this answer more often.`
    : `Without the template ${loser} loses more of this answer than ${other}.`;
}

function finding(
  kind: string,
  title: string,
  text: say.Run[],
  checked: string,
  panel: string,
  selection: Record<string, unknown> = {},
): Finding {
  return { kind, title, text, checked, panel, selection: { ...SELECTION_DEFAULTS, ...selection } };
}

function nothing(title: string, text: string, checked: string): Finding {
  return finding("nothing", title, [["", text]], checked, "overview");
}
