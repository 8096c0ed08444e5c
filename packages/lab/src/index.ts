export { LabError, type LabErrorCode } from "./errors.ts";
