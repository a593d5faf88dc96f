/** Readable names for voices, and their order in the list. */

import type { Language, Words } from "./i18n";
import type { Voice } from "./shapes";

export interface VoiceGroup {
  language: string;
  label: string;
  voices: { id: string; label: string }[];
}

/** `kokoro:zf_xiaobei` and `edge:zh-CN-XiaoxiaoNeural` are known to people as Xiaobei and Xiaoxiao. */
export function voiceName(id: string): string {
  const own = id.includes(":") ? id.slice(id.indexOf(":") + 1) : id;
  const bare = own.replace(/^[a-z]{2,3}-[A-Z]{2}-/, "").replace(/(Multilingual)?Neural$/, "").replace(/^[a-z]{2}_/, "");
  const words = bare.split(/[\s_-]+/).filter((word) => word !== "");
  return words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(" ") || id;
}

function engineName(engine: string): string {
  return engine === "espeak" ? "eSpeak" : engine.charAt(0).toUpperCase() + engine.slice(1);
}

/** A voice of more languages than this is not a voice of its first one. */
const FEW_LANGUAGES = 4;
/** ISO 639-2 for several languages. */
const MANY = "mul";
/** No language, but a group of its own. */
const LIBRARY = "library";

/** The library's voices first; then by language: the page's own first, then by the language's name, those of many last. */
export function groupVoices(voices: readonly Voice[], language: Language, words: Words): VoiceGroup[] {
  const names = new Intl.DisplayNames([language], { type: "language", fallback: "code" });
  const groups = new Map<string, VoiceGroup>();
  for (const voice of voices) {
    const tag = voice.name !== undefined ? LIBRARY : voice.languages.length > FEW_LANGUAGES ? MANY : (voice.languages[0] ?? "und");
    const label = tag === LIBRARY ? words.voiceLibrary : tag === MANY ? words.manyLanguages : languageLabel(names, tag);
    const group = groups.get(tag) ?? { language: tag, label, voices: [] };
    group.voices.push({ id: voice.id, label: voiceLabel(voice, words) });
    groups.set(tag, group);
  }
  const rank = (tag: string) => (tag === LIBRARY ? -1 : tag === language ? 0 : tag === "zh" || tag === "en" ? 1 : tag === MANY ? 3 : 2);
  return [...groups.values()].toSorted((a, b) => rank(a.language) - rank(b.language) || a.label.localeCompare(b.label, language));
}

function languageLabel(names: Intl.DisplayNames, tag: string): string {
  try {
    return names.of(tag) ?? tag;
  } catch {
    return tag; // not a language tag
  }
}

function voiceLabel(voice: Voice, words: Words): string {
  if (voice.name !== undefined) return voice.name;
  const gender = voice.gender === "female" ? words.female : voice.gender === "male" ? words.male : "";
  const name = voiceName(voice.id);
  return [name.toLowerCase() === voice.gender ? "" : name, gender, engineName(voice.engine)].filter((part) => part !== "").join(" · ");
}
