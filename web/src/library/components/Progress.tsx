/** A voice in the making, stage by stage, until it can be heard or it is said why not. */

import { Link } from "wouter";

import { Icon } from "../../components/Icon";
import { ApiError } from "../../wire";
import { sentence, useLibrary } from "../context";
import { percent } from "../format";
import { hasEnded, useJob, useRetry, useVoice } from "../queries";
import type { Creation, Stage } from "../shapes";
import { Orb } from "./Orb";
import { Blank, Failure } from "./States";
import { Waveform } from "./Waveform";

const STAGES = ["uploading", "checking", "embedding", "cloning", "sampling", "done"] as const;
type Step = (typeof STAGES)[number];
/** Of the bar: the rest is the server's work. */
const UPLOAD_SHARE = 0.2;

function stepOf(stage: Stage): Step {
  return stage === "queued" ? "checking" : stage;
}

interface StagesProps {
  step: Step;
  /** 0..1 of the whole. */
  part: number;
  failed?: boolean;
  label: string;
}

function Stages({ step, part, failed = false, label }: StagesProps) {
  const { words, language } = useLibrary();
  const at = STAGES.indexOf(step);
  return (
    <>
      <p className="stages-now" role="status" data-testid="stage">
        <strong>{label}</strong> <span className="faint">{words.create.percent(percent(part, language))}</span>
      </p>
      <progress value={part} max={1} aria-label={words.create.progress} />
      <ol className="stages">
        {STAGES.map((name, k) => {
          const state = k < at || step === "done" ? "past" : k > at ? "ahead" : failed ? "failed" : "now";
          return (
            <li key={name} data-state={state} aria-current={state === "now" ? "step" : undefined}>
              <span className="stage-mark">{state === "past" ? <Icon name="check" /> : state === "failed" ? <Icon name="close" /> : null}</span>
              {words.create.stages[name]}
            </li>
          );
        })}
      </ol>
    </>
  );
}

export function Uploading({ sent }: { sent: number }) {
  const { create } = useLibrary().words;
  return (
    <section className="panel making" data-testid="making" data-status="uploading">
      <Stages step="uploading" part={UPLOAD_SHARE * sent} label={create.stages.uploading} />
    </section>
  );
}

interface Props {
  id: string;
  /** To what was filled in. */
  onBack(): void;
  /** To an empty form. */
  onAnother(): void;
}

export function Making({ id, onBack, onAnother }: Props) {
  const { words } = useLibrary();
  const { data: job, error, refetch } = useJob(id);
  if (error instanceof ApiError && error.status === 404)
    return (
      <Blank icon="search" title={words.create.goneJob} text={words.create.goneJobRemedy}>
        <button type="button" className="button" onClick={onAnother}>
          {words.create.anotherVoice}
        </button>
      </Blank>
    );
  if (error && !job) return <Failure error={error} onRetry={() => void refetch()} />;
  if (!job) return <div className="skeleton panel making" aria-hidden="true" />;
  if (job.status === "completed" && job.voiceId !== "") return <Made job={job} onAnother={onAnother} />;
  const part = UPLOAD_SHARE + (1 - UPLOAD_SHARE) * job.progress;
  const failed = job.status === "failed";
  return (
    <section className="panel making" data-testid="making" data-status={job.status}>
      <Stages step={stepOf(job.stage)} part={part} failed={failed} label={failed ? words.create.failed : words.create.stages[job.stage]} />
      {!hasEnded(job) && <p className="faint">{error ? sentence(error, words) : words.create.stay}</p>}
      {failed && <Failed job={job} onBack={onBack} />}
    </section>
  );
}

function Failed({ job, onBack }: { job: Creation; onBack(): void }) {
  const { words, language } = useLibrary();
  const retry = useRetry();
  const inLanguage = job.error?.details[language];
  return (
    <div role="alert">
      <p className="form-fault">{typeof inLanguage === "string" ? inLanguage : job.error?.message}</p>
      {retry.error && <p className="form-fault">{sentence(retry.error, words)}</p>}
      <div className="drop-actions">
        {job.retryable && (
          <button type="button" className="button" disabled={retry.isPending} onClick={() => retry.mutate(job.jobId)}>
            <Icon name="again" />
            {words.create.retry}
          </button>
        )}
        <button type="button" className="small-button" onClick={onBack}>
          {words.create.back}
        </button>
      </div>
    </div>
  );
}

function Made({ job, onAnother }: { job: Creation; onAnother(): void }) {
  const { words } = useLibrary();
  const { data: voice } = useVoice(job.voiceId);
  const name = voice?.name ?? words.create.voice;
  return (
    <section className="panel made" data-testid="made">
      <Orb id={job.voiceId} size="large" />
      <h2 role="status">{words.create.ready(name)}</h2>
      <p className="faint">{job.duplicated ? words.create.duplicated : words.about[job.clones ? "clone" : "designed"]}</p>
      {job.sample_url !== "" && <Waveform source={job.sample_url} name={name} />}
      {job.sample_text !== "" && <p className="faint">{words.voice.says(job.sample_text)}</p>}
      <div className="drop-actions">
        <Link href={`/voices/${job.voiceId}`} className="button">
          {words.create.open}
        </Link>
        <Link href={`/voices/generate?voice=${job.voiceId}`} className="small-button">
          {words.voice.generate}
        </Link>
        <a href={`./?voice=library:${job.voiceId}`} className="small-button">
          {words.voice.speakLive}
        </a>
        <button type="button" className="small-button" onClick={onAnother}>
          {words.create.anotherVoice}
        </button>
      </div>
    </section>
  );
}
