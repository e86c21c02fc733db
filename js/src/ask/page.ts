// A page that thinks: a form above the panels, which show what both models make of its prompt.

import { type BySide, keys, type Manifest, SIDES } from "../contract/contract.ts";
import { reasonOf } from "../core/load.ts";
import { fromAddress, type Moment, SELECTION_DEFAULTS, toAddress } from "../core/selection.ts";
import { Store } from "../core/store.ts";
import { h } from "../draw/dom.ts";
import { systemTheme } from "../draw/theme.ts";
import type { Setup } from "../live/messages.ts";
import { readAnswer } from "../live/prompt.ts";
import { tokenizer } from "../live/tokenizer.ts";
import { mount } from "../shell/mount.ts";
import { localModel } from "../shell/saved.ts";
import type { Recording } from "../sources/recording.ts";
import type { Source } from "../sources/source.ts";
import { turn } from "../sources/turn.ts";
import { askForm, type Example, type Question, questionOf, searchOf } from "./form.ts";
import type { Answering, Models } from "./models.ts";
import { recordings, showRecording } from "./opened.ts";
import { type LivePage, readAnswers, readQuestion, setupOf } from "./reading.ts";

const AT_FIRST = "The models are being unpacked.";

/** Build the page into an element; resolves when the models are there. */
export async function openLive(
  page: LivePage,
  make: (setup: Setup) => Models,
  beside: Promise<Source>,
  el: HTMLElement,
  feed: (models: Models) => Promise<void>,
): Promise<void> {
  const { signal } = new AbortController();
  const cutter = tokenizer(page.tokenizer);
  const theme = page.theme === "auto" ? systemTheme() : page.theme;
  const root = h("div", { class: "twinlens tl-ask-root", "data-theme": theme });
  const panels = h("main", {});
  let ending = new AbortController();
  let shown: { question: Question; store: Store; start: Moment } | null = null;
  /** How the panels show the next answer, as an address holds it. */
  let view = location.hash;
  let loaded = false;

  const opener = recordings(open, (text, failed) => form.say(text, failed), signal);
  const actions = { run, stop, copy };
  const form = askForm(page.examples, page.template !== null, actions, opener, signal);
  root.append(h("div", { class: "tl-content" }, form.el));
  el.append(root, panels);
  const first = questionOf(location.search) ?? exampleOf(page.examples[0]);
  if (first) form.show(first);
  form.say(AT_FIRST);
  form.focus();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (page.theme === "auto") root.dataset.theme = systemTheme();
  });

  const twins = make(setupOf(page));
  await feed(twins);
  await twins.ready;
  loaded = true;
  form.phase("ready");
  form.say("");
  if (first) await ask();

  function run(): void {
    if (!loaded) return;
    view = "";
    void ask();
  }

  /** Answer the question of the form, in place of what was asked before, if it can be read. */
  async function ask(): Promise<void> {
    const question = form.question();
    let prompt: ReturnType<typeof readQuestion>;
    try {
      prompt = readQuestion(page, cutter, question);
    } catch (error) {
      form.say(reasonOf(error), true);
      return;
    }
    ending.abort();
    ending = new AbortController();
    const mine = ending.signal;
    // What the models still know is about the new prompt.
    panels.inert = true;
    try {
      const ids = prompt.tokens.map(({ id }) => id);
      const limit = Math.min(page.longest, page.setup.sizes.positions - ids.length);
      form.phase("answering");
      form.say(`${ids.length} tokens`);
      const so: BySide<number[]> = { base: [], tuned: [] };
      const text = (answer: readonly number[]) => readAnswer(cutter, answer, ids).text;
      const answering = twins.answer(ids, limit, (side, id) => {
        so[side].push(id);
        if (!mine.aborted) form.answer(side, text(so[side]), false);
      });
      const manifest = await readAnswers(page, cutter, prompt, question, answering, limit);
      if (mine.aborted) return;
      const at = recordedAt(page, question);
      manifest.methods = [...page.methods, ...(page.examples[at]?.methods ?? [])];
      const source = withAnswers(
        twins.trace(answering, manifest, withExample(await beside, at)),
        answering,
        text,
      );
      form.phase("ready");
      form.say("");
      await show(question, manifest, source, mine);
    } catch (error) {
      if (mine.aborted) return;
      form.phase("ready");
      form.say(reasonOf(error), true);
    }
  }

  async function show(
    question: Question,
    manifest: Manifest,
    source: Source,
    mine: AbortSignal,
  ): Promise<void> {
    const state: Record<string, unknown> = {
      ...SELECTION_DEFAULTS,
      method: manifest.methods[0]?.name,
      marks: null,
      theme: page.theme,
      presentation: false,
      _recorded: false,
      _manifest: manifest,
    };
    panels.replaceChildren();
    panels.inert = false;
    const store = new Store(localModel(state), source, mine);
    shown = { question, store, start: store.moment };
    if (view) store.restore(fromAddress(view, shown.start));
    store.subscribe(() => putAddress(), mine);
    putAddress();
    await mount(store, "dashboard", panels, mine, { between: turn });
  }

  /** A recording in the place of what was asked. */
  function open(recording: Recording): void {
    ending.abort();
    ending = new AbortController();
    twins.stop();
    form.phase(loaded ? "ready" : "loading");
    shown = null;
    panels.inert = false;
    void showRecording(recording, page.theme, panels, ending.signal);
  }

  function stop(): void {
    ending.abort();
    twins.stop();
    form.phase("ready");
    form.say("Stopped.");
  }

  /** The address of what is shown. */
  function address(): string {
    const bare = location.href.replace(/[?#].*$/s, "");
    if (!shown) return bare;
    const seen = toAddress(shown.store.moment, shown.start);
    return `${bare}?${searchOf(shown.question)}${seen && `#${seen}`}`;
  }

  function putAddress(): void {
    try {
      history.replaceState(null, "", address());
    } catch {
      // Some browsers let no file change its address: the button still copies it.
    }
  }

  function copy(): void {
    const link = address();
    const shownInstead = () => {
      const box = h("input", { readonly: true, value: link, "aria-label": "Link" });
      form.el.querySelector(".tl-ask-said")!.replaceChildren(box);
      box.select();
    };
    navigator.clipboard?.writeText(link).then(() => form.say("Link copied."), shownInstead) ??
      shownInstead();
  }
}

function exampleOf(example: Example | undefined): Question | null {
  return example ? { ...example, template: true, response: "tuned" } : null;
}

/** The example that is asked as it was recorded; -1 for none. */
function recordedAt({ examples, template }: LivePage, question: Question): number {
  const { prompt, instruction, context, response } = question;
  const same = (first: unknown, second: unknown) =>
    JSON.stringify(first) === JSON.stringify(second);
  if (response !== "tuned" || question.template !== (template !== null)) return -1;
  return examples.findIndex(
    (example) =>
      example.methods &&
      example.prompt === prompt &&
      same(example.instruction, instruction) &&
      same(example.context, context),
  );
}

/** What is recorded for an example beside what is the same for all. */
function withExample(beside: Source, at: number): Source {
  if (at < 0) return beside;
  const own = (key: string) => `example/${at}/${key}`;
  return {
    has: (key) => beside.has(own(key)) || beside.has(key),
    get: (key, signal) => beside.get(beside.has(own(key)) ? own(key) : key, signal),
  };
}

/** What each model answers by itself is on its way already. */
function withAnswers(
  source: Source,
  { answers }: Answering,
  text: (ids: readonly number[]) => string,
): Source {
  return {
    ...source,
    async get(key, signal, progress) {
      const side = SIDES.find((answering) => key === keys.ownAnswer(answering));
      if (!side) return source.get(key, signal, progress);
      const { ids, stopped } = await answers[side];
      return { text: text(ids), stopped };
    },
  };
}
