/** From a recording to a voice. */

import { type SubmitEvent, useState } from "react";
import { useSearchParams } from "wouter";

import { Consent, Details } from "../components/Details";
import { Making, Uploading } from "../components/Progress";
import { RecordingBox } from "../components/RecordingBox";
import { Failure, Skeletons } from "../components/States";
import { sentence, useLibrary } from "../context";
import { type Draft, EMPTY, missing } from "../draft";
import { useOptions } from "../queries";
import type { VoiceOptions } from "../shapes";
import { useCreation } from "../use-creation";
import { type Recording, useRecording } from "../use-recording";
import { useTitle } from "../use-title";

export function Create() {
  const { words } = useLibrary();
  const { data: options, error, refetch } = useOptions();
  useTitle(words.pages.create);
  return (
    <div className="narrow">
      <div className="page-head">
        <h1>{words.create.heading}</h1>
        {options && <p>{words.create.intro(options.seconds_min, options.seconds_max)}</p>}
      </div>
      {options ? <Workbench options={options} /> : error ? <Failure error={error} onRetry={() => void refetch()} /> : <Skeletons number={3} className="panel" />}
    </div>
  );
}

/** The job's id stands in the address, so that a reload goes on following it. */
function Workbench({ options }: { options: VoiceOptions }) {
  const [parameters, setParameters] = useSearchParams();
  const job = parameters.get("job") ?? "";
  const recording = useRecording(options);
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const { begin, sent } = useCreation(({ jobId }) => setParameters({ job: jobId }));
  if (begin.isPending) return <Uploading sent={sent} />;
  const back = () => {
    setParameters({});
    begin.reset();
  };
  const another = () => {
    back();
    recording.clear();
    setDraft(EMPTY);
  };
  if (job !== "") return <Making id={job} onBack={back} onAnother={another} />;
  return <Form options={options} recording={recording} draft={draft} error={begin.error} onDraft={(change) => setDraft({ ...draft, ...change })} onSubmit={(file) => begin.mutate({ recording: file, draft, statement: options.statement.id })} />;
}

interface FormProps {
  options: VoiceOptions;
  recording: Recording;
  draft: Draft;
  /** Why the last try was refused. */
  error: Error | null;
  onDraft(change: Partial<Draft>): void;
  onSubmit(recording: File): void;
}

function Form({ options, recording, draft, error, onDraft, onSubmit }: FormProps) {
  const { words } = useLibrary();
  const { create } = words;
  const [asked, setAsked] = useState(false);
  const absent = recording.chosen === undefined ? "recording" : missing(draft, options);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const file = recording.result();
    if (absent === undefined && file) onSubmit(file);
    else setAsked(true);
  };
  return (
    <form className="steps" onSubmit={submit}>
      <section className="panel" aria-labelledby="step-recording">
        <h2 id="step-recording">{create.recording}</h2>
        <RecordingBox recording={recording} options={options} />
      </section>
      <section className="panel" aria-labelledby="step-voice">
        <h2 id="step-voice">{create.voice}</h2>
        <Details draft={draft} options={options} onDraft={onDraft} />
      </section>
      <section className="panel" aria-labelledby="step-consent">
        <h2 id="step-consent">{create.consent}</h2>
        <Consent draft={draft} options={options} onDraft={onDraft} />
      </section>
      <div role="alert" className="form-faults">
        {error && (
          <p className="form-fault" data-testid="refused">
            {sentence(error, words)}
          </p>
        )}
        {asked && absent !== undefined && <p className="form-fault">{create.missing[absent]}</p>}
      </div>
      <button type="submit" className="button wide">
        {create.make}
      </button>
    </form>
  );
}
