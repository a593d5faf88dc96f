import type { Language, Words } from "../i18n";
import type { Figures } from "../stats";

interface Props {
  figures: Figures | undefined;
  words: Words;
  language: Language;
}

export function Statistics({ figures, words, language }: Props) {
  const names = words.stats;
  const unit = (value: number | undefined, name: string, digits = 0) =>
    value === undefined ? undefined : `${value.toLocaleString(language, { maximumFractionDigits: digits, minimumFractionDigits: digits })} ${name}`;
  const signed = (value: number | undefined) => (value === undefined ? undefined : `${value > 0 ? "+" : ""}${unit(Math.round(value), "ms")}`);
  const f: Partial<Figures> = figures ?? {};
  const buffers = [unit(f.videoBufferMs, "ms"), unit(f.audioBufferMs, "ms")].filter((text) => text !== undefined);
  const rows: [string, string | undefined][] = [
    [names.fps, unit(f.fps, "fps")],
    [names.size, f.width && f.height ? `${f.width} × ${f.height}` : undefined],
    [names.bitrate, unit(f.kbps, "kbps")],
    [names.rtt, unit(f.rttMs, "ms", 1)],
    [names.buffer, buffers.length > 0 ? buffers.join(" / ") : undefined],
    [names.lost, figures ? `${figures.packetsLost} (${figures.lostPercent.toFixed(1)} %)` : undefined],
    [names.freezes, f.freezes === undefined ? undefined : String(f.freezes)],
    [`${names.offset} (${names.estimated})`, signed(f.offsetMs)],
    [names.codec, f.codec],
    [names.path, f.path],
  ];
  return (
    <section className="statistics" aria-label={words.statistics} data-testid="statistics">
      <dl>
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value ?? <span className="faint">{names.waiting}</span>}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
