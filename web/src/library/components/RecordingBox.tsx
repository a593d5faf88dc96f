/** Where a recording comes from: dropped, chosen, or recorded here; then what was found about it. */

import { type ChangeEvent, type DragEvent, useRef, useState } from "react";

import { Icon } from "../../components/Icon";
import { useLibrary } from "../context";
import { bytes, clock, seconds } from "../format";
import type { VoiceOptions } from "../shapes";
import { useVoiceRecorder, type VoiceRecorder } from "../use-recorder";
import type { Chosen, Recording } from "../use-recording";
import { LiveWave } from "./LiveWave";
import { PartPicker } from "./PartPicker";

interface Props {
  recording: Recording;
  options: VoiceOptions;
}

export function RecordingBox({ recording, options }: Props) {
  const { words } = useLibrary();
  const recorder = useVoiceRecorder(options.seconds_max, recording.choose);
  const { chosen, reading, fault } = recording;
  const trouble = recorder.trouble === undefined ? "" : words.create.microphone[recorder.trouble];
  return (
    <div className="recording">
      {recorder.stream ? (
        <Recorder recorder={recorder} stream={recorder.stream} options={options} />
      ) : chosen ? (
        <ChosenFile chosen={chosen} recording={recording} options={options} />
      ) : (
        <DropBox recording={recording} recorder={recorder} options={options} />
      )}
      <p role="status" className="faint">
        {reading !== "" && words.create.reading}
      </p>
      <div role="alert">
        {(fault !== undefined || trouble !== "") && (
          <p className="form-fault" data-testid="recording-fault">
            {fault === undefined ? trouble : words.create.fileFault[fault]}
          </p>
        )}
      </div>
    </div>
  );
}

function DropBox({ recording, recorder, options }: Props & { recorder: VoiceRecorder }) {
  const { words } = useLibrary();
  const input = useRef<HTMLInputElement>(null);
  const [hovering, setHovering] = useState(false);
  const choose = (event: ChangeEvent<HTMLInputElement>) => {
    const file = event.target.files?.[0];
    event.target.value = ""; // the same file can be chosen again
    if (file) recording.choose(file);
  };
  const over = (event: DragEvent) => {
    event.preventDefault();
    setHovering(true);
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setHovering(false);
    const file = event.dataTransfer.files[0];
    if (file) recording.choose(file);
  };
  return (
    <div className="drop-box" data-hovering={hovering} onDragOver={over} onDragLeave={() => setHovering(false)} onDrop={drop} data-testid="drop-box">
      <span className="blank-icon">
        <Icon name="upload" />
      </span>
      <p className="drop-title">{hovering ? words.create.dropNow : words.create.drop}</p>
      <div className="drop-actions">
        <button type="button" className="small-button" onClick={() => input.current?.click()}>
          {words.create.choose}
        </button>
        <span className="faint">{words.create.or}</span>
        <button type="button" className="button" onClick={recorder.start} disabled={recorder.asking}>
          <Icon name="microphone" />
          {words.create.record}
        </button>
      </div>
      <p className="faint">{words.create.kinds(options.mib_max)}</p>
      <p className="faint">{words.create.advice}</p>
      <input ref={input} type="file" accept="audio/*,video/webm,video/mp4,.m4a,.ogg,.flac" hidden onChange={choose} data-testid="recording-file" />
    </div>
  );
}

function Recorder({ recorder, stream, options }: { recorder: VoiceRecorder; stream: MediaStream; options: VoiceOptions }) {
  const { create } = useLibrary().words;
  const enough = recorder.seconds >= options.seconds_min;
  return (
    <div className="recorder">
      <p className="recorder-head">
        <span className="recorder-dot" aria-hidden="true" />
        <strong role="status">{create.recordingNow}</strong>
        <span className="waveform-time" data-testid="recorded">
          {clock(recorder.seconds)} / {clock(options.seconds_max)}
        </span>
      </p>
      <LiveWave stream={stream} secondsMax={options.seconds_max} />
      <progress value={recorder.seconds} max={options.seconds_max} aria-label={create.recordingNow} data-enough={enough} />
      <blockquote className="script">
        <span className="faint">{create.readThis}</span>
        {create.script}
      </blockquote>
      <div className="drop-actions">
        <button type="button" className="button" onClick={recorder.stop}>
          <Icon name="stop" filled />
          {create.stop}
        </button>
        <span className="faint">{create.stopsAt(options.seconds_max)}</span>
      </div>
    </div>
  );
}

function ChosenFile({ chosen, recording, options }: Props & { chosen: Chosen }) {
  const { words } = useLibrary();
  const { file, sound, part } = chosen;
  return (
    <div className="chosen">
      <div className="chosen-head">
        <strong className="chosen-name">{file.name}</strong>
        <span className="faint">{bytes(file.size)}</span>
        <span className="spacer" />
        <button type="button" className="small-button" onClick={recording.clear}>
          {words.create.another}
        </button>
      </div>
      {sound && <PartPicker file={file} sound={sound} part={part} limits={options} onPart={recording.setPart} />}
      {part && <p className="form-hint">{words.create.fileFault.tooLong}</p>}
      <Checks chosen={chosen} options={options} />
    </div>
  );
}

function Checks({ chosen, options }: { chosen: Chosen; options: VoiceOptions }) {
  const { words, language } = useLibrary();
  const { check } = words.create;
  const { file, sound, part } = chosen;
  const length = part?.length ?? sound?.duration;
  const rows = [
    { label: check.format, found: (file.type.split("/")[1] ?? file.name.split(".").at(-1) ?? "").replace("x-", "").toUpperCase() },
    { label: check.size, found: bytes(file.size) },
    { label: check.length(options.seconds_min, options.seconds_max), found: length === undefined ? check.unknownLength : seconds(length, language) },
  ];
  return (
    <ul className="checks" aria-label={words.create.checks}>
      {rows.map(({ label, found }) => (
        <li key={label}>
          <Icon name="check" />
          <span>{label}</span>
          <span className="faint">{found}</span>
        </li>
      ))}
    </ul>
  );
}
