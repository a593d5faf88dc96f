/** Labelled inputs with a hint, a counter and a fault. */

import { type ReactNode, useId } from "react";

import { Icon } from "../../components/Icon";
import { GENDERS, LANGUAGES } from "../choices";
import { useLibrary } from "../context";
import { characters } from "../draft";
import { languageName } from "../format";
import type { Gender } from "../shapes";

interface TextProps {
  label: string;
  value: string;
  onChange(value: string): void;
  hint?: string;
  /** Characters; a counter shows them. */
  max?: number;
  /** Says that it is too long instead of taking no more. */
  soft?: boolean;
  rows?: number;
  name?: string;
}

export function TextField({ label, value, onChange, hint = "", max, soft = false, rows, name }: TextProps) {
  const id = useId();
  const used = characters(value);
  const over = max !== undefined && used > max;
  const shared = {
    id,
    name,
    value,
    autoComplete: "off",
    "aria-describedby": `${id}-hint`,
    "aria-invalid": over,
    ...(max !== undefined && !soft ? { maxLength: max } : {}),
  };
  return (
    <div className="form-field">
      <label htmlFor={id}>{label}</label>
      {rows === undefined ? (
        <input {...shared} className="field" onChange={(event) => onChange(event.target.value)} />
      ) : (
        <textarea {...shared} className="field area" rows={rows} onChange={(event) => onChange(event.target.value)} />
      )}
      <p id={`${id}-hint`} className="form-hint">
        <span>{hint}</span>
        {max !== undefined && (
          <span className="counter" data-over={over}>
            {used}/{max}
          </span>
        )}
      </p>
    </div>
  );
}

interface SelectProps {
  label: string;
  value: string;
  onChange(value: string): void;
  hint?: ReactNode;
  /** Only for screen readers. */
  quiet?: boolean;
  children: ReactNode;
}

export function SelectField({ label, value, onChange, hint, quiet = false, children }: SelectProps) {
  const id = useId();
  return (
    <div className="form-field">
      <label htmlFor={id} className={quiet ? "visually-hidden" : ""}>
        {label}
      </label>
      <span className="select">
        <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
          {children}
        </select>
        <Icon name="chevron" />
      </span>
      {hint !== undefined && <p className="form-hint">{hint}</p>}
    </div>
  );
}

/** The languages of which one is chosen. */
export function LanguageOptions() {
  const { language } = useLibrary();
  return LANGUAGES.map((tag) => (
    <option key={tag} value={tag}>
      {languageName(tag, language)}
    </option>
  ));
}

/** How a voice sounds. */
export function GenderField({ value, onChange }: { value: Gender; onChange(value: Gender): void }) {
  const { words } = useLibrary();
  return (
    <SelectField label={words.create.gender} value={value} onChange={(chosen) => onChange(chosen as Gender)}>
      {(["", ...GENDERS] as const).map((gender) => (
        <option key={gender} value={gender}>
          {words.gender[gender]}
        </option>
      ))}
    </SelectField>
  );
}

export function CheckField({ label, hint, checked, onChange }: { label: string; hint?: string; checked: boolean; onChange(checked: boolean): void }) {
  const id = useId();
  return (
    <div className="check-field">
      <input id={id} type="checkbox" checked={checked} onChange={(event) => onChange(event.target.checked)} aria-describedby={hint === undefined ? undefined : `${id}-hint`} />
      <label htmlFor={id}>{label}</label>
      {hint !== undefined && (
        <p id={`${id}-hint`} className="form-hint">
          {hint}
        </p>
      )}
    </div>
  );
}
