/** What the server tells of listening, as it happens; the names are those of `dialogue.py`. */

import { isRecord, parse } from "./json";

/** Seconds from the end of the user's speech to the first sound and picture of the answer, stage by stage. */
export interface Latency {
  /** Until it was known that the turn has ended. */
  turnS: number;
  /** From there to the model's first text. */
  textS: number;
  /** From there until the first sound was made. */
  voiceS: number;
  /** From there until it was sent, with its picture. */
  pictureS: number;
  totalS: number;
}

export type VoiceEvent =
  | { event: "user.started" | "user.stopped" | "speech.started" | "speech.ended" | "interrupted" | "paused" | "resumed" }
  | { event: "transcript.partial" | "transcript.final"; text: string; language: string }
  | { event: "turn.ended"; reason: string }
  | { event: "listening"; state: string }
  | { event: "latency"; latency: Latency }
  | { event: "error"; text: string };

/** Reads one message of the events channel; undefined for anything that is not about talking. */
export function parseVoiceEvent(message: string): VoiceEvent | undefined {
  const body = parse(message);
  if (!isRecord(body)) return undefined;
  const fields = isRecord(body["data"]) ? { ...body["data"], ...body } : body;
  const text = (name: string) => (typeof fields[name] === "string" ? fields[name] : "");
  const { event } = fields;
  switch (event) {
    case "user.started":
    case "user.stopped":
    case "speech.started":
    case "speech.ended":
    case "interrupted":
    case "paused":
    case "resumed":
      return { event };
    case "transcript.partial":
    case "transcript.final":
      return { event, text: text("text"), language: text("language") };
    case "turn.ended":
      return { event, reason: text("reason") };
    case "listening":
      return { event, state: text("state") };
    case "latency":
      return latencyOf(fields);
    case "error":
      return { event, text: text("message") || text("msg") };
    default:
      return undefined;
  }
}

function latencyOf(fields: Record<string, unknown>): VoiceEvent | undefined {
  const seconds = (name: string) => (typeof fields[name] === "number" ? Math.max(0, fields[name]) : 0);
  const totalS = seconds("total_s");
  if (totalS === 0) return undefined;
  const pictureS = seconds("first_picture_s");
  const voiceS = Math.max(0, seconds("first_sound_s") - pictureS); // where the server does not tell them apart: all of it
  return { event: "latency", latency: { turnS: seconds("turn_s"), textS: seconds("first_text_s"), voiceS, pictureS, totalS } };
}

/** A `listening` event that says that what was begun came to nothing. */
export function cameToNothing(state: string): boolean {
  return state !== "ready" && state !== "waiting";
}
