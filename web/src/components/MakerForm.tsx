/** A file, a name, an id: what a new presenter is made of. */

import { type SubmitEvent, useId } from "react";

import { ID_CHARACTERS_MAX, idFault, NAME_CHARACTERS_MAX } from "../draft";
import type { Maker, Outcome } from "../hooks/use-maker";
import type { WorkshopWords } from "../i18n-workshop";
import { FileZone } from "./FileZone";

interface Props {
  maker: Maker;
  taken: ReadonlySet<string>;
  limitMiB: number;
  hovering: boolean;
  words: WorkshopWords;
}

export function MakerForm({ maker, taken, limitMiB, hovering, words }: Props) {
  const { draft, sending, outcome } = maker;
  const busy = sending !== undefined;
  const fault = idFault(draft.id, taken);
  const shown = fault !== undefined && !busy && (draft.file !== undefined || draft.ownId) ? words.idFault[fault] : "";
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    maker.submit();
  };
  return (
    <form className="maker" onSubmit={submit}>
      <FileZone file={draft.file} limitMiB={limitMiB} hovering={hovering} disabled={busy} onFile={maker.choose} words={words} />
      <div className="maker-fields">
        <Field label={words.name} hint={words.nameHint} value={draft.name} max={NAME_CHARACTERS_MAX} disabled={busy} onChange={maker.setName} />
        <Field label={words.id} hint={words.idHint} fault={shown} value={draft.id} max={ID_CHARACTERS_MAX} disabled={busy} onChange={maker.setId} code />
      </div>
      {busy ? (
        <Sending part={sending} onCancel={maker.cancel} words={words} />
      ) : (
        <button type="submit" className="button" disabled={draft.file === undefined || fault !== undefined}>
          {words.make}
        </button>
      )}
      <OutcomeLine outcome={outcome} limitMiB={limitMiB} words={words} />
    </form>
  );
}

interface FieldProps {
  label: string;
  hint: string;
  fault?: string;
  value: string;
  max: number;
  disabled: boolean;
  /** Not prose: no spelling, no capitals. */
  code?: boolean;
  onChange(value: string): void;
}

function Field({ label, hint, fault = "", value, max, disabled, code = false, onChange }: FieldProps) {
  const id = useId();
  return (
    <div className="maker-field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className="field"
        value={value}
        maxLength={max}
        disabled={disabled}
        autoComplete="off"
        {...(code ? { autoCapitalize: "none", spellCheck: false } : {})}
        aria-describedby={`${id}-hint`}
        aria-invalid={fault !== ""}
        onChange={(event) => onChange(event.target.value)}
      />
      <p id={`${id}-hint`} className="maker-hint" data-bad={fault !== ""}>
        {fault || hint}
      </p>
    </div>
  );
}

function Sending({ part, onCancel, words }: { part: number; onCancel(): void; words: WorkshopWords }) {
  const label = part < 1 ? words.sending(Math.floor(part * 100)) : words.sent;
  return (
    <div className="sending">
      <span className="sending-label">{label}</span>
      <button type="button" className="text-button" onClick={onCancel}>
        {words.cancelUpload}
      </button>
      <progress value={part < 1 ? part : undefined} max={1} aria-label={label} />
    </div>
  );
}

function OutcomeLine({ outcome, limitMiB, words }: { outcome: Outcome | undefined; limitMiB: number; words: WorkshopWords }) {
  const calm = outcome?.kind === "queued" || outcome?.kind === "cancelled";
  return (
    <>
      <div role="status">{calm && <p className="maker-note">{outcome.kind === "queued" ? words.queued : words.uploadCancelled}</p>}</div>
      <div role="alert">{outcome && !calm && <p className="maker-note" data-tone="bad" data-testid="maker-problem">{faultOf(outcome, limitMiB, words)}</p>}</div>
    </>
  );
}

function faultOf(outcome: Outcome, limitMiB: number, words: WorkshopWords): string {
  if (outcome.kind === "file") return words.fileFault[outcome.fault]({ name: outcome.name, limitMiB });
  if (outcome.kind === "refused") return outcome.status === 401 ? words.wrongKey : outcome.said;
  return words.uploadAway;
}
