export const overview = `krait: long video, audio and text to time-stamped features

usage
  krait encode FILE… --out F.safetensors   features of the files, and a page to look at
  krait estimate FILE…                     tokens, seconds and memory of an encoding, before it runs
  krait tokenize FILE --preset P --out F   what one front end makes of a file, without an encoder
  krait probe FILE                         what a file holds
  krait generate DIR --prompt "…"          texts continued by a published language model
  krait parity DIR GOLDEN                  a published model against the outputs of its reference
  krait download ORG/NAME                  a published model from the hub into its cache
  krait inspect DIR|FILE                   a published model: layers, memory; or what a feature file holds
  krait doctor                             what this machine can do, and what it lacks
  krait help COMMAND                       the options of a command

options
  --json       results as JSON on standard output, errors as JSON on standard error
  --version    --help

exit codes
  0 done   2 wrong command line   3 bad input   4 something missing on this machine
  5 partly done   130 interrupted   1 a defect in Krait
KRAIT_DEBUG=1 adds the stack to an error.
`;

export const commandHelp: Readonly<Record<string, string>> = {
  encode: `krait encode FILE… --out F.safetensors [options]

Each file is looked into: media give their video and their sound, images a picture, a folder of
images a video, .srt and .vtt lines at their times, .txt, .md and other UTF-8 files give text; "-"
is standard input, of any of these kinds but folders. All become one sequence, ordered by time; text
before the first timed file stands before it, text after it stands after the last.

what goes in
  --text "…"          words, placed as a file would be; may be given more than once
  --fps N             frames kept per second of media (default 2)
  --frames N          or: so many frames over the whole
  --times T,T,…       or: the frames that show at these times
  --key-frames        or: the key frames
  --economy MODE      of these, runs of near-duplicates become one with the times of all of them: drop
                      keeps the first, merge their mean
  --budget N          frames kept per second at most, the others join the one before
  --speech F          of the sound only what Silero VAD (a silero_vad.onnx) hears speech in
  --no-video          only the sound of media
  --no-audio          only the pictures
  --video-stream N --audio-stream N   which streams, as \`krait probe\` counts (default: the file's own)
  --start T --end T   a part of the media; seconds or HH:MM:SS; --duration T in place of --end
  --offset N          seconds added to all times

the model
  --model DIR         a folder with config.json and model.safetensors; without it an encoder with
                      random weights serves, whose features carry no learned meaning
  --seed N            the seed of those random weights (default 0)
  --device D          auto, cpu or cuda (default auto)
  --threads N         CPU threads (default: all cores)
  --dtype D           f32 or bf16 (default f32)
  --chunk-tokens N    tokens per native run (default 2048)
  --max-tokens N      tokens that a model with full attention keeps keys and values for; others need no bound

what comes out
  --out F             the feature file: features [tokens, dim] f32, times [tokens, 2] f64 seconds,
                      modality [tokens] u8 (0 text, 1 audio, 2 video or image, 254 class token, 255 separator);
                      with the ending .npy three files, F.npy, F.times.npy and F.modality.npy
  --resume            go on with what an interrupted run of the same command left (F.partial …)
  --checkpoint N      seconds after which, and in steps of which, there is something to go on with
                      (default 30); a run that stops before leaves nothing, unless it is killed
  --pool P            one row per token (default); frame: the mean over a picture's patches; a number of
                      seconds: the mean per window of that length and modality; or class: the model's
                      class token, one row for the whole
  --page F            the page to look at (default: beside the feature file, .html)
  --no-page           no page
  --json              a summary as one JSON object
  --quiet             no progress and no notes
`,
  estimate: `krait estimate FILE… [options of krait encode] [--compare attention] [--json]

Tells what \`krait encode\` with the same options will take, without decoding and without running: tokens,
seconds of media and memory. Memory is the planned working memory, weights, carried states, media on
their way, the process itself and those of ffmpeg.

  --compare attention this model's state beside the keys and values of a stack of the same shape that
                      is all attention, from 1k to 1M tokens
  --json              one object: tokens, seconds (null when unknown), peakBytes, memory, and comparison
                      [{tokens, stateBytes, keyValueBytes}]
`,
  tokenize: `krait tokenize FILE --preset NAME --out F.safetensors [options]
krait tokenize --list [--json]

Writes what one published front end makes of a file, without an encoder: features [tokens, dim] f32
and times [tokens, 2] f64 seconds; for text ids [tokens] i32. Audio has one row per frame of 10 ms.
Images and video have one row per picture, its normalised pixels in the order channel, row, column
(qwen2-vl: one row per patch).

  --list              the names of the front ends
  --preset NAME       one of them
  --out F             the file to write

sound
  --normalization M   exact (default; reads the file twice where that takes the whole signal), fixed or
                      running; front ends without a choice ignore it

images and video
  --size N            pixels of the resize and of the crop
  --processor F       a preprocessor_config.json in place of the preset's own settings
  --fps N             pictures kept per second (default: all)
  --frames N          or: so many pictures over the whole
  --economy MODE      runs of near-duplicates become one picture with the times of all of them: drop keeps
                      the first, merge their mean
  --budget N          pictures kept per second at most, the others join the one before

text
  --tokenizer F       a tokenizer.json, for the preset text

  --stream N          which stream, as \`krait probe\` counts (default: the file's own)
  --start T --end T   a part of the media; seconds or HH:MM:SS
  --json              a summary as one JSON object
  --quiet             no progress
`,
  probe: `krait probe FILE [--json]

Tells what a file holds without decoding it: its container, streams, times, sizes and rates.
`,
  generate: `krait generate MODEL_DIR --prompt "…" [options]

Continues texts with a published language model: config.json, safetensors and tokenizer.json of a
folder. Several prompts go through the model side by side.

  --prompt "…"        a text to continue; may be given more than once
  --file F            or one that a file holds
  --max-tokens N      most new tokens per prompt (default 128)
  --stop "…"          a text that ends a sequence; may be given more than once

how tokens are drawn
  --temperature T     0 takes the likeliest always (default)
  --top-k N           only the N likeliest
  --top-p P           only the likeliest that together have this probability
  --min-p P           only tokens at least so likely, as a share of the likeliest
  --repetition-penalty P   makes tokens that were there before less likely (1: does nothing)
  --seed N            the same seed draws the same tokens (default 0; prompt i draws from N + i)

the model
  --tokenizer F       a tokenizer.json in place of the folder's, or bytes
  --context N         tokens that attention keeps (default 4096); without attention there is no limit
  --device D          auto, cpu or cuda (default auto)
  --threads N         CPU threads (default: all cores)
  --dtype D           f32 or bf16 (default f32)
  --json              one object per prompt when all are done: prompt, text, tokens, finish
`,
  parity: `krait parity MODEL_DIR GOLDEN.safetensors [options]
krait parity LAYER_GOLDEN.safetensors [options]

Runs every L{n}.input_ids [batch, n] of the golden file and compares with L{n}.logits, then steps from
greedy.prompt and compares with greedy.tokens. Exit code 0 when all errors are within the bound and the
tokens are equal, else 3. Computes in f32, whatever dtype config.json names.

A golden file with tensors param.* holds one layer of mamba_ssm (Mamba-1, -2 or -3, its sizes read off
the shapes): every L{n}.x [batch, n, width] is compared with L{n}.y. It needs no model folder; one that
is named before it is not looked at.

  --bound B           largest relative RMS error of a case (default 1e-4; of a layer the precision of its
                      reference: 1e-4, 2e-3 and 2e-2 for Mamba-1, -2 and -3)
  --layer JSON        options of a layer that no shape tells: '{"groups":2}' of Mamba-2,
                      '{"aActivation":"softplus"}' of Mamba-3
  --dtype D           f32, or bf16: weights rounded to bf16 (the CPU still multiplies in f32); then equal
                      tokens are told but not required, and a model with experts is held to the bound
                      with its tokens sent to the experts that it chooses in f32; the error without that
                      replay, and the share of tokens x layers whose experts differ, are told
  --device D          auto, cpu or cuda (default cpu)
  --threads N         CPU threads (default: all cores)
  --json              the last line is one object: family, maxRelRms, greedyEqual, ok and the cases; with
                      replayed experts maxRelRmsFree and flippedShare too, and in each case
`,
  inspect: `krait inspect MODEL_DIR [--context N] [--json]
krait inspect FEATURES [--json]

Tells what a model is, published or of Krait's own, from its config and the headers of its weights: layers,
parameters, memory per dtype, state per sequence, operations per token. --context is the number of tokens that
attention layers are counted for (default 4096). Of an encoder of clips (VideoMamba, Vim, AuM) it tells
the clip's sizes, its tokens and operations per clip. Of a feature file (.safetensors, .npy) or of what an
unfinished run has written (F.partial): tokens, numbers per token, dtype, modalities and the span of time.

  --json              one object; its kind is model, features or partial, dim the width; tokens of a model
                      are null, but of an encoder of clips those of one clip
`,
  download: `krait download ORGANISATION/NAME [options]

Fetches config, tokenizer and safetensors of a published model into the hub's own cache, never pickles,
and prints the folder, which generate, parity and inspect take. What is there is not fetched again; what
was interrupted goes on where it stopped; every file is held to its hash. No other command uses the
network.

  --revision R        branch, tag or commit (default main)
  --cache DIR         default HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub
  --offline           only look into the cache; HF_HUB_OFFLINE=1 asks for the same
  --hub URL           another hub than huggingface.co; HF_TOKEN opens private and gated models
  --quiet             no progress
  --json              folder, commit, files, bytes and fetchedBytes
`,
  doctor: `krait doctor [--json]

Tells what this machine can do: CPU, native addon, oneDNN, CUDA (and which of plugin, driver and
device is missing), ffmpeg, sharp. Exit code 0 when the CPU can serve, 4 when not.
`,
  help: `krait help [COMMAND]
`,
};
