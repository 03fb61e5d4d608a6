import { limits } from '@alcove/base';
import { guestProtocol } from '@alcove/contracts';
import { broken } from './problems';

/** The frames of rootfs/guest-agent/PROTOCOL.md, "Frames". */
export const frameTypes = guestProtocol.frame;
export const lanes = guestProtocol.lane;

export interface FrameHead {
  length: number;
  stream: number;
  type: number;
  lane: number;
}

export interface Frame {
  stream: number;
  type: number;
  lane: number;
  /** May share memory with the bytes the parser was given: copy what is to be kept. */
  payload: Buffer;
}

export function encodeHead(length: number, stream: number, type: number, lane: number): Buffer {
  const head = Buffer.alloc(limits.channel.headerBytes);
  head.writeUInt32LE(length, 0);
  head.writeUInt32LE(stream, 4);
  head[8] = type;
  head[9] = lane;
  return head;
}

/** One whole frame in one buffer: for everything but DATA, whose payload is not copied. */
export function encodeFrame(stream: number, type: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([encodeHead(payload.length, stream, type, 0), payload]);
}

export function encodeWindow(stream: number, credit: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32LE(credit);
  return encodeFrame(stream, frameTypes.window, payload);
}

/** Reads the 12 bytes in front of a payload and checks everything about them that needs no memory of earlier frames. Throws `guest.protocol`. */
export function decodeHead(bytes: Buffer): FrameHead {
  const head = { length: bytes.readUInt32LE(0), stream: bytes.readUInt32LE(4), type: bytes.readUInt8(8), lane: bytes.readUInt8(9) };
  if (head.length > limits.channel.frameBytes) throw broken('a frame is too long');
  if (bytes.readUInt16LE(10) !== 0) throw broken('reserved bytes of a frame are not zero');
  if (head.lane > (head.type === frameTypes.data ? lanes.message : 0)) throw broken('a frame on an unknown lane');
  checkType(head);
  return head;
}

function checkType({ length, stream, type }: FrameHead): void {
  const ofChannel = type === frameTypes.ping || type === frameTypes.pong;
  if (ofChannel !== (stream === 0)) throw broken('a frame of this type on that stream');
  switch (type) {
    case frameTypes.open:
    case frameTypes.data:
    case frameTypes.reset:
      return;
    case frameTypes.end:
      if (length !== 0) throw broken('an END with a payload');
      return;
    case frameTypes.window:
      if (length !== 4) throw broken('a WINDOW that is not 4 bytes long');
      return;
    case frameTypes.ping:
    case frameTypes.pong:
      if (length > limits.channel.pingBytes) throw broken('a PING or PONG is too long');
      return;
    default:
      throw broken('a frame of an unknown type');
  }
}
