// node test/live_parity.mjs PAGE.html PROMPTS.json: a line of JSON for each prompt, NaN as null.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL("live_parity.ts", import.meta.url))],
  bundle: true,
  format: "esm",
  write: false,
});
const code = Buffer.from(outputFiles[0].contents).toString("base64");
const { answers } = await import(`data:text/javascript;base64,${code}`);
const [page, prompts] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));
for await (const answer of answers(page, JSON.parse(prompts))) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
