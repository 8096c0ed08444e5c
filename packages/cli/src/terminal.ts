/** What may go to a terminal, and in which colour. */
import { styleText } from "node:util";

export type Tone = "good" | "bad" | "faint";

/** Gives text its tone, or gives it back as it is where colours are not wanted. */
export type Paint = (tone: Tone, text: string) => string;

const formats = { good: "green", bad: "red", faint: "dim" } as const;

/** Colours on a terminal, unless NO_COLOR says otherwise (no-color.org). */
export function paintFor(stream: NodeJS.WriteStream): Paint {
  return (tone, text) => styleText(formats[tone], text, { stream, validateStream: true });
}

/** Text from elsewhere without what a terminal would obey: control characters (C0, DEL, C1) and directions of writing. */
export function visible(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\u200E\u200F\u2028-\u202E\u2066-\u2069]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
