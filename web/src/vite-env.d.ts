/// <reference types="vite/client" />
import "react";

declare module "react" {
  interface CSSProperties {
    /** Width over height of the presenter's picture. */
    "--ratio"?: number;
    /** Of a ring of progress, with its percent sign. */
    "--done"?: string;
  }
}
