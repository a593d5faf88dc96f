/** The window in which presenters of one's own are made, followed and deleted. */

import { type DragEvent, useEffect, useId, useRef, useState } from "react";

import type { Choices } from "../hooks/use-choices";
import type { Workshop } from "../hooks/use-workshop";
import type { Language } from "../i18n";
import type { WorkshopWords } from "../i18n-workshop";
import { BuildList } from "./BuildList";
import { IconButton } from "./IconButton";
import { MakerForm } from "./MakerForm";
import { OwnList } from "./OwnList";

interface Props {
  workshop: Workshop;
  choices: Choices;
  language: Language;
  words: WorkshopWords;
}

export function WorkshopWindow({ workshop, choices, language, words }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  const { hovering, ...drop } = useDropHere(workshop.maker.choose);
  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal();
  }, []);
  const close = () => dialog.current?.close();
  const show = (avatar: string) => {
    choices.chooseAvatar(avatar);
    close();
  };
  return (
    <dialog className="workshop" ref={dialog} aria-labelledby={title} onClose={() => workshop.setOpen(false)} {...drop} data-testid="workshop">
      <header className="workshop-head">
        <h2 id={title}>{words.title}</h2>
        <IconButton icon="close" label={words.close} onClick={close} />
      </header>
      <div className="workshop-body">
        <p className="faint">{words.intro}</p>
        <MakerForm maker={workshop.maker} taken={workshop.taken} limitMiB={choices.catalogue.server.clipMiBMax} hovering={hovering} words={words} />
        <BuildList workshop={workshop} choices={choices} onShow={show} language={language} words={words} />
        <OwnList workshop={workshop} choices={choices} onShow={show} language={language} words={words} />
      </div>
    </dialog>
  );
}

/** Files dropped on the window are for it: the page behind would take them for speech. */
function useDropHere(onFile: (file: File) => void) {
  const [hovering, setHovering] = useState(false);
  const take = (event: DragEvent): boolean => {
    if (!event.dataTransfer.types.includes("Files")) return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  };
  return {
    hovering,
    onDragOver: (event: DragEvent) => {
      if (take(event)) setHovering(true);
    },
    onDragLeave: (event: DragEvent) => {
      if (event.relatedTarget === null || !event.currentTarget.contains(event.relatedTarget as Node)) setHovering(false);
    },
    onDrop: (event: DragEvent) => {
      if (!take(event)) return;
      setHovering(false);
      const file = event.dataTransfer.files[0];
      if (file) onFile(file);
    },
  };
}
