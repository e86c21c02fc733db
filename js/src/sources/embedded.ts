import { decode, type Header, type Value } from "../contract/decode.ts";
import { unpacked85 } from "../contract/packed.ts";
import { abortError, type Source } from "./source.ts";

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
