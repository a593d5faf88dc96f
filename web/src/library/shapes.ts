/** What the voice library answers; names are the server's (docs/api.md). */

export interface VoiceCard {
  /** Of a built-in voice: its own id. */
  voiceId: string;
  /** What a session's `voice` takes. */
  speak_as: string;
  name: string;
  description: string;
  tags: string[];
  /** BCP 47 primary tags, best first. */
  languages: string[];
  gender: Gender;
  maker: string;
  model: string;
  /** False where the voice only leans toward the speaker. */
  clones: boolean;
  builtin: boolean;
  public: boolean;
  mine: boolean;
  owner: string;
  /** Cosine of recording and preview by the speaker model. */
  similarity: number | null;
  sample_text: string;
  /** Signed for an hour; empty where there is no preview. */
  sample_url: string;
  uses: number;
  /** ISO 8601, UTC; empty for a built-in voice. */
  created_at: string;
  updated_at: string;
}

export type Gender = "" | "female" | "male" | "neutral";

export interface Spoken {
  calls: number;
  characters: number;
  seconds: number;
}

export interface VoiceInfo extends VoiceCard {
  /** Of the recording; empty for others than its owner. */
  fileId: string;
  text: string;
  embedding_hash: string;
  embedding_model: string;
  metadata: Record<string, unknown>;
  /** For its owner. */
  consent: { speaker: string; relation: Relation; statement: string; text: string; agreed_at: string } | null;
  usage: Spoken;
  last_used_at: string;
}

export interface Paged {
  total: number;
  page: number;
  size: number;
  pages: number;
}

export interface VoicePage extends Paged {
  voices: VoiceCard[];
}

/** Nearest first. */
export interface SimilarVoices {
  voices: VoiceCard[];
  /** Score from which two are taken for one speaker. */
  same_speaker: number;
}

export interface MakerOption {
  maker: string;
  /** The default first. */
  models: string[];
  clones: boolean;
  usable: boolean;
  why_not: string;
  why_not_zh: string;
}

export interface VoiceOptions {
  /** The one used by default first. */
  makers: MakerOption[];
  seconds_min: number;
  seconds_max: number;
  mib_max: number;
  formats: string;
  sample_characters_max: number;
  text_characters_max: number;
  input_characters_max: number;
  statement: { id: string; en: string; zh: string };
  embedding_model: string;
  formats_out: string[];
}

export interface FileInfo {
  fileId: string;
  filename: string;
  /** Bytes as uploaded. */
  size: number;
  format: string;
  /** Hz as uploaded. */
  sample_rate: number;
  /** Seconds once the silence at its ends is cut. */
  duration: number;
  /** 200 of 0..1. */
  peaks: number[];
  checks: { speech_ratio: number; loudness_lufs: number; snr_db: number; clipped_ratio: number };
  voices: string[];
  /** Signed for an hour. */
  url: string;
  duplicated: boolean;
}

export type Relation = "self" | "permitted";

export interface VoiceWish {
  fileId: string;
  consent: { speaker: string; relation: Relation; statement: string; agreed: true };
  name: string;
  text: string;
  sample_text: string;
  maker: string;
  model: string;
  language: string;
  gender: Gender;
  description: string;
  tags: string[];
  public: boolean;
}

export type Stage = "queued" | "checking" | "embedding" | "cloning" | "sampling" | "done";

export interface Creation {
  jobId: string;
  status: "pending" | "running" | "completed" | "failed";
  stage: Stage;
  /** 0..1 of the whole. */
  progress: number;
  /** Empty until it is done. */
  voiceId: string;
  sample_text: string;
  sample_url: string;
  duplicated: boolean;
  maker: string;
  model: string;
  clones: boolean;
  similarity: number | null;
  error: { code: string; message: string; details: Record<string, unknown> } | null;
  retryable: boolean;
  created_at: string;
}

export interface VoiceChange {
  name?: string;
  description?: string;
  tags?: string[];
  gender?: Gender;
  public?: boolean;
}

export interface VoiceQuery {
  scope: "all" | "mine" | "public" | "builtin";
  q: string;
  language: string;
  gender: Gender;
  sort: "newest" | "popular" | "name";
}

export interface SpeechWish {
  voiceId: string;
  input: string;
  /** Empty: the voice's own. */
  model: string;
  format: string;
  speed: number;
}

export interface Generated {
  requestId: string;
  voiceId: string;
  /** Empty once the voice is gone. */
  voice_name: string;
  input: string;
  model: string;
  format: string;
  /** Seconds. */
  duration: number;
  characters: number;
  /** Signed for an hour. */
  url: string;
  cached: boolean;
  created_at: string;
}

export interface SpeechPage extends Paged {
  requests: Generated[];
}

export interface UsageInfo extends Spoken {
  /** Dates are ISO 8601, UTC. */
  by_day: (Spoken & { date: string })[];
  by_voice: (Spoken & { voiceId: string; name: string })[];
}

export interface Account {
  userId: string;
  name: string;
  owner: boolean;
  voices: number;
  files: number;
  bytes: number;
}
