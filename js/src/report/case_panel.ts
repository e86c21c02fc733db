// A case opens in the saliency panel, which runs in a frame of its own. Panels are packed as
// `case_packs.py` does it: what all share once, tokens by column, levels as halves of bytes, and the
// bytes of other numbers by their place in a number.

import { packed85, unpacked } from "../contract/packed.ts";
import type { ThemeName } from "../contract/palette.ts";
import { h } from "../draw/dom.ts";
import { tabs } from "../draw/tabs.ts";

/** Where the template of a page leaves room, as Python has it. */
const STATE = "<!--state-->";
const BLOCKS = "<!--blocks-->";
const LEFT_OUT =
  "Its saliency was left out to keep the page small; open it from Python with trace().";

/** Steps of a chain, of which one is shown. */
export interface Steps {
  names: readonly string[];
  now: number;
  onPick(step: number): void;
}

/** Show the page of a case's panel, or say that this page does not carry it. */
export function showCase(host: HTMLElement, id: string, page: string | null, steps: Steps): void {
  const title = h("h3", {}, `Case ${id}`);
  const shown = page === null ? h("p", {}, LEFT_OUT) : frameOf(id, page);
  host.replaceChildren(title, ...(steps.names.length > 1 ? stepped(steps, shown) : [shown]));
  if (page !== null) host.scrollIntoView({ block: "nearest" });
}

function frameOf(id: string, page: string): HTMLElement {
  const frame = h("iframe", { title: `Saliency of case ${id}` });
  frame.srcdoc = page;
  frame.addEventListener("load", () => resize(frame));
  return frame;
}

/** A name for each step, under which its panel stands. */
function stepped({ names, now, onPick }: Steps, shown: HTMLElement): HTMLElement[] {
  const choices = names.map((label, step) => ({ value: String(step), label }));
  const forever = new AbortController().signal;
  const { bar, sheet, show } = tabs("Step of the chain", choices, forever, (v) => onPick(+v));
  show(String(now));
  sheet.append(shown);
  return [bar, sheet];
}

/** The page of a panel: its template, with the state and blocks of one case. */
export function panelPage({ state, blocks }: Opened, template: string, theme: ThemeName): string {
  const themed = JSON.stringify({ ...state, theme }).replaceAll("<", "\\u003c");
  // Functions, because a replacement text would have its dollar signs interpreted.
  return template.replace(STATE, () => themed).replace(BLOCKS, () => blocks);
}

/** The frame is as tall as what it shows, so that nothing scrolls inside it. */
function resize(frame: HTMLIFrameElement): void {
  const inner = frame.contentDocument?.body;
  if (!inner) return;
  new ResizeObserver(() => {
    const shown = inner.querySelector(".tl-content") ?? inner;
    frame.style.height = `${Math.max(320, shown.scrollHeight + 8)}px`;
  }).observe(inner.querySelector("main") ?? inner);
}

/** Tokens by column; `own` are the texts that the whole text does not have in their place. */
type Columns = { count: number; own?: Record<number, string> } & Record<string, unknown>;
interface Manifest {
  prompt: string;
  prompt_tokens: unknown;
  answers: Record<string, { text: string; tokens: unknown }>;
}
/** What a page reads as its state; whatever a case does not say is as in all. */
export type State = Record<string, unknown> & { manifest: Partial<Manifest> };
/** Blocks by key, as a page has them. */
type Index = Record<
  string,
  { dtype: string; offset: number; length: number; halves: boolean } & Record<string, unknown>
>;

const SIZES: Record<string, number> = { float32: 4, int32: 4, float16: 2 };

/** State of the page of a case, and base 85 of gzip of its blocks. */
export interface Opened {
  state: State;
  blocks: string;
}

/** One case of a pack. */
export async function openCase(pack: string, place: number, shared: State): Promise<Opened> {
  const bytes = new Uint8Array(await unpacked(pack).arrayBuffer());
  const end = 4 + new DataView(bytes.buffer).getUint32(0, true);
  const heads: [State, Index][] = JSON.parse(new TextDecoder().decode(bytes.subarray(4, end)));
  const [own, index] = heads[place]!;
  const before = heads.slice(0, place).flatMap(([, index]) => Object.values(index));
  const start = before.reduce((sum, entry) => sum + packedLength(entry), end);
  const manifest = { ...shared.manifest, ...own.manifest } as Manifest;
  manifest.prompt_tokens = tokens(manifest.prompt_tokens as Columns, manifest.prompt);
  manifest.answers = Object.fromEntries(
    Object.entries(manifest.answers).map(([side, answer]) => [
      side,
      { ...answer, tokens: tokens(answer.tokens as Columns, answer.text) },
    ]),
  );
  const state = { ...shared, ...own, manifest };
  return { state, blocks: await packed85(withNumbers(index, bytes.subarray(start))) };
}

/** Rows again; spans stand behind one another as their lengths and gaps say. */
function tokens({ count, own, ...columns }: Columns, whole: string): object[] {
  const letters = [...whole];
  const at = (key: string, i: number) => {
    const column = columns[key];
    return Array.isArray(column) ? column[i] : column;
  };
  let end = 0;
  return Array.from({ length: count }, (_, i) => {
    const row = Object.fromEntries(Object.keys(columns).map((key) => [key, at(key, i)]));
    const start = end + (row.start as number);
    end = start + (row.end as number);
    return { ...row, text: own?.[i] ?? letters.slice(start, end).join(""), start, end };
  });
}

/** Blocks as a page has them: length of their index, the index, and all the bytes. */
function withNumbers(index: Index, small: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new TextEncoder().encode(JSON.stringify(index));
  const start = 4 + head.length;
  const entries = Object.values(index);
  const length = Math.max(0, ...entries.map((entry) => entry.offset + entry.length));
  const packed = new Uint8Array(start + length);
  new DataView(packed.buffer).setUint32(0, head.length, true);
  packed.set(head, 4);
  let at = 0;
  for (const entry of entries) {
    const place = packed.subarray(start + entry.offset, start + entry.offset + entry.length);
    if (entry.halves) putHalves(place, entry.dtype, small.subarray(at));
    else putBytes(place, SIZES[entry.dtype] ?? 1, small.subarray(at));
    at += packedLength(entry);
  }
  return packed;
}

function packedLength({ dtype, length, halves }: Index[string]): number {
  return halves ? (length / SIZES[dtype]! + 1) >> 1 : length;
}

/** Put numbers of half a byte each. */
function putHalves(place: Uint8Array, dtype: string, small: Uint8Array): void {
  const view = new DataView(place.buffer, place.byteOffset, place.length);
  const size = SIZES[dtype]!;
  const count = place.length / size;
  for (let i = 0; i < count; i++) {
    const level = (small[i >> 1]! >> (4 * (i & 1))) & 15;
    if (size === 4) view.setFloat32(4 * i, level, true);
    else view.setUint16(2 * i, HALVES[level]!, true);
  }
}

/** 0 .. 15 in half precision. */
const HALVES = Array.from({ length: 16 }, (_, level) => {
  const exponent = Math.floor(Math.log2(level || 1));
  return level && ((exponent + 15) << 10) + (level / 2 ** exponent - 1) * 1024;
});

/** Put numbers whose first bytes come first. */
function putBytes(place: Uint8Array, size: number, small: Uint8Array): void {
  const count = place.length / size;
  for (let i = 0; i < count; i++)
    for (let k = 0; k < size; k++) place[i * size + k] = small[k * count + i]!;
}
