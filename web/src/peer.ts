/** One WebRTC connection to the presenter, from the offer to its end. */

import type { Api, OfferOptions } from "./api";
import { Hush } from "./hush";
import type { Trouble } from "./link-state";

export interface PeerEvents {
  answered(sessionid: string): void;
  /** Picture and sound are arriving. */
  live(stream: MediaStream): void;
  /** A text message of the `events` data channel. */
  message(text: string): void;
  /** It ended without being asked to; called once. */
  lost(trouble: Trouble): void;
}

export interface Peer {
  close(): void;
  /** Sends this track from now on, or nothing; throws when the server takes no sound. Nothing is negotiated again. */
  setMicrophone(track: MediaStreamTrack | null): Promise<void>;
  stats(): Promise<RTCStatsReport>;
}

/** Both streams wait this long at least: sound and picture are then in step from the first second on. */
const JITTER_BUFFER_TARGET_MS = 100;
const ICE_SERVERS_TIMEOUT_MS = 500;
const CONNECT_TIMEOUT_MS = 10_000;
/** A short loss of network mends itself; wait this long before starting over. */
const DISCONNECTED_GRACE_MS = 4_000;
const WATCH_EVERY_MS = 3_000;

type Receiver = RTCRtpReceiver & { jitterBufferTarget?: number | null };

/** The relays this server names, or none when it does not say so in time: they must not hold up a connection that needs
 * none. */
async function iceServers(api: Api): Promise<RTCIceServer[]> {
  const none = new Promise<RTCIceServer[]>((resolve) => setTimeout(resolve, ICE_SERVERS_TIMEOUT_MS, []));
  const named = api.client().then((info) => info.iceServers, () => []);
  return Promise.race([named, none]);
}

/** Offers, and resolves when the answer is in place; media follow through `events`. Rejects with what `/offer` threw. */
export async function openPeer(api: Api, options: OfferOptions, events: PeerEvents, signal: AbortSignal): Promise<Peer> {
  const relays = await iceServers(api);
  signal.throwIfAborted();
  const peer = new LivePeer(events, relays);
  signal.addEventListener("abort", () => peer.close(), { once: true });
  try {
    await peer.negotiate(api, options, signal);
  } catch (error) {
    peer.close();
    throw error;
  }
  return peer;
}

class LivePeer implements Peer {
  private readonly pc: RTCPeerConnection;
  private readonly sound: RTCRtpTransceiver;
  private readonly stream = new MediaStream();
  private readonly hush = new Hush(() => this.stream.getAudioTracks());
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private connected = false;
  private flowing = false;
  private live = false;
  private ended = false;
  private grace: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly events: PeerEvents,
    iceServers: RTCIceServer[],
  ) {
    this.pc = new RTCPeerConnection({ iceServers });
    const channel = this.pc.createDataChannel("events");
    channel.onmessage = (message) => {
      if (this.ended || typeof message.data !== "string") return;
      this.hush.hear(message.data);
      events.message(message.data);
    };
    channel.onopen = () => {
      channel.onclose = () => this.lose("lost"); // one that never opened says nothing: a server may have no channels
    };
    this.pc.addTransceiver("video", { direction: "recvonly" });
    this.sound = this.pc.addTransceiver("audio", { direction: "sendrecv" }); // silent until there is a microphone
    this.pc.ontrack = ({ track }) => this.addTrack(track);
    this.pc.onconnectionstatechange = () => this.follow(this.pc.connectionState);
  }

  async negotiate(api: Api, options: OfferOptions, signal: AbortSignal): Promise<void> {
    await this.pc.setLocalDescription(await this.pc.createOffer());
    const offer = this.pc.localDescription;
    if (!offer) throw new Error("the browser made no offer");
    const answer = await api.offer(offer, options, signal);
    if (this.ended) {
      api.leave(answer.sessionid);
      return;
    }
    this.events.answered(answer.sessionid);
    await this.pc.setRemoteDescription({ type: answer.type, sdp: answer.sdp });
    for (const receiver of this.pc.getReceivers() as Receiver[])
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = JITTER_BUFFER_TARGET_MS;
    this.after(CONNECT_TIMEOUT_MS, () => {
      if (!this.live) this.lose("media");
    });
  }

  stats(): Promise<RTCStatsReport> {
    return this.pc.getStats();
  }

  async setMicrophone(track: MediaStreamTrack | null): Promise<void> {
    if (this.ended) return;
    const { currentDirection } = this.sound;
    if (track && currentDirection !== "sendrecv") throw new Error("the server's answer takes no sound");
    await this.sound.sender.replaceTrack(track);
  }

  close(): void {
    this.ended = true;
    this.hush.end();
    for (const timer of this.timers) clearTimeout(timer);
    this.timers.clear();
    this.pc.close();
  }

  private addTrack(track: MediaStreamTrack): void {
    this.stream.addTrack(track);
    if (track.kind !== "video") return;
    const flow = () => {
      this.flowing = true;
      this.goLive();
    };
    if (track.muted) track.onunmute = flow;
    else flow();
  }

  private follow(state: RTCPeerConnectionState): void {
    if (state === "connected") {
      clearTimeout(this.grace);
      this.connected = true;
      this.goLive();
    } else if (state === "failed" || state === "closed") {
      this.lose(this.live ? "lost" : "media");
    } else if (state === "disconnected") {
      this.grace = this.after(DISCONNECTED_GRACE_MS, () => this.lose("lost"));
    }
  }

  private goLive(): void {
    if (this.live || this.ended || !this.connected || !this.flowing) return;
    this.live = true;
    this.events.live(this.stream);
    this.watch(0, 0);
  }

  /** Two looks in a row without a single new byte while the page is visible: the server is gone without saying so. */
  private watch(bytesBefore: number, stalls: number): void {
    this.after(WATCH_EVERY_MS, async () => {
      let bytes = 0;
      for (const row of (await this.pc.getStats()).values()) if (row.type === "inbound-rtp") bytes += row.bytesReceived ?? 0;
      const still = bytes === bytesBefore && document.visibilityState === "visible" ? stalls + 1 : 0;
      if (still >= 2) this.lose("lost");
      else if (!this.ended) this.watch(bytes, still);
    });
  }

  private lose(trouble: Trouble): void {
    if (this.ended) return;
    this.close();
    this.events.lost(trouble);
  }

  private after(ms: number, action: () => void): ReturnType<typeof setTimeout> {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      action();
    }, ms);
    this.timers.add(timer);
    return timer;
  }
}
