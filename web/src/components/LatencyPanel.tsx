import type { Language } from "../i18n";
import type { VoiceWords } from "../i18n-voice";
import type { Latency } from "../voice-events";

interface Props {
  latency: Latency;
  words: VoiceWords;
  language: Language;
}

/** Where the time went between the end of a question and the first sound and picture of its answer. */
export function LatencyPanel({ latency, words, language }: Props) {
  const { turnS, textS, voiceS, pictureS, totalS } = latency;
  const names = words.latency;
  const seconds = (value: number) => value.toLocaleString(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const whole = Math.max(totalS, turnS + textS + voiceS + pictureS);
  const rows: [string, number, number][] = [
    [names.turn, 0, turnS],
    [names.text, turnS, textS],
    [names.voice, turnS + textS, voiceS],
    [names.picture, turnS + textS + voiceS, pictureS],
  ];
  return (
    <details className="latency" data-testid="latency">
      <summary title={names.title}>
        <span aria-hidden="true">{seconds(totalS)} s</span>
        <span className="visually-hidden">{names.summary(seconds(totalS))}</span>
      </summary>
      <div className="latency-panel">
        <p className="latency-title">{names.title}</p>
        <p className="faint">{names.explain}</p>
        <dl>
          {rows.map(([name, from, part]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>
                <span className="latency-track" aria-hidden="true">
                  <i style={{ left: `${(100 * from) / whole}%`, width: `${(100 * part) / whole}%` }} />
                </span>
                {seconds(part)} s
              </dd>
            </div>
          ))}
          <div className="latency-total">
            <dt>{names.total}</dt>
            <dd>{seconds(totalS)} s</dd>
          </div>
        </dl>
      </div>
    </details>
  );
}
