/** What the server answers, read with care: a row that lacks what the page needs is left out, the rest is filled in. */

import { isRecord } from "./json";
import type { Avatar, Build, BuildStatus, Voice } from "./shapes";

export type Row = Record<string, unknown> & { id: string };

export function rowsOf(body: unknown, name: string): unknown[] {
  const data = isRecord(body) ? body["data"] : undefined;
  const rows = isRecord(data) ? data[name] : undefined;
  return Array.isArray(rows) ? rows : [];
}

const STATUSES: ReadonlySet<unknown> = new Set<BuildStatus>(["pending", "running", "completed", "failed", "cancelled"]);

/** No build where the row has no id or a status that this page does not know. */
export function buildOf(row: unknown): Build[] {
  if (!isRecord(row) || typeof row["task_id"] !== "string" || !STATUSES.has(row["status"])) return [];
  const { progress, duration, notes } = row;
  return [
    {
      id: row["task_id"],
      avatar: textAt(row, "avatar_id"),
      status: row["status"] as BuildStatus,
      stage: textAt(row, "stage"),
      percent: typeof progress === "number" ? Math.min(100, Math.max(0, progress)) : 0,
      error: textAt(row, "error_msg"),
      notes: Array.isArray(notes) ? notes.map(String) : [],
      ...(typeof duration === "number" ? { seconds: duration } : {}),
    },
  ];
}

function textAt(row: Record<string, unknown>, key: string): string {
  const value = row[key];
  return typeof value === "string" ? value : "";
}

function namesOf(value: unknown): Record<string, string> {
  const pairs = isRecord(value) ? Object.entries(value) : [];
  return Object.fromEntries(pairs.filter((pair): pair is [string, string] => typeof pair[1] === "string"));
}

export function hasId(row: unknown): row is Row {
  return isRecord(row) && typeof row["id"] === "string";
}

export function avatarOf(row: Row): Avatar {
  return {
    id: row.id,
    name: textAt(row, "name") || row.id,
    names: namesOf(row["names"]),
    licence: textAt(row, "licence"),
    ...(typeof row["poster"] === "string" ? { poster: row["poster"] } : {}),
  };
}

export function voiceOf(row: Row): Voice {
  return {
    id: row.id,
    engine: textAt(row, "engine"),
    languages: Array.isArray(row["languages"]) ? row["languages"].map(String) : [],
    gender: textAt(row, "gender"),
    ...(typeof row["licence"] === "string" ? { licence: row["licence"] } : {}),
  };
}

/** A voice of the library as `GET /api/voices` tells of it; none where it lacks what a choice needs. */
export function libraryVoiceOf(row: unknown): Voice[] {
  if (!isRecord(row) || typeof row["speak_as"] !== "string") return [];
  return [{ ...voiceOf({ ...row, id: row["speak_as"] }), engine: "library", name: textAt(row, "name") }];
}
