// Runs the workers of a page in Node, as the page does, on prompts that Python gives.

import type { Question } from "../src/ask/form.ts";
import { models, type Port } from "../src/ask/models.ts";
import { type LivePage, readAnswers, readQuestion, setupOf } from "../src/ask/reading.ts";
import { SIDES } from "../src/contract/contract.ts";
import { base64Bytes, unpacked85 } from "../src/contract/packed.ts";
import { tokenizer } from "../src/live/tokenizer.ts";
import { embedded } from "../src/sources/recording.ts";

export interface Wanted extends Question {
  blocks: string[];
}

/** The text of an element of the page. */
export function elements(html: string, attribute: string): string[] {
  const found = new RegExp(`<script type="[^"]*" ${attribute}>(.*?)</script>`, "gs");
  return [...html.matchAll(found)].map((match) => match[1]!);
}

/** A worker in this thread; messages are copied as a browser copies them. */
function port(code: string): Port {
  const heard: ((event: MessageEvent) => void)[] = [];
  const asked: ((event: MessageEvent) => void)[] = [];
  const run = new Function("postMessage", "addEventListener", code);
  run(
    (data: unknown) => {
      const copy = structuredClone(data);
      setTimeout(() => heard.forEach((listener) => void listener({ data: copy } as MessageEvent)));
    },
    (_: string, listener: (event: MessageEvent) => void) => asked.push(listener),
  );
  return {
    postMessage(data) {
      const copy = structuredClone(data);
      setTimeout(() => asked.forEach((listener) => void listener({ data: copy } as MessageEvent)));
    },
    addEventListener: (_, listener) => heard.push(listener),
  };
}

/** What the page makes of each prompt: manifest, both answers, blocks. */
export async function* answers(html: string, prompts: readonly Wanted[]) {
  const page: LivePage = JSON.parse(elements(html, 'id="twinlens-live"')[0]!);
  const code = await unpacked85(elements(html, 'id="twinlens-worker"')[0]!).text();
  const cutter = tokenizer(page.tokenizer);
  const twins = models(() => port(code), setupOf(page));
  for (const part of ["known", ...SIDES] as const) {
    const pieces = elements(html, `data-part="${part}"`);
    for (const [i, piece] of pieces.entries()) {
      twins.part(part, base64Bytes(piece), i === pieces.length - 1);
    }
  }
  await twins.ready;
  const beside = await embedded(elements(html, 'id="twinlens-blocks"')[0]!);
  for (const wanted of prompts) {
    try {
      const prompt = readQuestion(page, cutter, wanted);
      const ids = prompt.tokens.map(({ id }) => id);
      const limit = Math.min(page.longest, page.setup.sizes.positions - ids.length);
      const answering = twins.answer(ids, limit, () => {});
      const manifest = await readAnswers(page, cutter, prompt, wanted, answering, limit);
      const source = twins.trace(answering, manifest, beside);
      const own = { base: await answering.answers.base, tuned: await answering.answers.tuned };
      const blocks: Record<string, unknown> = {};
      for (const key of wanted.blocks) {
        const value = await source.get(key, new AbortController().signal);
        const data = typeof value === "object" && "data" in value ? value.data : null;
        blocks[key] = data ? { ...value, data: Array.from(data as Float32Array) } : value;
      }
      yield { manifest, own, blocks };
    } catch (error) {
      yield { error: error instanceof Error ? error.message : String(error) };
    }
  }
}
