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
  return volume >= 0 && volume <= 1 ? volume : 1;
}

export function usePlayer(stream: MediaStream | null): Player {
  const video = useRef<HTMLVideoElement>(null);
  const [blocked, setBlocked] = useState(false);
  const [muted, setMuted] = useState(false);
  const [volume, setVolumeState] = useState(firstVolume);
  const [shownStream, setShownStream] = useState<MediaStream | null>(null);

  const start = useCallback(async (element: HTMLVideoElement) => {
    try {
      await element.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError") return; // replaced by a newer stream
      setBlocked(true);
      element.muted = true;
      await element.play().catch(() => {
        // Not even silent pictures: the button that unblocks sound starts them too.
      });
    }
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
    if (!video.current) return;
    video.current.muted = muted || blocked;
    video.current.volume = volume;
  }, [muted, blocked, volume]);

  const unblock = useCallback(() => {
    setBlocked(false);
    if (!video.current) return;
    video.current.muted = muted;
    void start(video.current);
  }, [muted, start]);

  useEffect(() => {
    if (!blocked) return;
    const options = { capture: true };
    document.addEventListener("pointerup", unblock, options);
    document.addEventListener("keydown", unblock, options);
    return () => {
      document.removeEventListener("pointerup", unblock, options);
      document.removeEventListener("keydown", unblock, options);
    };
  }, [blocked, unblock]);

  const setVolume = useCallback((next: number) => {
    setVolumeState(next);
    setMuted(next === 0);
    remember("volume", String(next));
  }, []);
  return { video, blocked, muted, volume, shown: stream !== null && shownStream === stream, unblock, setMuted, setVolume };
}
