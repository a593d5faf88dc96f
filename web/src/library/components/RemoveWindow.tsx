/** Asks before a voice is deleted with everything that came of it. */

import { sentence, useLibrary } from "../context";
import { useRemoveVoice } from "../queries";
import type { VoiceCard } from "../shapes";
import { Modal } from "./Modal";

interface Props {
  voice: VoiceCard;
  onClose(): void;
  onRemoved(): void;
}

export function RemoveWindow({ voice, onClose, onRemoved }: Props) {
  const { words, tell, deck } = useLibrary();
  const remove = useRemoveVoice(voice.voiceId);
  const go = () => {
    deck.stop();
    remove.mutate(undefined, {
      onSuccess: () => {
        tell(words.remove.done(voice.name));
        onRemoved();
      },
    });
  };
  return (
    <Modal heading={words.remove.heading(voice.name)} onClose={onClose}>
      <p>{words.remove.text}</p>
      {remove.error && (
        <p className="form-fault" role="alert">
          {sentence(remove.error, words)}
        </p>
      )}
      <div className="modal-actions">
        <button type="button" className="small-button" onClick={onClose}>
          {words.cancel}
        </button>
        <button type="button" className="button" data-tone="bad" disabled={remove.isPending} onClick={go}>
          {words.remove.forGood}
        </button>
      </div>
    </Modal>
  );
}
