/** Numbers, times and names as people read them. */

import type { Language } from "../language";

const KIB = 1_024;

/** `0:07`, `1:05`; nothing counts as zero. */
export function clock(seconds: number): string {
  const whole = Number.isFinite(seconds) ? Math.max(0, Math.round(seconds)) : 0;
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function seconds(value: number, language: Language): string {
  return new Intl.NumberFormat(language, { style: "unit", unit: "second", unitDisplay: "short", maximumFractionDigits: 1 }).format(value);
}

export function bytes(value: number): string {
  return value < KIB ** 2 ? `${Math.ceil(value / KIB)} KiB` : `${(value / KIB ** 2).toFixed(1)} MiB`;
}

export function count(value: number, language: Language): string {
  return new Intl.NumberFormat(language, { notation: value < 10_000 ? "standard" : "compact" }).format(value);
}

export function percent(value: number, language: Language): string {
  return new Intl.NumberFormat(language, { style: "percent" }).format(value);
}

/** With two digits behind the point. */
export function fine(value: number, language: Language): string {
  return new Intl.NumberFormat(language, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(value);
}

/** Of an ISO 8601 time; empty for none. */
export function moment(iso: string, language: Language): string {
  if (iso === "") return "";
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}

/** The same where there is little room: without the year, and for a reader who knows about when it was. */
export function briefMoment(iso: string, language: Language): string {
  if (iso === "") return "";
  return new Intl.DateTimeFormat(language, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" }).format(new Date(iso));
}

export function day(iso: string, language: Language): string {
  return new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" }).format(new Date(iso));
}

/** A BCP 47 tag as people call it; the tag itself where nobody knows it. */
export function languageName(tag: string, language: Language): string {
  try {
    return new Intl.DisplayNames([language], { type: "language" }).of(tag) ?? tag;
  } catch {
    return tag;
  }
}

/** 0..359, the same for the same id, by FNV-1a: the colour a voice is known by. */
export function hueOf(id: string): number {
  let hash = 0x811c9dc5;
  for (const character of id) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  return (hash >>> 0) % 360;
}
