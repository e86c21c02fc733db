// The page of a made-up study of four cases, as Python writes it, with figures that record.

import { gzipSync } from "node:zlib";
import type { Study } from "../../src/report/study.ts";

export const SCORES = {
  base: [0.5, 2, 1.25, -1],
  tuned: [1, 1.5, 0.25, 3],
};

/** Cases as Python packs them: what of their state is their own, and one block of half floats. */
export function packed(...cases: [own: object, numbers: readonly number[]][]): string {
  const heads = cases.map(([own, numbers]) => {
    const length = 2 * numbers.length;
    const entry = { dtype: "float16", shape: [numbers.length], offset: 0, length };
    return [own, { a: { ...entry, halves: numbers.every((n) => n < 16) } }];
  });
  const bytes = cases.flatMap(([, numbers]) => {
    // Levels two by two, others with the low bytes of all before the high ones.
    if (numbers.every((n) => n < 16)) return [numbers[0]! | ((numbers[1] ?? 0) << 4)];
    return [...numbers.map((n) => n & 255), ...numbers.map((n) => n >> 8)];
  });
  const text = Buffer.from(JSON.stringify(heads));
  const length = Buffer.from(new Uint32Array([text.length]).buffer);
  return gzipSync(Buffer.concat([length, text, Buffer.from(bytes)])).toString("base64");
}

/** What `packed` holds of a prompt of two tokens and answers of one. */
export const OWN = {
  title: "a</script>",
  manifest: {
    prompt: "a b",
    prompt_tokens: {
      count: 2,
      id: [5, 6],
      own: { 1: "\u2581b" },
      start: 0,
      end: [1, 2],
      segment: "x",
    },
    answers: { base: { text: "c", tokens: { count: 1, id: 7, start: 0, end: 1 } } },
  },
};

export function study(): Study {
  const figures = { documents: { doc: {} }, roots: { scores: "p1", robust: "p2", profile: "p3" } };
  return {
    sets: [
      [0, 1, 2, 3],
      [1, 3],
      [0, 2],
    ],
    variants: [
      { name: "as published", ...SCORES },
      { name: "raw", base: [1, 1, 1, 1], tuned: [1.5, 0.5, 1, 2] },
    ],
    profiles: [[[0.1, 0.4], null, [0.3, 0.2], null]],
    figures: { light: figures, dark: figures },
    shared: { kind: "saliency", title: "b", manifest: { answers: {} } },
    steps: [{ name: "", panels: [[0, 1], null, null, null] }],
  };
}

const number = (set: number, words: string, more = "") =>
  `<button data-set="${set}" data-words="${words}" ${more}>${set}</button>`;

/** Write the page into the document. */
export function writePage(): void {
  const row = (id: number) => {
    const [base, tuned] = [SCORES.base[id]!, SCORES.tuned[id]!];
    const scores = [base, tuned, tuned - base];
    const cells = scores.map((v) => `<td data-v="${v}">${v.toFixed(2)}</td>`).join("");
    return `<tr data-id="p${id}"><td><button>p${id}</button></td><td>g</td><td></td><td hidden></td>${cells}</tr>`;
  };
  const titles = ["case", "group", "category", "this number", "base", "tuned", "difference"];
  const heads = titles.map((title) => `<th><button>${title}</button></th>`).join("");
  document.documentElement.dataset.theme = "auto";
  document.body.innerHTML = `
    <select id="theme"><option>auto</option><option>light</option><option>dark</option></select>
    <h2 id="cases-title" tabindex="-1">Cases</h2>
    <p><span id="filter-note"></span><button id="clear" hidden>Show all</button></p>
    <div id="cases"><table><thead><tr>${heads}</tr></thead>
      <tbody>${[0, 1, 2, 3].map(row).join("")}</tbody></table></div>
    <section id="case"></section>
    <table><tbody><tr><td>${number(1, "two of them")}</td></tr></tbody></table>
    <div class="scroll"><table><tbody><tr><td>raw</td><td>${number(0, "all", 'data-variant="1"')}</td></tr>
      </tbody></table></div>
    <figure data-figure="robust"><figcaption></figcaption></figure>
    <figure data-figure="scores"><figcaption></figcaption></figure>
    <figure data-figure="profile"><figcaption></figcaption></figure>
    <table><tbody><tr><td>${number(2, "means", 'data-profile="0" data-part="2"')}</td></tr></tbody></table>`;
}

/** A data source that tells when its selection changes, like one of BokehJS. */
export class FakeSource {
  #slots: (() => void)[] = [];
  #indices: number[] = [];
  constructor(
    readonly name: string,
    public data: Record<string, ArrayLike<unknown>>,
  ) {}
  readonly selected = (() => {
    const source = this;
    return {
      get indices() {
        return source.#indices;
      },
      set indices(chosen: number[]) {
        source.#indices = chosen;
        for (const slot of source.#slots) slot();
      },
      properties: {
        indices: { change: { connect: (slot: () => void) => source.#slots.push(slot) } },
      },
    };
  })();
}

/** Put a BokehJS into the page that draws nothing; returns the sources of the last drawing. */
export function fakeBokeh(): { sources: Record<string, FakeSource>; drawn: number } {
  const record = { sources: {} as Record<string, FakeSource>, drawn: 0 };
  const embed_items = async () => {
    const sources = {
      cases: new FakeSource("cases", { ...SCORES, group: ["g", "g", "g", "g"] }),
      variants: new FakeSource("variants", { variant: ["raw"] }),
      profile: new FakeSource("profile", { profile: [0, 0], part: [1, 2] }),
    };
    record.sources = sources;
    record.drawn += 1;
    const document = {
      get_model_by_name: (name: string) => (name === "cases" ? sources.cases : null),
    };
    const view = (name: string, id: string, source: FakeSource) => ({
      model: { name, id, document, renderers: [{ data_source: source }] },
      export: (format: string) => ({ to_blob: async () => new Blob([`${name} as ${format}`]) }),
    });
    const notifications = { model: { name: "notifications", id: "n", document } };
    const roots = [
      view("scores", "p1", sources.cases),
      view("robust", "p2", sources.variants),
      view("profile", "p3", sources.profile),
      notifications,
    ];
    return [{ roots, clear() {} }];
  };
  Object.assign(globalThis, { Bokeh: { embed: { embed_items } } });
  return record;
}

/** A pack of two cases: the second holds two levels, the first two halves that are none. */
export const PACKS = [packed([{ ...OWN, title: "other" }, [0x3c00, 0x4200]], [OWN, [2, 5]])];
