/** One recording or piece of speech to be heard, with its waveform by wavesurfer.js. */

import { useEffect, useRef, useState } from "react";
import WaveSurfer from "wavesurfer.js";

import { Icon } from "../../components/Icon";
import { useLibrary } from "../context";
import { clock } from "../format";

interface Props {
  source: string;
  name: string;
  /** Of 0..1, with `seconds`, where they are known: the file is then not read twice. */
  peaks?: number[];
  seconds?: number;
  autoplay?: boolean;
  /** It may be saved, under the server's name for it. */
  saved?: boolean;
  /** Asks for a new address: the old one may be too old. */
  onFailed?(): void;
}

const HEIGHT_PX = 64;
const STEP_S = 0.1;
const FLAT = [0, 0];

export const LOOK = { barWidth: 3, barGap: 2, barRadius: 3, cursorWidth: 0, height: HEIGHT_PX, normalize: true };

/** The waveform's colours in the theme that is shown. */
export function colours(element: Element): { waveColor: string; progressColor: string } {
  const style = getComputedStyle(element);
  return { waveColor: style.getPropertyValue("--wave").trim(), progressColor: style.getPropertyValue("--accent").trim() };
}

export function Waveform({ source, name, peaks, seconds, autoplay = false, saved = false, onFailed }: Props) {
  const { deck, words, theme } = useLibrary();
  const box = useRef<HTMLDivElement>(null);
  const wave = useRef<WaveSurfer>(null);
  const [playing, setPlaying] = useState(false);
  const [at, setAt] = useState(0);
  const [length, setLength] = useState(seconds ?? 0);
  const [failed, setFailed] = useState(false);
  const [round, setRound] = useState(0);
  // A storage of another origin may let its sound be played, and not read: then there is no waveform, but sound.
  const [unread, setUnread] = useState("");
  // A new list of the same peaks, as every answer holds one, is no reason to load the sound again.
  const known = useRef({ peaks, seconds, autoplay });

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const { peaks, seconds, autoplay } = known.current;
    const blind = unread === source;
    const given = peaks !== undefined && seconds !== undefined ? { peaks: [peaks], duration: seconds } : blind ? { peaks: [FLAT] } : {};
    const made = WaveSurfer.create({ container: element, url: source, dragToSeek: true, ...LOOK, ...colours(element), ...given });
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
    made.on("error", () => (blind || peaks !== undefined ? setFailed(true) : setUnread(source)));
    return () => {
      wave.current = null;
      made.destroy();
    };
  }, [source, round, unread, deck]);
  useEffect(() => {
    if (box.current) wave.current?.setOptions(colours(box.current));
  }, [theme]);

  const retry = () => {
    setUnread("");
    onFailed?.();
    setRound(round + 1);
  };
  return (
    <div className="waveform" data-testid="waveform" data-playing={playing}>
      <button type="button" className="play play-solid" aria-label={playing ? words.pause(name) : words.play(name)} disabled={failed} onClick={() => void wave.current?.playPause().catch(() => setFailed(true))}>
        <Icon name={playing ? "pause" : "play"} filled={!playing} />
      </button>
      <div className="waveform-middle">
        <div ref={box} className="waveform-box" aria-hidden="true" hidden={failed} />
        {failed ? (
          <p className="waveform-failed" role="alert">
            {words.trouble.failed}{" "}
            <button type="button" className="link-button" onClick={retry}>
              {words.trouble.again}
            </button>
          </p>
        ) : (
          <input
            type="range"
            className="waveform-seek"
            aria-label={name}
            aria-valuetext={`${clock(at)} / ${clock(length)}`}
            min={0}
            max={Math.max(length, STEP_S)}
            step={STEP_S}
            value={at}
            onChange={(event) => wave.current?.setTime(Number(event.target.value))}
          />
        )}
      </div>
      <span className="waveform-time">
        {clock(at)} / {clock(length)}
      </span>
      {saved && (
        <a className="icon-button" href={source} download aria-label={words.voice.download} title={words.voice.download}>
          <Icon name="download" />
        </a>
      )}
    </div>
  );
}
