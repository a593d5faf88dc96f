/// <reference types="vite/client" />
import "react";

declare module "react" {
  interface CSSProperties {
    /** Width over height of the presenter's picture. */
    "--ratio"?: number;
    /** Of a ring of progress, with its percent sign. */
    "--done"?: string;
    /** 0..359: the colour a voice is known by. */
    "--hue"?: number;
    /** 0..1 of the largest. */
    "--part"?: number;
  }
}
