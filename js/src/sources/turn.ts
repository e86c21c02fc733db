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

/** Do something piece by piece, and let what waits have its turn in between. */
export async function inTurns(pieces: Iterable<unknown>): Promise<void> {
  let began = performance.now();
  for (const _ of pieces) {
    if (performance.now() - began < PIECE) continue;
    await turn();
    began = performance.now();
  }
}
