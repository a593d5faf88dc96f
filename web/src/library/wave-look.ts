/** How wavesurfer.js draws here. */

export const LOOK = { barWidth: 3, barGap: 2, barRadius: 3, cursorWidth: 0, height: 64, normalize: true };

/** The waveform's colours in the theme that is shown. */
export function colours(element: Element): { waveColor: string; progressColor: string } {
  const style = getComputedStyle(element);
  return { waveColor: style.getPropertyValue("--wave").trim(), progressColor: style.getPropertyValue("--accent").trim() };
}
