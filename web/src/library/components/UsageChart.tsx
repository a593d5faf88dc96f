/** Seconds spoken, day by day. */

import { useState } from "react";

import { useLibrary } from "../context";
import { day, seconds } from "../format";
import type { UsageInfo } from "../shapes";

interface Props {
  usage: UsageInfo;
  days: number;
}

const DAY_MS = 86_400_000;

/** The last so many days up to `now`, those on which nothing was said too. */
export function byDay(usage: UsageInfo, days: number, now: Date): { date: string; seconds: number }[] {
  const said = new Map(usage.by_day.map((row) => [row.date, row.seconds]));
  return Array.from({ length: days }, (_, k) => {
    const date = new Date(now.getTime() - (days - 1 - k) * DAY_MS).toISOString().slice(0, 10);
    return { date, seconds: said.get(date) ?? 0 };
  });
}

export function UsageChart({ usage, days }: Props) {
  const { words, language } = useLibrary();
  const [now] = useState(() => new Date());
  const rows = byDay(usage, days, now);
  const most = Math.max(...rows.map((row) => row.seconds));
  if (most === 0) return <p className="faint">{words.mine.noUsage}</p>;
  const first = rows[0]?.date ?? "";
  const last = rows.at(-1)?.date ?? "";
  return (
    <figure className="chart">
      <ul className="bars" aria-label={words.mine.usage(days)}>
        {rows.map((row) => {
          const label = words.mine.dayUsage(day(row.date, language), seconds(row.seconds, language));
          return (
            <li key={row.date} title={label} data-none={row.seconds === 0} style={{ "--part": row.seconds / most }}>
              <span className="visually-hidden">{row.seconds > 0 && label}</span>
            </li>
          );
        })}
      </ul>
      <figcaption className="faint">
        <span>{day(first, language)}</span>
        <span>{day(last, language)}</span>
      </figcaption>
    </figure>
  );
}
