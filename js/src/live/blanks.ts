// Blanks at the ends of texts, as Python has them.

const BLANK = "[\\p{White_Space}\\x1c-\\x1f]";
const LEADING = new RegExp(`^${BLANK}+`, "u");
const TRAILING = new RegExp(`${BLANK}+$`, "u");

export const withoutLeading = (text: string) => text.replace(LEADING, "");
export const withoutTrailing = (text: string) => text.replace(TRAILING, "");
export const stripped = (text: string) => withoutTrailing(withoutLeading(text));
export const beginsBlank = (text: string) => LEADING.test(text);
export const endsBlank = (text: string) => TRAILING.test(text);
