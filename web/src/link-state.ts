/** Where the connection stands, as a pure reducer: no timer, no network. `Link` drives it. */

import { ApiError } from "./api";

/** Why there is no picture. Each one has a plain reason and a remedy in `i18n.ts`. */
export type Trouble =
  | "unreachable" // no HTTP answer
  | "offline" // no HTTP answer, and the browser says it has no network
  | "capacity" // 503: all places are taken, or the server is not ready
  | "busy" // 429: too many requests for now
  | "media" // HTTP works, but picture and sound do not come through
  | "lost" // it worked and then stopped
  | "server" // 5xx
  | "refused" // other 4xx: trying again changes nothing
  | "key" // 401
  | "unsupported"; // no WebRTC in this browser

export type Phase = "connecting" | "live" | "waiting" | "failed";

export interface LinkState {
  phase: Phase;
  /** True once this presenter has been seen, so that what follows is a reconnection. */
  met: boolean;
  /** Failures in a row. */
  failures: number;
  trouble?: Trouble;
  /** The server's own words. */
  detail?: string;
  /** When the next try starts, epoch milliseconds; only while waiting. */
  retryAtMs?: number;
  sessionid?: string;
}

export type LinkEvent =
  | { type: "try"; fresh?: boolean }
  | { type: "answered"; sessionid: string }
  | { type: "live" }
  | { type: "failed"; trouble: Trouble; detail?: string; retryAtMs: number };

export const FIRST_STATE: LinkState = { phase: "connecting", met: false, failures: 0 };

const FATAL: ReadonlySet<Trouble> = new Set(["key", "unsupported", "refused"]);
const WAITS_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000] as const;

export function reduceLink(state: LinkState, event: LinkEvent): LinkState {
  switch (event.type) {
    case "try": {
      const { retryAtMs: _retry, sessionid: _session, ...rest } = state;
      return event.fresh ? { ...FIRST_STATE } : { ...rest, phase: "connecting" };
    }
    case "answered":
      return { ...state, sessionid: event.sessionid };
    case "live": {
      const { trouble: _trouble, detail: _detail, ...rest } = state;
      return { ...rest, phase: "live", met: true, failures: 0 };
    }
    case "failed": {
      const fatal = FATAL.has(event.trouble);
      const { sessionid: _session, detail: _detail, ...rest } = state;
      return {
        ...rest,
        phase: fatal ? "failed" : "waiting",
        failures: state.failures + 1,
        trouble: event.trouble,
        ...(event.detail ? { detail: event.detail } : {}),
        ...(fatal ? {} : { retryAtMs: event.retryAtMs }),
      };
    }
  }
}

/** How long to wait after `failures` in a row: doubling, up to 30 s, never less than the server asks, spread by +-20 %
 * so that a crowd that lost one server does not come back in one instant. `random` is 0..1. */
export function waitMs(failures: number, askedS: number | undefined, random: number): number {
  const base = WAITS_MS[Math.min(Math.max(failures, 1), WAITS_MS.length) - 1] ?? 30_000;
  const spread = base * (0.8 + 0.4 * random);
  return Math.round(Math.max(spread, (askedS ?? 0) * 1_000));
}

/** What a failed `/offer` means to the person in front of the page. */
export function troubleOf(error: unknown, online: boolean): { trouble: Trouble; detail?: string; waitS?: number } {
  if (!(error instanceof ApiError)) return { trouble: "media", detail: error instanceof Error ? error.message : "" };
  const detail = { detail: error.message, ...(error.retryAfterS === undefined ? {} : { waitS: error.retryAfterS }) };
  const { status } = error;
  if (status === 0) return { trouble: online ? "unreachable" : "offline" };
  if (status === 401) return { trouble: "key", ...detail };
  if (status === 503 || (status === 200 && /limit|max/i.test(error.message))) return { trouble: "capacity", ...detail };
  if (status === 429) return { trouble: "busy", ...detail };
  return { trouble: status >= 500 || status === 200 ? "server" : "refused", ...detail };
}
