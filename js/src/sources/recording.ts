// Blocks of a page, and of a recording (`.twl`) read in it: a zip of a manifest, of arrays (.npy) and of
// JSON.

import { type Manifest, type Mark, SCHEMA_VERSION } from "../contract/contract.ts";
import { decode, type Header, halfToNumber, type Tensor, type Value } from "../contract/decode.ts";
import { unpacked85 } from "../contract/packed.ts";
import { abortError, type Source } from "./source.ts";

export interface Recording {
  manifest: Manifest;
  marks: Mark[] | null;
  /** Kept views. */
  story: unknown[];
  source: Source;
}

interface Block {
  kind: string;
  entry: string;
}

interface Entry {
  at: number;
  packed: number;
  size: number;
  method: number;
}

const DAMAGED = "is damaged, cut off or no twinlens recording: record it again.";
/** No entry of a recording needs more: what claims more is damaged. */
const MOST = 2 ** 30;

/** Open a recording; its blocks are unpacked when they are asked for. */
export async function readRecording(name: string, bytes: ArrayBuffer): Promise<Recording> {
  const damaged = new Error(`${name} ${DAMAGED}`);
  let data: { trace?: Manifest; blocks?: Record<string, Block>; marks?: Mark[]; story?: unknown[] };
  let entries: Map<string, Entry>;
  try {
    entries = entriesOf(new DataView(bytes));
    data = JSON.parse(new TextDecoder().decode(await unzipped(bytes, entries, "manifest.json")));
  } catch {
    throw damaged;
  }
  const { trace, blocks = {} } = data;
  if (!trace?.pair || !Array.isArray(trace.prompt_tokens)) throw damaged;
  if (trace.schema > SCHEMA_VERSION) {
    throw new Error(`${name} was written by a newer twinlens: open it with that one.`);
  }
  const has = (key: string) => Object.hasOwn(blocks, key);
  return {
    manifest: trace,
    marks: data.marks ?? null,
    story: data.story ?? [],
    source: {
      closed: true,
      has,
      async get(key, signal) {
        if (signal.aborted) throw abortError();
        const block = has(key) ? blocks[key] : undefined;
        if (!block) throw new Error(`Not in this recording: ${key}.`);
        try {
          const body = await unzipped(bytes, entries, block.entry);
          return block.entry.endsWith(".npy") ? array(body) : json(body);
        } catch {
          throw new Error(`Block ${key} of ${name} ${DAMAGED}`);
        }
      },
    },
  };
}

function json(bytes: Uint8Array): Value {
  return JSON.parse(new TextDecoder().decode(bytes));
}

/** The central directory, from its end. */
function entriesOf(view: DataView): Map<string, Entry> {
  let end = view.byteLength - 22;
  while (view.getUint32(end, true) !== 0x06054b50) end--; // throws in front of the file
  const entries = new Map<string, Entry>();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(at, true) !== 0x02014b50) throw new Error("no entry");
    const lengths = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const name = new Uint8Array(view.buffer, at + 46, lengths[0]!);
    entries.set(new TextDecoder().decode(name), {
      method: view.getUint16(at + 10, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      at: view.getUint32(at + 42, true),
    });
    at += 46 + lengths.reduce((sum, length) => sum + length, 0);
  }
  return entries;
}

async function unzipped(
  bytes: ArrayBuffer,
  entries: ReadonlyMap<string, Entry>,
  name: string,
): Promise<Uint8Array> {
  const entry = entries.get(name);
  if (!entry || entry.size > MOST) throw new Error("no entry");
  const view = new DataView(bytes, entry.at);
  const from = entry.at + 30 + view.getUint16(26, true) + view.getUint16(28, true);
  const packed = new Uint8Array(bytes, from, entry.packed);
  if (entry.method === 0) return packed;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const unpacked = new Uint8Array(await new Response(stream).arrayBuffer());
  if (unpacked.length !== entry.size) throw new Error("cut off");
  return unpacked;
}

/** Numbers as float32; whole ones stay whole. */
function array(bytes: Uint8Array): Tensor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const old = bytes[6] === 1;
  const begin = old ? 10 : 12;
  const length = old ? view.getUint16(8, true) : view.getUint32(8, true);
  const header = new TextDecoder().decode(bytes.subarray(begin, begin + length));
  const [type] = /'descr': '([^']+)'/.exec(header)!.slice(1);
  const shape = [.../'shape': \(([^)]*)\)/.exec(header)![1]!.matchAll(/\d+/g)].map(Number);
  if (header.includes("'fortran_order': True")) throw new Error("another order");
  const body = bytes.slice(begin + length).buffer;
  const data = numbers(type!, body);
  if (data.length !== shape.reduce((product, n) => product * n, 1)) throw new Error("cut off");
  return { shape, data };
}

function numbers(type: string, body: ArrayBuffer): Float32Array | Int32Array {
  const made = NUMBERS[type];
  if (!made) throw new Error(`unknown type ${type}`);
  return made(body);
}

const NUMBERS: Record<string, (body: ArrayBuffer) => Float32Array | Int32Array> = {
  "<f4": (body) => new Float32Array(body),
  "<f2": (body) => Float32Array.from(new Uint16Array(body), halfToNumber),
  "<f8": (body) => Float32Array.from(new Float64Array(body)),
  "<i4": (body) => new Int32Array(body),
  "<i8": (body) => Int32Array.from(new BigInt64Array(body), Number),
  "|u1": (body) => Int32Array.from(new Uint8Array(body)),
};

/** `beside` is the key of the block that the bytes are to be added to. */
type Stored = Header & { length: number; beside?: string };

/** Blocks by key, decoded when they are asked for. */
export interface Packed {
  has(key: string): boolean;
  value(key: string): Value | undefined;
}

/** Blocks in the page: base 85 of gzip of `readBlocks`; `missing` did not fit. */
export async function embedded(text: string, missing: readonly string[] = []): Promise<Source> {
  const blocks = readBlocks(new Uint8Array(await unpacked85(text).arrayBuffer()));
  return {
    closed: true,
    has: blocks.has,
    async get(key, signal) {
      if (signal.aborted) throw abortError();
      const value = blocks.value(key);
      if (value === undefined) {
        const why = missing.includes(key)
          ? "was left out to keep the file small"
          : "is not recorded";
        throw new Error(`Not in this page: ${key} ${why}.`);
      }
      return value;
    },
  };
}

/** Blocks as bytes: length of the index, index as JSON, all their bytes in its order. */
export function readBlocks(bytes: Uint8Array): Packed {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const index: Record<string, Stored> = JSON.parse(
    new TextDecoder().decode(bytes.subarray(4, 4 + size)),
  );
  const bodies = new Map<string, Uint8Array>();
  let at = 4 + size;
  for (const [key, { length }] of Object.entries(index)) {
    bodies.set(key, bytes.subarray(at, at + length));
    at += length;
  }
  return {
    has: (key) => bodies.has(key),
    value(key) {
      const body = bodies.get(key);
      const entry = body && index[key];
      if (!entry) return undefined;
      const beside = bodies.get(entry.beside ?? "");
      return decode(entry, beside ? body.map((byte, i) => byte + beside[i]!) : body);
    },
  };
}
