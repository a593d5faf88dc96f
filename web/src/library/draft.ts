/** A voice about to be created: what was filled in, and what is missing still. */

import type { Gender, Relation, VoiceOptions, VoiceWish } from "./shapes";

export interface Draft {
  name: string;
  text: string;
  sample: string;
  /** Name of the source and of its model, as `makerKey` joins them. */
  maker: string;
  language: string;
  gender: Gender;
  description: string;
  /** As typed, separated by commas. */
  tags: string;
  public: boolean;
  speaker: string;
  relation: Relation;
  agreed: boolean;
}

export const EMPTY: Draft = {
  name: "", text: "", sample: "", maker: "", language: "", gender: "", description: "", tags: "", public: false, speaker: "", relation: "self", agreed: false,
};

/** The server's limits of fields whose counters need no asking. */
export const NAME_CHARACTERS_MAX = 80;
export const DESCRIPTION_CHARACTERS_MAX = 1_000;
export const SPEAKER_CHARACTERS_MAX = 120;
const TAGS_MAX = 12;
const TAG_CHARACTERS_MAX = 32;

export type Missing = "speaker" | "agreed" | "sample" | "text";

/** Characters as the server counts them, which is not JavaScript's way. */
export function characters(text: string): number {
  return [...text].length;
}

export function missing(draft: Draft, limits: Pick<VoiceOptions, "sample_characters_max" | "text_characters_max">): Missing | undefined {
  if (characters(draft.text.trim()) > limits.text_characters_max) return "text";
  if (characters(draft.sample.trim()) > limits.sample_characters_max) return "sample";
  if (draft.speaker.trim() === "") return "speaker";
  return draft.agreed ? undefined : "agreed";
}

/** Tags as they are kept: trimmed, each once, at most as many and as long as the server takes. */
export function tagsOf(typed: string): string[] {
  const tags = typed.split(/[,，、;；\n]/).map((tag) => [...tag.trim()].slice(0, TAG_CHARACTERS_MAX).join(""));
  return [...new Set(tags.filter((tag) => tag !== ""))].slice(0, TAGS_MAX);
}

export function makerKey(maker: string, model: string): string {
  return `${maker}\n${model}`;
}

export function wishOf(draft: Draft, fileId: string, statement: string): VoiceWish {
  const [maker = "", model = ""] = draft.maker.split("\n");
  return {
    fileId,
    consent: { speaker: draft.speaker.trim(), relation: draft.relation, statement, agreed: true },
    name: draft.name.trim(),
    text: draft.text.trim(),
    sample_text: draft.sample.trim(),
    maker,
    model,
    language: draft.language,
    gender: draft.gender,
    description: draft.description.trim(),
    tags: tagsOf(draft.tags),
    public: draft.public,
  };
}
