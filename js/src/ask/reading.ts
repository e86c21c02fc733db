// From a question to what both models read: tokens, answers, the manifest.

import {
  type Answer,
  type BySide,
  type Manifest,
  type Method,
  type PairInfo,
  SIDES,
  type Side,
} from "../contract/contract.ts";
import type { Answered, Setup } from "../live/messages.ts";
import { type Prompt, readAnswer, readPrompt, type Template } from "../live/prompt.ts";
import { isText, stripped, type Tokenizer, type TokenizerData } from "../live/tokenizer.ts";
import type { Example, Question } from "./form.ts";
import type { Answering } from "./models.ts";

/** What Python writes into the page. */
export interface LivePage {
  pair: PairInfo;
  setup: Omit<Setup, "tokenizer">;
  tokenizer: TokenizerData;
  template: Template | null;
  methods: Method[];
  parameters: Record<string, unknown>;
  examples: Example[];
  longest: number;
  theme: "auto" | "light" | "dark";
}

/** What the workers have to know before there is a prompt. */
export const setupOf = ({ setup, tokenizer }: LivePage): Setup => ({ ...setup, tokenizer });

/** The tokens that are read. */
export function readQuestion(page: LivePage, cutter: Tokenizer, question: Question): Prompt {
  const { prompt, instruction, context } = question;
  if (!isText(prompt)) throw new Error("The prompt holds half a character: type it anew.");
  if (!stripped(prompt)) {
    throw new Error("the prompt is empty: write what the models should read");
  }
  const template = question.template ? page.template : null;
  const read = readPrompt(cutter, prompt, template, {
    instruction: instruction ? [instruction] : [],
    context: context ? [context] : [],
  });
  const { positions } = page.setup.sizes;
  if (read.tokens.length >= positions) {
    throw new Error(
      `the prompt has ${read.tokens.length} tokens, but the models read at most ${positions}: shorten the prompt to fewer than ${positions} tokens`,
    );
  }
  return read;
}

/** The manifest, once the answers that are read are there. */
export async function readAnswers(
  page: LivePage,
  cutter: Tokenizer,
  prompt: Prompt,
  { template, response }: Question,
  { answers }: Answering,
  limit: number,
): Promise<Manifest> {
  const ids = prompt.tokens.map(({ id }) => id);
  const needed: readonly Side[] = response === "own" ? SIDES : [response];
  const answered: Partial<BySide<Answered>> = {};
  for (const side of needed) {
    const answer = await answers[side];
    if (answer.stopped && answer.ids.length === 1) {
      throw new Error(
        `the ${side} model stopped at once, so there is no answer to explain: choose another answer, or read the prompt ${template ? "as it stands" : "in the chat template"}`,
      );
    }
    answered[side] = answer;
  }
  const answerOf = (side: Side): Answer => {
    const whose = response === "own" ? side : response;
    const own = answered[side];
    return {
      ...readAnswer(cutter, answered[whose]!.ids, ids),
      own_text: own ? readAnswer(cutter, own.ids, ids).text : null,
      stopped: own?.stopped ?? null,
    };
  };
  const chat = template && page.template ? { chat_template: page.template.source } : {};
  return {
    pair: page.pair,
    prompt: prompt.text,
    prompt_tokens: prompt.tokens,
    answers: { base: answerOf("base"), tuned: answerOf("tuned") },
    response,
    shared: response !== "own",
    methods: page.methods,
    parameters: {
      ...page.parameters,
      max_new_tokens: limit,
      template: template && page.template !== null,
      ...chat,
    },
    schema: 1,
  };
}
