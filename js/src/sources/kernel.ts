import { decode, type Header, type Value } from "../contract/decode.ts";
import { abortError, type Progress, type Source } from "./source.ts";

export interface Channel {
  send(content: unknown): void;
  on(event: "msg:custom", callback: (message: Message, buffers: DataView[]) => void): void;
  off(event: "msg:custom", callback: (message: Message, buffers: DataView[]) => void): void;
}

type Message =
  | { kind: "block"; id: string; header: Header }
  | { kind: "error"; id: string; key: string; message: string }
  | ({ kind: "progress"; id: string; key: string } & Progress);

interface Waiting {
  key: string;
  resolve(value: Value): void;
  reject(error: unknown): void;
  heard(report?: Progress): void;
}

export const NO_ANSWER = "The kernel does not answer: run the cell again.";
/** Where none ever did: a page, or a notebook that is read without one. */
export const NO_KERNEL = "This has to be computed, and no kernel is running here.";

/** Ask the kernel by custom messages; `late` gets answers that come after we gave up waiting. */
export function kernel(
  channel: Channel,
  signal: AbortSignal,
  late: (key: string, value: Value) => void,
  patience = 20_000,
): Source {
  const waiting = new Map<string, Waiting>();
  const overdue = new Map<string, string>();
  // Answers reach every page that shows the explorer: ids are this page's own.
  let heard = false;
  const page = Math.random().toString(36).slice(2);
  // Another page on the same kernel hears our answers too, so numbers start anywhere.
  let last = Math.floor(Math.random() * 2 ** 50);

  const receive = (message: Message, buffers: DataView[]) => {
    heard = true;
    const request = waiting.get(message.id);
    if (message.kind === "progress") return request?.heard(message);
    waiting.delete(message.id);
    const lateKey = overdue.get(message.id);
    overdue.delete(message.id);
    if (message.kind === "error") return request?.reject(new Error(message.message));
    try {
      const value = decode(message.header, buffers[0] ?? new ArrayBuffer(0));
      if (request) request.resolve(value);
      else if (lateKey) late(lateKey, value);
    } catch (error) {
      request?.reject(error);
    }
  };
  channel.on("msg:custom", receive);
  signal.addEventListener("abort", () => {
    channel.off("msg:custom", receive);
    for (const request of waiting.values()) request.reject(abortError());
  });

  return {
    has: () => false,
    get(key, stop, progress) {
      const id = `${page}/${++last}`;
      return new Promise<Value>((resolve, reject) => {
        if (stop.aborted) return reject(abortError());
        let timer: ReturnType<typeof setTimeout>;
        const giveUp = () => {
          waiting.delete(id);
          overdue.set(id, key);
          reject(new Error(heard ? NO_ANSWER : NO_KERNEL));
        };
        const cancel = () => {
          clearTimeout(timer);
          waiting.delete(id);
          trySend(channel, { kind: "cancel", id });
          reject(abortError());
        };
        const settled = () => {
          clearTimeout(timer);
          stop.removeEventListener("abort", cancel);
        };
        stop.addEventListener("abort", cancel);
        timer = setTimeout(giveUp, patience);
        waiting.set(id, {
          key,
          resolve: (value) => {
            settled();
            resolve(value);
          },
          reject: (error) => {
            settled();
            reject(error);
          },
          heard: (report) => {
            clearTimeout(timer);
            timer = setTimeout(giveUp, patience);
            if (report) progress?.(report);
          },
        });
        if (!trySend(channel, { kind: "block", id, key })) {
          settled();
          giveUp();
        }
      });
    },
  };
}

function trySend(channel: Channel, content: unknown): boolean {
  try {
    channel.send(content);
    return true;
  } catch {
    return false; // the connection to the kernel is gone
  }
}
