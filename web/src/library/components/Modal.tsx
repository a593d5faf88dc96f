/** A window over the page, closed by Esc, by its button, or by a click beside it. */

import { type ReactNode, useEffect, useId, useRef } from "react";

import { IconButton } from "../../components/IconButton";
import { useLibrary } from "../context";

export function Modal({ heading, onClose, children }: { heading: string; onClose(): void; children: ReactNode }) {
  const { words } = useLibrary();
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} className="modal" closedby="any" aria-labelledby={id} onClose={onClose}>
      <div className="modal-inside">
        <header className="modal-head">
          <h2 id={id}>{heading}</h2>
          <IconButton icon="close" label={words.close} onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}
