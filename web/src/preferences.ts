/** What this browser remembers. Storage may be forbidden (private windows): then nothing is remembered and all else works. */

export type Preference = "language" | "theme" | "avatar" | "poster" | "voice" | "mode" | "volume" | "captions" | "key" | "builds" | "talk" | "speaker";

export function recall(name: Preference): string | undefined {
  try {
    return localStorage.getItem(`visage.${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

export function remember(name: Preference, value: string | undefined): void {
  try {
    if (value === undefined) localStorage.removeItem(`visage.${name}`);
    else localStorage.setItem(`visage.${name}`, value);
  } catch {
    // Nothing is remembered then.
  }
}
