import { expect, test } from "vitest";
import { packed85, unpacked85 } from "../../src/contract/packed.ts";

test("bytes of any length come back from base 85", async () => {
  for (const length of [0, 1, 2, 3, 4, 5, 1000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 7919) % 256);
    const back = await unpacked85(await packed85(bytes)).arrayBuffer();
    expect(new Uint8Array(back)).toEqual(bytes);
  }
});
