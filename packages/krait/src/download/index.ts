export { type DownloadOptions, type DownloadProgress, type DownloadResult, downloadModel } from "./download-model.js";
