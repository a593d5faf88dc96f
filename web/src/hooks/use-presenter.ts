/** The session as the page uses it: what it says, what is sent to it, and how it is stopped. */

import { type Dispatch, useCallback, useEffect, useReducer, useState, useSyncExternalStore } from "react";

import { type Api, ApiError } from "../api";
import { type Conversation, type ConversationAction, EMPTY, reduceConversation } from "../conversation";
import type { Words } from "../i18n";
import { explained } from "../i18n-voice";
import type { Link } from "../link";
import type { LinkState } from "../link-state";
import { type Caption, NO_CAPTION, parseSpeechEvent, reduceCaption, type SpeechEvent } from "../speech";
import { parseVoiceEvent } from "../voice-events";
import { isDeafness } from "../voice-state";

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

interface Heard {
  caption: Caption;
  conversation: Conversation;
  hearCaption: Dispatch<SpeechEvent | "clear">;
  tell: Dispatch<ConversationAction>;
}

function captionReducer(caption: Caption, action: SpeechEvent | "clear"): Caption {
  return action === "clear" ? NO_CAPTION : reduceCaption(caption, action);
}

/** Follows what is played out, until the connection ends. */
function useHeard(link: Link, live: boolean, onError: (words: string) => void): Heard {
  const [caption, hearCaption] = useReducer(captionReducer, NO_CAPTION);
  const [conversation, tell] = useReducer(reduceConversation, EMPTY);
  useEffect(
    () =>
      link.hear((message) => {
        const spoken = parseVoiceEvent(message);
        if (spoken) tell({ type: "voice", event: spoken });
        const event = parseSpeechEvent(message);
        if (!event) return;
        hearCaption(event);
        tell({ type: "heard", event });
        if (event.event === "error" && !isDeafness(event.text)) onError(event.text); // the microphone's own place says that
      }),
    [link, onError],
  );
  useEffect(() => {
    if (live) return;
    hearCaption("clear");
    tell({ type: "left" });
  }, [live]);
  return { caption, conversation, hearCaption, tell };
}

export function usePresenter(api: Api, link: Link, words: Words): Presenter {
  const state = useSyncExternalStore(link.subscribe, link.getState);
  const [problem, setProblem] = useState("");
  const onError = useCallback((said: string) => setProblem(explained(said, words.talk) || words.speechFailed), [words]);
  const { caption, conversation, hearCaption, tell } = useHeard(link, state.phase === "live", onError);
  const { sessionid } = state;

  const onRefused = useCallback(
    (error: unknown) => {
      setProblem(error instanceof ApiError && error.status !== 0 ? error.message : words.unreachableNow);
      // The server has ended this session, which picture and sound may not have shown yet.
      if (error instanceof ApiError && error.status === 404) link.connect();
    },
    [link, words],
  );
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
        onRefused(error);
        return false;
      }
    },
    [api, sessionid, tell, onRefused],
  );
  const play = useCallback(
    async (file: File, onProgress: (part: number) => void, signal: AbortSignal) => {
      if (sessionid === undefined) return;
      setProblem("");
      try {
        await api.humanAudio(sessionid, file, onProgress, signal);
        tell({ type: "sent", kind: "audio", text: file.name });
      } catch (error) {
        if (!signal.aborted) onRefused(error);
      }
    },
    [api, sessionid, tell, onRefused],
  );
  const stop = useCallback(() => {
    if (sessionid === undefined) return;
    tell({ type: "stopped" });
    hearCaption("clear");
    api.interrupt(sessionid).catch(onRefused);
  }, [api, sessionid, tell, hearCaption, onRefused]);

  return { link: state, caption, conversation, problem, setProblem, say, play, stop };
}
