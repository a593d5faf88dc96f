/** Deletes an avatar that this page may have shown a moment ago. */

import { type Api, ApiError } from "./api";

/** The server ends a session a little after it is told to; so long it counts as one that looks. */
export const LEAVING_MS = [300, 700, 1_500] as const;

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** With `left`, a conflict is asked about again a few times; any other refusal, and the last, is thrown. */
export async function deleteAvatar(api: Pick<Api, "deleteAvatar">, id: string, left: boolean, wait = sleep): Promise<void> {
  for (const ms of left ? LEAVING_MS : []) {
    try {
      return await api.deleteAvatar(id);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) throw error;
    }
    await wait(ms);
  }
  return api.deleteAvatar(id);
}
