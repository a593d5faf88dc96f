import { hueOf } from "../format";

/** A voice's face: colours that are its own. */
export function Orb({ id, size = "small" }: { id: string; size?: "tiny" | "small" | "large" }) {
  return <span className="orb" data-size={size} style={{ "--hue": hueOf(id) }} aria-hidden="true" />;
}
