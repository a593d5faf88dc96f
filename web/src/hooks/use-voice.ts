/** Talking: the microphone's life, what the server hears of it, and what the page shows of both. */

import { useCallback, useEffect, useMemo, useReducer, useRef, useState, useSyncExternalStore } from "react";

import { type Api, ApiError, type ClientInfo } from "../api";
import type { Link } from "../link";
import { ListeningOrders } from "../listening-orders";
import { Microphone, MicrophoneError, openMicrophone, reasonOfEnd } from "../microphone";
import { recall, remember } from "../preferences";
import { parseVoiceEvent } from "../voice-events";
import { earsOf, firstVoice, isOpen, reduceVoice, type VoiceAction, type VoiceState, type Way } from "../voice-state";

export interface Voice {
  state: VoiceState;
  microphone: Microphone | undefined;
  /** Asks for the microphone, or switches it off. */
  toggle(): void;
  mute(on: boolean): void;
  setWay(way: Way): void;
  press(): void;
  release(): void;
  /** Takes the reason why there is no microphone off the page. */
  dismiss(): void;
}

interface Options {
  api: Api;
  link: Link;
  server: ClientInfo;
  onError(error: unknown): void;
}

/** People let go with the last sound, and that has still to be recorded and sent. */
const RELEASE_TAIL_MS = 200;
const NOTE_MS = 5_000;

type Tell = (action: VoiceAction) => void;

export function useVoice({ api, link, server, onError }: Options): Voice {
  const [state, tell] = useReducer(reduceVoice, recall("talk") === "push" ? "push" : "open", firstVoice);
  const [opened, setOpened] = useState<Microphone>();
  const microphone = state.phase === "on" ? opened : undefined;
  useMicrophone(microphone, link, tell);
  useServer(api, link, state, tell, onError);
  useNote(state, tell);

  const through = isOpen(state);
  useEffect(() => microphone?.let(through), [microphone, through]);

  const attempt = useRef(0);
  const ask = async () => {
    const mine = ++attempt.current;
    if (!server.microphone) return tell({ type: "refused", trouble: "deaf", detail: server.microphoneTrouble });
    tell({ type: "asked" });
    try {
      const found = await openMicrophone({ secure: isSecureContext, devices: navigator.mediaDevices });
      if (mine !== attempt.current) return found.stop();
      setOpened(new Microphone(found));
      tell({ type: "opened" });
    } catch (error) {
      if (mine !== attempt.current) return;
      const { trouble, detail } = error instanceof MicrophoneError ? error : new MicrophoneError("failed", String(error));
      tell({ type: "refused", trouble, detail: trouble === "failed" ? detail : "" });
    }
  };
  const close = () => {
    attempt.current++;
    tell({ type: "closed" });
  };
  const { press, release } = useTalkButton(tell);
  return {
    state,
    microphone,
    toggle: () => (state.phase === "off" ? void ask() : close()),
    mute: (on) => tell({ type: "muted", on }),
    setWay: (way) => {
      remember("talk", way === "push" ? "push" : undefined);
      tell({ type: "way", way });
    },
    press,
    release,
    dismiss: close,
  };
}

/** Sends it while it is there, follows its fate and closes it afterwards. */
function useMicrophone(microphone: Microphone | undefined, link: Link, tell: Tell): void {
  useEffect(() => {
    if (!microphone) return;
    const refuse = (error: unknown) => tell({ type: "refused", trouble: "deaf", detail: error instanceof Error ? error.message : "" });
    const ended = () => void reasonOfEnd(navigator.permissions).then((trouble) => tell({ type: "refused", trouble }));
    microphone.follow((on) => tell({ type: "silenced", on }), ended);
    link.setMicrophone(microphone.track).catch(refuse);
    return () => {
      link.setMicrophone(null).catch(() => undefined); // a connection that is gone sends nothing either
      microphone.close();
    };
  }, [microphone, link, tell]);
}

/** Hears what the server says of listening, and keeps its ears as they should be. */
function useServer(api: Api, link: Link, state: VoiceState, tell: Tell, onError: (error: unknown) => void): void {
  const { sessionid } = useSyncExternalStore(link.subscribe, link.getState);
  const report = useRef(onError);
  report.current = onError;
  const orders = useMemo(
    () =>
      new ListeningOrders(
        async (action) => {
          const { sessionid: now } = link.getState();
          if (now !== undefined) await api.listening(now, action);
        },
        (error) => {
          // 409: nothing was listening at that moment, so there was nothing to change.
          if (!(error instanceof ApiError && error.status === 409)) report.current(error);
        },
      ),
    [api, link],
  );
  useEffect(
    () =>
      link.hear((message) => {
        const event = parseVoiceEvent(message);
        if (!event) return;
        tell({ type: "heard", event });
        if (event.event === "listening" && event.state === "ready") orders.begin();
      }),
    [link, orders, tell],
  );
  useEffect(
    () => () => {
      orders.end();
      tell({ type: "left" });
    },
    [sessionid, orders, tell],
  );
  const ears = earsOf(state);
  useEffect(() => orders.want(ears), [orders, ears]);
}

function useNote({ note }: VoiceState, tell: Tell): void {
  useEffect(() => {
    if (!note) return;
    const timer = setTimeout(() => tell({ type: "noted" }), NOTE_MS);
    return () => clearTimeout(timer);
  }, [note, tell]);
}

function useTalkButton(tell: Tell): Pick<Voice, "press" | "release"> {
  const tail = useRef<ReturnType<typeof setTimeout>>(undefined);
  const press = useCallback(() => {
    clearTimeout(tail.current);
    tell({ type: "held", on: true });
  }, [tell]);
  const release = useCallback(() => {
    clearTimeout(tail.current);
    tail.current = setTimeout(() => tell({ type: "held", on: false }), RELEASE_TAIL_MS);
  }, [tell]);
  useEffect(() => () => clearTimeout(tail.current), []);
  return { press, release };
}
