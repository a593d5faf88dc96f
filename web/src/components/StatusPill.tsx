import type { Words } from "../i18n";
import type { LinkState } from "../link-state";

interface Props {
  link: LinkState;
  speaking: boolean;
  words: Words;
}

type Tone = "quiet" | "good" | "warn" | "bad";

function reading({ link, speaking, words }: Props): { tone: Tone; label: string } {
  switch (link.phase) {
    case "live":
      return { tone: "good", label: speaking ? words.speaking : words.live };
    case "connecting":
      return link.met ? { tone: "warn", label: words.reconnecting } : { tone: "quiet", label: words.connecting };
    case "waiting":
      if (link.trouble === "offline") return { tone: "bad", label: words.offlinePill };
      return link.met ? { tone: "warn", label: words.reconnecting } : { tone: "bad", label: words.notConnected };
    case "failed":
      return { tone: "bad", label: words.notConnected };
  }
}

export function StatusPill(props: Props) {
  const { tone, label } = reading(props);
  const announced = reading({ ...props, speaking: false }).label; // that she speaks can be heard
  const speaking = props.link.phase === "live" && props.speaking;
  return (
    <>
      <span className="visually-hidden" role="status">
        {announced}
      </span>
      <p className="pill" aria-hidden="true" data-tone={tone} data-phase={props.link.phase} data-testid="status">
        {speaking ? (
          <span className="bars">
            <i />
            <i />
            <i />
          </span>
        ) : (
          <span className="dot" />
        )}
        {label}
      </p>
    </>
  );
}
