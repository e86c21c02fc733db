// The page of a study.

import { embeddedText } from "../draw/dom.ts";
import { startReport } from "../report/report.ts";

startReport(
  JSON.parse(embeddedText("study-data")),
  JSON.parse(embeddedText("case-template")) as string,
);
