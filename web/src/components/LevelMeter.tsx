import { useEffect, useRef } from "react";

import type { Microphone } from "../microphone";

const BARS = 5;
const CALM_MS = 300;
/** Of the difference to the last height that remains after a picture: quick to rise, slow to fall. */
const FALL = 0.85;

/** How loud the microphone is. Redrawn with every picture of the screen, or a few times a second where motion is unwanted. */
export function LevelMeter({ microphone, open }: { microphone: Microphone | undefined; open: boolean }) {
  const root = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    const element = root.current;
    if (!microphone || !element) return;
    let frame = 0;
    let shown = 0;
    let drawnAt = 0;
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    const draw = (now: number) => {
      frame = requestAnimationFrame(draw);
      if (calm.matches && now - drawnAt < CALM_MS) return;
      drawnAt = now;
      const level = open ? microphone.level() : 0;
      shown = Math.max(level, shown * FALL);
      element.style.setProperty("--level", shown.toFixed(3));
      element.dataset["loud"] = String(shown > 0.25);
    };
    frame = requestAnimationFrame(draw);
    return () => cancelAnimationFrame(frame);
  }, [microphone, open]);
  return (
    <span className="level" ref={root} aria-hidden="true" data-testid="level">
      {Array.from({ length: BARS }, (_, k) => (
        <i key={k} />
      ))}
    </span>
  );
}
