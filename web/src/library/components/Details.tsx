/** What is said about a voice that is to be made, and what it is made by. */

import { useLibrary } from "../context";
import { DESCRIPTION_CHARACTERS_MAX, type Draft, makerKey, NAME_CHARACTERS_MAX, SPEAKER_CHARACTERS_MAX } from "../draft";
import type { MakerOption, Relation, VoiceOptions } from "../shapes";
import { CheckField, GenderField, LanguageOptions, SelectField, TextField } from "./Fields";

interface Props {
  draft: Draft;
  options: VoiceOptions;
  onDraft(change: Partial<Draft>): void;
}

const RELATIONS: Relation[] = ["self", "permitted"];

export function Details({ draft, options, onDraft }: Props) {
  const { create } = useLibrary().words;
  return (
    <div className="form-grid">
      <TextField label={create.name} hint={create.nameHint} max={NAME_CHARACTERS_MAX} value={draft.name} onChange={(name) => onDraft({ name })} />
      <MakerField draft={draft} options={options} onDraft={onDraft} />
      <TextField label={create.text} hint={create.textHint} max={options.text_characters_max} soft rows={2} value={draft.text} onChange={(text) => onDraft({ text })} />
      <TextField label={create.sample} hint={create.sampleHint(options.sample_characters_max)} max={options.sample_characters_max} soft rows={2} value={draft.sample} onChange={(sample) => onDraft({ sample })} />
      <SelectField label={create.language} value={draft.language} onChange={(tag) => onDraft({ language: tag })}>
        <option value="">{create.languageByText}</option>
        <LanguageOptions />
      </SelectField>
      <GenderField value={draft.gender} onChange={(gender) => onDraft({ gender })} />
      <TextField label={create.description} hint={create.descriptionHint} max={DESCRIPTION_CHARACTERS_MAX} rows={2} value={draft.description} onChange={(description) => onDraft({ description })} />
      <TextField label={create.tags} hint={create.tagsHint} value={draft.tags} onChange={(tags) => onDraft({ tags })} />
      <CheckField label={create.public} hint={create.publicHint} checked={draft.public} onChange={(shared) => onDraft({ public: shared })} />
    </div>
  );
}

function usable(options: VoiceOptions): MakerOption[] {
  return options.makers.filter((maker) => maker.usable);
}

function MakerField({ draft, options, onDraft }: Props) {
  const { words, language } = useLibrary();
  const { create } = words;
  const makers = usable(options);
  if (makers.length === 0)
    return (
      <p className="form-fault" role="alert">
        {create.noModel} {language === "zh" ? options.makers[0]?.why_not_zh : options.makers[0]?.why_not}
      </p>
    );
  const first = makers[0];
  const chosen = makers.find(({ maker }) => draft.maker.startsWith(`${maker}\n`)) ?? first;
  return (
    <SelectField label={create.model} value={draft.maker} onChange={(maker) => onDraft({ maker })} hint={chosen?.clones ? undefined : create.designedOnly}>
      {makers.flatMap(({ maker, models, clones }, k) =>
        models.map((model, n) => (
          <option key={makerKey(maker, model)} value={k === 0 && n === 0 ? "" : makerKey(maker, model)}>
            {makers.length === 1 || model === maker ? model : `${maker} · ${model}`} ({clones ? create.modelClones : create.modelDesigns})
          </option>
        )),
      )}
    </SelectField>
  );
}

export function Consent({ draft, options, onDraft }: Props) {
  const { words, language } = useLibrary();
  const { create } = words;
  return (
    <div className="consent">
      <p className="faint">{create.consentIntro}</p>
      <div className="form-grid">
        <TextField label={create.speaker} hint={create.speakerHint} name="speaker" max={SPEAKER_CHARACTERS_MAX} value={draft.speaker} onChange={(speaker) => onDraft({ speaker })} />
        <fieldset className="form-field">
          <legend>{create.relation}</legend>
          <div className="radio-row">
            {RELATIONS.map((relation) => (
              <label key={relation}>
                <input type="radio" name="relation" checked={draft.relation === relation} onChange={() => onDraft({ relation })} />
                {create.relations[relation]}
              </label>
            ))}
          </div>
        </fieldset>
      </div>
      <blockquote className="statement">{options.statement[language]}</blockquote>
      <CheckField label={create.agree} checked={draft.agreed} onChange={(agreed) => onDraft({ agreed })} />
    </div>
  );
}
