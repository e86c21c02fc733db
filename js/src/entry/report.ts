// The page of a study.

import { unpacked } from "../contract/packed.ts";
import { embeddedText, h } from "../draw/dom.ts";
import { startReport } from "../report/report.ts";

/** A text that lies in the page in packed form. */
const packedText = (id: string): Promise<string> => unpacked(embeddedText(id)).text();

async function start(): Promise<void> {
  const texts = ["bokeh", "study-data", "case-template"].map(packedText);
  const [bokeh, study, template] = (await Promise.all(texts)) as [string, string, string];
  const script = h("script", {});
  // The policy of the page allows this text, and no other.
  script.textContent = bokeh;
  document.head.append(script);
  const packs: string[] = JSON.parse(embeddedText("case-packs"));
  await startReport(JSON.parse(study), packs, template);
}

start();
