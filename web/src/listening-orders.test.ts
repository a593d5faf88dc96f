import { describe, expect, it, vi } from "vitest";

import { type ListeningAction, ListeningOrders } from "./listening-orders";

const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

function scripted() {
  const sent: ListeningAction[] = [];
  let finish: (() => void) | undefined;
  const held = { on: false };
  const onError = vi.fn();
  const send = vi.fn((action: ListeningAction) => {
    sent.push(action);
    return held.on ? new Promise<void>((resolve) => (finish = resolve)) : Promise.resolve();
  });
  return { sent, held, send, onError, orders: new ListeningOrders(send, onError), finish: () => finish?.() };
}

describe("ListeningOrders", () => {
  it("says nothing before the server listens, and then only what differs", async () => {
    const { orders, sent } = scripted();
    orders.want("waiting");
    await settle();
    expect(sent).toEqual([]);
    orders.begin();
    await settle();
    expect(sent).toEqual(["mute"]);
  });

  it("presses, releases and goes back to an open microphone", async () => {
    const { orders, sent } = scripted();
    orders.begin();
    for (const ears of ["waiting", "held", "waiting", "held", "waiting", "open", "muted", "open"] as const) {
      orders.want(ears);
      await settle();
    }
    expect(sent).toEqual(["mute", "press", "release", "press", "release", "unmute", "mute", "unmute"]);
  });

  it("sends one after the other, and only the newest wish after a slow answer", async () => {
    const { orders, sent, held, finish } = scripted();
    orders.begin();
    held.on = true;
    orders.want("held");
    orders.want("waiting");
    orders.want("muted");
    await settle();
    expect(sent).toEqual(["press"]);
    held.on = false;
    finish();
    await settle();
    expect(sent).toEqual(["press", "mute"]);
  });

  it("tells a new session what is wanted, and an ended one nothing", async () => {
    const { orders, sent } = scripted();
    orders.begin();
    orders.end();
    orders.want("muted");
    await settle();
    expect(sent).toEqual([]);
    orders.begin();
    await settle();
    expect(sent).toEqual(["mute"]);
  });

  it("reports a refusal once", async () => {
    const { orders, send, onError } = scripted();
    orders.begin();
    send.mockRejectedValueOnce(new Error("away"));
    orders.want("muted");
    await settle();
    expect(onError).toHaveBeenCalledOnce();
    expect(send).toHaveBeenCalledOnce();
  });
});
