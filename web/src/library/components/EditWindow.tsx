/** What is said about a voice of one's own, changed. */

import { type SubmitEvent, useState } from "react";

import { sentence, useLibrary } from "../context";
import { DESCRIPTION_CHARACTERS_MAX, NAME_CHARACTERS_MAX, tagsOf } from "../draft";
import { useChange } from "../queries";
import type { VoiceCard } from "../shapes";
import { CheckField, GenderField, TextField } from "./Fields";
import { Modal } from "./Modal";

export function EditWindow({ voice, onClose }: { voice: VoiceCard; onClose(): void }) {
  const { words, tell } = useLibrary();
  const { create } = words;
  const change = useChange(voice.voiceId);
  const [name, setName] = useState(voice.name);
  const [description, setDescription] = useState(voice.description);
  const [tags, setTags] = useState(voice.tags.join(", "));
  const [gender, setGender] = useState(voice.gender);
  const [shared, setShared] = useState(voice.public);
  const save = (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = { name: name.trim(), description: description.trim(), tags: tagsOf(tags), gender, public: shared };
    change.mutate(wanted, {
      onSuccess: () => {
        tell(words.edit.saved);
        onClose();
      },
    });
  };
  return (
    <Modal heading={words.edit.heading} onClose={onClose}>
      <form className="steps" onSubmit={save}>
        <TextField label={create.name} max={NAME_CHARACTERS_MAX} value={name} onChange={setName} />
        <TextField label={create.description} max={DESCRIPTION_CHARACTERS_MAX} rows={3} value={description} onChange={setDescription} />
        <TextField label={create.tags} hint={create.tagsHint} value={tags} onChange={setTags} />
        <GenderField value={gender} onChange={setGender} />
        <CheckField label={create.public} hint={create.publicHint} checked={shared} onChange={setShared} />
        {change.error && (
          <p className="form-fault" role="alert">
            {sentence(change.error, words)}
          </p>
        )}
        <div className="modal-actions">
          <button type="button" className="small-button" onClick={onClose}>
            {words.cancel}
          </button>
          <button type="submit" className="button" disabled={change.isPending || name.trim() === ""}>
            {words.edit.save}
          </button>
        </div>
      </form>
    </Modal>
  );
}
