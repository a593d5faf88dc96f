/** Where talking stands, as a pure reducer: no device, no timer. `useVoice` drives it. */

import type { Ears } from "./listening-orders";
import type { MicrophoneTrouble } from "./microphone";
import type { Latency, VoiceEvent } from "./voice-events";

/** An open microphone, or one that hears while a button is held. */
export type Way = "open" | "push";

/** Something short to say about the last utterance. */
export type Note = "nothing" | "waiting";

export interface VoiceState {
  phase: "off" | "asking" | "on";
  /** This session's ears are open; that takes the server a moment when the first sound comes. */
  ready: boolean;
  way: Way;
  muted: boolean;
  /** The talk button is held. */
  held: boolean;
  /** The device or the system gives nothing, e.g. by a switch on the headset. */
  silenced: boolean;
  hearing: boolean;
  thinking: boolean;
  /** She speaks. */
  speaking: boolean;
  trouble?: MicrophoneTrouble;
  /** The server's or the browser's own words about it. */
  detail?: string;
  note?: Note;
  /** Of the last turn. */
  latency?: Latency;
}

export type VoiceAction =
  | { type: "asked" | "opened" | "closed" | "left" | "noted" }
  | { type: "refused"; trouble: MicrophoneTrouble; detail?: string }
  | { type: "muted" | "held" | "silenced"; on: boolean }
  | { type: "way"; way: Way }
  | { type: "heard"; event: VoiceEvent };

/** What a visitor is shown: one thing at a time. `waking` is on while the server gets ready to listen. */
export type Shown = "off" | "asking" | "waking" | "silenced" | "muted" | "hearing" | "thinking" | "speaking" | "hold" | "held" | "listening";

export function firstVoice(way: Way): VoiceState {
  return { phase: "off", ready: false, way, muted: false, held: false, silenced: false, hearing: false, thinking: false, speaking: false };
}

export function reduceVoice(state: VoiceState, action: VoiceAction): VoiceState {
  const { trouble: _trouble, detail: _detail, ...well } = state;
  switch (action.type) {
    case "asked":
      return { ...well, phase: "asking" };
    case "opened":
      return { ...well, ...AT_REST, phase: "on" };
    case "closed":
      return { ...well, ...AT_REST, phase: "off" };
    case "refused":
      return { ...well, ...AT_REST, phase: "off", trouble: action.trouble, ...(action.detail ? { detail: action.detail } : {}) };
    case "left":
      return { ...state, ready: false, hearing: false, thinking: false, speaking: false, held: false };
    case "noted":
      return without(well, "note");
    case "muted":
      return { ...state, muted: action.on, held: false, ...(action.on ? { hearing: false } : {}) };
    case "held":
      return { ...without(state, "note"), held: action.on };
    case "silenced":
      return { ...state, silenced: action.on };
    case "way":
      return { ...state, way: action.way, muted: false, held: false, hearing: false };
    case "heard":
      return heard(state, action.event);
  }
}

const AT_REST = { muted: false, held: false, silenced: false, hearing: false, thinking: false };

/** The server's first words when it finds that it cannot listen. */
const DEAF = /^she cannot hear: /;

/** Whether an error says that the server does not listen. */
export function isDeafness(said: string): boolean {
  return DEAF.test(said);
}

function heard(state: VoiceState, happened: VoiceEvent): VoiceState {
  switch (happened.event) {
    case "user.started":
      return { ...without(state, "note"), hearing: true };
    case "transcript.partial":
      return { ...state, hearing: state.phase === "on" && !state.muted };
    case "turn.ended":
      return { ...state, hearing: false, thinking: happened.reason !== "wait" };
    case "listening":
      return listening(state, happened.state);
    case "speech.started":
    case "resumed":
      return { ...state, thinking: false, speaking: true };
    case "speech.ended":
    case "paused":
      return { ...state, speaking: false };
    case "interrupted": // ends what she says; the answer that is on its way only when she was silent
      return { ...state, speaking: false, thinking: state.thinking && state.speaking };
    case "latency":
      return { ...state, latency: happened.latency };
    case "error":
      if (state.phase !== "off" && DEAF.test(happened.text))
        return reduceVoice(state, { type: "refused", trouble: "deaf", detail: happened.text.replace(DEAF, "") });
      return { ...state, hearing: false, thinking: false };
    case "user.stopped": // a pause is not the end of the turn
    case "transcript.final":
      return state;
  }
}

/** `ready`, `waiting`, or what was begun came to nothing, and why. */
function listening(state: VoiceState, said: string): VoiceState {
  if (said === "ready") return { ...state, ready: true };
  const quiet = { ...without(state, "note"), hearing: false };
  if (said === "waiting") return { ...quiet, note: "waiting" };
  return said.startsWith("nothing was") ? { ...quiet, note: "nothing" } : quiet; // a cough or "mm-hm" needs no comment
}

export function shownOf(state: VoiceState): Shown {
  if (state.phase !== "on") return state.phase;
  if (!state.ready) return "waking";
  if (state.silenced) return "silenced";
  if (state.held) return state.hearing ? "hearing" : "held";
  if (state.hearing && !state.muted) return "hearing";
  if (state.thinking) return "thinking";
  if (state.speaking && !state.muted) return "speaking";
  if (state.muted) return "muted";
  return state.way === "push" ? "hold" : "listening";
}

/** What a screen reader says: nothing that it would say into an open microphone while somebody talks. */
export function announcedOf(state: VoiceState): Shown {
  const shown = shownOf(state);
  if (shown !== "hearing" && shown !== "thinking" && shown !== "speaking" && shown !== "held") return shown;
  return state.muted ? "muted" : state.way === "push" ? "hold" : "listening";
}

function without(state: VoiceState, name: "note"): VoiceState {
  const { [name]: _gone, ...rest } = state;
  return rest;
}

/** How the server's ears are to be. */
export function earsOf({ phase, muted, way, held }: VoiceState): Ears {
  if (phase !== "on" || muted) return "muted";
  if (way === "open") return "open";
  return held ? "held" : "waiting";
}

/** Whether sound leaves the page. */
export function isOpen(state: VoiceState): boolean {
  const ears = earsOf(state);
  return ears === "open" || ears === "held";
}
