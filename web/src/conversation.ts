/** The list of what was said. */

import type { SpeechEvent } from "./speech";
import { cameToNothing, type VoiceEvent } from "./voice-events";

/** `voice` is what you said aloud. */
export type Kind = "echo" | "chat" | "audio" | "voice";
export type LineState = "waiting" | "speaking" | "said" | "stopped";

export interface Line {
  id: number;
  who: "you" | "presenter";
  kind: Kind;
  /** What was asked for: the text, the question or the file name. */
  text: string;
  /** What has been heard of it so far. */
  heard: string;
  state: LineState;
  /** BCP 47 tag of the text, where it is known. */
  language?: string;
}

export interface Conversation {
  lines: readonly Line[];
  nextId: number;
}

export type ConversationAction =
  | { type: "sent"; kind: Kind; text: string }
  /** The server did not take the newest line of this text: it is not part of the conversation. */
  | { type: "refused"; text: string }
  /** The person pressed stop, or asked the next question. */
  | { type: "stopped" }
  /** The connection ended: nothing that waits will be heard. */
  | { type: "left" }
  | { type: "heard"; event: SpeechEvent }
  /** You talk. */
  | { type: "voice"; event: VoiceEvent };

export const EMPTY: Conversation = { lines: [], nextId: 1 };
const MAX_LINES = 200;

export function reduceConversation(conversation: Conversation, action: ConversationAction): Conversation {
  switch (action.type) {
    case "sent":
      return sent(conversation, action.kind, action.text);
    case "refused": {
      const refused = conversation.lines.findLast((line) => line.text === action.text);
      if (!refused) return conversation;
      const answer = refused.who === "you" ? refused.id + 1 : refused.id;
      return { ...conversation, lines: conversation.lines.filter(({ id }) => id !== refused.id && id !== answer) };
    }
    case "stopped":
      return change(conversation, (line) => (isHers(line) && isOpen(line) ? { ...line, state: "stopped" } : line));
    case "left":
      return change(conversation, (line) => (isOpen(line) ? { ...line, state: "stopped" } : line));
    case "heard":
      return heard(conversation, action.event);
    case "voice":
      return voiced(conversation, action.event);
  }
}

/** What the list shows of a line. */
export function wording(line: Line): string {
  if (line.who === "you" || line.kind === "audio") return line.text;
  const whole = line.kind === "echo" && line.text !== "" && line.state !== "stopped";
  return whole ? line.text : line.heard || (line.kind === "echo" ? line.text : "");
}

/** What you are saying aloud at this moment; empty when nothing is recognised yet. */
export function saidNow({ lines }: Conversation): string {
  return lines.findLast(isBeingSaid)?.text ?? "";
}

function sent(conversation: Conversation, kind: Kind, text: string): Conversation {
  const yours: Omit<Line, "id">[] = kind === "chat" ? [{ who: "you", kind, text, heard: "", state: "said" }] : [];
  return add(conversation, [...yours, { who: "presenter", kind, text: kind === "chat" ? "" : text, heard: "", state: "waiting" }]);
}

function heard(before: Conversation, { event, text }: SpeechEvent): Conversation {
  if (event === "speech.started") return begin(before, text);
  if (event === "clause.started") {
    const speaking = before.lines.some(isSpeaking);
    return hearMore(speaking ? before : begin(before, text), text);
  }
  if (event === "speech.ended") return change(before, (line) => (isSpeaking(line) ? { ...line, state: "said" } : line));
  if (event === "interrupted") return interrupted(before);
  return before;
}

/** Ends what she says and what was to come before your last words; the answer to those is yet to come. */
function interrupted(before: Conversation): Conversation {
  const yours = before.lines.findLast((line) => !isHers(line))?.id ?? 0;
  const ends = (line: Line) => isSpeaking(line) || (isHers(line) && line.state === "waiting" && line.id < yours);
  return change(before, (line) => (ends(line) ? { ...line, state: "stopped" } : line));
}

/** What you say, as it is recognised, and the answer that is on its way. */
function voiced(before: Conversation, happened: VoiceEvent): Conversation {
  switch (happened.event) {
    case "transcript.partial":
      return transcribed(before, happened.text, happened.language, "speaking");
    case "transcript.final":
      return transcribed(before, happened.text, happened.language, "said");
    case "turn.ended":
      if (happened.reason === "wait") return before;
      return add(before, [{ who: "presenter", kind: "chat", text: "", heard: "", state: "waiting" }]);
    case "listening":
      return cameToNothing(happened.state) ? { ...before, lines: before.lines.filter((line) => !isBeingSaid(line)) } : before;
    case "error":
      return failed(before);
    default:
      return before;
  }
}

function transcribed(before: Conversation, text: string, language: string, state: "speaking" | "said"): Conversation {
  const spoken: Omit<Line, "id"> = { who: "you", kind: "voice", text, heard: "", state, ...(language ? { language } : {}) };
  if (!before.lines.some(isBeingSaid)) return text === "" ? before : add(before, [spoken]);
  return change(before, (line) => (isBeingSaid(line) ? { ...spoken, id: line.id } : line));
}

/** Your words were lost, or nobody can answer them: neither is to look as if it were still going on. While she speaks, it
 * is one of her clauses that failed. */
function failed(before: Conversation): Conversation {
  const answer = before.lines.some(isSpeaking) ? undefined : before.lines.find((line) => line.state === "waiting" && line.kind === "chat");
  const left = { ...before, lines: before.lines.filter((line) => line !== answer) };
  return change(left, (line) => (isBeingSaid(line) ? { ...line, state: "stopped" } : line));
}

/** The waiting line of that text is heard now, else the oldest that waits; speech nobody here asked for gets a line of
 * its own. */
function begin(before: Conversation, text: string): Conversation {
  const settled = change(before, (line) => (isSpeaking(line) ? { ...line, state: "said" } : line));
  const waiting = settled.lines.filter((line) => line.state === "waiting");
  const next = waiting.find((line) => line.kind === "echo" && line.text === text) ?? waiting[0];
  if (!next) return add(settled, [{ who: "presenter", kind: "chat", text: "", heard: "", state: "speaking" }]);
  return change(settled, (line) => (line.id === next.id ? { ...line, state: "speaking" } : line));
}

function hearMore(before: Conversation, text: string): Conversation {
  return change(before, (line) => (isSpeaking(line) ? { ...line, heard: join(line.heard, text) } : line));
}

/** Clauses of languages that put spaces between words get one between them. */
function join(heard: string, clause: string): string {
  if (heard === "" || clause === "") return heard + clause;
  return /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u3000-\u303f\uff00-\uffef\s]$/u.test(heard) ? heard + clause : `${heard} ${clause}`;
}

/** It is still to be heard, or being heard. */
export function isOpen(line: Line): boolean {
  return line.state === "waiting" || line.state === "speaking";
}

function isHers(line: Line): boolean {
  return line.who === "presenter";
}

function isSpeaking(line: Line): boolean {
  return isHers(line) && line.state === "speaking";
}

function isBeingSaid(line: Line): boolean {
  return line.kind === "voice" && line.state === "speaking";
}

function change(conversation: Conversation, mend: (line: Line) => Line): Conversation {
  return { ...conversation, lines: conversation.lines.map(mend) };
}

function add({ lines, nextId }: Conversation, fresh: Omit<Line, "id">[]): Conversation {
  const numbered = fresh.map((line, k) => ({ ...line, id: nextId + k }));
  return { lines: [...lines, ...numbered].slice(-MAX_LINES), nextId: nextId + fresh.length };
}
