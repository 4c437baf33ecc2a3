/** What one stream of a file says about itself. Times are seconds on the container's timeline. */
export interface StreamInfo {
  index: number;
  /** `image` is a still: an image file, or cover art inside an audio file (`attachedPicture`). */
  kind: "video" | "audio" | "subtitle" | "data" | "image";
  /** The decoder's own name, `h264`, `aac`, `pcm_s16le`; `unknown` where nothing can decode it. */
  codec: string;
  startSeconds: number;
  durationSeconds?: number;
  /** Pixels as stored; `rotation` is still to be applied. */
  width?: number;
  height?: number;
  /** ffmpeg's name of how its pixels are stored, `yuv420p`, `pal8`. */
  pixelFormat?: string;
  /** Frames per second on average. Times are never derived from it. */
  averageFps?: number;
  /** Declared number of frames, where the container keeps one. */
  frames?: number;
  /** Degrees clockwise that turn the stored picture upright: 90, 180 or 270. */
  rotation?: number;
  sampleRate?: number;
  channels?: number;
  channelLayout?: string;
  attachedPicture?: boolean;
  /** Marked by the container as the one to play. */
  isDefault?: boolean;
  /** Its samples are encrypted and cannot be decoded. */
  encrypted?: boolean;
}

/** What a source is, without decoding it. */
export interface MediaInfo {
  /** Absolute path. */
  path: string;
  /** The demuxer's name, `mov,mp4,m4a,3gp,3g2,mj2`, or `wav`, `png`, `jpeg` … for files read without ffmpeg. */
  container: string;
  durationSeconds?: number;
  /**
   * Seconds added to the demuxer's times. The 33-bit clock of a transport stream wraps every 26.5 hours; one that starts in
   * the last minute before it would begin below zero, and counts on behind the wrap instead.
   */
  clockOffsetSeconds?: number;
  bytes: number;
  streams: StreamInfo[];
}
