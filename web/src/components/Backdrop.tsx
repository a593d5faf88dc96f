/** Carries the edges of the picture on to the edges of the stage, so that a square picture fills a wide screen calmly. */

import { type RefObject, useEffect, useRef } from "react";

const SIZE_PX = 24;
/** How much of the picture's width at either side is carried on. */
const EDGE = 0.03;
const REFRESH_MS = 2_000;

type Source = HTMLVideoElement | HTMLImageElement;

function paint(canvas: HTMLCanvasElement, source: Source): void {
  const context = canvas.getContext("2d");
  const width = source instanceof HTMLVideoElement ? source.videoWidth : source.naturalWidth;
  const height = source instanceof HTMLVideoElement ? source.videoHeight : source.naturalHeight;
  if (!context || width === 0 || height === 0) return;
  const edge = Math.max(1, width * EDGE);
  const half = SIZE_PX / 2;
  context.drawImage(source, 0, 0, edge, height, 0, 0, half, SIZE_PX);
  context.drawImage(source, width - edge, 0, edge, height, half, 0, half, SIZE_PX);
}

interface Props {
  video: RefObject<HTMLVideoElement | null>;
  poster: RefObject<HTMLImageElement | null>;
  live: boolean;
  /** Changes when there is another poster to paint. */
  posterShown: boolean;
}

export function Backdrop({ video, poster, live, posterShown }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const refresh = () => {
      const source = live ? video.current : posterShown ? poster.current : null;
      if (canvas.current && source) paint(canvas.current, source);
    };
    refresh();
    if (!live) return;
    const timer = setInterval(refresh, REFRESH_MS);
    return () => clearInterval(timer);
  }, [video, poster, live, posterShown]);
  return <canvas ref={canvas} className="backdrop" width={SIZE_PX} height={SIZE_PX} aria-hidden="true" />;
}
