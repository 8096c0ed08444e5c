export { Channel } from "./channel.ts";
export { ChannelError, SwitchError, type ChannelErrorCode } from "./errors.ts";
export { FrameSplitter } from "./framer.ts";
export { type ChannelOptions, type Features } from "./options.ts";
export { type MultipartReply, type RequestOptions } from "./reply.ts";
