import { describe, expect, it, vi } from "vitest";

import { ApiError } from "./api";
import { deleteAvatar, LEAVING_MS } from "./removal";

const inUse = new ApiError("avatar ana is shown by session 7: end it first", 409);

function server(...refusals: Error[]) {
  return { deleteAvatar: vi.fn(async (_id: string) => { const refusal = refusals.shift(); if (refusal) throw refusal; }) };
}

describe("deleteAvatar", () => {
  const noWait = async () => undefined;

  it("waits for this page's own session to end", async () => {
    const api = server(inUse, inUse);
    const waited: number[] = [];
    await deleteAvatar(api, "ana", true, async (ms) => void waited.push(ms));
    expect(api.deleteAvatar).toHaveBeenCalledTimes(3);
    expect(waited).toEqual(LEAVING_MS.slice(0, 2));
  });

  it("gives up when somebody else looks", async () => {
    const api = server(inUse, inUse, inUse, inUse, inUse);
    await expect(deleteAvatar(api, "ana", true, noWait)).rejects.toBe(inUse);
    expect(api.deleteAvatar).toHaveBeenCalledTimes(LEAVING_MS.length + 1);
  });

  it("asks once where this page has not looked, or the refusal is another", async () => {
    const looked = server(inUse);
    await expect(deleteAvatar(looked, "ana", false, noWait)).rejects.toBe(inUse);
    expect(looked.deleteAvatar).toHaveBeenCalledTimes(1);
    const gone = server(new ApiError("avatar 'ana' does not exist", 404));
    await expect(deleteAvatar(gone, "ana", true, noWait)).rejects.toMatchObject({ status: 404 });
    expect(gone.deleteAvatar).toHaveBeenCalledTimes(1);
  });
});
