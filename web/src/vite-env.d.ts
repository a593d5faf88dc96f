/// <reference types="vite/client" />
import "react";

declare module "react" {
  interface CSSProperties {
    /** Width over height of the presenter's picture. */
    "--ratio"?: number;
  }
}
