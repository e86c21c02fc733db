// Byte-level tokens, as the models' own tokenizer cuts them, and what it takes for blank.

/** What a page holds of a tokenizer. */
export interface TokenizerData {
  /** Every token in the alphabet that stands for bytes; added ones as they are written. */
  tokens: string[];
  /** Pairs that become one, those that are joined first in front. */
  merges: [string, string][];
  /** Whether a word that is a token is taken whole. */
  whole: boolean;
  /** What is cut out of a text, one pattern after the other. */
  patterns: string[];
  /** Tokens that are found in a text as they are written. */
  added: number[];
  special: number[];
  /** What stands in front of every text that has no template. */
  front: number[];
  /** What is read in the place of a template, to compare it with. */
  other_text: number[];
}

/** Code points `[start, end)` of a text. */
export type Span = readonly [start: number, end: number];

export interface Encoded {
  ids: number[];
  /** The characters that each token is made of; several may share one that is cut into bytes. */
  touched: Span[];
}

export interface Tokenizer {
  readonly data: TokenizerData;
  encode(text: string): Encoded;
  /** The text of some tokens; bytes that are no character become U+FFFD. */
  decode(ids: readonly number[]): string;
  /** A token by itself, for display; bytes that are no character as `\xNN`. */
  piece(id: number): string;
  bytes(id: number): Uint8Array;
}

export function tokenizer(data: TokenizerData): Tokenizer {
  const ids = new Map(data.tokens.map((token, id) => [token, id]));
  const ranks = new Map(data.merges.map((pair, rank) => [pair.join(" "), rank]));
  const added = new Map(data.added.map((id) => [data.tokens[id]!, id]));
  const patterns = data.patterns.map((pattern) => new RegExp(pattern, "gu"));
  const known = new Map<string, number[]>();

  const word = (text: string): number[] => {
    let made = known.get(text);
    if (!made) {
      const symbols = Array.from(encoder.encode(text), (byte) => LETTERS[byte]!);
      const all = ids.get(symbols.join(""));
      made =
        data.whole && all !== undefined
          ? [all]
          : merged(symbols, ranks).flatMap((symbol) => ids.get(symbol) ?? []);
      if (known.size > 10_000) known.clear();
      known.set(text, made);
    }
    return made;
  };

  const bytes = (id: number): Uint8Array => {
    const token = data.tokens[id] ?? "";
    if (added.has(token)) return encoder.encode(token);
    return Uint8Array.from([...token].flatMap((c) => BYTES.get(c) ?? [...encoder.encode(c)]));
  };

  return {
    data,
    encode(text) {
      const made: Encoded = { ids: [], touched: [] };
      let place = 0;
      for (const [part, id] of apart(text, added)) {
        if (id !== undefined) {
          made.ids.push(id);
          made.touched.push([place, place + [...part].length]);
          place += [...part].length;
          continue;
        }
        for (const piece of patterns.reduce(split, [part])) {
          const points = pointsOf(piece);
          let read = 0;
          for (const token of word(piece)) {
            const size = bytes(token).length;
            made.ids.push(token);
            made.touched.push([place + points[read]!, place + points[read + size - 1]! + 1]);
            read += size;
          }
          place += [...piece].length;
        }
      }
      return made;
    },
    decode(tokens) {
      return lossy.decode(Uint8Array.from(tokens.flatMap((id) => [...bytes(id)])));
    },
    piece: (id) => escaped(bytes(id)),
    bytes,
  };
}

/** Every token for display, and as a word; "" is none. Models may have room for more tokens. */
export function vocabularyOf(
  cutter: Tokenizer,
  length: number,
): { pieces: string[]; words: string[] } {
  const special = new Set(cutter.data.special);
  const pieces = Array.from({ length }, (_, id) => cutter.piece(id));
  const words = pieces.map((_, id) => {
    const text = cutter.decode([id]);
    const whole = !special.has(id) && !text.includes("\ufffd") && /[\p{L}\p{N}]/u.test(text);
    return whole ? stripped(text) : "";
  });
  return { pieces, words };
}

