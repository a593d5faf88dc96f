/** The session as the page uses it: what it says, what is sent to it, and how it is stopped. */

import { useCallback, useEffect, useReducer, useState, useSyncExternalStore } from "react";

import { type Api, ApiError } from "../api";
import { type Conversation, EMPTY, reduceConversation } from "../conversation";
import type { Link } from "../link";
import type { LinkState } from "../link-state";
import { type Caption, NO_CAPTION, parseSpeechEvent, reduceCaption, type SpeechEvent } from "../speech";

export type Mode = "echo" | "chat";

export interface Presenter {
  link: LinkState;
  caption: Caption;
  conversation: Conversation;
  /** What went wrong last, in words that can be shown; empty when nothing did. */
  problem: string;
  setProblem(problem: string): void;
  /** Resolves to whether the server took it. */
  say(mode: Mode, text: string, voice: string): Promise<boolean>;
  play(file: File, onProgress: (part: number) => void, signal: AbortSignal): Promise<void>;
  stop(): void;
}

type CaptionAction = SpeechEvent | "clear";

function captionReducer(caption: Caption, action: CaptionAction): Caption {
  return action === "clear" ? NO_CAPTION : reduceCaption(caption, action);
}

/** Reads an error as a sentence: the server's own, or `silent` when it gave none. */
function sentence(error: unknown, silent: string): string {
  return error instanceof ApiError && error.status !== 0 ? error.message : silent;
}

/** The server has ended this session, which the media may not have shown yet. */
function isGone(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}

export function usePresenter(api: Api, link: Link, silentServer: string, failedSpeech: string): Presenter {
  const state = useSyncExternalStore(link.subscribe, link.getState);
  const [caption, hearCaption] = useReducer(captionReducer, NO_CAPTION);
  const [conversation, tell] = useReducer(reduceConversation, EMPTY);
  const [problem, setProblem] = useState("");
  const { sessionid, phase } = state;

  useEffect(
    () =>
      link.hear((message) => {
        const event = parseSpeechEvent(message);
        if (!event) return;
        hearCaption(event);
        tell({ type: "heard", event });
        if (event.event === "error") setProblem(event.text || failedSpeech);
      }),
    [link, failedSpeech],
  );
  useEffect(() => {
    if (phase === "live") return;
    hearCaption("clear");
    tell({ type: "left" });
  }, [phase]);

  const say = useCallback(
    async (mode: Mode, text: string, voice: string) => {
      if (sessionid === undefined) return false;
      const interrupt = mode === "chat"; // a new question ends the old answer; new words queue behind the old ones
      if (interrupt) tell({ type: "stopped" });
      tell({ type: "sent", kind: mode, text });
      setProblem("");
      try {
        await api.human(sessionid, { type: mode, text, voice, ...(interrupt ? { interrupt } : {}) });
        return true;
      } catch (error) {
        tell({ type: "refused", text });
        setProblem(sentence(error, silentServer));
        if (isGone(error)) link.connect();
        return false;
      }
    },
    [api, link, sessionid, silentServer],
  );
  const play = useCallback(
    async (file: File, onProgress: (part: number) => void, signal: AbortSignal) => {
      if (sessionid === undefined) return;
      setProblem("");
      try {
        await api.humanAudio(sessionid, file, onProgress, signal);
        tell({ type: "sent", kind: "audio", text: file.name });
      } catch (error) {
        if (!signal.aborted) setProblem(sentence(error, silentServer));
        if (isGone(error)) link.connect();
      }
    },
    [api, link, sessionid, silentServer],
  );
  const stop = useCallback(() => {
    if (sessionid === undefined) return;
    tell({ type: "stopped" });
    hearCaption("clear");
    api.interrupt(sessionid).catch((error: unknown) => setProblem(sentence(error, silentServer)));
  }, [api, sessionid, silentServer]);

  return { link: state, caption, conversation, problem, setProblem, say, play, stop };
}
