/** The languages of the pages. */

export type Language = "en" | "zh";

export function preferredLanguage(tags: readonly string[]): Language {
  return tags[0]?.toLowerCase().startsWith("zh") ? "zh" : "en";
}
