/** The version of this release; every program reports it. */
export const version = "0.1.0";
