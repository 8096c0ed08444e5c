export { Channel, type ChannelOptions, type Features } from "./channel.ts";
export { ChannelError, SwitchError, type ChannelErrorCode } from "./errors.ts";
export { FrameSplitter } from "./framer.ts";
export { type MultipartReply, type RequestOptions } from "./reply.ts";
