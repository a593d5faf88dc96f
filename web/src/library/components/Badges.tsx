/** What a voice honestly is. */

import { useLibrary } from "../context";
import type { VoiceCard } from "../shapes";

type Kind = "clone" | "designed" | "builtin";

export function kindOf(voice: Pick<VoiceCard, "builtin" | "clones">): Kind {
  return voice.builtin ? "builtin" : voice.clones ? "clone" : "designed";
}

export function KindBadge({ voice }: { voice: VoiceCard }) {
  const { words } = useLibrary();
  const kind = kindOf(voice);
  return (
    <span className="badge" data-kind={kind} title={words.about[kind]}>
      {words.badge[kind]}
    </span>
  );
}
