/** The video element: starts it, starts it silently where the browser wants a gesture first, and keeps mute and volume. */

import { type RefObject, useCallback, useEffect, useRef, useState } from "react";

import { recall, remember } from "../preferences";

export interface Player {
  video: RefObject<HTMLVideoElement | null>;
  /** True while the browser withholds sound until somebody touches the page. */
  blocked: boolean;
  muted: boolean;
  volume: number;
  /** True once a picture of the present stream has been shown. */
  shown: boolean;
  unblock(): void;
  setMuted(muted: boolean): void;
  setVolume(volume: number): void;
}

function firstVolume(): number {
  const volume = Number(recall("volume") ?? 1);
  return volume > 0 && volume <= 1 ? volume : 1;
}

/** Plays; silently, and true, where the browser lets no sound out before somebody touches the page. */
async function isHeldBack(element: HTMLVideoElement): Promise<boolean> {
  try {
    await element.play();
  } catch (error) {
    if (!(error instanceof DOMException) || error.name !== "NotAllowedError") return false; // replaced by a newer stream
    element.muted = true;
    await element.play().catch(() => {
      // Not even silent pictures: the gesture that lets sound out starts them too.
    });
    return true;
  }
  return false;
}

/** Calls `action` at the first touch or key anywhere on the page while `waiting`. */
function useGesture(waiting: boolean, action: () => void): void {
  useEffect(() => {
    if (!waiting) return;
    const options = { capture: true };
    document.addEventListener("pointerup", action, options);
    document.addEventListener("keydown", action, options);
    return () => {
      document.removeEventListener("pointerup", action, options);
      document.removeEventListener("keydown", action, options);
    };
  }, [waiting, action]);
}

export function usePlayer(stream: MediaStream | null): Player {
  const video = useRef<HTMLVideoElement>(null);
  const [blocked, setBlocked] = useState(false);
  const [muted, setMuted] = useState(false);
  const [volume, setVolumeState] = useState(firstVolume);
  const [shownStream, setShownStream] = useState<MediaStream | null>(null);

  const wantsSilence = useRef(false);

  const start = useCallback(async (element: HTMLVideoElement) => {
    element.muted = wantsSilence.current; // one muted before, for want of a gesture, would look as if it could play
    setBlocked(await isHeldBack(element));
  }, []);

  useEffect(() => {
    const element = video.current;
    if (!element || !stream) return;
    const onShown = () => setShownStream(stream);
    element.srcObject = stream;
    element.addEventListener("playing", onShown, { once: true });
    void start(element);
    return () => element.removeEventListener("playing", onShown);
  }, [stream, start]);

  useEffect(() => {
    wantsSilence.current = muted;
    if (!video.current) return;
    video.current.muted = muted || blocked;
    video.current.volume = volume;
  }, [muted, blocked, volume]);

  const unblock = useCallback(() => {
    if (video.current) void start(video.current);
  }, [start]);
  useGesture(blocked, unblock);

  const setVolume = useCallback((next: number) => {
    setMuted(next === 0);
    if (next === 0) return; // unmuting brings back what was heard before
    setVolumeState(next);
    remember("volume", String(next));
  }, []);
  return { video, blocked, muted, volume, shown: stream !== null && shownStream === stream, unblock, setMuted, setVolume };
}
