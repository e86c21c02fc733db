// The worker of the page that thinks.

import kernel from "kernel.wasm";
import type { Request } from "../live/messages.ts";
import { serve } from "../live/worker.ts";

const answer = serve(kernel, (reply) => postMessage(reply));
addEventListener("message", ({ data }) => answer(data as Request));
