/** One recording or piece of speech to be heard, with its waveform. */

import { Icon } from "../../components/Icon";
import { useLibrary } from "../context";
import { clock } from "../format";
import { useWaveform } from "../use-waveform";

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

const STEP_S = 0.1;

export function Waveform({ source, name, peaks, seconds, autoplay = false, saved = false, onFailed }: Props) {
  const { words } = useLibrary();
  const { box, playing, at, length, failed, toggle, seek, retry } = useWaveform({ source, peaks, seconds, autoplay, onFailed });
  return (
    <div className="waveform" data-testid="waveform" data-playing={playing}>
      <button type="button" className="play play-solid" aria-label={playing ? words.pause(name) : words.play(name)} disabled={failed} onClick={toggle}>
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
            onChange={(event) => seek(Number(event.target.value))}
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
