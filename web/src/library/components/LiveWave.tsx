/** What the microphone hears, as it comes, by wavesurfer.js. */

import { useEffect, useRef } from "react";
import WaveSurfer from "wavesurfer.js";
import RecordPlugin from "wavesurfer.js/plugins/record";

import { colours, LOOK } from "../wave-look";

export function LiveWave({ stream, secondsMax }: { stream: MediaStream; secondsMax: number }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const { progressColor } = colours(element);
    const wave = WaveSurfer.create({ container: element, ...LOOK, normalize: false, waveColor: progressColor, interact: false });
    const plugin = wave.registerPlugin(RecordPlugin.create({ continuousWaveform: true, continuousWaveformDuration: secondsMax }));
    const { onDestroy } = plugin.renderMicStream(stream);
    return () => {
      onDestroy();
      wave.destroy();
    };
  }, [stream, secondsMax]);
  return <div ref={box} className="waveform-box" aria-hidden="true" data-testid="live-wave" />;
}
