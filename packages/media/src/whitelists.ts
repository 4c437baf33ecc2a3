import type { Source } from "./open-source.js";

/**
 * What ffmpeg may open. Both lists are needed: with the protocols alone a playlist named .mp4 still opens as one, and
 * the local files it names are read.
 */
const protocols = "file,pipe";

/** Containers of media. No playlist, no network session, no image sequence, no script, no device is among them. */
const demuxers = [
  "mov,mp4,m4a,3gp,3g2,mj2",
  "matroska,webm",
  "avi,asf,flv,live_flv,mpegts,mpeg,mxf,nut,rm,dv,gxf,ivf,y4m,yuv4mpegpipe,gif",
  "ogg,mp3,aac,flac,wav,w64,aiff,au,caf,amr,ac3,eac3,dts,dtshd,truehd,tta,wv,ape,mpc,mpc8,voc,ircam,sox",
  "mpegvideo,h264,hevc,m4v,mjpeg,av1,obu,vc1",
].join(",");

/**
 * Options that stand before `-i`. The pixel bound is the decoder's own, for a size that grows mid-stream; it counts the
 * decoder's padding too and is therefore looser than the one that is checked on the declared size.
 */
export function inputGuards(limits: { maxPixels: number; maxStreams: number }): string[] {
  return [
    "-protocol_whitelist",
    protocols,
    "-format_whitelist",
    demuxers,
    "-max_streams",
    String(limits.maxStreams),
    "-max_pixels",
    String(2 * limits.maxPixels + 2 ** 16),
  ];
}

/** `file:` keeps a name such as `concat:a|b` or `-x.mp4` a name. */
export function inputUrl({ path, pipe }: Pick<Source, "path" | "pipe">): string {
  return pipe ? "pipe:0" : `file:${path}`;
}
