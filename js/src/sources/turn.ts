/** Let what waits have its turn; a timer would take milliseconds. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Milliseconds after which others have their turn. */
const PIECE = 10;

/** Milliseconds after which what is drawn together is painted; by the clock, on a busy machine. */
const TOGETHER = 25;
let since: number | null = null;

/**
 * Let what waits have its turn where what is done in this frame has taken long. What is quick goes
 * on at once: styles, layout and paint are then worked out together.
 */
export async function turnIfLong(): Promise<void> {
  if (since === null) {
    since = performance.now();
    setTimeout(() => {
      since = null;
    });
  } else if (performance.now() - since >= TOGETHER) await turn();
}

/** Do something piece by piece, and let what waits have its turn in between. */
export async function inTurns(pieces: Iterable<unknown>): Promise<void> {
  let began = performance.now();
  for (const _ of pieces) {
    if (performance.now() - began < PIECE) continue;
    await turn();
    began = performance.now();
  }
}
