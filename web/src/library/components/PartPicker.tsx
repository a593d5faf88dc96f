/** The chosen recording: heard, and where it is too long, the part of it that is used. */

import { useEffect, useEffectEvent, useRef, useState } from "react";
import WaveSurfer from "wavesurfer.js";
import RegionsPlugin, { type Region } from "wavesurfer.js/plugins/regions";

import { Icon } from "../../components/Icon";
import { useLibrary } from "../context";
import { clock } from "../format";
import { type Lengths, type Part, within } from "../recording";
import { colours, LOOK } from "../wave-look";

interface Props {
  file: File;
  sound: AudioBuffer;
  /** Undefined where all of it is used. */
  part: Part | undefined;
  limits: Lengths;
  onPart(part: Part): void;
}

const STEP_S = 0.1;
const PEAKS = 1_200;

export function PartPicker({ file, sound, part, limits, onPart }: Props) {
  const { deck, words, theme } = useLibrary();
  const box = useRef<HTMLDivElement>(null);
  const wave = useRef<WaveSurfer>(null);
  const region = useRef<Region>(null);
  const [playing, setPlaying] = useState(false);
  const first = useEffectEvent(() => part);
  const moved = useEffectEvent((now: Region) => onPart(within({ from: now.start, length: now.end - now.start }, sound.duration, limits)));

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const address = URL.createObjectURL(file);
    const made = WaveSurfer.create({ container: element, url: address, peaks: [peaksOf(sound)], duration: sound.duration, ...LOOK, ...colours(element) });
    wave.current = made;
    const chosen = first();
    if (chosen !== undefined) {
      const regions = made.registerPlugin(RegionsPlugin.create());
      made.once("ready", () => {
        const { seconds_min: minLength, seconds_max: maxLength } = limits;
        region.current = regions.addRegion({ start: chosen.from, end: chosen.from + chosen.length, minLength, maxLength, color: "var(--region)" });
      });
      regions.on("region-updated", moved);
      regions.on("region-out", () => made.pause());
    }
    const self = { pause: () => made.pause() };
    made.on("play", () => {
      deck.take(self);
      setPlaying(true);
    });
    made.on("pause", () => setPlaying(false));
    made.on("finish", () => setPlaying(false));
    return () => {
      wave.current = region.current = null;
      made.destroy();
      URL.revokeObjectURL(address);
    };
  }, [file, sound, limits, deck]);
  useEffect(() => {
    if (box.current) wave.current?.setOptions(colours(box.current));
  }, [theme]);
  useEffect(() => {
    if (part) region.current?.setOptions({ start: part.from, end: part.from + part.length });
  }, [part]);

  const toggle = () => {
    const player = wave.current;
    if (!player) return;
    if (playing) player.pause();
    else void (part ? player.play(part.from, part.from + part.length) : player.play()).catch(() => undefined);
  };
  const name = words.create.recording;
  return (
    <div className="part-picker">
      <div className="waveform">
        <button type="button" className="play play-solid" aria-label={playing ? words.pause(name) : words.play(name)} onClick={toggle}>
          <Icon name={playing ? "pause" : "play"} filled={!playing} />
        </button>
        <div className="waveform-middle">
          <div ref={box} className="waveform-box" aria-hidden="true" data-testid="chosen-wave" />
        </div>
        <span className="waveform-time">{clock(part?.length ?? sound.duration)}</span>
      </div>
      {part && <PartFields part={part} seconds={sound.duration} limits={limits} onPart={onPart} />}
    </div>
  );
}

/** The same by keyboard. */
function PartFields({ part, seconds, limits, onPart }: { part: Part; seconds: number; limits: Lengths; onPart(part: Part): void }) {
  const { create } = useLibrary().words;
  const set = (change: Partial<Part>) => onPart(within({ ...part, ...change }, seconds, limits));
  const shown = (value: number) => Number(value.toFixed(1));
  return (
    <fieldset className="part-fields">
      <legend className="visually-hidden">{create.part}</legend>
      <label>
        {create.from}
        <input type="number" className="field" min={0} max={shown(seconds - part.length)} step={STEP_S} value={shown(part.from)} onChange={(event) => set({ from: event.target.valueAsNumber || 0 })} />
      </label>
      <label>
        {create.length}
        <input type="number" className="field" min={limits.seconds_min} max={limits.seconds_max} step={STEP_S} value={shown(part.length)} onChange={(event) => set({ length: event.target.valueAsNumber || 0 })} />
      </label>
    </fieldset>
  );
}

/** The loudest sample of each of some hundred pieces: all that a waveform shows. */
function peaksOf(sound: AudioBuffer): Float32Array {
  const samples = sound.getChannelData(0);
  const each = Math.max(1, Math.floor(samples.length / PEAKS));
  return Float32Array.from({ length: Math.min(PEAKS, samples.length) }, (_, k) => {
    let peak = 0;
    for (let at = k * each; at < (k + 1) * each; at++) peak = Math.max(peak, Math.abs(samples[at] ?? 0));
    return peak;
  });
}
