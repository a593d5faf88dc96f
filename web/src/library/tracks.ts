/** What can be heard of a voice or of a generation. */

import type { LibraryApi } from "./api";
import type { Track } from "./deck";
import type { Generated, VoiceCard } from "./shapes";
import type { LibraryWords } from "./words-en";

/** Addresses of what was spoken for voices without a preview, so that none is asked for twice. */
const tastes = new WeakMap<LibraryApi, Map<string, Promise<string>>>();

/** A voice's preview; a built-in one is asked to say something. Undefined where there is nothing to hear. */
export function trackOf(voice: VoiceCard, api: LibraryApi, words: LibraryWords): Track | undefined {
  if (voice.sample_url !== "") return { key: voice.voiceId, source: () => voice.sample_url };
  if (!voice.builtin) return undefined;
  const known = tastes.get(api) ?? new Map<string, Promise<string>>();
  tastes.set(api, known);
  const source = () => {
    const found = known.get(voice.voiceId) ?? api.taste(voice.voiceId, words.taste[voice.languages[0] ?? ""] ?? words.taste["en"] ?? "");
    known.set(voice.voiceId, found);
    found.catch(() => known.delete(voice.voiceId));
    return found;
  };
  return { key: voice.voiceId, source };
}

export function trackOfSpeech(speech: Generated): Track {
  return { key: speech.requestId, source: () => speech.url };
}
