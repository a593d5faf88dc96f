/** The statistics, read once a second while they are shown. */

import { useEffect, useState } from "react";

import type { Link } from "../link";
import { type Figures, figuresOf, type Sample, sampleOf } from "../stats";

const EVERY_MS = 1_000;

export function useFigures(link: Link, shown: boolean): Figures | undefined {
  const [figures, setFigures] = useState<Figures>();
  useEffect(() => {
    if (!shown) return;
    let before: Sample | undefined;
    let ended = false;
    const read = async () => {
      const report = await link.stats();
      if (ended || !report) return;
      const now = sampleOf(report);
      setFigures(figuresOf(now, before));
      before = now;
    };
    void read();
    const timer = setInterval(() => void read(), EVERY_MS);
    return () => {
      ended = true;
      clearInterval(timer);
      setFigures(undefined);
    };
  }, [link, shown]);
  return figures;
}
