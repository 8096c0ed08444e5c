/** Reading TypeScript source as text, for the checks in this folder that need no syntax tree. */

/**
 * The text with every comment turned into blanks; line breaks stay, so that offsets and line numbers hold. Strings and
 * template literals are left alone. A regular expression that holds a quote or two slashes is the one thing it can
 * misread, and then only up to the end of that line.
 */
export function blankComments(text: string): string {
  return text.replace(
    /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[^]|[^`\\])*`|\/\/[^\n]*|\/\*[^]*?\*\//g,
    (token) => (token.startsWith("//") || token.startsWith("/*") ? token.replaceAll(/[^\n]/g, " ") : token),
  );
}

/** One-based line number of an offset. */
export function lineOf(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", at + 1)) line++;
  return line;
}
