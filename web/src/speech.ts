/** What the presenter is saying, from the events that the server sends as each sound is played out. */

import { isRecord } from "./json";

export interface SpeechEvent {
  event: "speech.started" | "clause.started" | "word" | "speech.ended" | "paused" | "resumed" | "interrupted" | "error";
  turn: number;
  text: string;
}

const NAMES: ReadonlySet<string> = new Set([
  "speech.started", "clause.started", "word", "speech.ended", "paused", "resumed", "interrupted", "error",
]);

/** Reads one message of the events channel; undefined for anything this page does not know. */
export function parseSpeechEvent(message: string): SpeechEvent | undefined {
  let body: unknown;
  try {
    body = JSON.parse(message);
  } catch {
    return undefined;
  }
  if (!isRecord(body)) return undefined;
  const fields = isRecord(body["data"]) ? { ...body["data"], ...body } : body;
  const event = fields["event"];
  if (typeof event !== "string" || !NAMES.has(event)) return undefined;
  const text = fields["message"] ?? fields["msg"] ?? fields["text"]; // an error also carries the clause it is about
  return {
    event: event as SpeechEvent["event"],
    turn: typeof fields["turn"] === "number" ? fields["turn"] : 0,
    text: typeof text === "string" ? text : "",
  };
}

export interface Caption {
  turn: number;
  clause: string;
  /** Characters of `clause` that have been heard; 0 until the first word event. */
  spoken: number;
  speaking: boolean;
}

export const NO_CAPTION: Caption = { turn: -1, clause: "", spoken: 0, speaking: false };

/** A word is looked for at most this many characters ahead, so that a repeated word cannot jump over a sentence. */
const WORD_LOOKAHEAD = 24;

export function reduceCaption(caption: Caption, { event, turn, text }: SpeechEvent): Caption {
  if (turn < caption.turn) return caption;
  switch (event) {
    case "speech.started": // its text is the whole utterance; captions wait for the first clause
      return { turn, clause: "", spoken: 0, speaking: true };
    case "clause.started":
      return { turn, clause: text, spoken: 0, speaking: true };
    case "word": {
      const at = text === "" ? -1 : caption.clause.toLowerCase().indexOf(text.toLowerCase(), caption.spoken);
      if (turn !== caption.turn || at < 0 || at - caption.spoken > WORD_LOOKAHEAD) return caption;
      return { ...caption, spoken: at + text.length };
    }
    case "speech.ended":
      return { ...caption, turn, speaking: false };
    case "paused": // somebody speaks over her; she may go on from the very word
    case "resumed":
      return { ...caption, speaking: event === "resumed" };
    case "interrupted":
      return { ...NO_CAPTION, turn };
    case "error":
      return caption;
  }
}
