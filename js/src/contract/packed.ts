// What lies in a page in packed form: base 64 or base 85 of gzip.

/** The bytes, as the body of a response. */
export function unpacked(text: string): Response {
  return inflated([base64Bytes(text)]);
}

/** What was packed, from its pieces. */
export function inflated(pieces: readonly Uint8Array<ArrayBuffer>[]): Response {
  const bytes = new Blob([...pieces]);
  return new Response(bytes.stream().pipeThrough(new DecompressionStream("gzip")));
}

/** Give memory back now: what is collected as garbage may stay for long where little else is. */
export function letGo(buffer: ArrayBuffer): void {
  buffer.transfer?.(0); // not in every browser yet
}

/** The same of a text in base 85, whose letters may stand in HTML. */
export function unpacked85(text: string): Response {
  return inflated([bytes85(text.trim())]);
}

const LETTERS = `${"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"}!#$%:()*+-;,=.?@^_\`{|}~`;

function bytes85(text: string): Uint8Array<ArrayBuffer> {
  const digits = new Uint8Array(128);
  for (let i = 0; i < LETTERS.length; i++) digits[LETTERS.charCodeAt(i)] = i;
  const groups = Math.ceil(text.length / 5);
  const view = new DataView(new ArrayBuffer(4 * groups));
  for (let group = 0; group < groups; group++) {
    let value = 0;
    for (let i = 5 * group; i < 5 * group + 5; i++) {
      value = value * 85 + (i < text.length ? digits[text.charCodeAt(i)]! : 84);
    }
    view.setUint32(4 * group, value);
  }
  return new Uint8Array(view.buffer, 0, 4 * groups - (5 * groups - text.length));
}

/** What `unpacked85` reads. */
export async function packed85(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  const zip = new Uint8Array(await new Response(stream).arrayBuffer());
  const padded = new Uint8Array(4 * Math.ceil(zip.length / 4));
  padded.set(zip);
  const view = new DataView(padded.buffer);
  const letters: string[] = [];
  for (let at = 0; at < padded.length; at += 4) {
    let value = view.getUint32(at);
    let group = "";
    for (let i = 0; i < 5; i++) {
      group = LETTERS[value % 85]! + group;
      value = Math.floor(value / 85);
    }
    letters.push(group);
  }
  return letters.join("").slice(0, Math.ceil((5 * zip.length) / 4));
}

// Not in every browser yet.
const FROM_BASE64 = (
  Uint8Array as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }
).fromBase64?.bind(Uint8Array);

export function base64Bytes(text: string): Uint8Array<ArrayBuffer> {
  if (FROM_BASE64) return FROM_BASE64(text);
  const letters = atob(text.trim());
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}
