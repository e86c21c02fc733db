// Words, numbers and lists as sentences have them; as `measures/phrases.py` writes them.

import { stripped } from "../live/tokenizer.ts";

export type Run = [kind: string, text: string];

const NUMBERS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const ORDINALS = ["first", "second", "third", "fourth", "fifth"];

/** A word as it is compared: two letters at least, whatever their case. */
export function letters(text: string): string {
  // As Python folds case: ß is ss, and sigma is sigma at the end of a word, too.
  const word = stripped(text).toUpperCase().toLowerCase().replaceAll("ς", "σ");
  return /^\p{L}{2,}$/u.test(word) ? word : "";
}

/** A token as it is read: blanks and ends of lines stand for themselves. */
export function shown(text: string): string {
  return stripped(text) || "\\n".repeat(text.split("\n").length - 1) || "␣";
}

/** A text in which the names of the models are runs of their own. */
export function ofModels(text: string): Run[] {
  const pieces = text.split(/\b(base|tuned)\b/);
  return pieces.map((piece, i): Run => [i % 2 ? piece : "", piece]).filter(([, piece]) => piece);
}

/** Words of a kind, listed. */
export function runsOf(words: readonly string[], kind: string): Run[] {
  return words.flatMap((word, i): Run[] => {
    const between = i === words.length - 1 ? " and " : ", ";
    return i
      ? [
          ["", between],
          [kind, word],
        ]
      : [[kind, word]];
  });
}

/** A list in words. */
export function joined(words: readonly string[]): string {
  return [words.slice(0, -1).join(", "), words.at(-1)].filter(Boolean).join(" and ");
}

/** Small numbers in words. */
export function inWords(value: number): string {
  return [...NUMBERS, "ten"][value] ?? String(value);
}

/** A place counted from 0, in words while they are short. */
export function ordinal(place: number): string {
  const number = place + 1;
  const teen = [11, 12, 13].includes(number % 100);
  const suffix = teen ? "th" : ["", "st", "nd", "rd"][number % 10] || "th";
  return ORDINALS[place] ?? `${number}${suffix}`;
}

/** One decimal, with a minus sign. */
export const signed = (value: number) => fixed(value, 1).replace("-", "−");

/** As `signed`, with a plus sign, too. */
export const plus = (value: number) => `${value > 0 ? "+" : ""}${signed(value)}`;

/** A value in nats; small ones with two digits. */
export function nats(value: number): string {
  const text = Math.abs(value) >= 0.05 || value === 0 ? signed(value) : general(value, 2);
  return `${text} nats`;
}

/** The probability behind a log-probability. */
export function percent(logprob: number): string {
  const share = 100 * Math.exp(logprob);
  return `${share >= 1 ? fixed(share, 0) : general(share, 2)} %`;
}

/** A share in percent. */
export const share = (value: number) => `${fixed(100 * value, 0).replace(/^-0$/, "0")} %`;

/** How much of the update: it is halved some times, or whole. */
export function ofUpdate(fraction: number): string {
  const parts = Math.round(1 / fraction);
  const names = new Map([
    [1, "The update"],
    [2, "Half of the update"],
    [4, "A quarter of the update"],
  ]);
  return names.get(parts) ?? `1/${parts} of the update`;
}

/** A chance, one digit. */
export const chance = (value: number) => (value >= 1e-4 ? general(value, 1) : "below 0.0001");

/** So many decimals; halves become even, as in Python. */
export function fixed(value: number, digits: number): string {
  const scaled = value * 10 ** digits;
  const tie = Math.abs(scaled % 1) === 0.5 && Math.floor(Math.abs(scaled)) % 2 === 0;
  return (tie ? Math.trunc(scaled) / 10 ** digits : value).toFixed(digits);
}

/** So many digits, without zeros behind the last; small numbers with an exponent. */
function general(value: number, digits: number): string {
  const rounded = Number(value.toPrecision(digits));
  if (rounded === 0 || Math.abs(rounded) >= 1e-4) return String(rounded);
  return rounded.toExponential().replace(/e-(\d)$/, "e-0$1");
}
