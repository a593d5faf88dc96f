/** A sound and its waveform by wavesurfer.js, drawn into a box. */

import { type RefObject, useEffect, useRef, useState } from "react";
import WaveSurfer from "wavesurfer.js";

import { useLibrary } from "./context";
import { colours, LOOK } from "./wave-look";

interface Wanted {
  source: string;
  peaks?: number[] | undefined;
  seconds?: number | undefined;
  autoplay: boolean;
  onFailed?: (() => void) | undefined;
}

export interface Wave {
  box: RefObject<HTMLDivElement | null>;
  playing: boolean;
  /** Seconds. */
  at: number;
  length: number;
  failed: boolean;
  toggle(): void;
  seek(seconds: number): void;
  retry(): void;
}

/** Drawn where the sound may be played and not read. */
const FLAT = [0, 0];

function pathOf(address: string): string {
  return address.split("?")[0] ?? address;
}

/** An address that is signed anew names the same sound: it is taken only once the old one fails. */
function useHeld(source: string, failed: boolean): string {
  const [held, setHeld] = useState(source);
  if (held !== source && (failed || pathOf(held) !== pathOf(source))) setHeld(source);
  return held;
}

export function useWaveform({ source, peaks, seconds, autoplay, onFailed }: Wanted): Wave {
  const { deck, theme } = useLibrary();
  const box = useRef<HTMLDivElement>(null);
  const wave = useRef<WaveSurfer>(null);
  const [playing, setPlaying] = useState(false);
  const [at, setAt] = useState(0);
  const [length, setLength] = useState(seconds ?? 0);
  const [failed, setFailed] = useState(false);
  const [round, setRound] = useState(0);
  // A storage of another origin may let its sound be played, and not read: then there is no waveform, but sound.
  const [unread, setUnread] = useState("");
  const address = useHeld(source, failed);
  // A new list of the same peaks, as every answer holds one, is no reason to load the sound again.
  const known = useRef({ peaks, seconds, autoplay });

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const { peaks, seconds, autoplay } = known.current;
    const blind = unread === address;
    const given = peaks !== undefined && seconds !== undefined ? { peaks: [peaks], duration: seconds } : blind ? { peaks: [FLAT] } : {};
    const made = WaveSurfer.create({ container: element, url: address, dragToSeek: true, ...LOOK, ...colours(element), ...given });
    const self = { pause: () => made.pause() };
    wave.current = made;
    setFailed(false);
    setAt(0);
    made.on("ready", (found) => {
      setLength(found);
      if (autoplay) void made.play().catch(() => undefined); // a browser that wants a click first
    });
    made.on("play", () => {
      deck.take(self);
      setPlaying(true);
    });
    made.on("pause", () => setPlaying(false));
    made.on("finish", () => setPlaying(false));
    made.on("timeupdate", setAt);
    made.on("error", () => (blind || peaks !== undefined ? setFailed(true) : setUnread(address)));
    return () => {
      wave.current = null;
      made.destroy();
    };
  }, [address, round, unread, deck]);
  useEffect(() => {
    if (box.current) wave.current?.setOptions(colours(box.current));
  }, [theme]);

  const retry = () => {
    setUnread("");
    onFailed?.();
    setRound(round + 1);
  };
  const toggle = () => void wave.current?.playPause().catch(() => setFailed(true));
  return { box, playing, at, length, failed, toggle, seek: (seconds) => wave.current?.setTime(seconds), retry };
}
