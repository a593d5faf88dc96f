/** The space bar as a talk button, wherever it has nothing else to do. */

import { useEffect } from "react";

const WRITES = "textarea, select, [contenteditable], input, dialog";
const ACTS = "button, a, summary, label";

/** Calls `press` and `release` while `active`. Somebody who came to a control by keyboard operates that; somebody who
 * clicked it goes on to talk. */
export function useSpaceBar(active: boolean, press: () => void, release: () => void): void {
  useEffect(() => {
    if (!active) return;
    let byPointer = true;
    let held = false;
    const letGo = () => {
      if (held) release();
      held = false;
    };
    const isTalk = ({ target }: Event) => {
      if (!(target instanceof Element) || document.querySelector("dialog:modal")) return false;
      if (target.closest("[data-talk]")) return true;
      return !target.closest(WRITES) && (byPointer || !target.closest(ACTS));
    };
    const onPointer = () => (byPointer = true);
    const onDown = (event: KeyboardEvent) => {
      if (event.key === "Tab") byPointer = false;
      if (event.code !== "Space" || event.isComposing || event.ctrlKey || event.altKey || event.metaKey || !isTalk(event)) return;
      event.preventDefault(); // nor scroll, nor click
      if (!held && !event.repeat) press();
      held ||= !event.repeat;
    };
    const onUp = (event: KeyboardEvent) => {
      if (event.code !== "Space" || !held) return;
      event.preventDefault(); // buttons act on release
      letGo();
    };
    const capture = { capture: true };
    document.addEventListener("pointerdown", onPointer, capture);
    document.addEventListener("keydown", onDown, capture);
    document.addEventListener("keyup", onUp, capture);
    addEventListener("blur", letGo); // the key comes up in another window
    return () => {
      document.removeEventListener("pointerdown", onPointer, capture);
      document.removeEventListener("keydown", onDown, capture);
      document.removeEventListener("keyup", onUp, capture);
      removeEventListener("blur", letGo);
      letGo();
    };
  }, [active, press, release]);
}
