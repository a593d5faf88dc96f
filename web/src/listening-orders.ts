/** Keeps the server's ears as the page wants them: open, muted, or open while a button is held. */

export type ListeningAction = "mute" | "unmute" | "press" | "release";

/** `waiting` is push-to-talk with nobody at the button. */
export type Ears = "open" | "muted" | "held" | "waiting";

export class ListeningOrders {
  private told: Ears = "open";
  private wanted: Ears = "open";
  private ready = false;
  private sending = false;

  /** `send` asks the server; `onError` hears what it refused. */
  constructor(
    private readonly send: (action: ListeningAction) => Promise<void>,
    private readonly onError: (error: unknown) => void,
  ) {}

  /** The server begins to listen, with open ears. */
  begin(): void {
    this.ready = true;
    this.told = "open";
    void this.pump();
  }

  /** The session is over: what is wanted is told to the next. */
  end(): void {
    this.ready = false;
  }

  want(ears: Ears): void {
    this.wanted = ears;
    void this.pump();
  }

  /** One order after the other: a press must not overtake the release before it. */
  private async pump(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    while (this.ready && this.told !== this.wanted) {
      const next = this.wanted;
      const action = actionFor(this.told, next);
      this.told = next; // told or refused: asking again would be refused again
      try {
        if (action) await this.send(action);
      } catch (error) {
        this.onError(error);
      }
    }
    this.sending = false;
  }
}

function actionFor(told: Ears, wanted: Ears): ListeningAction | undefined {
  switch (wanted) {
    case "open":
      return "unmute";
    case "held":
      return "press";
    case "waiting":
      if (told === "held") return "release";
      return told === "open" ? "mute" : undefined;
    case "muted":
      return told === "waiting" ? undefined : "mute";
  }
}
