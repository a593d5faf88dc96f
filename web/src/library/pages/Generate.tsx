/** A text, a voice, a file. */

import { type KeyboardEvent, type SubmitEvent, useId, useState } from "react";
import { useSearchParams } from "wouter";

import { recall, remember } from "../../preferences";
import { SelectField } from "../components/Fields";
import { History } from "../components/History";
import { Failure, Skeletons } from "../components/States";
import { VoicePicker } from "../components/VoicePicker";
import { Waveform } from "../components/Waveform";
import { sentence, useLibrary } from "../context";
import { characters } from "../draft";
import { fine, moment } from "../format";
import { useGenerate, useNamedVoice, useOptions } from "../queries";
import type { Generated, VoiceCard, VoiceOptions } from "../shapes";
import { useTitle } from "../use-title";

const SPEED_MIN = 0.5;
const SPEED_MAX = 2;
const SPEED_STEP = 0.05;

export function Generate() {
  const { words } = useLibrary();
  const { data: options, error, refetch } = useOptions();
  useTitle(words.pages.generate);
  return (
    <div className="narrow">
      <div className="page-head">
        <h1>{words.generate.heading}</h1>
        <p>{words.generate.intro}</p>
      </div>
      {options ? <Desk options={options} /> : error ? <Failure error={error} onRetry={() => void refetch()} /> : <Skeletons number={2} className="panel" />}
    </div>
  );
}

/** The voice's id stands in the address, so that other pages can name it; else the one chosen last is at hand. */
function Desk({ options }: { options: VoiceOptions }) {
  const [parameters, setParameters] = useSearchParams();
  const asked = parameters.get("voice");
  const named = useNamedVoice(asked ?? recall("speaker") ?? "");
  const [text, setText] = useState("");
  const [speed, setSpeed] = useState(1);
  const [format, setFormat] = useState(options.formats_out[0] ?? "mp3");
  const [wanted, setModel] = useState("");
  const model = modelsOf(named.voice, options).includes(wanted) ? wanted : "";
  const generate = useGenerate();
  const choose = (id: string) => {
    remember("speaker", id);
    setParameters({ voice: id }, { replace: true });
  };
  const submit = () => {
    if (named.voice) generate.mutate({ voiceId: named.voice.voiceId, input: text.trim(), model, format, speed });
  };
  const again = (speech: Generated) => {
    setText(speech.input);
    choose(speech.voiceId);
    scrollTo({ top: 0, behavior: "smooth" });
  };
  return (
    <>
      <Order
        options={options}
        voice={named.voice}
        problem={generate.error ?? (asked === null ? null : named.error)}
        busy={generate.isPending}
        {...{ text, setText, model, setModel, speed, setSpeed, format, setFormat, submit }}
        onChoose={(voice) => choose(voice.voiceId)}
      />
      {generate.data && <Result speech={generate.data} />}
      <History onAgain={again} />
    </>
  );
}

interface OrderProps {
  options: VoiceOptions;
  voice: VoiceCard | undefined;
  problem: Error | null;
  busy: boolean;
  text: string;
  setText(text: string): void;
  model: string;
  setModel(model: string): void;
  speed: number;
  setSpeed(speed: number): void;
  format: string;
  setFormat(format: string): void;
  onChoose(voice: VoiceCard): void;
  submit(): void;
}

function Order(props: OrderProps) {
  const { options, voice, problem, busy, text, setText, submit } = props;
  const { words } = useLibrary();
  const id = useId();
  const left = options.input_characters_max - characters(text);
  const ready = voice !== undefined && text.trim() !== "" && left >= 0 && !busy;
  const send = (event: SubmitEvent) => {
    event.preventDefault();
    if (ready) submit();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && ready) submit();
  };
  return (
    <form className="panel order" onSubmit={send}>
      <label className="visually-hidden" htmlFor={id}>
        {words.generate.text}
      </label>
      <textarea id={id} className="order-text" rows={6} placeholder={words.generate.placeholder} value={text} onChange={(event) => setText(event.target.value)} onKeyDown={onKey} />
      <p className="form-hint">
        <span>{words.generate.marked}</span>
        <span className="counter" data-over={left < 0}>
          {words.generate.left(left)}
        </span>
      </p>
      <div className="form-field">
        <span className="form-label">{words.generate.voice}</span>
        <VoicePicker chosen={voice} onChoose={props.onChoose} />
      </div>
      <Settings {...props} />
      {problem && (
        <p className="form-fault" role="alert" data-testid="problem">
          {sentence(problem, words)}
        </p>
      )}
      <button type="submit" className="button wide" disabled={!ready} aria-busy={busy}>
        {busy ? words.generate.making : words.generate.make}
      </button>
    </form>
  );
}

/** Models besides its own that a voice may speak with: those of whoever made it. */
function modelsOf(voice: VoiceCard | undefined, options: VoiceOptions): string[] {
  if (voice === undefined || voice.builtin) return [];
  const maker = options.makers.find((one) => one.maker === voice.maker);
  return (maker?.models ?? []).filter((model) => model !== voice.model);
}

function Settings({ options, voice, model, setModel, speed, setSpeed, format, setFormat }: OrderProps) {
  const { words, language } = useLibrary();
  const id = useId();
  
  return (
    <div className="order-settings">
      <SelectField label={words.generate.model} value={model} onChange={setModel}>
        <option value="">{voice?.model ?? "–"}</option>
        {modelsOf(voice, options).map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </SelectField>
      <SelectField label={words.generate.format} value={format} onChange={setFormat}>
        {options.formats_out.map((name) => (
          <option key={name} value={name}>
            {name.toUpperCase()}
          </option>
        ))}
      </SelectField>
      <div className="form-field">
        <label htmlFor={id}>
          {words.generate.speed} <span className="faint">{fine(speed, language)}×</span>
        </label>
        <input id={id} type="range" className="speed" min={SPEED_MIN} max={SPEED_MAX} step={SPEED_STEP} value={speed} onChange={(event) => setSpeed(event.target.valueAsNumber)} />
      </div>
    </div>
  );
}

function Result({ speech }: { speech: Generated }) {
  const { words, language } = useLibrary();
  return (
    <section className="panel result" aria-labelledby="result" data-testid="result">
      <h2 id="result" role="status">
        {words.generate.result}
      </h2>
      <Waveform key={speech.requestId} source={speech.url} name={speech.voice_name} autoplay saved />
      <p className="faint">{[speech.voice_name, moment(speech.created_at, language), speech.cached ? words.generate.cached : ""].filter((part) => part !== "").join(" · ")}</p>
    </section>
  );
}
