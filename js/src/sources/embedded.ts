import { decode, type Header } from "../contract/decode.ts";
import { unpacked } from "../contract/packed.ts";
import { abortError, type Source } from "./source.ts";

type Entry = Header & { offset: number; length: number };

/** Blocks in the page: base64 of gzip of index length, JSON index, bytes; `missing` did not fit. */
export async function embedded(text: string, missing: readonly string[] = []): Promise<Source> {
  return fromBytes(new Uint8Array(await unpacked(text).arrayBuffer()), missing);
}

function fromBytes(bytes: Uint8Array, missing: readonly string[]): Source {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const index: Record<string, Entry> = JSON.parse(
    new TextDecoder().decode(bytes.subarray(4, 4 + size)),
  );
  const body = bytes.subarray(4 + size);
  return {
    has: (key) => Object.hasOwn(index, key),
    async get(key, signal) {
      if (signal.aborted) throw abortError();
      const entry = Object.hasOwn(index, key) ? index[key] : undefined;
      if (!entry) {
        const why = missing.includes(key)
          ? "was left out to keep the file small"
          : "is not recorded";
        throw new Error(`Not in this page: ${key} ${why}.`);
      }
      return decode(entry, body.subarray(entry.offset, entry.offset + entry.length));
    },
  };
}
