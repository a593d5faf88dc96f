/** What the live page knows of avatars, builds and voices; `answers.ts` reads it from what the server says. */

export interface Avatar {
  id: string;
  name: string;
  /** By language: `en`, `zh`. */
  names: Record<string, string>;
  poster?: string;
  /** SPDX identifier, or `private` for one that somebody made here. */
  licence: string;
}

export type BuildStatus = "pending" | "running" | "completed" | "failed" | "cancelled";

/** One avatar in the making, or what became of it. */
export interface Build {
  id: string;
  avatar: string;
  status: BuildStatus;
  /** `decode`, `track`, `write` or `preview`; empty before it begins. */
  stage: string;
  /** 0..100. */
  percent: number;
  /** Why it failed, in the server's words. */
  error: string;
  /** What the build found worth saying, in the server's words. */
  notes: string[];
  /** How long it took. */
  seconds?: number;
}

export interface Voice {
  id: string;
  engine: string;
  /** BCP 47 primary tags, best first. */
  languages: string[];
  gender: string;
  licence?: string;
  /** Of a voice of the library, which people named. */
  name?: string;
}