/** Text that a person cannot have meant: half of a character, or NUL. */
export function isText(text: string): boolean {
  return !/[\0\ud800-\udfff]/u.test(text);
}

const encoder = new TextEncoder();
const lossy = new TextDecoder("utf-8", { ignoreBOM: true });
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** The letter that stands for each byte (GPT-2's table). */
const LETTERS: string[] = [];
{
  const printable = (byte: number) =>
    (byte >= 33 && byte < 127) || (byte >= 161 && byte !== 173 && byte < 256);
  let others = 0;
  for (let byte = 0; byte < 256; byte++) {
    LETTERS.push(String.fromCharCode(printable(byte) ? byte : 256 + others++));
  }
}
const BYTES = new Map(LETTERS.map((letter, byte) => [letter, byte]));

/** A text cut at the tokens that stand in it as they are written, the longest first. */
function* apart(
  text: string,
  added: ReadonlyMap<string, number>,
): Generator<readonly [part: string, id?: number]> {
  const words = [...added.keys()].sort((a, b) => b.length - a.length);
  if (!words.length) return yield [text];
  const literally = (word: string) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  const special = new RegExp(words.map(literally).join("|"), "gu");
  let start = 0;
  for (const { 0: word, index } of text.matchAll(special)) {
    if (index > start) yield [text.slice(start, index)];
    yield [word, added.get(word)!];
    start = index + word.length;
  }
  if (start < text.length) yield [text.slice(start)];
}

/** Matches of a pattern, and what is between them. */
function split(parts: readonly string[], pattern: RegExp): string[] {
  return parts.flatMap((part) => {
    const cut: string[] = [];
    let start = 0;
    for (const { 0: match, index } of part.matchAll(pattern)) {
      if (!match) continue;
      if (index > start) cut.push(part.slice(start, index));
      cut.push(match);
      start = index + match.length;
    }
    if (start < part.length) cut.push(part.slice(start));
    return cut;
  });
}

/** Join neighbours, the pair of the lowest rank first. */
function merged(symbols: string[], ranks: ReadonlyMap<string, number>): string[] {
  for (;;) {
    let best = Number.POSITIVE_INFINITY;
    for (let i = 1; i < symbols.length; i++) {
      best = Math.min(best, ranks.get(`${symbols[i - 1]} ${symbols[i]}`) ?? best);
    }
    if (best === Number.POSITIVE_INFINITY) return symbols;
    const next: string[] = [];
    for (const symbol of symbols) {
      const pair = `${next.at(-1)} ${symbol}`;
      if (next.length && ranks.get(pair) === best) next[next.length - 1] += symbol;
      else next.push(symbol);
    }
    symbols = next;
  }
}

/** The code point that each byte of a text belongs to. */
function pointsOf(text: string): number[] {
  return [...text].flatMap((c, i) => new Array<number>(encoder.encode(c).length).fill(i));
}

/** Whole characters as they are, other bytes as `\xNN`. */
function escaped(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; ) {
    const size = [1, 2, 3, 4].find((length) => isCharacter(bytes.subarray(i, i + length)));
    if (size) text += strict.decode(bytes.subarray(i, i + size));
    else text += `\\x${bytes[i]!.toString(16).padStart(2, "0")}`;
    i += size ?? 1;
  }
  return text;
}

function isCharacter(bytes: Uint8Array): boolean {
  try {
    return [...strict.decode(bytes)].length === 1;
  } catch {
    return false;
  }
}

// Blanks at the ends of texts, as Python has them.

const BLANK = "[\\p{White_Space}\\x1c-\\x1f]";
const LEADING = new RegExp(`^${BLANK}+`, "u");
const TRAILING = new RegExp(`${BLANK}+$`, "u");

export const withoutLeading = (text: string) => text.replace(LEADING, "");
export const withoutTrailing = (text: string) => text.replace(TRAILING, "");
export const stripped = (text: string) => withoutTrailing(withoutLeading(text));
export const beginsBlank = (text: string) => LEADING.test(text);
export const endsBlank = (text: string) => TRAILING.test(text);
