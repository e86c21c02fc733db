// A panel in a cell of its own: everything is in the explorer's module.

import type { RenderProps } from "@anywidget/types";
import type { Exports } from "./explorer.ts";

export default {
  async render({ model, el, host, signal }: RenderProps) {
    const { exports } = await host.getWidget<Exports>(model.get("explorer"));
    await exports.mount(model.get("kind"), el, signal);
  },
};
